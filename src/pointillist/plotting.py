"""Figures of the report: each function draws one and returns it; nothing here reads or writes files."""

from dataclasses import dataclass
from textwrap import fill

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

# Okabe & Ito's eight first, which colour-blind readers tell apart, then darker and lighter kin.
PALETTE = (
    "#0072B2 #E69F00 #009E73 #CC79A7 #D55E00 #56B4E9 #F0E442 #7F7F7F #004C78 #9C6B00 #006A4D #8A4F70 #8F3F00 "
    "#2B7BA8 #B8AE1F #3F3F3F #80BFE0 #F5CF80 #80CFB9 #E5BCD3 #EAAE80 #ABDAF4 #F8F2A1 #BFBFBF"
).split()
PROPORTION, USAGE, SIGNED = "magma_r", "viridis", "RdBu_r"
_MISSING = "#E3E3E3"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "figure.dpi": 130,
    "svg.hashsalt": "pointillist",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Layout:
    """Where and how large spots are drawn.

    Parameters
    ----------
    xy : ndarray, spots × 2
        Coordinates, y downwards as in the image; principal components where the sample has no coordinates.
    spatial : bool
    diameter : float
        In units of `xy`; spots on a grid nearly touch.
    """

    xy: np.ndarray
    spatial: bool
    diameter: float

    @classmethod
    def of(cls, spots):
        """Layout of an AnnData: its coordinates, or its first two principal components."""
        from scipy.spatial import cKDTree

        spatial = "spatial" in spots.obsm
        xy = np.asarray(spots.obsm["spatial" if spatial else "X_pca"], dtype=float)[:, :2]
        finite = xy[np.isfinite(xy).all(axis=1)]
        diameter = 0.98 * float(np.median(cKDTree(finite).query(finite, k=2)[0][:, 1])) if spatial else 0.0
        return cls(xy, spatial, diameter or 0.014 * float(np.ptp(finite, axis=0).max()))

    def subset(self, chosen):
        """The layout of some of the spots, drawn at the same size."""
        return Layout(self.xy[chosen], self.spatial, self.diameter)

    def scaled(self, factor):
        """The layout in another unit, such as pixels of an image."""
        return Layout(self.xy * factor, self.spatial, self.diameter * factor)


