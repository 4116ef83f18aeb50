"""Signal dimension: how many principal components carry more than chance, by parallel analysis.

A component counts as long as its variance is above the largest one that spots have when each gene's values are shuffled
over them by themselves, which keeps how each gene is distributed and takes away all that genes share. D archetypes span
D − 1 dimensions, so that as many dimensions and one more are the archetypes that the sample can show.

References
----------
Horn (1965), Psychometrika 30:179. Buja & Eyuboglu (1992), Multivariate Behavioral Research 27:509 (by shuffling).
"""

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import LinearOperator, svds

from pointillist.seeds import generator


def signal_dimension(X, maximum=30, n_shuffles=5, seed=0):
    """Number of leading principal components whose variance shuffled genes do not reach.

    Parameters
    ----------
    X : sparse or dense matrix, spots × genes
        Log-normalised expression of the variable genes, as the components were made of.
    maximum : int
        Largest number looked for.
    n_shuffles : int
        The bound is the largest variance over this many.
    seed : int

    Returns
    -------
    int
        0 where genes share nothing.

    Raises
    ------
    ValueError
        Fewer than 3 spots or genes, or values that are not finite.
    """
    X = csc_array(X, dtype=float)
    if min(X.shape) < 3 or not np.isfinite(X.data).all():
        raise ValueError(f"found {X.shape} spots × genes, expected at least 3 × 3 with finite values")
    maximum = min(maximum, min(X.shape) - 1)
    variances = _leading_variances(X, maximum)
    rng = generator(seed, "signal_dimension")
    bound = max(_leading_variances(_shuffled(X, rng), 1)[0] for _ in range(n_shuffles))
    below = np.flatnonzero(variances <= bound)
    return int(below[0]) if len(below) else maximum


def _shuffled(X, rng):
    """Each gene's values given to spots at random."""
    shuffled = X.copy()
    for gene in range(X.shape[1]):
        held = slice(*X.indptr[gene : gene + 2])
        shuffled.indices[held] = rng.choice(X.shape[0], held.stop - held.start, replace=False)
    return shuffled


def _leading_variances(X, n):
    """Variances of the leading principal components, without centring the sparse matrix."""
    X = X.tocsr()
    mean = np.asarray(X.mean(axis=0)).ravel()
    centred = LinearOperator(
        X.shape,
        matvec=lambda v: X @ v.ravel() - mean @ v.ravel(),
        rmatvec=lambda u: X.T @ u.ravel() - mean * u.sum(),
        dtype=float,
    )
    singular = svds(centred, k=n, return_singular_vectors=False, v0=np.ones(min(X.shape)), tol=1e-6)
    return np.sort(singular)[::-1] ** 2 / (X.shape[0] - 1)
