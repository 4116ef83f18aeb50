"""Truncated singular value decomposition: the best approximation of a sample by K factors.

The sample is written as ::

    X ≈ U V,   U = Q Σ  (S × K),   V = Rᵀ  (K × G)

with ``Q`` (spots) and ``R`` (genes) the orthonormal left and right singular vectors of ``X`` and
``Σ = diag(σ_1 ≥ … ≥ σ_K)`` its largest singular values. No other product of rank K is closer to ``X`` (Eckart &
Young 1936)::

    ‖X - U V‖² = Σ_{k > K} σ_k²

so that every other factorisation, whatever it gains in meaning, is measured against this one. ``X`` is not centred:
a sparse matrix stays sparse, and the first factor is close to the mean profile.

>>> import numpy as np
>>> from pointillist.factorization import truncated_svd
>>> X = np.outer([1.0, 2.0, 3.0], [1.0, 0.0, 2.0, 2.0])
>>> fit = truncated_svd(X, n_factors=1)
>>> bool(np.allclose(fit.usage @ fit.loadings, X))
True
"""

import logging

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import svds

from pointillist.factorization.factorization import Factorization, check_matrix
from pointillist.record import Method
from pointillist.seeds import generator

logger = logging.getLogger(__name__)


def truncated_svd(X, n_factors, seed=0):
    """Leading singular vectors of the expression matrix.

    Parameters
    ----------
    X : sparse or dense matrix, spots × genes
        Expression, usually log-normalised.
    n_factors : int
    seed : int
        Of the vector that the Lanczos iteration starts from; the result does not depend on it beyond rounding.

    Returns
    -------
    Factorization
        ``usage`` is ``Q Σ``, so that its columns have the singular values as their lengths; ``loadings`` has
        orthonormal rows, in each of which the largest entry is positive; ``loss`` is ``‖X - U V‖²`` after 1, …, K
        factors; ``share`` is the squared singular value of each factor over their sum.

    Raises
    ------
    ValueError
        A matrix with NaN or infinite values, or with fewer spots or genes than factors.

    References
    ----------
    Eckart & Young (1936). The approximation of one matrix by another of lower rank. Psychometrika 1:211.
    """
    X = check_matrix(X, n_factors)
    left, values, loadings = leading_singular_vectors(X, n_factors, seed)
    total = X.data @ X.data
    loss = np.maximum(total - np.cumsum(values**2), 0.0)
    logger.info("SVD: %d factors, %.1f %% of the sum of squares", n_factors, 100 * (1 - loss[-1] / total))
    return Factorization(
        usage=left * values,
        loadings=loadings,
        loss=loss,
        share=values**2 / np.sum(values**2),
        explained=float(1 - loss[-1] / total),
        converged=True,
        residual=0.0,
    )


def leading_singular_vectors(X, n_factors, seed=0):
    """Left vectors (S × K), values (K, descending) and right vectors (K × G) of a sparse matrix, sign-fixed."""
    if 2 * n_factors >= min(X.shape):  # Lanczos needs room; here X is at most twice as large as the result
        left, values, right = linalg.svd(X.toarray(), full_matrices=False)
    else:
        start = generator(seed, "svd").standard_normal(min(X.shape))
        left, values, right = svds(X, k=n_factors, v0=start, tol=0, solver="arpack")
    order = np.argsort(-values, kind="stable")[:n_factors]
    left, values, right = left[:, order], values[order], right[order]
    largest = np.abs(right).argmax(axis=1)
    signs = np.where(right[np.arange(n_factors), largest] < 0, -1.0, 1.0)
    return left * signs, values, right * signs[:, None]


SVD = Method(
    name="svd",
    title="Singular value decomposition",
    summary="Best approximation of the sample by K factors; the yardstick of every other factorisation",
    function=truncated_svd,
    citations=("eckart1936",),
    gives="svd_usage",
)