def colours_of(names):
    """A colour for each name, in order; the palette is repeated where it is too short."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}


def quality_figure(spots, layout, thresholds):
    """Counts, genes and mitochondrial share of the spots with their thresholds, on the tissue and as histograms."""
    obs = spots.obs
    panels = [
        ("total_counts", "Counts per spot", "min_counts", True),
        ("n_genes", "Genes per spot", "min_genes", True),
        ("mitochondrial", "Mitochondrial share", "max_mitochondrial", False),
    ]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(9, 5.2), layout="constrained", height_ratios=[2.4, 1])
        for column, (name, title, threshold, logarithmic) in enumerate(panels):
            values = obs[name].to_numpy(dtype=float)
            draw_values(axes[0, column], layout, np.log10(values + 1) if logarithmic else values, "viridis", title)
            filtered = obs["filtered"].to_numpy(dtype=bool)
            _outline(axes[0, column], layout.subset(filtered), "#D00000")
            axis = axes[1, column]
            shown = values[values > 0] if logarithmic else values
            bins = np.geomspace(shown.min(), shown.max(), 40) if logarithmic and len(shown) else 40
            axis.hist(shown, bins=bins, color="#5B7B9A")
            if logarithmic:
                axis.set_xscale("log")
            axis.axvline(max(thresholds[threshold], 1e-3), color="#D00000", lw=1, ls="--")
            axis.set_xlabel(title)
            axis.set_ylabel("spots" if column == 0 else "")
    return figure


def tissue_figure(image, scale, layout, values=None, colours=None, title=""):
    """The tissue image with the spots on it, plain or in the colours of a categorical value."""
    with plt.rc_context(_STYLE):
        n_panels = 1 if values is None else 2
        height, width = image.shape[:2]
        figure, axes = plt.subplots(
            1, n_panels, figsize=(4.6 * n_panels, 4.6 * height / width + 0.3), layout="constrained", squeeze=False
        )
        for axis in axes[0]:
            axis.imshow(image, extent=(0, width, height, 0), interpolation="bilinear")
            axis.set_axis_off()
        placed = layout.scaled(scale)
        _outline(axes[0, 0], placed, "#20202080", width=0.4)
        axes[0, 0].set_title("Tissue image and spots")
        if values is not None:
            draw_categories(axes[0, 1], placed, values, colours, title, alpha=0.8, limits=False)
    return figure


def maps_figure(layout, table, colour_map=PROPORTION, shared_scale=True, n_columns=4, vmin=0.0):
    """One map for each column of a table of spots."""
    table = pd.DataFrame(table)
    n_columns = min(n_columns, table.shape[1])
    n_rows = -(-table.shape[1] // n_columns)
    xy = layout.xy[np.isfinite(layout.xy).all(axis=1)]
    aspect = np.ptp(xy[:, 1]) / max(np.ptp(xy[:, 0]), 1e-9) if layout.spatial else 0.8
    highest = np.nanquantile(table.to_numpy(dtype=float), 0.999) if shared_scale else None
    with plt.rc_context(_STYLE):
        panel = 2.25
        height = n_rows * (panel * min(max(aspect, 0.4), 1.8) + 0.35)
        figure, axes = plt.subplots(
            n_rows, n_columns, figsize=(panel * n_columns + 0.4, height), layout="constrained", squeeze=False
        )
        for axis, name in zip(axes.ravel(), table.columns):
            values = table[name].to_numpy(dtype=float)
            if vmin is None and colour_map == SIGNED:
                # White is zero.
                reach = np.nanquantile(np.abs(values), 0.995)
                draw_values(axis, layout, values, colour_map, str(name), -reach, reach)
                continue
            top = highest if shared_scale else np.nanquantile(values, 0.995)
            draw_values(axis, layout, values, colour_map, str(name), vmin, top, bar=not shared_scale)
        for axis in axes.ravel()[table.shape[1] :]:
            axis.set_axis_off()
        if shared_scale:
            scale = plt.cm.ScalarMappable(plt.Normalize(vmin, highest), colour_map)
            figure.colorbar(scale, ax=axes, shrink=0.5, aspect=25, pad=0.01)
    return figure


def categories_figure(layout, columns, colours=None):
    """One map for each categorical column, each with its legend, two in a row where there are more than three."""
    columns = {name: pd.Series(values) for name, values in columns.items()}
    wide = len(columns) if len(columns) <= 3 else 2
    rows = -(-len(columns) // wide)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, wide, figsize=(4.4 * wide, 3.6 * rows), layout="constrained", squeeze=False)
        for axis in axes.ravel()[len(columns) :]:
            axis.set_axis_off()
        for axis, (name, values) in zip(axes.ravel(), columns.items()):
            names = sorted(values.dropna().astype(str).unique())
            draw_categories(axis, layout, values, (colours or {}).get(name) or colours_of(names), name)
    return figure


def curve_figure(x, y, chosen=None, xlabel="", ylabel="", logarithmic=False):
    """A curve with the value chosen from it marked."""
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(4.2, 2.6), layout="constrained")
        axis.plot(x, y, "-o", ms=3, lw=1.2, color="#0072B2")
        if chosen is not None:
            axis.axvline(chosen, color="#D55E00", lw=1, ls="--")
            axis.annotate(f"chosen: {chosen:g}", (chosen, 1), xycoords=("data", "axes fraction"), xytext=(4, -10),
                          textcoords="offset points", color="#D55E00")  # fmt: skip
        axis.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if logarithmic else "linear")
    return figure


def losses_figure(losses, best_epoch=None):
    """Training and validation losses by epoch, one panel for each named part."""
    parts = sorted({name.split("_", 1)[1] for name in losses.columns if name.startswith(("train_", "validation_"))})
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(parts), figsize=(3.2 * len(parts), 2.4), layout="constrained", squeeze=False)
        for axis, part in zip(axes[0], parts):
            for side, colour in (("train", "#0072B2"), ("validation", "#D55E00")):
                if f"{side}_{part}" in losses:
                    axis.plot(losses["epoch"], losses[f"{side}_{part}"], color=colour, lw=1.2, label=side)
            if best_epoch is not None:
                axis.axvline(best_epoch, color="#7F7F7F", lw=0.8, ls="--")
            axis.set(title=part.replace("_", " "), xlabel="epoch")
        axes[0, 0].legend()
    return figure


def truth_figure(estimates, truth, colours):
    """Estimated against known proportions: one row for each method, one panel for each cell type."""
    types = [name for name in truth.columns if any(name in table for table in estimates.values())]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(estimates), len(types), figsize=(1.35 * len(types) + 0.5, 1.55 * len(estimates) + 0.2),
            layout="constrained", squeeze=False, sharex=True, sharey=True,
        )  # fmt: skip
        for row, (method, table) in zip(axes, estimates.items()):
            method = fill(method, 18)
            spots = truth.index.intersection(table.dropna(how="all").index)
            for axis, name in zip(row, types):
                axis.plot([0, 1], [0, 1], color="#BBBBBB", lw=0.8, zorder=0)
                if name in table:
                    known, found = truth.loc[spots, name], table.loc[spots, name]
                    axis.scatter(known, found, s=3, color=colours.get(name, PALETTE[0]), alpha=0.35, linewidths=0)
                    if known.std() > 0 and found.std() > 0:
                        axis.text(0.04, 0.9, f"r = {np.corrcoef(known, found)[0, 1]:.2f}", transform=axis.transAxes)
                axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 1], yticks=[0, 1])
            row[0].set_ylabel(method)
        for axis, name in zip(axes[0], types):
            axis.set_title(name, fontsize=7)
        figure.supxlabel("known proportion", fontsize=8)
    return figure


def heatmap_figure(
    table, colour_map=USAGE, label="", marked=(), width=None, limits=(None, None), written=False, row_height=0.2
):
    """A table as colours, with the cells in `marked` (row, column) framed, and the numbers `written` if so wished."""
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(
            figsize=(width or 0.34 * table.shape[1] + 2.2, row_height * table.shape[0] + 1.2), layout="constrained"
        )
        axis.set_facecolor(_MISSING)
        values = table.to_numpy(dtype=float)
        image = axis.imshow(
            values, aspect="auto", cmap=colour_map, interpolation="nearest", vmin=limits[0], vmax=limits[1]
        )
        axis.set_xticks(range(table.shape[1]), table.columns, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(table.shape[0]), table.index)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        for row, column in np.argwhere(np.isfinite(values)) if written else ():
            luminance = np.dot(image.to_rgba(values[row, column])[:3], (0.299, 0.587, 0.114))
            axis.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=6.5,
                      color="black" if luminance > 0.5 else "white")  # fmt: skip
        for row, column in marked:
            position = table.columns.get_loc(column) - 0.5, table.index.get_loc(row) - 0.5
            axis.add_patch(plt.Rectangle(position, 1, 1, fill=False, ec="#D55E00", lw=1.6))
        figure.colorbar(image, ax=axis, shrink=0.6, aspect=18, label=label)
    return figure


def boxes_figure(tables, colours, label=""):
    """Distribution over spots of each column, one panel for each table: median, quartiles, and the middle 90 %."""
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, len(tables), figsize=(1.6 + 2.4 * len(tables), 0.2 * len(names) + 0.9), layout="constrained",
            squeeze=False, sharex=True, sharey=True,
        )  # fmt: skip
        for axis, (title, table) in zip(axes[0], tables.items()):
            for place, name in enumerate(names):
                values = table[name].dropna().to_numpy(dtype=float) if name in table else np.empty(0)
                if len(values):
                    box = axis.boxplot(values, positions=[place], orientation="horizontal", widths=0.6, whis=(5, 95),
                                       showfliers=False, patch_artist=True)  # fmt: skip
                    box["boxes"][0].set(facecolor=colours.get(name, PALETTE[0]), linewidth=0.6)
                    box["medians"][0].set(color="black", linewidth=1.2)
            axis.set_title(fill(title, 28))
            axis.set_xlim(left=0)
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].invert_yaxis()
        figure.supxlabel(label, fontsize=8)
    return figure


def bars_figure(table, limits=()):
    """One panel of horizontal bars for each column of a table, with the numbers beside the bars."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, table.shape[1], figsize=(3.2 * table.shape[1] + 0.4, 0.2 * len(table) + 0.8), layout="constrained",
            squeeze=False, sharey=True,
        )  # fmt: skip
        for index, (axis, name) in enumerate(zip(axes[0], table.columns)):
            bars = axis.barh(range(len(table)), table[name], color="#5B7B9A", height=0.7)
            axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=6.5)
            axis.margins(x=0.15)
            axis.set_xlabel(name)
            if index < len(limits):
                axis.set_xlim(*limits[index])
        axes[0, 0].set_yticks(range(len(table)), table.index)
        axes[0, 0].invert_yaxis()
    return figure


