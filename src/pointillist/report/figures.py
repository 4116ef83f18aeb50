"""The figures of one sample, in the order of the stages, each with what it shows in one sentence."""

import numpy as np
import pandas as pd

from pointillist import plotting
from pointillist.data.contract import recorded_steps
from pointillist.data.histology import tissue_image
from pointillist.deconvolution.diagnostics import SIMILAR
from pointillist.report.archetype_figures import archetype_figures, known_figures
from pointillist.report.entry import Entry

MAPS_LIMIT = 24
_WIDTH_MAPS = 8
_NUMBERS_LIMIT = 16
_SPOT_CLASSES = {
    "singlet": "#0072B2",
    "doublet_certain": "#E69F00",
    "doublet_uncertain": "#F5CF80",
    "reject": "#8F3F00",
}


def sample_figures(spots, steps, titles, labels="", truth=None, label_enrichment=None, truth_correlation=None):
    """Yield every figure that a sample's results allow.

    Parameters
    ----------
    spots : AnnData
        With all results, by the contract.
    steps : list of Step
    titles : dict of str to str
        Titles of methods by name.
    labels : str
        Column of ``obs`` with known regions.
    truth : DataFrame, optional
        Known proportions.
    label_enrichment, truth_correlation : DataFrame, optional
        What labels and truth say of the archetypes.

    Yields
    ------
    Entry
    """
    layout = plotting.Layout.of(spots)
    where = "" if layout.spatial else " The sample has no coordinates: spots are drawn in their first two components."
    yield from _quality(spots, layout, where, labels)
    methods = [step.method for step in steps if step.stage == "deconvolution"]
    if methods:
        yield from _deconvolution(spots, layout, methods, titles, truth)
    yield from _factorization(spots, layout)
    if any(step.stage == "joint_nmf" for step in steps):
        yield from _joint(spots, layout)
    if "archetype_weights" in spots.obsm:
        yield from archetype_figures(spots, layout)
        yield from known_figures(label_enrichment, truth_correlation)
    yield from _embedding(spots, layout, [step.method for step in steps if step.stage == "embedding"], titles, labels)


def _quality(spots, layout, where, labels):
    thresholds = recorded_steps(spots)["preprocessing"]["params"]["thresholds"]
    n_filtered = int(spots.obs["filtered"].sum())
    yield Entry(
        "quality",
        "quality",
        "Quality of the spots",
        f"Colour: counts and genes (log10) and mitochondrial share. Ringed in red: the {n_filtered} spots taken out. "
        f"Dashed: the thresholds.{where}",
        plotting.quality_figure(spots, layout, thresholds),
    )
    if (found := tissue_image(spots)) is not None:
        image, scale, _ = found
        values = spots.obs[labels].astype(object).to_numpy() if labels else None
        colours = plotting.colours_of(sorted(spots.obs[labels].dropna().astype(str).unique())) if labels else None
        yield Entry(
            "quality",
            "tissue",
            "Tissue",
            "The image with the outlines of the spots" + (f", and their labels ({labels})." if labels else "."),
            plotting.tissue_figure(image, scale, layout, values, colours, f"labels: {labels}"),
        )


def _deconvolution(spots, layout, methods, titles, truth):
    yield from _reference(spots)
    for method in [*methods, "consensus"] if "consensus_proportions" in spots.obsm else methods:
        table = spots.obsm[f"{method}_proportions"]
        largest = table.mean().sort_values(ascending=False).index[:MAPS_LIMIT]
        yield Entry(
            "deconvolution",
            f"proportions_{method}",
            f"Proportions: {titles.get(method, method)}",
            "Share of each cell type in every spot, on one scale. Grey: no estimate."
            + (" The mean of the methods that the setting `consensus` names." if method == "consensus" else ""),
            plotting.maps_figure(layout, table[[name for name in table if name in largest]]),
        )
    # Gene sets may be of other cell types than the reference.
    colours = plotting.colours_of(dict.fromkeys(n for m in methods for n in spots.obsm[f"{m}_proportions"].columns))
    dominant = {}
    for method in methods:
        table = spots.obsm[f"{method}_proportions"]
        estimated = table.dropna(how="all")
        dominant[titles[method]] = estimated.idxmax(axis=1).reindex(spots.obs_names)
    yield Entry(
        "deconvolution",
        "dominant",
        "Largest cell type in each spot",
        "The cell type with the largest share, by each method.",
        plotting.categories_figure(layout, dominant, dict.fromkeys(dominant, colours)),
    )
    fits = {f"R: {titles[method]}": spots.obsm[f"{method}_fit"]["pearson"] for method in methods}
    yield Entry(
        "deconvolution",
        "fit",
        "How well each spot is explained",
        "Pearson R between a spot's markers and their reconstruction: a region where it is low may hold cells that the "
        "reference lacks.",
        plotting.maps_figure(layout, pd.DataFrame(fits), "viridis", shared_scale=False, vmin=None),
    )
    if "residuals" in spots.obsm:
        yield from _residuals(spots, layout)
    yield from _certainty(spots, layout, methods, titles, colours)
    if "agreement" in spots.obsm:
        yield from _agreement(spots, layout, titles)
    if truth is not None:
        estimated = [name for name in (*methods, "consensus") if f"{name}_proportions" in spots.obsm]
        estimates = {titles.get(name, name): spots.obsm[f"{name}_proportions"] for name in estimated}
        yield Entry(
            "scores",
            "truth",
            "Estimated against known proportions",
            "Each dot is a spot; r is the Pearson correlation over spots. The truth was seen by no method.",
            plotting.truth_figure(estimates, truth, colours),
        )


