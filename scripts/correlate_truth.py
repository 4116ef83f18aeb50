"""Creates truth_correlation.csv: which known cell type each archetype's weights follow. A score: no method sees it."""

import pandas as pd

from job import job
from pointillist.archetypes import truth_correlation
from pointillist.data.files import read_parquet, write_table
from pointillist.data.truth import read_truth

with job(snakemake) as log:
    files = snakemake.input
    matching = pd.read_csv(files.matching, keep_default_na=False) if "matching" in files.keys() else pd.DataFrame()
    signatures = dict(zip(matching["archetype"], matching["signature"])) if len(matching) else {}
    truth = read_truth(files.truth, snakemake.wildcards.sample)
    table = truth_correlation(read_parquet(files.weights), truth, signatures)
    judged = table["right"].dropna()
    log.info("%d of %d pairs are the cell type that the archetype follows most", judged.sum(), len(judged))
    write_table(table, snakemake.output[0])
