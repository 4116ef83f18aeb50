"""Figures of archetypes: of one sample, of what is known of it, and of all samples together."""

import json

import numpy as np
import pandas as pd

from pointillist import plotting
from pointillist.archetypes import community_profiles
from pointillist.report.entry import Entry

MAPS_LIMIT = 24
_MARKER_ROWS = 60


def archetype_figures(spots, layout):
    """Yield the figures of one sample's archetypes, their communities, markers and matching."""
    found, weights = spots.uns["archetypes"], spots.obsm["archetype_weights"]
    names = list(weights.columns)
    curve = found["curve"]
    if len(curve) > 1:
        yield Entry(
            "archetypes",
            "archetype_curve",
            "Number of archetypes",
            "Variance explained by so many archetypes, and the number chosen.",
            plotting.curve_figure(
                curve["n_archetypes"],
                curve["explained_variance"],
                len(names),
                "archetypes",
                "explained variance",
            ),
        )
    yield Entry(
        "archetypes",
        "archetype_weights",
        "Archetypes",
        "Weight of each archetype in every spot: 1 is a pure spot.",
        plotting.maps_figure(layout, weights.iloc[:, :MAPS_LIMIT], plotting.PROPORTION, n_columns=5),
    )
    position = pd.Series(range(spots.n_obs), index=spots.obs_names)
    anchors = {name: position[rows["barcode"]].to_numpy() for name, rows in found["anchors"].groupby("archetype")}
    yield Entry(
        "archetypes",
        "archetype_components",
        "Archetypes among the spots",
        "Spots in their first principal components; stars: archetypes; rings: their anchor spots. An archetype that "
        "lies inside here is a corner in another component.",
        plotting.components_figure(spots.obsm["X_pca"], found["components"].to_numpy(), anchors, names),
    )
    yield from _communities(spots, layout, found, names)
    yield from _tree(found, names)
    yield from _markers(spots, found)
    if "stability" in found:
        stability = pd.DataFrame(found["stability"]).set_index("archetype")
        panels = {
            "recovered": "share of draws in which it comes back",
            "spread": "movement, relative to the spread of spots",
        }
        yield Entry(
            "archetypes",
            "archetype_stability",
            "How firmly the sample fixes each archetype",
            "Archetypes of spots drawn again with replacement. Left: share of draws whose archetype lies nearest to "
            "this one, and this one nearest to it. Right: root mean squared distance between the two. One that seldom "
            "comes back hangs on a few spots, or on the number of archetypes: read little into it.",
            plotting.bars_figure(stability[list(panels)].rename(columns=panels), limits=[(0, 1), (0, None)]),
        )
    if "signature_scores" in spots.obsm:
        yield from _matching(spots, found)


def known_figures(label_enrichment=None, truth_correlation=None):
    """Yield what labels and truth, seen by no method, say of one sample's archetypes."""
    if label_enrichment is not None and len(label_enrichment):
        wide = [
            label_enrichment.pivot(index="archetype", columns="label", values=value) for value in ("share", "q_value")
        ]
        strength = -np.log10(wide[1].astype(float).clip(lower=1e-30))
        yield Entry(
            "archetypes",
            "archetype_labels",
            "Where the archetypes' communities lie",
            "Known labels, which no method saw. Size: share of the community's spots; colour: −log10 q of a "
            "hypergeometric test; ringed: q below 0.05. The test takes neighbouring spots as independent.",
            plotting.dots_figure(wide[0].astype(float), strength, "−log10 q", marked=wide[1] < 0.05),
        )
    if truth_correlation is not None and len(truth_correlation):
        table = truth_correlation.assign(pearson=pd.to_numeric(truth_correlation["pearson"], errors="coerce"))
        wide = table.pivot(index="archetype", columns="cell_type", values="pearson")
        signatures = table.groupby("archetype")["signature"].first()
        pairs = [(name, signature) for name, signature in signatures.items() if signature in wide]
        reach = float(np.nanmax(np.abs(wide.to_numpy()), initial=0.1))
        judged = table["right"].astype(str).str.strip().str.lower()
        right, wrong = int((judged == "true").sum()), int((judged == "false").sum())
        yield Entry(
            "scores",
            "archetype_truth",
            "Archetypes and known proportions",
            "Pearson correlation over spots of an archetype's weights with the known proportions of each cell type."
            + (
                f" Framed: the signature it was paired with. Of {right + wrong} pairs, {right} are the type that the "
                "weights follow most."
                if right + wrong
                else ""
            ),
            plotting.heatmap_figure(
                wide, plotting.SIGNED, "correlation", pairs, limits=(-reach, reach), written=wide.size <= 256
            ),
        )


