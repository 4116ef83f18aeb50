"""Creates spots.h5ad, with quality, normalised expression, components and neighbour graph, and qc.csv."""

import numpy as np

from job import job
from pointillist import preprocessing
from pointillist.data.contract import read_spots_h5ad, record_step
from pointillist.data.files import write_h5ad, write_table

with job(snakemake) as log:
    options = snakemake.params.options
    spots = read_spots_h5ad(snakemake.input[0])
    counts = spots.layers["counts"]
    quality, thresholds = preprocessing.quality_control(
        counts,
        spots.var_names,
        options["min_counts"],
        options["min_genes"],
        options["max_mitochondrial"],
        options["n_mads"],
    )
    quality.index = spots.obs_names
    for column in quality.columns:
        spots.obs[column] = quality[column]
    kept = ~quality["filtered"].to_numpy()
    log.info("kept %d of %d spots with %s", kept.sum(), len(kept), thresholds)

    spots.X = preprocessing.normalise(counts, kept)
    spots.var["n_spots"] = np.asarray((counts[kept] > 0).sum(axis=0)).ravel()
    variable = preprocessing.variable_genes(counts[kept], options["n_variable_genes"])
    spots.var["highly_variable"] = variable
    scores, explained = preprocessing.principal_components(spots.X[kept][:, variable], options["n_components"])
    spots.obsm["X_pca"] = np.full((spots.n_obs, scores.shape[1]), np.nan)
    spots.obsm["X_pca"][kept] = scores
    spots.uns["pca_variance_ratio"] = explained
    log.info("%d variable genes, %d components explain %.1f %%", variable.sum(), len(explained), 100 * explained.sum())

    kind = None
    if "spatial" in spots.obsm:
        graph, kind = preprocessing.spatial_graph(spots.obsm["spatial"][kept], **options["graph"])
        spots.obsp["spatial_connectivities"] = preprocessing.expand_graph(graph, kept)
        log.info("%s graph: %.2f neighbours a spot", kind, graph.sum() / graph.shape[0])
    else:
        log.info("no neighbour graph: the sample has no coordinates")

    record_step(spots, "preprocessing", {**options, "thresholds": thresholds, "graph": kind}, snakemake.params.seed)
    write_h5ad(spots, snakemake.output.spots)
    write_table(quality.rename_axis("barcode"), snakemake.output.qc)
