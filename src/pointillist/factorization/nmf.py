"""Non-negative matrix factorisation: a sample as a sum of gene programmes that only ever add.

The sample is written as ::

    X ≈ U V,   U ≥ 0 (S × K, usage),   V ≥ 0 (K × G, loadings)

by minimising over both factors either

``frobenius``
    ``‖X - U V‖²``, by hierarchical alternating least squares (HALS; Cichocki & Phan 2009): each component of a factor
    is set to its exact optimum in turn, the rest held fixed. For log-normalised expression.
``kullback_leibler``
    ``Σ x log(x / r) - x + r`` with ``R = U V``, by multiplicative updates (Lee & Seung 2001). For counts: it is their
    Poisson likelihood. These updates converge slowly; expect a thousand iterations for a tolerance of 1e-4.

Neither problem has a single optimum. The start is the non-negative part of the singular vectors (NNDSVD; Boutsidis &
Gallopoulos 2008), which is deterministic and near one, or random; of several starts the one with the lowest loss is
kept. The iteration stops once the conditions of an optimum (Karush–Kuhn–Tucker) hold to `tolerance`, never because
the loss merely fell slowly.

The scale of a component is free, so the loadings of each factor are made to sum to 1: a factor is a profile over
genes, and its usage is in units of ``X``, summed over genes. Factors are ordered by their share of the reconstruction.

>>> import numpy as np
>>> from pointillist.factorization import nmf
>>> U = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
>>> V = np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
>>> fit = nmf(U @ V, n_factors=2, tolerance=1e-8, max_iter=5000)
>>> bool(np.allclose(fit.usage @ fit.loadings, U @ V, atol=1e-5))
True
"""

import logging
from numbers import Integral

import numpy as np

from pointillist.factorization._hals import fit_frobenius
from pointillist.factorization._kullback_leibler import fit_kullback_leibler
from pointillist.factorization.factorization import Factorization, check_matrix
from pointillist.factorization.svd import leading_singular_vectors
from pointillist.record import Method
from pointillist.seeds import generator

logger = logging.getLogger(__name__)

FITS = {"frobenius": fit_frobenius, "kullback_leibler": fit_kullback_leibler}
INITS = ("nndsvd", "random")


def nmf(X, n_factors, loss="frobenius", init="nndsvd", n_starts=1, max_iter=2000, tolerance=1e-4, seed=0):
    """Non-negative gene programmes and their usage in each spot.

    Parameters
    ----------
    X : sparse or dense matrix, spots × genes
        Non-negative expression: log-normalised for ``frobenius``, counts for ``kullback_leibler``.
    n_factors : int
    loss : {"frobenius", "kullback_leibler"}
    init : {"nndsvd", "random"}
    n_starts : int
        How many starts to fit; the one with the lowest loss is kept. There is one NNDSVD start only, so that all
        after it are random.
    max_iter : int
        Of each start. Reaching it is logged as a warning and shows as ``converged`` being false.
    tolerance : float
        How far the conditions of an optimum may be from holding: the norm of the projected gradient relative to the
        start for ``frobenius``, the complementary slackness relative to the total of `X` for ``kullback_leibler``.
    seed : int

    Returns
    -------
    Factorization
        Each row of ``loadings`` sums to 1; factors are in descending order of ``share``. A factor that the fit did
        not need has zero usage, zero loadings and zero share.

    Raises
    ------
    ValueError
        A matrix with negative, NaN or infinite values, or with fewer spots or genes than factors; an unknown loss or
        init.

    References
    ----------
    Cichocki & Phan (2009). Fast local algorithms for large scale nonnegative matrix and tensor factorizations. IEICE
    Trans. Fundamentals E92-A:708.
    Boutsidis & Gallopoulos (2008). SVD based initialization: a head start for nonnegative matrix factorization.
    Pattern Recognition 41:1350.
    Lee & Seung (2001). Algorithms for non-negative matrix factorization. NIPS 13:556.
    """
    X = check_matrix(X, n_factors, nonnegative=True)
    best, start = best_of_starts(X, n_factors, loss, init, n_starts, max_iter, tolerance, seed)
    usage, loadings, share = ordered(best.usage, best.loadings)
    return Factorization(
        usage=usage,
        loadings=loadings,
        loss=best.loss,
        share=share,
        explained=explained(X, usage, loadings),
        converged=best.converged,
        residual=best.residual,
        start=start,
    )


