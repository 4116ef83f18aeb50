"""Whether samples and references can be analysed: every reason why not, all at once."""

from functools import partial

import numpy as np
import pandas as pd

from pointillist.errors import Problem

from .counts import EXAMPLES, check_counts
from .formats import nearest
from .gene_sets import check_gene_sets
from .genes import check_gene_names, check_shared_genes

_NO_LABEL = ("", "nan", "NaN", "NA", "<NA>", "None")  # a missing label that was written as text

__all__ = ["check_gene_sets", "check_reference", "check_shared_genes", "check_spots"]


def check_spots(adata, *, sample, file="", min_spots=10, labels=None, allow_noninteger=False):
    """Collect everything that is wrong, or odd, with a sample.

    Parameters
    ----------
    adata : AnnData, spots × genes
        Counts in ``layers["counts"]``, or in ``X`` where there is no such layer.
    sample, file : str
        For the messages.
    min_spots : int
        Fewer spots are an error.
    labels : str, optional
        Name of an ``obs`` column that has to be there.
    allow_noninteger : bool
        Accept fractions in the counts, as ambient-corrected counts have them.

    Returns
    -------
    list of Problem
        Errors and warnings; empty for a sample without fault.
    """
    problem = partial(Problem, sample=sample, file=str(file))
    problems = []
    if adata.n_obs < min_spots:
        problems.append(
            problem("few-spots", f"{adata.n_obs} spots", f"at least {min_spots}", "check which matrix was exported")
        )
    problems += _check_names(adata.obs_names, problem, "barcode", "error")
    problems += check_counts(adata, problem=problem, allow_noninteger=allow_noninteger)
    problems += check_gene_names(adata.var_names, problem=problem)
    problems += _check_coordinates(adata, problem)
    problems += _check_images(adata, problem)
    if labels and labels not in adata.obs:
        problems.append(
            problem(
                "no-labels",
                f"no column {labels!r} in obs ({', '.join(map(str, adata.obs.columns[:20])) or 'which has none'})",
                "the column that the sample sheet names in labels",
                nearest(labels, adata.obs.columns),
                column=labels,
            )
        )
    elif labels and adata.obs[labels].isna().all():
        fix = "leave labels empty for this sample"
        problems.append(problem("no-labels", "no label in any spot", "known regions", fix, column=labels))
    return problems


def check_reference(adata, *, reference, file="", cell_type, min_cells=10, few_cells="error", allow_noninteger=False):
    """Collect everything that is wrong, or odd, with a single-cell reference.

    Parameters
    ----------
    adata : AnnData, cells × genes
    reference, file : str
        For the messages.
    cell_type : str
        Name of the ``obs`` column of cell types.
    min_cells : int
        Types with fewer cells are listed.
    few_cells : {"error", "drop"}
        Whether such a type is an error, or left out with a warning.
    allow_noninteger : bool
        Accept fractions in the counts.

    Returns
    -------
    list of Problem
    """
    if few_cells not in ("error", "drop"):
        raise ValueError(f"few_cells must be 'error' or 'drop', got {few_cells!r}")
    problem = partial(Problem, file=str(file))
    problems = check_counts(adata, problem=problem, noun="cell", allow_noninteger=allow_noninteger)
    problems += check_gene_names(adata.var_names, problem=problem)
    problems += _check_names(adata.obs_names, problem, "cell name", "warning")
    problem = partial(problem, column=cell_type)
    if cell_type not in adata.obs:
        found = f"no column {cell_type!r} in obs of reference {reference!r}"
        fix = nearest(cell_type, adata.obs.columns)
        return [*problems, problem("no-cell-types", found, "a column of cell types", fix)]
    labels = adata.obs[cell_type]
    unlabelled = labels.isna() | labels.astype(str).str.strip().isin(_NO_LABEL)
    if unlabelled.any():
        first = ", ".join(map(str, adata.obs_names[unlabelled][:EXAMPLES]))
        problems.append(
            problem(
                "unlabelled-cells",
                f"{int(unlabelled.sum())} of {len(labels)} cells of reference {reference!r} without a label ({first})",
                "a cell type for each cell",
                f"remove them: adata = adata[adata.obs[{cell_type!r}].notna() & (adata.obs[{cell_type!r}] != '')]",
            )
        )
    counts = labels[~unlabelled].astype(str).value_counts()
    few = counts[counts < min_cells].sort_index()
    if len(few):
        listed = ", ".join(f"{name}: {n}" for name, n in few.items())
        problems.append(
            problem(
                "few-cells",
                f"{len(few)} of {len(counts)} cell types of reference {reference!r} "
                f"with fewer than {min_cells} cells ({listed})",
                f"at least {min_cells} cells of each type (min_cells)",
                "none needed: these types are left out"
                if few_cells == "drop"
                else "merge them into related types, leave them out (few_cells: drop), or lower min_cells",
                level="warning" if few_cells == "drop" else "error",
            )
        )
    kept = len(counts) - (len(few) if few_cells == "drop" else 0)
    if kept < 2:
        dropped = " with enough cells" if kept < len(counts) else ""
        types = ", ".join(map(str, counts.index[:EXAMPLES])) or "none"
        problems.append(
            problem(
                "one-cell-type",
                f"{kept} cell types{dropped} in reference {reference!r} (labels: {types})",
                "at least 2",
                f"name the column of cell types in references.{reference}.cell_type, one of: "
                f"{', '.join(map(str, adata.obs.columns[:20]))}",
            )
        )
    return problems