def stacked_bars_figure(table, xlabel="", ylabel=""):
    """A bar for each row of a table, stacked by its columns; columns without any are left out of the legend."""
    colours = colours_of(table.columns)
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(0.5 * len(table) + 3.4, 2.6), layout="constrained")
        bottom = np.zeros(len(table))
        for name in table.columns:
            values = table[name].fillna(0).to_numpy(dtype=float)
            if values.any():
                axis.bar(range(len(table)), values, bottom=bottom, color=colours[name], width=0.7, label=str(name))
                bottom += values
        axis.set_xticks(range(len(table)), table.index)
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.yaxis.get_major_locator().set_params(integer=True)
        if bottom.any():
            handles, labels = axis.get_legend_handles_labels()
            axis.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return figure


def dots_figure(sizes, values, label="", marked=None):
    """Dots whose area is a share (0 to 1) and whose colour is a number; those `marked` have a ring."""
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(
            figsize=(0.36 * sizes.shape[1] + 2.8, 0.24 * sizes.shape[0] + 1.4), layout="constrained"
        )
        row, column = np.indices(sizes.shape).reshape(2, -1)
        ring = np.zeros(sizes.size, dtype=bool) if marked is None else marked.to_numpy(dtype=bool).ravel()
        dots = axis.scatter(
            column,
            row,
            s=150 * np.nan_to_num(sizes.to_numpy(dtype=float).ravel()),
            c=values.to_numpy(dtype=float).ravel(),
            cmap="Blues",
            vmin=0,
            edgecolors=np.where(ring, "#D55E00", "#9AA5B1"),
            linewidths=np.where(ring, 1.4, 0.5),
        )
        names = [fill(str(name), 24) for name in sizes.columns]
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(sizes)), sizes.index)
        axis.set(xlim=(-0.6, sizes.shape[1] - 0.4), ylim=(sizes.shape[0] - 0.4, -0.6))
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        handles = [
            plt.Line2D([], [], marker="o", ls="", color="#9AA5B1", ms=np.sqrt(150 * share), label=f"{share:.0%}")
            for share in (0.25, 0.5, 1.0)
        ]
        figure.colorbar(dots, ax=axis, shrink=0.8, aspect=14, label=label)
        figure.legend(handles=handles, loc="outside right upper", title="share", fontsize=7, labelspacing=0.9)
    return figure