def best_of_starts(X, n_factors, loss, init, n_starts, max_iter, tolerance, seed):
    """The fit with the lowest loss, components as rows, and which start it came from."""
    _check_options(loss, init, n_starts, max_iter, tolerance)
    best, chosen = None, None
    for start in range(n_starts):
        if init == "nndsvd" and start == 0:
            usage, loadings = nndsvd(X, n_factors, fill=loss == "kullback_leibler", seed=seed)
        else:
            usage, loadings = _random_start(X, n_factors, generator(seed, "nmf", start))
        fit = FITS[loss](X, usage, loadings, max_iter, tolerance)
        logger.info(
            "NMF start %d of %d: %d factors, loss %.6g after %d iterations, residual %.1e",
            *(start + 1, n_starts, n_factors, fit.loss[-1] if len(fit.loss) else np.nan, len(fit.loss)),
            fit.residual,
        )
        if best is None or fit.loss[-1] < best.loss[-1]:
            best, chosen = fit, start
    if not best.converged:
        logger.warning(
            "NMF with %d factors stopped at max_iter = %d with a residual of %.1e, above tolerance = %g",
            *(n_factors, max_iter, best.residual, tolerance),
        )
    return best, chosen


def nndsvd(X, n_factors, fill=False, seed=0):
    """Start from the singular vectors: of each the heavier of its positive and its negative part.

    Parameters
    ----------
    X : csr_array, spots × genes
    n_factors : int
    fill : bool
        Put the mean of `X` where a zero would be (NNDSVDa), for updates that cannot leave zero.
    seed : int

    Returns
    -------
    usage, loadings : ndarray, factors × spots and factors × genes
    """
    left, values, right = leading_singular_vectors(X, n_factors, seed)
    usage, loadings = np.empty((n_factors, X.shape[0])), np.empty((n_factors, X.shape[1]))
    for k in range(n_factors):
        parts = [(np.maximum(sign * left[:, k], 0), np.maximum(sign * right[k], 0)) for sign in (1, -1)]
        lengths = [np.linalg.norm(spots) * np.linalg.norm(genes) for spots, genes in parts]
        spots, genes = parts[int(lengths[1] > lengths[0])]
        scale = np.sqrt(values[k] * max(lengths))
        usage[k] = scale * spots / max(np.linalg.norm(spots), np.finfo(float).tiny)
        loadings[k] = scale * genes / max(np.linalg.norm(genes), np.finfo(float).tiny)
    if fill:
        mean = X.sum() / np.prod(X.shape, dtype=float)
        usage[usage == 0] = mean
        loadings[loadings == 0] = mean
    return usage, loadings


def ordered(usage, loadings):
    """Usage (S × K), loadings (K × G, rows summing to 1) and shares of the reconstruction, in descending order."""
    size = loadings.sum(axis=1)
    mass = usage.sum(axis=1) * size
    order = np.argsort(-mass, kind="stable")
    kept = mass[order] > 0
    usage = np.where(kept[:, None], usage[order] * size[order][:, None], 0.0)
    loadings = np.where(kept[:, None], loadings[order] / np.where(kept, size[order], 1.0)[:, None], 0.0)
    return np.ascontiguousarray(usage.T), loadings, mass[order] / mass.sum()


def explained(X, usage, loadings):
    """``1 - ‖X - U V‖² / ‖X‖²``, without forming the product."""
    total = X.data @ X.data
    cross = np.einsum("sk,sk", X @ loadings.T, usage)
    return float((2 * cross - np.einsum("kl,kl", usage.T @ usage, loadings @ loadings.T)) / total)


def _random_start(X, n_factors, draws):
    """Absolute normal draws at the scale at which the product has the mean of `X`."""
    scale = np.sqrt(X.sum() / np.prod(X.shape, dtype=float) / n_factors)
    usage = scale * np.abs(draws.standard_normal((n_factors, X.shape[0])))
    return usage, scale * np.abs(draws.standard_normal((n_factors, X.shape[1])))


def _check_options(loss, init, n_starts, max_iter, tolerance):
    for name, value, known in (("loss", loss, FITS), ("init", init, INITS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")
    for name, value in (("n_starts", n_starts), ("max_iter", max_iter)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance!r}; expected a number between 0 and 1")


OPTIONS = {
    "init": {
        "enum": list(INITS),
        "default": "nndsvd",
        "description": "Start: the non-negative part of the singular vectors, or random",
    },
    "n_starts": {
        "type": "integer",
        "minimum": 1,
        "default": 1,
        "description": "Starts to fit, of which the best is kept; those after an nndsvd start are random",
    },
    "max_iter": {
        "type": "integer",
        "minimum": 1,
        "default": 2000,
        "description": "Iterations of each start at most",
    },
    "tolerance": {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "default": 1e-4,
        "description": "Stop once the conditions of an optimum hold to this share of what they were off at the start",
    },
}

NMF = Method(
    name="nmf",
    title="Non-negative matrix factorisation",
    summary="Gene programmes that only add, and how much of each is in every spot",
    function=nmf,
    citations=("cichocki2009", "boutsidis2008"),
    gives="nmf_usage",
    options={
        "loss": {
            "enum": list(FITS),
            "default": "frobenius",
            "description": "Squared error (log-normalised expression) or Kullback–Leibler divergence (counts)",
        },
        **OPTIONS,
    },
)