def across_samples_figures(consensus, pairs):
    """Yield the figures of the archetypes of all samples.

    Parameters
    ----------
    consensus, pairs : DataFrame
        As `match_across_samples` gives them; an archetype in no group has an empty one.
    """
    if pairs.empty:
        return
    compared = {*pairs["sample"], *pairs["other"]}
    consensus = consensus[consensus["sample"].isin(compared)]
    label = {
        (row.sample, row.archetype): f"{f'{row.group} · ' if row.group else ''}{row.sample} {row.archetype}"
        for row in consensus[["group", "sample", "archetype"]].itertuples(index=False)
    }
    one = [label[pair] for pair in zip(pairs["sample"], pairs["archetype"])]
    two = [label[pair] for pair in zip(pairs["other"], pairs["other_archetype"])]
    long = pd.DataFrame({"one": [*one, *two], "two": [*two, *one], "value": [*pairs["similarity"]] * 2})
    names = list(label.values())
    table = long.pivot(index="one", columns="two", values="value").reindex(index=names, columns=names)
    merged = [(a, b) for a, b, status in zip(one, two, pairs["status"]) if status == "merged"]
    yield Entry(
        "across",
        "archetype_consensus",
        "Archetypes that come back in other samples",
        "Correlation of two archetypes' communities over their markers, in the order of the consensus groups; framed: "
        "members of one group. Grey: not compared (of one sample, or of samples that share too few genes).",
        plotting.heatmap_figure(
            table,
            plotting.SIGNED,
            "correlation",
            [*merged, *((b, a) for a, b in merged)],
            width=0.2 * len(names) + 2.4,
            limits=(-1, 1),
        ),
    )


def _communities(spots, layout, found, names):
    anchors, communities = pd.DataFrame(found["anchors"]), pd.DataFrame(found["communities"])
    maps = {}
    for title, table in (("anchor spots", anchors), ("communities", communities)):
        first = table.sort_values(["rank", "archetype"]).drop_duplicates("barcode").set_index("barcode")["archetype"]
        maps[title] = first.reindex(spots.obs_names).astype(object)
    colours = plotting.colours_of(names)
    yield Entry(
        "archetypes",
        "archetype_communities",
        "Where anchors and communities lie",
        "Anchor spots have the largest weight of an archetype, its community is made of the spots nearest to it. A "
        "spot of several is drawn for the one in which it ranks highest.",
        plotting.categories_figure(layout, maps, dict.fromkeys(maps, colours)),
    )


def _tree(found, names):
    tree = json.loads(found["tree"])
    if len(names) < 3 or "linkage" not in tree:
        return
    height = tree["linkage"][-1][2]
    cuts = {
        f"{level}: {len(set(groups))} groups": float(level) * height
        for level, groups in sorted(tree.get("groups", {}).items(), key=lambda item: float(item[0]))
        if float(level) > 0
    }
    yield Entry(
        "archetypes",
        "archetype_tree",
        "How near archetypes lie",
        "Hierarchical clustering of the archetypes: those that join early are shades of one state. Dashed: levels at "
        "which the tree was cut, as shares of its height, and the groups that they leave.",
        plotting.tree_figure(tree["linkage"], tree.get("names", names), cuts),
    )


def _markers(spots, found):
    markers, communities = pd.DataFrame(found["markers"]), pd.DataFrame(found["communities"])
    if markers.empty:
        return
    names = list(dict.fromkeys(communities["archetype"]))
    n_each = max(2, min(5, _MARKER_ROWS // len(names)))
    leading = markers[markers["rank"] <= n_each].sort_values(["archetype", "rank"])
    genes = list(dict.fromkeys(leading["gene"]))
    kept = spots[~spots.obs["filtered"].to_numpy(dtype=bool), genes]
    membership = pd.crosstab(communities["barcode"], communities["archetype"]).reindex(kept.obs_names, fill_value=0) > 0
    table = community_profiles(kept.X, genes, membership).T
    reach = float(np.abs(table.to_numpy()).max())
    pairs = [pair for pair in zip(leading["gene"], leading["archetype"]) if pair[0] in table.index]
    yield Entry(
        "archetypes",
        "archetype_markers",
        "Markers of the communities",
        f"Mean expression in each community, in standard deviations over all spots, of the {n_each} first markers of "
        "each; framed: the community that a gene marks.",
        plotting.heatmap_figure(
            table, plotting.SIGNED, "SD from the mean of spots", pairs, limits=(-reach, reach), row_height=0.15
        ),
    )


def _matching(spots, found):
    scores, matching = spots.obsm["signature_scores"], found["matching"]
    communities = found["communities"]
    means = scores.join(communities.set_index("barcode")["archetype"], how="inner").groupby("archetype").mean()
    pairs = [
        (row["archetype"], row["signature"])
        for _, row in matching.iterrows()
        if row["archetype"] in means.index and row["signature"] in means.columns
    ]
    reach = float(np.nanmax(np.abs(means.to_numpy(dtype=float)), initial=0.1))
    yield Entry(
        "archetypes",
        "archetype_matching",
        "Archetypes and signatures",
        "Mean score of each signature in each archetype's community; framed: the stable pairs.",
        plotting.heatmap_figure(means, plotting.SIGNED, "mean score", pairs, limits=(-reach, reach)),
    )
    rounds = pd.DataFrame(found["refinement"])
    if len(rounds):
        changed = rounds.pivot(index="round", columns="signature", values="anchors_changed")
        yield Entry(
            "archetypes",
            "archetype_refinement",
            "What refinement changed",
            "Anchor spots of each signature that are new in a round, after its archetype has lent it markers; the "
            "rounds end when none is.",
            plotting.stacked_bars_figure(changed, "round", "anchors changed"),
        )
