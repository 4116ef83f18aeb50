"""What every deconvolution method returns, and the goodness of fit they share."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse

from pointillist.threads import for_each_part

BLOCK = 8192


@dataclass(frozen=True)
class Deconvolution:
    """Proportions of cell types in every spot.

    Attributes
    ----------
    proportions : ndarray, spots × cell types
        Rows are non-negative and sum to 1; a row is NaN where the spot holds none of the signature's genes.
    fit : dict of str to ndarray, spots
        Goodness of fit: ``pearson`` and ``rmse`` between the spot and its reconstruction, and what the method adds.
    abundance : ndarray, spots × cell types, optional
        On the method's own scale, where it has one.
    lower, upper : ndarray, spots × cell types, optional
        Bounds of the 95 % interval of each proportion, where the method has a model of its noise.
    """

    proportions: np.ndarray
    fit: dict = field(default_factory=dict)
    abundance: np.ndarray | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None


def per_cell(result, mean_counts):
    """Turn shares of the RNA into shares of the cells.

    A cell type whose cells hold twice the counts of another's gives twice the RNA: each share is divided by the mean
    count of the type's cells in the reference, and the row by its new sum.

    Parameters
    ----------
    result : Deconvolution
    mean_counts : ndarray, cell types
        Mean total counts of a cell.

    Returns
    -------
    Deconvolution
        Bounds move with their proportion, the others keeping their ratios.

    Raises
    ------
    ValueError
        A mean count that is not positive.
    """
    mean_counts = np.asarray(mean_counts, dtype=float)
    if not (mean_counts > 0).all():
        raise ValueError(f"mean counts per cell are {mean_counts.tolist()}, expected positive numbers")
    size = mean_counts / mean_counts.mean()
    shares = result.proportions / size
    total = shares.sum(axis=1, keepdims=True)
    rest = total - shares

    def bound(value):
        # The share at its bound, beside the others shrunk or grown to fill what it leaves.
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(result.proportions < 1, (1 - value) / (1 - result.proportions), 0.0)
            moved = value / size
            return np.where(value >= 1, 1.0, moved / (moved + rest * room))

    return replace(
        result,
        proportions=shares / total,
        abundance=None if result.abundance is None else result.abundance / size,
        lower=None if result.lower is None else bound(result.lower),
        upper=None if result.upper is None else bound(result.upper),
    )


def to_proportions(abundance):
    """Rows of a non-negative matrix divided by their sum; an empty row becomes NaN."""
    total = abundance.sum(axis=1, keepdims=True)
    return np.divide(abundance, total, out=np.full_like(abundance, np.nan), where=total > 0)


def blocks(X, size=BLOCK):
    """Yield (slice of spots, that part of `X` as float), so that no copy of a large sample is ever made."""
    for start in range(0, X.shape[0], size):
        part = slice(start, min(start + size, X.shape[0]))
        yield part, block_of(X, part)


def block_of(X, part):
    """The spots of a slice as float, sparse where `X` is."""
    if not sparse.issparse(X):
        return X[part].astype(float)
    # Only the values are copied; the places of a block are a part of those of the whole.
    rows = X.indptr[part.start : part.stop + 1]
    inside = slice(rows[0], rows[-1])
    block = (X.data[inside].astype(float), X.indices[inside], rows - rows[0])
    return sparse.csr_array(block, shape=(part.stop - part.start, X.shape[1]))


def pass_over(X, weights):
    """``X weights`` with the sums and the sums of squares of the spots, in one pass.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
    weights : ndarray, genes × n

    Returns
    -------
    products : ndarray, spots × n
    totals, squares : ndarray, spots
    """
    ones = np.ones(X.shape[1])
    weights = np.column_stack([weights, ones])
    products, squares = np.empty((X.shape[0], weights.shape[1])), np.empty(X.shape[0])

    def take(part):
        block = block_of(X, part)
        products[part] = block @ weights
        if sparse.issparse(block):
            np.square(block.data, out=block.data)
            squares[part] = _row_sums(block)
        else:
            squares[part] = np.einsum("sg,sg->s", block, block)

    for_each_part(take, X.shape[0], BLOCK)
    return np.ascontiguousarray(products[:, :-1]), products[:, -1], squares


def _row_sums(block):
    """Sums of the stored values of each row of a CSR matrix."""
    sums = np.zeros(block.shape[0])
    filled = np.flatnonzero(np.diff(block.indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(block.data, block.indptr[filled])
    return sums


def goodness_of_fit(X, R, abundance, passed=None):
    """Pearson correlation and RMSE between each spot and its reconstruction, without making either dense.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
    R : ndarray, cell types × genes
    abundance : ndarray, spots × cell types
    passed : tuple, optional
        ``pass_over(X, R.T)``, where it is known already.

    Returns
    -------
    dict with ``pearson`` and ``rmse``, arrays of length spots
    """
    n_genes = X.shape[1]
    cross, observed, observed_squares = pass_over(X, R.T) if passed is None else passed
    fitted = abundance @ R.sum(axis=1)
    fitted_squares = np.einsum("sk,sk->s", abundance @ (R @ R.T), abundance)
    product = np.einsum("sk,sk->s", abundance, cross)

    residual = np.clip(observed_squares - 2 * product + fitted_squares, 0, None)
    covariance = product - observed * fitted / n_genes
    variances = (observed_squares - observed**2 / n_genes) * (fitted_squares - fitted**2 / n_genes)
    spread = np.sqrt(np.clip(variances, 0, None))
    pearson = np.divide(covariance, spread, out=np.full(len(spread), np.nan), where=spread > 0)
    return {"pearson": np.clip(pearson, -1, 1), "rmse": np.sqrt(residual / n_genes)}


def check_shapes(X, R):
    """Refuse matrices that no method can work on.

    Raises
    ------
    ValueError
        Different numbers of genes, fewer than two cell types, or values that are negative or not finite.
    """
    if X.shape[1] != R.shape[1]:
        raise ValueError(f"the sample has {X.shape[1]} genes and the signature {R.shape[1]}: give both the same genes")
    if R.shape[0] < 2:
        raise ValueError("the signature has one cell type: a mixture needs at least two")
    values = X.data if sparse.issparse(X) else np.asarray(X)
    # NaN and infinity show in the extremes, in two passes without a mask of the whole.
    extremes = [values.min(), values.max()] if values.size else []
    extremes += [R.min(), R.max()]
    if not np.isfinite(extremes).all():
        raise ValueError("the sample or the signature holds NaN or infinite values")
    if min(extremes) < 0:
        raise ValueError("the sample or the signature holds negative values: both are on the linear scale")


def as_csr(X):
    """A sparse `X` as CSR, anything else as an array."""
    return sparse.csr_array(X) if sparse.issparse(X) else np.asarray(X)
