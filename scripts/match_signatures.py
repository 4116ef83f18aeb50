"""Creates matching.csv, which archetype is which signature, with the refined signatures, scores and anchors."""

import pandas as pd

from job import job
from pointillist import archetypes
from pointillist.data.contract import kept_spots, read_spots_h5ad
from pointillist.data.files import write_table
from pointillist.data.gene_sets import read_gene_sets

with job(snakemake) as log:
    options, output, files = snakemake.params.options, snakemake.output, snakemake.input
    spots = read_spots_h5ad(files.spots)
    kept = kept_spots(spots)
    if "gene_sets" in files.keys():
        table = read_gene_sets(files.gene_sets)
    else:
        table = pd.read_csv(files.reference_markers).rename(columns={"cell_type": "set"})
    gene_sets = {name: list(rows) for name, rows in table.groupby("set")["gene"]}
    communities = pd.read_csv(files.communities, dtype={"barcode": str})
    membership = pd.crosstab(communities["barcode"], communities["archetype"]).reindex(kept.obs_names, fill_value=0) > 0
    markers = pd.read_csv(files.markers)
    genes = kept.var_names[kept.var["n_spots"].to_numpy() > 0]
    refined = archetypes.refine_signatures(
        kept[:, genes].X,
        genes,
        gene_sets,
        membership,
        markers,
        min(options["n_anchors"], int(membership.sum().min())),
        options["n_added"],
        options["n_rounds"],
        options["min_score"],
        options["max_q"],
        seed=snakemake.params.seed,
        preference=options["preference"],
    )
    matching = archetypes.matching_table(
        refined.matching, markers, kept.obsm["X_pca"], membership, refined.anchors, kept.obs_names
    )
    log.info("%s", matching["status"].value_counts().to_dict())
    sets = [(name, gene) for name, members in refined.gene_sets.items() for gene in members]
    write_table(matching, output.matching)
    write_table(pd.DataFrame(sets, columns=["set", "gene"]), output.signatures)
    write_table(refined.scores.reindex(spots.obs_names).rename_axis("barcode"), output.scores)
    write_table(refined.anchors, output.signature_anchors)
    write_table(refined.rounds, output.refinement)
