"""Creates proportions.parquet and fit.parquet: the cell types of every spot, by one method."""

import numpy as np
import pandas as pd

from job import job
from pointillist.data.contract import by_spot, kept_spots, read_spots_h5ad
from pointillist.data.files import read_parquet, write_table
from pointillist.deconvolution import METHODS, per_cell
from pointillist.signature import Signature, genes_for

with job(snakemake) as log:
    params, method = snakemake.params, METHODS[snakemake.wildcards.method]
    spots = read_spots_h5ad(snakemake.input.spots)
    kept = kept_spots(spots)
    table = read_parquet(snakemake.input.signature)
    cell_types = pd.read_csv(snakemake.input.cell_types, dtype={"cell_type": str}).set_index("cell_type")
    cell_types = cell_types.loc[table.index]
    signature = Signature(table.to_numpy(), table.index.to_numpy(), table.columns.to_numpy())
    genes = genes_for(method, signature, pd.read_csv(snakemake.input.markers)["gene"].unique(), params.max_genes)
    log.info("%s: %d spots × %d genes × %d types", method.title, kept.n_obs, len(genes), len(table))

    counts = kept.layers["counts"]
    context = {
        "spot_totals": np.asarray(counts[:, kept.var_names.get_indexer(table.columns)].sum(axis=1)).ravel(),
        "type_totals": table.sum(axis=1).to_numpy(),
        "n_cells": cell_types["n_cells"].to_numpy(),
        "graph": kept.obsp.get("spatial_connectivities"),
        "seed": params.seed,
    }
    if method.takes("cells"):
        reference = read_spots_h5ad(snakemake.input.cells)
        all_counts = reference.layers["counts"]
        context["cells"] = all_counts[:, reference.var_names.get_indexer(genes)]
        context["codes"] = table.index.get_indexer(reference.obs["cell_type"].astype(str))
        context["cell_totals"] = np.asarray(all_counts.sum(axis=1)).ravel()
    result = method.run(
        counts[:, kept.var_names.get_indexer(genes)],
        signature.restrict(genes).matrix,
        options=params.options,
        **context,
    )
    if params.cell_size == "reference":
        result = per_cell(result, cell_types["mean_counts"])

    fit = pd.DataFrame(result.fit, index=kept.obs_names)
    if "spot_class" in fit:
        fit["spot_class"] = fit["spot_class"].astype("category")
    if result.abundance is not None:
        fit["total_abundance"] = result.abundance.sum(axis=1)
    if result.lower is not None:
        fit[[f"lower:{name}" for name in table.index]] = result.lower
        fit[[f"upper:{name}" for name in table.index]] = result.upper
    log.info(
        "median R %.3f, %d spots without an estimate", fit["pearson"].median(), np.isnan(result.proportions[:, 0]).sum()
    )
    write_table(by_spot(result.proportions, spots, table.index), snakemake.output.proportions)
    write_table(fit.reindex(spots.obs_names).rename_axis("barcode"), snakemake.output.fit)
