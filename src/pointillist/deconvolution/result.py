"""What every deconvolution method returns, and the goodness of fit they share."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse


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
    """

    proportions: np.ndarray
    fit: dict = field(default_factory=dict)
    abundance: np.ndarray | None = None


def to_proportions(abundance):
    """Rows of a non-negative matrix divided by their sum; an empty row becomes NaN."""
    total = abundance.sum(axis=1, keepdims=True)
    return np.divide(abundance, total, out=np.full_like(abundance, np.nan), where=total > 0)


def goodness_of_fit(X, R, abundance):
    """Pearson correlation and RMSE between each spot and its reconstruction, without making either dense.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
    R : ndarray, cell types × genes
    abundance : ndarray, spots × cell types

    Returns
    -------
    dict with ``pearson`` and ``rmse``, arrays of length spots
    """
    n_genes = R.shape[1]
    cross = np.asarray(X @ R.T)
    squares = X.multiply(X).sum(axis=1) if sparse.issparse(X) else (X * X).sum(axis=1)
    observed, observed_squares = _flat(X.sum(axis=1)), _flat(squares)
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
    if not (np.isfinite(values).all() and np.isfinite(R).all()):
        raise ValueError("the sample or the signature holds NaN or infinite values")
    if (values.size and values.min() < 0) or R.min() < 0:
        raise ValueError("the sample or the signature holds negative values: both are on the linear scale")


def _flat(vector):
    return np.asarray(vector, dtype=float).ravel()
