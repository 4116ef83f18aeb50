"""What every factorisation of a sample returns, and what each of them asks of its matrix.

A factorisation writes expression as factors: ``X ≈ U V``, with the usage ``U`` (spots × factors) saying how much
of each factor is in each spot, and the loadings ``V`` (factors × genes) what a factor consists of.
"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Factorization:
    """A sample written as factors.

    Parameters
    ----------
    usage : ndarray, spots × factors
        How much of each factor is in each spot.
    loadings : ndarray, factors × genes; or dict of them by modality
        What each factor consists of.
    loss : ndarray
        The minimised loss after each iteration; for the SVD after each factor.
    share : ndarray, factors
        Share of each factor in the reconstruction; the factors are in this order, and the shares sum to 1.
    explained : float; or dict of float by modality
        ``1 - ‖X - U V‖² / ‖X‖²``, the share of the sum of squares that the factors account for.
    converged : bool
        Whether the stopping rule was met before the iterations ran out.
    residual : float
        What the stopping rule looked at, at the end: relative distance from the conditions of an optimum.
    start : int
        Which of several starts is returned.
    """

    usage: np.ndarray
    loadings: np.ndarray | dict
    loss: np.ndarray
    share: np.ndarray
    explained: float | dict
    converged: bool
    residual: float
    start: int = 0

    @property
    def n_factors(self):
        """Number of factors."""
        return self.usage.shape[1]


def check_matrix(X, n_factors=None, nonnegative=False, name="X"):
    """The matrix in float64 CSR, once it has been seen to be fit for factorisation.

    Parameters
    ----------
    X : sparse or dense matrix, spots × genes
    n_factors : int, optional
        Refused if it is above the smaller side of `X`.
    nonnegative : bool
        Whether negative values are refused.
    name : str
        How the matrix is called in messages.

    Returns
    -------
    csr_array
        With sorted indices and no stored zeros; `X` itself is left as it was.

    Raises
    ------
    ValueError
        Not two-dimensional; NaN, infinite or negative values; no value above zero; more factors than spots or
        genes.
    """
    if getattr(X, "ndim", 2) != 2:
        raise ValueError(f"{name} has {X.ndim} dimensions; expected a matrix of spots × genes")
    matrix = sparse.csr_array(X, dtype=np.float64, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    _refuse(matrix, ~np.isfinite(matrix.data), f"{name} with NaN or infinite values")
    if nonnegative:
        _refuse(matrix, matrix.data < 0, f"{name} with negative values")
    if not matrix.nnz:
        raise ValueError(f"{name} ({matrix.shape[0]} × {matrix.shape[1]}) has no value other than zero")
    if n_factors is not None and not (isinstance(n_factors, Integral) and 1 <= n_factors <= min(matrix.shape)):
        raise ValueError(
            f"n_factors is {n_factors!r}; expected a whole number from 1 to {min(matrix.shape)}, the smaller side"
            f" of {name} ({matrix.shape[0]} spots × {matrix.shape[1]} genes)"
        )
    return matrix


def _refuse(matrix, bad, what):
    if bad.any():
        rows = np.unique(matrix.nonzero()[0][bad])
        raise ValueError(
            f"{what}: {int(bad.sum())} of them, in {len(rows)} spots, the first in rows"
            f" {', '.join(map(str, rows[:5]))}; expected raw or log-normalised expression. Leave those spots out, or"
            " take a matrix that was not scaled"
        )
