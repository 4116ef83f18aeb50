"""Creates the archetypes of a sample: weights, positions, anchors, tree, communities and markers."""

import numpy as np
import pandas as pd

from job import job
from pointillist import archetypes
from pointillist.data.contract import by_spot, component_names, kept_spots, read_spots_h5ad
from pointillist.data.files import write_json, write_table

with job(snakemake) as log:
    options, seed, output = snakemake.params.options, snakemake.params.seed, snakemake.output
    spots = read_spots_h5ad(snakemake.input[0])
    kept = kept_spots(spots)
    pcs = kept.obsm["X_pca"]

    n_archetypes, start = options["n_archetypes"], None
    curve = {"n_archetypes": [], "explained_variance": []}
    if n_archetypes == "auto":
        largest = min(options["max_archetypes"], kept.n_obs // 5)
        dimension = None
        if options["rule"] == "dimension":
            variable = kept.X[:, kept.var["highly_variable"].to_numpy()]
            dimension = archetypes.signal_dimension(variable, pcs.shape[1], seed=seed)
            log.info("%d dimensions vary more than chance", dimension)
        chosen = archetypes.choose_n_archetypes(
            pcs, 2, largest, 1, options["gain"], options["rule"], n_starts=1, seed=seed, dimension=dimension
        )
        n_archetypes, start = chosen.chosen, chosen.generators
        curve = {"n_archetypes": chosen.n_archetypes, "explained_variance": chosen.explained_variance}
    found = archetypes.archetypal_analysis(
        pcs, n_archetypes, options["n_starts"], options["max_iter"], seed=seed, start_from=start
    )
    log.info("%d archetypes explain %.1f %% of the variance", n_archetypes, 100 * found.explained_variance)
    names = archetypes.archetype_names(n_archetypes)

    levels = sorted({0.0, 0.25, 0.5, 0.75, options["level"]})
    tree = archetypes.archetype_tree(found.archetypes, names=names, levels=levels)
    groups = tree.groups[float(options["level"])]
    if options["granularity"] == "radius":
        groups = archetypes.merge_by_radius(pcs, found.archetypes, options["radius"])
    size = archetypes.community_size(kept.n_obs, len(np.unique(groups)), options["community_size"])
    communities = archetypes.archetypal_communities(pcs, found.archetypes, size, groups)
    markers = archetypes.find_markers(
        kept.X, kept.var_names, communities.membership, communities.names, options["n_markers"]
    )
    log.info("%d communities of %d spots, %d markers", len(communities.names), size, len(markers))

    positions = pd.DataFrame(found.archetypes, index=pd.Index(names, name="archetype"))
    positions.columns = component_names("component", positions.shape[1])
    members = [
        pd.DataFrame({"archetype": name, "barcode": kept.obs_names[rows], "rank": np.arange(1, len(rows) + 1)})
        for name, rows in zip(communities.names, communities.spots)
    ]
    write_table(by_spot(found.weights, spots, names), output.weights)
    write_table(positions, output.archetypes)
    write_table(pd.DataFrame(curve), output.curve)
    write_table(
        archetypes.archetype_anchors(found.weights, min(options["n_anchors"], size), kept.obs_names, names),
        output.anchors,
    )
    cut = {str(level): labels for level, labels in tree.groups.items()}
    write_json({"names": names, "linkage": tree.linkage, "nested": tree.nested, "groups": cut}, output.tree)
    write_table(pd.concat(members, ignore_index=True), output.communities)
    write_table(markers, output.markers)
