"""Creates proportions.parquet and fit.parquet: the cell types of every spot by gene sets, without a reference."""

import numpy as np
import pandas as pd

from job import job
from pointillist.data.contract import by_spot, kept_spots, read_spots_h5ad
from pointillist.data.files import write_table
from pointillist.data.gene_sets import read_gene_sets
from pointillist.data.histology import histology_features, tissue_image
from pointillist.deconvolution import SIGNATURE_METHODS, usable_gene_sets

with job(snakemake) as log:
    params, method, files = snakemake.params, SIGNATURE_METHODS[snakemake.wildcards.method], snakemake.input
    spots = read_spots_h5ad(files.spots)
    kept = kept_spots(spots)
    if "gene_sets" in files.keys():
        table = read_gene_sets(files.gene_sets)
    else:
        table = pd.read_csv(files.reference_markers, dtype=str, keep_default_na=False).rename(
            columns={"cell_type": "set"}
        )
    gene_sets = {name: list(rows) for name, rows in table.groupby("set")["gene"]}
    counts = kept.layers["counts"]
    gene_sets = usable_gene_sets(counts, kept.var_names, gene_sets, params.options["min_genes"])
    image_features = None
    if params.options.get("histology") == "image" and (found := tissue_image(kept)) is not None:
        image, scale, diameter = found
        image_features = histology_features(image, kept.obsm["spatial"] * scale, diameter and diameter * scale)
        log.info("histology: %s", ", ".join(image_features))
    result = method.run(
        *(counts, kept.var_names, gene_sets),
        options=params.options,
        graph=kept.obsp.get("spatial_connectivities"),
        image_features=image_features,
        spots=kept.obs_names,
        seed=params.seed,
    )
    fit = pd.DataFrame(result.fit, index=kept.obs_names)
    log.info(
        "median R %.3f, %d spots without an estimate", fit["pearson"].median(), np.isnan(result.proportions[:, 0]).sum()
    )
    write_table(by_spot(result.proportions, spots, gene_sets), snakemake.output.proportions)
    write_table(fit.reindex(spots.obs_names).rename_axis("barcode"), snakemake.output.fit)
