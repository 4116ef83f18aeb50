"""Creates residuals.parquet, what the reference leaves unexplained in each spot, and residual_genes.csv, by gene."""

import numpy as np
import pandas as pd

from job import job
from pointillist.data.contract import by_spot, kept_spots, read_spots_h5ad
from pointillist.data.files import read_parquet, write_table
from pointillist.deconvolution.residuals import residuals

with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input.spots)
    kept = kept_spots(spots)
    signature = read_parquet(snakemake.input.signature)
    shares = read_parquet(snakemake.input.proportions).loc[kept.obs_names, signature.index].to_numpy()
    if snakemake.params.cell_size == "reference":
        # Shares of the cells are turned back into shares of the RNA.
        reference = pd.read_csv(snakemake.input.cell_types, dtype={"cell_type": str}, keep_default_na=False)
        shares = shares * reference.set_index("cell_type")["mean_counts"].loc[signature.index].to_numpy()
    found = residuals(
        kept.layers["counts"][:, kept.var_names.get_indexer(signature.columns)],
        signature.to_numpy(),
        shares,
        signature.columns,
    )
    log.info("median share of counts not explained %.3f", np.nanmedian(found.by_spot["unexplained"]))
    for name, strength in zip([name for name in found.by_gene if name.startswith("missing_")], found.strengths):
        leading = ", ".join(found.by_gene[name].nlargest(8).index)
        log.info("%s, %.1f times independent residuals: %s", name, strength, leading)
    write_table(by_spot(found.by_spot, spots, found.by_spot.columns), snakemake.output.residuals)
    write_table(found.by_gene, snakemake.output.genes)