def _reference(spots):
    """What the reference can tell apart, which is known before any spot is looked at."""
    found = spots.uns.get("deconvolution", {})
    if "correlations" not in found:
        return
    pairs = pd.DataFrame(found["correlations"])
    names = list(dict.fromkeys(pairs["cell_type"]))
    table = pairs.pivot(index="cell_type", columns="other", values="correlation").loc[names, names]
    alike = [(a, b) for a in names for b in names if a != b and table.loc[a, b] > SIMILAR]
    yield Entry(
        "deconvolution",
        "reference_correlations",
        "Before the run: which cell types are alike",
        "Pearson correlation of the cell types' signatures over the markers, of square roots. "
        + (f"Framed: pairs above {SIMILAR}, whose split is mostly noise." if alike else f"No pair is above {SIMILAR}."),
        plotting.heatmap_figure(table, "cividis", "correlation", alike, written=len(names) <= _NUMBERS_LIMIT),
    )


def _residuals(spots, layout):
    table, genes = spots.obsm["residuals"], spots.varm["residuals"]
    maps = {"share of counts not explained": table["unexplained"].clip(lower=0)}
    for name in [name for name in table if name.startswith("missing_")]:
        weights = genes[name].dropna().sort_values(ascending=False, kind="stable")
        leading = weights[weights > 0].index[:3]
        maps[f"{name.replace('_', ' ')}: {', '.join(map(str, leading))}"] = table[name].clip(lower=0)
    yield Entry(
        "deconvolution",
        "residuals",
        "What the reference leaves unexplained",
        "By least squares, over all shared genes. First: share of a spot's counts above its fit, counting noise taken "
        "off. Then: where genes go up together beyond the fit, with the leading three. Every sample has such genes. "
        "They point at a cell type that the reference lacks where they are known markers of one and the map is a "
        "region's; else they are noise, a gradient of the tissue, a state of a cell type that is there, or the types "
        "that stand in for what is missing (a map that is the negative of the one before).",
        plotting.maps_figure(layout, pd.DataFrame(maps), "viridis", shared_scale=False),
    )


def _certainty(spots, layout, methods, titles, colours):
    """Widths of the 95 % intervals and classes of the spots, of the methods that give them."""
    widths, classes = {}, {}
    for method in methods:
        fit, types = spots.obsm[f"{method}_fit"], spots.obsm[f"{method}_proportions"].columns
        bounded = [name for name in types if f"lower:{name}" in fit and f"upper:{name}" in fit]
        if bounded:
            width = {name: fit[f"upper:{name}"] - fit[f"lower:{name}"] for name in bounded}
            widths[method] = pd.DataFrame(width, index=fit.index)
        if "spot_class" in fit:
            classes[titles[method]] = fit["spot_class"].astype(object)
    if widths:
        yield Entry(
            "deconvolution",
            "interval_widths",
            "How sure the proportions are",
            "Width of the 95 % interval of each cell type's proportion over spots: median, quartiles, and the middle "
            "90 % of spots. A type whose box reaches past its own proportions is not measured.",
            plotting.boxes_figure({titles[m]: table for m, table in widths.items()}, colours, "width of the interval"),
        )
        method, table = next(iter(widths.items()))
        largest = spots.obsm[f"{method}_proportions"].mean().sort_values(ascending=False).index[:_WIDTH_MAPS]
        yield Entry(
            "deconvolution",
            "interval_maps",
            f"Where the proportions are sure: {titles[method]}",
            "Upper less lower bound of the 95 % interval, of the cell types with the largest mean proportion.",
            plotting.maps_figure(layout, table[[name for name in table if name in largest]], "viridis"),
        )
    if classes:
        yield Entry(
            "deconvolution",
            "spot_classes",
            "One cell type, two, or more",
            "Singlet: one cell type explains the spot. Doublet: two do, and which two is certain or not. Reject: more "
            "than two are needed. Grey: no estimate.",
            plotting.categories_figure(layout, classes, dict.fromkeys(classes, _SPOT_CLASSES)),
        )


