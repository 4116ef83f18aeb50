"""Creates the sample's signature over the genes it shares with the reference, and the markers chosen among them."""

import pandas as pd

from job import job
from pointillist.data.contract import read_spots_h5ad
from pointillist.data.files import read_parquet, write_table
from pointillist.signature import Signature, choose_markers

with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input.spots)
    table = read_parquet(snakemake.input.signature)
    found = spots.var_names[spots.var["n_spots"].to_numpy() > 0]
    shared = table.columns[table.columns.isin(found)]
    signature = Signature(table[shared].to_numpy(), table.index.to_numpy(), shared.to_numpy())
    markers, curve = choose_markers(signature, pd.read_csv(snakemake.input.markers), snakemake.params.n_range)
    log.info("%d genes shared; %d markers chosen", len(shared), len(markers))
    log.info("condition number %.2f", curve.loc[curve["chosen"], "condition_number"].iloc[0])
    write_table(signature.to_frame(), snakemake.output.signature)
    write_table(markers, snakemake.output.markers)
    write_table(curve, snakemake.output.condition)
