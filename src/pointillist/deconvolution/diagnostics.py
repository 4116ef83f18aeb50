"""Diagnostics of a reference: which of its cell types can be told apart, before any spot is looked at.

Of the signature ``R`` over its markers, with each gene divided by the square root of its mean over types (the noise of
counts) and each type then scaled to length 1, rows ``u_k``:

    κ = κ₂(u)                       how much an error in a spot is magnified at most
    v_k = ((u uᵀ)⁻¹)_kk             variance inflation of the coefficient of type k: 1 where no other type is like it
    r_kl                            Pearson correlation over markers of √R_k and √R_l

Square roots, because the variance of counts grows with their mean: on the linear scale a handful of genes, on the log
scale noise around zero, would decide the correlation.

>>> diagnosis = diagnose_reference(R, cell_types, genes, markers)  # doctest: +SKIP
>>> [str(finding.problem(sample="S1")) for finding in diagnosis.findings]  # doctest: +SKIP

References
----------
Belsley, Kuh & Welsch (1980), Regression Diagnostics.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from pointillist.errors import Problem

# Above this correlation two types differ by less than a reference differs between donors or platforms.
SIMILAR = 0.95
# The customary bound of regression: an interval √10, about three times as wide as the type alone would have.
INFLATED = 10.0
# Strong collinearity, from 30 on (Belsley, Kuh & Welsch), of columns scaled to one length.
ILL_CONDITIONED = 30.0
# Of a marker seen in half of the cells, the mean of 25 cells has a relative error of 20 % and more.
FEW_CELLS = 25
# With fewer, one marker that the platform captures badly moves the proportion by a fifth and more.
FEW_MARKERS = 5
# Fewer shared genes for each type leave no choice of markers.
FEW_GENES_PER_TYPE = 10
# Less than half: most of the sample is not looked at.
SMALL_SHARE = 0.5
# Below this eigenvalue of u uᵀ coefficients are rounding errors.
SINGULAR = 1e-10

_SMOOTHING = 0.05


@dataclass(frozen=True)
class Finding:
    """Something about the reference that a user should know before believing a result."""

    level: str
    code: str
    subject: str
    found: str
    implies: str
    fix: str

    def problem(self, **where):
        """The finding as a `Problem` of some sample or file."""
        found = f"{self.subject}: {self.found}; {self.implies}"
        return Problem(self.code, found, fix=self.fix, level=self.level, **where)


@dataclass(frozen=True)
class ReferenceDiagnosis:
    """What a signature can tell apart.

    Attributes
    ----------
    condition_number : float
        κ₂ of the markers' signature as it is.
    scaled_condition_number : float
        Of genes scaled to the noise of counts and types scaled to length 1.
    correlations : DataFrame, cell types × cell types
    by_type : DataFrame
        ``cell_type, n_cells, n_markers, most_similar, correlation, variance_inflation``.
    n_shared_genes : int
    share_of_counts : float
        Of the sample's counts that the shared genes hold; NaN where the sample's counts are not given.
    findings : tuple of Finding
    """

    condition_number: float
    scaled_condition_number: float
    correlations: pd.DataFrame
    by_type: pd.DataFrame
    n_shared_genes: int
    share_of_counts: float
    findings: tuple

    def findings_frame(self):
        """DataFrame with columns ``level, code, subject, found, implies, fix``."""
        columns = ["level", "code", "subject", "found", "implies", "fix"]
        return pd.DataFrame([[getattr(one, name) for name in columns] for one in self.findings], columns=columns)


def diagnose_reference(R, cell_types, genes, markers, n_cells=None, sample_counts=None):
    """What a signature can tell apart, before any spot is looked at.

    Parameters
    ----------
    R : ndarray, cell types × genes
        Signature over the genes shared with the sample, on the linear scale.
    cell_types, genes : sequence of str
    markers : DataFrame
        Columns ``cell_type`` and ``gene``: the markers chosen among `genes`.
    n_cells : ndarray, cell types, optional
        Cells that each type's mean is of.
    sample_counts : Series, optional
        Total counts of every gene of the sample, by its name.

    Returns
    -------
    ReferenceDiagnosis
        Findings of level ``error`` only where no method could give a meaningful result.

    Raises
    ------
    ValueError
        Shapes that do not fit, markers that the signature lacks, or fewer than two cell types.
    """
    R, genes, names = np.asarray(R, dtype=float), pd.Index(genes), [str(name) for name in cell_types]
    if R.shape != (len(names), len(genes)):
        raise ValueError(f"the signature is {R.shape}, expected {(len(names), len(genes))}: cell types × genes")
    if len(names) < 2:
        raise ValueError("the signature has one cell type: a mixture needs at least two")
    used = pd.unique(markers["gene"])
    position = genes.get_indexer(used)
    if (position < 0).any():
        raise ValueError(f"markers that the signature lacks: {list(used[position < 0][:5])}")
    chosen = R[:, position]
    correlations = _correlations(np.sqrt(chosen))
    scaled, inflation, smallest, direction = _collinearity(chosen)
    n_markers = markers["cell_type"].astype(str).value_counts().reindex(names, fill_value=0).to_numpy()

    others = correlations - 3 * np.eye(len(names))
    nearest = np.nan_to_num(others, nan=-3).argmax(axis=1)
    by_type = pd.DataFrame(
        {
            "cell_type": names,
            "n_cells": np.full(len(names), np.nan) if n_cells is None else np.asarray(n_cells),
            "n_markers": n_markers,
            "most_similar": [names[k] for k in nearest],
            "correlation": correlations[np.arange(len(names)), nearest],
            "variance_inflation": inflation,
        }
    )
    share = np.nan
    if sample_counts is not None:
        share = float(sample_counts.reindex(genes, fill_value=0).sum() / max(sample_counts.sum(), 1))
    findings = [
        *_find_singular(names, chosen, smallest, direction),
        *_find_similar(names, correlations, inflation, by_type),
        *_find_sparse_types(by_type),
        *_find_few_genes(len(names), len(genes), share, sample_counts),
        *_find_ill_conditioned(scaled),
    ]
    return ReferenceDiagnosis(
        float(np.linalg.cond(chosen)),
        scaled,
        pd.DataFrame(correlations, index=pd.Index(names, name="cell_type"), columns=names),
        by_type,
        len(genes),
        share,
        tuple(sorted(findings, key=lambda finding: finding.level)),
    )


def _correlations(values):
    values = values - values.mean(axis=1, keepdims=True)
    spread = np.linalg.norm(values, axis=1)
    product = np.outer(spread, spread)
    found = np.divide(values @ values.T, product, out=np.full(product.shape, np.nan), where=product > 0)
    np.fill_diagonal(found, 1.0)
    return np.clip(found, -1, 1)


def _collinearity(chosen):
    """Scaled condition number, variance inflation, smallest eigenvalue, and its eigenvector."""
    mean = chosen.mean(axis=0)
    rows = chosen / np.sqrt(mean + _SMOOTHING * mean.mean())
    length = np.linalg.norm(rows, axis=1)
    if not (length > 0).all():
        return np.inf, np.full(len(chosen), np.inf), 0.0, (length == 0).astype(float)
    rows = rows / length[:, None]
    values, vectors = np.linalg.eigh(rows @ rows.T)
    if values[0] < SINGULAR:
        return np.inf, np.full(len(chosen), np.inf), max(values[0], 0.0), vectors[:, 0]
    return float(np.sqrt(values[-1] / values[0])), (vectors**2 / values).sum(axis=1), values[0], vectors[:, 0]


def _find_singular(names, chosen, smallest, direction):
    if smallest >= SINGULAR:
        return
    involved = ", ".join(name for name, weight in zip(names, direction) if abs(weight) > 0.1)
    silent = not chosen.any(axis=1).all()
    yield Finding(
        "error",
        "silent-type" if silent else "dependent-types",
        involved,
        "no counts of any marker" if silent else "signatures that are mixtures of one another, or the same",
        "infinitely many proportions fit every spot equally well",
        "drop the type, or use more markers (markers_per_type)" if silent else "merge these types in the reference",
    )


def _find_similar(names, correlations, inflation, by_type):
    alike = np.nan_to_num(correlations) > SIMILAR
    n_groups, group = connected_components(sparse.csr_array(alike), directed=False)
    grouped = set()
    for members in (np.flatnonzero(group == g) for g in range(n_groups)):
        if len(members) < 2:
            continue
        grouped.update(members)
        within = correlations[np.ix_(members, members)][~np.eye(len(members), dtype=bool)]
        yield Finding(
            "warning",
            "similar-types",
            ", ".join(names[k] for k in members),
            f"signatures that correlate up to {within.max():.3f} (bound {SIMILAR})",
            "the split between them is mostly noise, their sum is not",
            "merge them in the reference, or read their sum",
        )
    for k in np.flatnonzero(np.isfinite(inflation) & (inflation > INFLATED)):
        if k in grouped:
            continue
        yield Finding(
            "warning",
            "inflated-type",
            names[k],
            f"variance inflation {inflation[k]:.1f} (bound {INFLATED:g}); most like it: "
            f"{by_type['most_similar'][k]} (r {by_type['correlation'][k]:.3f})",
            f"its intervals are {np.sqrt(inflation[k]):.1f} times as wide as with no type like it",
            "merge it with the types it resembles, or give it more markers",
        )


def _find_sparse_types(by_type):
    for row in by_type[by_type["n_cells"] < FEW_CELLS].itertuples():
        yield Finding(
            "warning",
            "few-cells-of-type",
            row.cell_type,
            f"{row.n_cells:.0f} cells in the reference (bound {FEW_CELLS})",
            "its mean expression is noisy, and what it misses goes to other types",
            "add cells, or merge it into a related type",
        )
    for row in by_type[by_type["n_markers"] < FEW_MARKERS].itertuples():
        yield Finding(
            "warning",
            "few-markers",
            row.cell_type,
            f"{row.n_markers} markers (bound {FEW_MARKERS})",
            "single genes decide its proportion",
            "raise max_q or markers_per_type, or merge it into a related type",
        )


def _find_few_genes(n_types, n_genes, share, sample_counts):
    if n_genes < FEW_GENES_PER_TYPE * n_types:
        yield Finding(
            "warning",
            "few-genes-shared",
            "shared genes",
            f"{n_genes} for {n_types} cell types (bound {FEW_GENES_PER_TYPE} a type)",
            "there is little choice of markers",
            "check that sample and reference name genes alike, or merge cell types",
        )
    if share < SMALL_SHARE:
        yield Finding(
            "warning",
            "small-share-of-counts",
            "shared genes",
            f"{share:.1%} of the sample's counts, in {n_genes} of its {len(sample_counts)} genes "
            f"(bound {SMALL_SHARE:.0%})",
            "cell types are told from a part of what was measured",
            "use a reference with all genes, or check that both name genes alike",
        )


def _find_ill_conditioned(scaled):
    if np.isfinite(scaled) and scaled > ILL_CONDITIONED:
        yield Finding(
            "warning",
            "ill-conditioned",
            "signature",
            f"condition number {scaled:.1f} at one length of types (bound {ILL_CONDITIONED:g})",
            "small errors of a spot grow into large ones of its proportions",
            "merge the most similar types",
        )
