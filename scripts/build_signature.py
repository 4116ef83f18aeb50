"""Creates signature.parquet, cell types × all genes, with cell_types.csv, markers.csv and condition.csv."""

import pandas as pd

from job import job
from pointillist import signature
from pointillist.data.contract import read_spots_h5ad
from pointillist.data.files import write_table

with job(snakemake) as log:
    cells = read_spots_h5ad(snakemake.input[0])
    inputs = cells.layers["counts"], cells.obs["cell_type"], cells.var_names
    built = signature.build_signature(*inputs, min_cells=snakemake.params.min_cells)
    markers = signature.rank_markers(*inputs, min_cells=snakemake.params.min_cells, max_q=snakemake.params.max_q)
    _, curve = signature.choose_markers(built, markers, snakemake.params.n_range)
    log.info("%d cell types × %d genes from %d cells", *built.matrix.shape, built.n_cells.sum())
    log.info("%d markers; lowest condition number %.2f", len(markers), curve["condition_number"].min())
    write_table(built.to_frame(), snakemake.output.signature)
    write_table(
        pd.DataFrame({"cell_type": built.cell_types, "n_cells": built.n_cells, "mean_counts": built.mean_counts}),
        snakemake.output.cell_types,
    )
    write_table(markers, snakemake.output.markers)
    write_table(curve, snakemake.output.condition)