def _check_names(names, problem, noun, level):
    if names.is_unique:
        return []
    twice = names[names.duplicated()].unique()
    return [
        problem(
            "duplicate-barcodes",
            f"{len(twice)} {noun}s that occur more than once ({', '.join(map(str, twice[:EXAMPLES]))})",
            f"each {noun} once",
            "give each section a sample of its own, or make the names unique: adata.obs_names_make_unique()",
            column="obs_names",
            level=level,
        )
    ]


def _check_coordinates(adata, problem):
    problem = partial(problem, column="obsm['spatial']")
    if "spatial" not in adata.obsm:
        fix = "give a coordinates table (barcode, x, y); without it maps and methods that need neighbours are left out"
        return [problem("no-coordinates", "no coordinates", "x and y of each spot", fix, level="warning")]
    xy = np.asarray(adata.obsm["spatial"])
    if xy.ndim != 2 or xy.shape[1] < 2 or xy.dtype.kind not in "iuf":
        fix = "adata.obsm['spatial'] = adata.obs[['x', 'y']].to_numpy(dtype=float)"
        return [problem("coordinates-shape", f"an array of {xy.shape}, {xy.dtype}", "numbers, spots × 2", fix)]
    missing = ~np.isfinite(xy[:, :2]).all(axis=1)
    if missing.any():
        first = ", ".join(map(str, adata.obs_names[missing][:EXAMPLES]))
        share = f"{int(missing.sum())} of {len(xy)} spots without finite coordinates ({missing.mean():.1%}: {first})"
        fix = "join the positions again; barcodes often differ by the suffix -1 alone"
        return [problem("missing-coordinates", share, "finite x and y of each spot", fix)]
    twice = pd.DataFrame(xy[:, :2]).duplicated(keep=False).to_numpy()
    if twice.any():
        first = ", ".join(map(str, adata.obs_names[twice][:EXAMPLES]))
        found = f"{int(twice.sum())} spots that share their coordinates with another ({first})"
        fix = "give each section a sample of its own"
        return [problem("duplicate-coordinates", found, "a place for each spot", fix, level="warning")]
    return []


def _check_images(adata, problem):
    """A warning for each image beside which spots fall, with what would bring them inside."""
    libraries = adata.uns.get("spatial", {})
    if "spatial" not in adata.obsm or not isinstance(libraries, dict):
        return []
    xy = np.asarray(adata.obsm["spatial"], dtype=float)[:, :2]
    xy = xy[np.isfinite(xy).all(axis=1)]
    problems = []
    for library, entry in libraries.items():
        if not isinstance(entry, dict):
            continue
        for name, image in entry.get("images", {}).items():
            factor = entry.get("scalefactors", {}).get(f"tissue_{name}_scalef")
            column = f"uns['spatial'][{library!r}]['images'][{name!r}]"
            if factor is None:
                fix = f"put tissue_{name}_scalef into scalefactors, or remove the image"
                problems.append(
                    problem("scalefactors", "an image without scale", "its scale factor", fix, column=column)
                )
                continue
            height, width = np.shape(image)[:2]
            inside = _inside(xy * factor, width, height)
            if inside >= 0.95:
                continue
            swapped = _inside(xy[:, ::-1] * factor, width, height)
            extent = " × ".join(f"{value:.0f}" for value in (xy * factor).max(axis=0, initial=0))
            problems.append(
                problem(
                    "spots-outside-image",
                    f"{inside:.1%} of the spots inside the image of {width} × {height} pixels (they reach {extent})",
                    "95% or more",
                    "swap x and y: obsm['spatial'] is x, y"
                    if swapped >= 0.95
                    else f"check that the image and tissue_{name}_scalef ({factor:.4g}) belong to these coordinates",
                    column=column,
                    level="warning",
                )
            )
    return problems


def _inside(xy, width, height):
    if not len(xy):
        return 1.0
    return float(((xy >= 0) & (xy <= (width, height))).all(axis=1).mean())
