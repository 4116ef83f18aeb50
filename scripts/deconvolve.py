"""Creates proportions.parquet and fit.parquet: the cell types of every spot, by one method."""

import numpy as np
import pandas as pd

from job import job
from pointillist.data.contract import by_spot, kept_spots, read_spots_h5ad
from pointillist.data.files import read_parquet, write_table
from pointillist.deconvolution import METHODS

with job(snakemake) as log:
    spots = read_spots_h5ad(snakemake.input.spots)
    signature = read_parquet(snakemake.input.signature)
    markers = pd.read_csv(snakemake.input.markers)["gene"].unique()
    kept = kept_spots(spots)
    counts = kept.layers["counts"]
    method = METHODS[snakemake.wildcards.method]
    log.info("%s: %d spots × %d markers × %d types", method.title, kept.n_obs, len(markers), len(signature))
    result = method.run(
        counts[:, kept.var_names.get_indexer(markers)],
        signature[markers].to_numpy(),
        spot_totals=np.asarray(counts[:, kept.var_names.get_indexer(signature.columns)].sum(axis=1)).ravel(),
        type_totals=signature.sum(axis=1).to_numpy(),
        seed=snakemake.params.seed,
        options=snakemake.params.options,
    )
    fit = by_spot(np.column_stack(list(result.fit.values())), spots, result.fit)
    if result.abundance is not None:
        fit["total_abundance"] = by_spot(result.abundance.sum(axis=1, keepdims=True), spots, ["total"])["total"]
    log.info(
        "median R %.3f, %d spots without an estimate", fit["pearson"].median(), np.isnan(result.proportions[:, 0]).sum()
    )
    write_table(by_spot(result.proportions, spots, signature.index), snakemake.output.proportions)
    write_table(fit, snakemake.output.fit)
