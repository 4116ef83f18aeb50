"""Signature: mean expression of each cell type, and the marker genes that tell the types apart.

    R[k] = Σ counts of the type's cells / Σ their totals × 1e4           (linear scale, never logged)

A cell weighs as much as it has counts: the mean of counts / total would give a cell of 200 counts, mostly noise, the
same say as one of 20,000.

Markers are genes over-expressed in one type against every other: Welch's t-test on log1p(counts / total × 1e4) between
the type's cells and all others, Benjamini–Hochberg q below a bound, and a mean above that of each other type; ordered
by the log fold change against the type that comes nearest. Of each type the top n are taken, with the n whose signature
has the lowest condition number κ₂(R), since κ₂ bounds how much an error in a spot is magnified in its proportions.

A test against each other type by itself would leave close types, such as two T cells, without any marker.

References
----------
Newman et al. (2015), Nature Methods 12:453.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse, stats

SCALE = 1e4


@dataclass(frozen=True)
class Signature:
    """Mean expression of cell types.

    Attributes
    ----------
    matrix : ndarray, cell types × genes
        Counts of the type's cells per 10,000 of their total.
    cell_types : ndarray of str
    genes : ndarray of str
    n_cells : ndarray of int, cell types
    mean_counts : ndarray, cell types
        Mean total counts of a cell.
    """

    matrix: np.ndarray
    cell_types: np.ndarray
    genes: np.ndarray
    n_cells: np.ndarray | None = None
    mean_counts: np.ndarray | None = None

    @property
    def condition_number(self):
        """κ₂ of the matrix: ratio of its largest to its smallest singular value."""
        return float(np.linalg.cond(self.matrix))

    def restrict(self, genes):
        """The same signature on some of its genes, in the order given.

        Raises
        ------
        KeyError
            A gene that the signature does not have.
        """
        position = pd.Index(self.genes).get_indexer(genes)
        if (position < 0).any():
            raise KeyError(f"genes absent from the signature: {list(np.asarray(genes)[position < 0][:5])}")
        return replace(self, matrix=self.matrix[:, position], genes=np.asarray(genes))

    def to_frame(self):
        """DataFrame, cell types × genes."""
        return pd.DataFrame(self.matrix, index=pd.Index(self.cell_types, name="cell_type"), columns=self.genes)


def build_signature(counts, cell_types, genes, min_cells=1):
    """Mean expression of each cell type on the linear scale.

    Parameters
    ----------
    counts : CSR or ndarray, cells × genes
        Raw counts.
    cell_types : sequence of str, cells
    genes : sequence of str
    min_cells : int
        Types with fewer cells are left out.

    Returns
    -------
    Signature
        Cell types in alphabetical order.

    Raises
    ------
    ValueError
        Fewer than two cell types have `min_cells` cells.
    """
    counts, membership, names, n_cells = _by_type(counts, cell_types, min_cells)
    sums = np.asarray((membership.T @ counts).todense())
    totals = sums.sum(axis=1)
    empty = names[totals == 0].tolist()
    if empty:
        raise ValueError(f"the cells of types {empty} hold no counts")
    return Signature(sums / totals[:, None] * SCALE, names, np.asarray(genes), n_cells, totals / n_cells)


def informative_genes(signature, n_genes):
    """The genes that differ most between cell types beyond their noise, in the signature's order.

    Parameters
    ----------
    signature : Signature
    n_genes : int
        How many at most.

    Returns
    -------
    ndarray of str
        Those with the largest variance between types over their mean, which is the variance of counts.
    """
    if n_genes >= len(signature.genes):
        return signature.genes
    mean = signature.matrix.mean(axis=0)
    score = signature.matrix.var(axis=0) / (mean + 0.05 * mean.mean())
    return signature.genes[np.sort(np.argsort(-score, kind="stable")[:n_genes])]


def discriminating_genes(signature, min_log_fold_change=0.75, min_expression=1.25, at_least=1000):
    """Genes that some type expresses well above the mean of all types, in the signature's order.

    Parameters
    ----------
    signature : Signature
    min_log_fold_change : float
        Natural log of the type's expression over the mean of all types.
    min_expression : float
        Of that type, per 10,000 counts.
    at_least : int
        Where fewer genes pass, those with the largest fold change among all.

    Returns
    -------
    ndarray of str

    References
    ----------
    Cable et al. (2022), Nature Biotechnology 40:517, whose bounds these are (RCTD).
    """
    floor = 0.01 * signature.matrix.mean()
    fold = np.log(signature.matrix + floor).max(axis=0) - np.log(signature.matrix.mean(axis=0) + floor)
    loud = signature.matrix.max(axis=0) >= min_expression
    chosen = (fold >= min_log_fold_change) & loud
    if chosen.sum() < at_least:
        leading = np.lexsort((np.arange(len(fold)), -fold, ~loud))[:at_least]
        chosen[leading] = True
    return signature.genes[chosen]


def genes_for(method, signature, markers, max_genes):
    """The genes that a method works on, by its record.

    Parameters
    ----------
    method : Method
    signature : Signature
        On the genes that sample and reference share.
    markers : sequence of str
    max_genes : int
        Of a method that takes all shared genes.

    Returns
    -------
    ndarray of str
    """
    match method.genes:
        case "markers":
            return np.asarray(markers)
        case "discriminating":
            return discriminating_genes(signature)
        case "shared":
            return informative_genes(signature, max_genes)
    raise ValueError(f"{method.name} asks for {method.genes!r} genes, expected markers, discriminating or shared")


def rank_markers(counts, cell_types, genes, min_cells=1, max_q=0.3):
    """Genes over-expressed in one cell type against every other, best first.

    Parameters
    ----------
    counts : CSR or ndarray, cells × genes
        Raw counts.
    cell_types : sequence of str, cells
    genes : sequence of str
    min_cells : int
        Types with fewer cells are left out.
    max_q : float
        Largest Benjamini–Hochberg q-value kept.

    Returns
    -------
    DataFrame
        Columns ``cell_type, gene, rank, log_fold_change, p_value, q_value``: the fold change (natural log of means per
        10,000, plus 1) is that against the nearest other type, the p-value that against all other cells.

    References
    ----------
    Newman et al. (2015), Nature Methods 12:453, for the test and q < 0.3.
    """
    counts, membership, names, n_cells = _by_type(counts, cell_types, min_cells)
    normalised = _per_ten_thousand(counts)
    sums = np.asarray((membership.T @ counts).todense())
    linear = sums / sums.sum(axis=1, keepdims=True) * SCALE
    logged = normalised.copy()
    logged.data = np.log1p(logged.data)
    log_sums = np.asarray((membership.T @ logged).todense())
    squares = np.asarray((membership.T @ logged.multiply(logged)).todense())

    tables = []
    for k, name in enumerate(names):
        others = np.arange(len(names)) != k
        p_value = _welch(*_moments(log_sums, squares, n_cells, ~others), *_moments(log_sums, squares, n_cells, others))
        q_value = stats.false_discovery_control(p_value)
        fold = np.log1p(linear[k]) - np.log1p(linear[others].max(axis=0))
        chosen = np.flatnonzero((q_value < max_q) & (fold > 0))
        chosen = chosen[np.lexsort((chosen, -fold[chosen]))]
        tables.append(
            pd.DataFrame(
                {
                    "cell_type": name,
                    "gene": np.asarray(genes)[chosen],
                    "rank": np.arange(1, len(chosen) + 1),
                    "log_fold_change": fold[chosen],
                    "p_value": p_value[chosen],
                    "q_value": q_value[chosen],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def choose_markers(signature, markers, n_range=(10, 100)):
    """Markers of the number per type that gives the signature its lowest condition number.

    Parameters
    ----------
    signature : Signature
        Restricted to the genes that the sample has.
    markers : DataFrame
        From `rank_markers`; genes that the signature lacks are passed over.
    n_range : (int, int)
        Smallest and largest number of markers per type to try.

    Returns
    -------
    chosen : DataFrame
        The rows of `markers` chosen, with ``rank`` counted anew.
    curve : DataFrame
        Columns ``n_per_type, n_genes, condition_number, chosen``, one row for each n.

    Raises
    ------
    ValueError
        A cell type has no marker among the signature's genes, so that no choice can tell it apart.
    """
    markers = markers[markers["gene"].isin(signature.genes)].copy()
    markers["rank"] = markers.groupby("cell_type", sort=False).cumcount() + 1
    without = [str(name) for name in signature.cell_types if name not in set(markers["cell_type"])]
    if without:
        raise ValueError(
            f"no marker gene for cell types {without} among the {len(signature.genes)} genes shared with the sample: "
            "merge or drop these types, or raise the largest q-value allowed"
        )
    smallest, largest = n_range
    largest = max(smallest, min(largest, int(markers["rank"].max())))
    rows = []
    for n in range(smallest, largest + 1):
        genes = markers.loc[markers["rank"] <= n, "gene"].unique()
        rows.append((n, len(genes), signature.restrict(genes).condition_number))
    curve = pd.DataFrame(rows, columns=["n_per_type", "n_genes", "condition_number"])
    # At equal κ the larger set: more genes average more noise.
    best = curve["n_per_type"][curve["condition_number"] <= curve["condition_number"].min() * (1 + 1e-9)].max()
    curve["chosen"] = curve["n_per_type"] == best
    return markers[markers["rank"] <= best].reset_index(drop=True), curve


def _by_type(counts, cell_types, min_cells):
    """Counts as CSR, the cells × types indicator, type names and their numbers of cells."""
    labels = pd.Series(np.asarray(cell_types, dtype=str))
    sizes = labels.value_counts().sort_index()
    sizes = sizes[sizes >= max(min_cells, 1)]
    if len(sizes) < 2:
        raise ValueError(f"{len(sizes)} cell types have at least {min_cells} cells: a signature needs two")
    codes = pd.Index(sizes.index).get_indexer(labels)
    cells = np.flatnonzero(codes >= 0)
    indicator = sparse.csr_matrix(
        (np.ones(len(cells)), (cells, codes[cells])), shape=(len(labels), len(sizes)), dtype=float
    )
    return sparse.csr_matrix(counts, dtype=float), indicator, sizes.index.to_numpy(dtype=str), sizes.to_numpy()


def _per_ten_thousand(counts):
    total = np.asarray(counts.sum(axis=1)).ravel()
    scale = np.divide(SCALE, total, out=np.zeros_like(total), where=total > 0)
    return sparse.csr_matrix(sparse.diags_array(scale) @ counts)


def _moments(sums, squares, n_cells, types):
    """Mean, variance (n − 1) and number of the cells of some types together, by gene."""
    n = int(n_cells[types].sum())
    mean = sums[types].sum(axis=0) / n
    return mean, np.clip(squares[types].sum(axis=0) - n * mean**2, 0, None) / max(n - 1, 1), n


def _welch(mean, variance, n, other_mean, other_variance, other_n):
    """Two-sided p-values of Welch's t-test, by gene."""
    ours, theirs = variance / n, other_variance / other_n
    error = ours + theirs
    difference = mean - other_mean
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference / np.sqrt(error)
        freedom = error**2 / (ours**2 / max(n - 1, 1) + theirs**2 / max(other_n - 1, 1))
        p_value = 2 * stats.t.sf(np.abs(t), freedom)
    return np.where(error > 0, p_value, np.where(difference == 0, 1.0, 0.0))