def components_figure(scores, archetypes, anchors, names):
    """Spots in the first four components with the archetypes, and the anchors ringed, two components to a panel."""
    colours = colours_of(names)
    panels = [pair for pair in ((0, 1), (2, 3)) if pair[1] < scores.shape[1]]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(4.4 * len(panels), 3.8), layout="constrained", squeeze=False
        )
        for axis, (x, y) in zip(axes[0], panels):
            axis.scatter(scores[:, x], scores[:, y], s=5, color="#C4C9CF", linewidths=0)
            for name in names:
                chosen = scores[anchors[name]]
                axis.scatter(
                    chosen[:, x], chosen[:, y], s=12, facecolors="none", edgecolors=colours[name], linewidths=0.6
                )
            for name, point in zip(names, archetypes):
                axis.scatter(
                    point[x], point[y], s=80, marker="*", color=colours[name], edgecolors="black", linewidths=0.5,
                    zorder=3,
                )  # fmt: skip
                axis.annotate(
                    name.replace("archetype_", ""), (point[x], point[y]), xytext=(5, 3), textcoords="offset points",
                    fontweight="bold", zorder=4, bbox={"fc": "#FFFFFFB0", "ec": "none", "pad": 0.4},
                )  # fmt: skip
            axis.set(xlabel=f"component {x + 1}", ylabel=f"component {y + 1}")
    return figure


