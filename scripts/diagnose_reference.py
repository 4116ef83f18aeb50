"""Creates cell_types, correlations, findings and summary (.csv): what the sample's signature can tell apart."""

import numpy as np
import pandas as pd

from job import job
from pointillist.data.contract import kept_spots, read_spots_h5ad
from pointillist.data.files import read_parquet, write_table
from pointillist.deconvolution.diagnostics import diagnose_reference
from pointillist.errors import raise_errors

with job(snakemake) as log:
    spots = kept_spots(read_spots_h5ad(snakemake.input.spots))
    signature = read_parquet(snakemake.input.signature)
    reference = pd.read_csv(snakemake.input.cell_types, dtype={"cell_type": str}, keep_default_na=False)
    diagnosis = diagnose_reference(
        signature.to_numpy(),
        signature.index,
        signature.columns,
        pd.read_csv(snakemake.input.markers, keep_default_na=False),
        n_cells=reference.set_index("cell_type")["n_cells"].loc[signature.index].to_numpy(),
        sample_counts=pd.Series(np.asarray(spots.layers["counts"].sum(axis=0)).ravel(), spots.var_names),
    )
    log.info("condition number %.2f, scaled %.2f", diagnosis.condition_number, diagnosis.scaled_condition_number)
    log.info("%d genes shared, %.1f %% of counts", diagnosis.n_shared_genes, 100 * diagnosis.share_of_counts)
    problems = [
        finding.problem(sample=snakemake.wildcards.sample, file=snakemake.params.reference)
        for finding in diagnosis.findings
    ]
    for problem in problems:
        log.warning("%s", problem)
    raise_errors(problems)
    names = ["condition_number", "scaled_condition_number", "n_shared_genes", "share_of_counts"]
    summary = pd.DataFrame([[getattr(diagnosis, name) for name in names]], columns=names)
    write_table(diagnosis.by_type, snakemake.output.cell_types)
    write_table(diagnosis.correlations, snakemake.output.correlations)
    write_table(diagnosis.findings_frame(), snakemake.output.findings)
    write_table(summary, snakemake.output.summary)