def _agreement(spots, layout, titles):
    maps = {"disagreement (bits)": "jsd", "methods that agree on the largest type": "dominant_agreement"}
    shown = pd.DataFrame({title: spots.obsm["agreement"][name] for title, name in maps.items()})
    yield Entry(
        "deconvolution",
        "agreement",
        "Where the methods disagree",
        "Left: mean Jensen–Shannon divergence (bits) between the methods' proportions, 0 where they agree. Right: "
        "share of the methods that name the same largest cell type as their mean does.",
        plotting.maps_figure(layout, shown, "viridis", shared_scale=False),
    )
    by_type = spots.uns.get("deconvolution", {}).get("agreement_by_type")
    if by_type is not None:
        pairs = pd.DataFrame(by_type)
        turned = pairs.rename(columns={"method": "other", "other": "method"})
        both = pd.concat([pairs, turned], ignore_index=True)
        table = both.groupby(["cell_type", "method"], sort=False)["pearson"].mean().unstack()
        table = table.loc[list(dict.fromkeys(pairs["cell_type"]))].rename(columns=lambda name: titles.get(name, name))
        lowest = min(0.0, np.nanmin(table.to_numpy(dtype=float), initial=0.0))
        yield Entry(
            "deconvolution",
            "agreement_by_type",
            "Which cell types the methods agree on",
            "Pearson correlation over spots of a method's proportions with those of each other, mean over the others. "
            "A type on which all disagree is one that the data do not settle.",
            plotting.heatmap_figure(
                table,
                "cividis",
                "correlation",
                width=0.62 * table.shape[1] + 3.2,
                limits=(lowest, 1.0),
                written=True,
            ),
        )


def _factorization(spots, layout):
    for key in [key for key in spots.obsm if key.endswith("_usage") and key != "joint_nmf_usage"]:
        name = key.removesuffix("_usage")
        signed = (np.nan_to_num(spots.obsm[key].to_numpy()) < 0).any()
        yield Entry(
            "factorization",
            f"usage_{name}",
            f"Factors: {name.upper().replace('_', ' ')}",
            "Usage of each factor in every spot, each on its own scale.",
            plotting.maps_figure(
                layout,
                spots.obsm[key].iloc[:, :MAPS_LIMIT],
                plotting.SIGNED if signed else plotting.USAGE,
                shared_scale=False,
                n_columns=5,
                vmin=None if signed else 0.0,
            ),
        )


def _joint(spots, layout):
    yield Entry(
        "joint_nmf",
        "usage_joint_nmf",
        "Factors shared by the modalities",
        "Usage of each joint factor in every spot, each on its own scale.",
        plotting.maps_figure(layout, spots.obsm["joint_nmf_usage"], plotting.USAGE, shared_scale=False, n_columns=5),
    )
    for key in [key for key in spots.uns if key.startswith("joint_nmf_loadings_")]:
        loadings = spots.uns[key]
        shares = loadings.div(loadings.sum(axis=1).replace(0, np.nan), axis=0).T
        yield Entry(
            "joint_nmf",
            key,
            f"Joint factors: {key.removeprefix('joint_nmf_loadings_')}",
            "Loadings of each feature, as shares over the factors.",
            plotting.heatmap_figure(shares, label="share of the feature"),
        )


def _embedding(spots, layout, models, titles, labels):
    domains = {titles[model]: spots.obs[f"{model}_domain"].astype(object).to_numpy() for model in models}
    if labels:
        domains = {f"labels: {labels}": spots.obs[labels].astype(object).to_numpy(), **domains}
    if domains:
        yield Entry(
            "embedding",
            "domains",
            "Domains",
            "Clusters of the spots in each embedding; the number is chosen by BIC and their names mean nothing.",
            plotting.categories_figure(layout, domains),
        )
    for model in models:
        if f"{model}_losses" in spots.uns:
            yield Entry(
                "embedding",
                f"losses_{model}",
                f"Training: {titles[model]}",
                "Loss per spot by epoch; the state with the best validation loss is the one kept.",
                plotting.losses_figure(spots.uns[f"{model}_losses"]),
            )