def tree_figure(linkage, names, cuts=None):
    """Dendrogram of archetypes, with the heights of named cuts."""
    from scipy.cluster.hierarchy import dendrogram

    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(4.8, 0.24 * len(names) + 1.2), layout="constrained")
        dendrogram(np.asarray(linkage), labels=list(names), orientation="right", ax=axis, color_threshold=0,
                   above_threshold_color="#444444")  # fmt: skip
        for name, height in (cuts or {}).items():
            axis.axvline(height, color="#D55E00", lw=0.9, ls="--")
            axis.annotate(name, (height, 1), xycoords=("data", "axes fraction"), xytext=(-2, 2), rotation=30,
                          textcoords="offset points", color="#D55E00", fontsize=6.5)  # fmt: skip
        axis.set_xlabel("distance between archetypes")
        axis.spines[["left"]].set_visible(False)
        axis.tick_params(axis="y", labelsize=7.5)
    return figure


def draw_values(axis, layout, values, colour_map, title="", vmin=None, vmax=None, bar=True):
    """Spots in the colours of a number; grey where it is NaN."""
    finite = np.isfinite(values)
    vmin = np.nanmin(values) if vmin is None and finite.any() else vmin or 0.0
    vmax = np.nanmax(values) if vmax is None and finite.any() else vmax
    norm = plt.Normalize(vmin, vmax if vmax is not None and vmax > vmin else vmin + 1)
    colours = to_rgba_array([_MISSING] * len(values))
    colours[finite] = plt.get_cmap(colour_map)(norm(values[finite]))
    _draw(axis, layout, colours, title)
    if bar:
        axis.figure.colorbar(plt.cm.ScalarMappable(norm, colour_map), ax=axis, shrink=0.6, aspect=18, pad=0.01)


def draw_categories(axis, layout, values, colours, title="", alpha=1.0, limits=True):
    """Spots in the colours of a category, with a legend; grey where it is missing."""
    values = pd.Series(np.asarray(values, dtype=object))
    shown = [name for name in colours if (values == name).any()]
    rgba = to_rgba_array([colours.get(value, _MISSING) for value in values])
    rgba[:, 3] = alpha
    _draw(axis, layout, rgba, title, limits)
    handles = [plt.Line2D([], [], marker="o", ls="", ms=5, color=colours[name], label=name) for name in shown]
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, handletextpad=0.2)


def _draw(axis, layout, colours, title, limits=True):
    sizes = np.full(len(layout.xy), layout.diameter)
    visible = np.isfinite(layout.xy).all(axis=1)
    spots = EllipseCollection(
        sizes[visible], sizes[visible], np.zeros(visible.sum()), units="xy", offsets=layout.xy[visible],
        offset_transform=axis.transData, facecolors=colours[visible], linewidths=0,
    )  # fmt: skip
    axis.add_collection(spots)
    axis.set_title(fill(str(title), 28))
    axis.set_axis_off()
    if limits:
        _frame(axis, layout)


def _outline(axis, layout, colour, width=0.8):
    if not len(layout.xy):
        return
    diameter = np.full(len(layout.xy), layout.diameter)
    axis.add_collection(
        EllipseCollection(diameter, diameter, np.zeros(len(layout.xy)), units="xy", offsets=layout.xy,
                          offset_transform=axis.transData, facecolors="none", edgecolors=colour, linewidths=width)
    )  # fmt: skip


def _frame(axis, layout):
    xy = layout.xy[np.isfinite(layout.xy).all(axis=1)]
    margin = layout.diameter
    (left, top), (right, bottom) = xy.min(axis=0) - margin, xy.max(axis=0) + margin
    axis.set_xlim(left, right)
    # Images count y downwards, components upwards.
    axis.set_ylim(*((bottom, top) if layout.spatial else (top, bottom)))
    axis.set_aspect("equal" if layout.spatial else "auto")


def save(figure: Figure, path, close=True):
    """Write a figure without a time stamp, so that the same figure is the same bytes."""
    suffix = str(path).rsplit(".", 1)[-1]
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "ModDate": None}, "svg": {"Date": None}}
    figure.savefig(path, metadata=metadata[suffix], bbox_inches="tight", facecolor="white")
    if close:
        plt.close(figure)
