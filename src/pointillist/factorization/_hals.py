"""Hierarchical alternating least squares (HALS): non-negative factors by exact updates of one factor at a time.

Minimises ``½ ‖X - Wᵀ H‖²`` over ``W`` (K × S) and ``H`` (K × G), both non-negative. With all else fixed, the best
row k of ``H`` is in closed form (Cichocki & Phan 2009)::

    h_k ← max(0, h_k + ((W X)_k - (W Wᵀ)_k H) / (W Wᵀ)_kk)

and likewise for ``W``. Everything about ``X`` enters through ``W X`` (K × G), ``X Hᵀ`` (S × K) and ``‖X‖²``, so that a
sparse ``X`` is never filled: a sweep costs two passes over its stored values. Those passes are the dearer part, so
rows are updated several times per pass (Gillis & Glineur 2012). The loss is exact at no further cost::

    ‖X - Wᵀ H‖² = ‖X‖² - 2 <W X, H> + <W Wᵀ, H Hᵀ>

Both factors are kept with components as rows: a component is then contiguous in memory.
"""

import logging
from time import monotonic
from typing import NamedTuple

import numpy as np

logger = logging.getLogger(__name__)

REPEATS = 0.5  # of the sweeps that would cost as much as a pass over X, do this share (Gillis & Glineur 2012)
SMALL_STEP = 0.1  # and stop repeating once a sweep moves less than this share of the first one
SECONDS_BETWEEN_LINES = 5.0


class Fit(NamedTuple):
    """Components as rows: usage (K × S), loadings (K × G); loss after each iteration; how it ended."""

    usage: np.ndarray
    loadings: np.ndarray
    loss: np.ndarray
    converged: bool
    residual: float


def fit_frobenius(X, usage, loadings, max_iter, tolerance):
    """Non-negative factors of a sparse matrix under squared loss, from a given start.

    Parameters
    ----------
    X : csr_array, spots × genes
    usage, loadings : ndarray, factors × spots and factors × genes
        The start.
    max_iter : int
    tolerance : float
        Stop once the norm of the projected gradient (of both factors) is this share of that at the start.

    Returns
    -------
    Fit
    """
    usage, loadings = np.array(usage, order="C"), np.array(loadings, order="C")
    transposed = X.T.tocsr()
    total = X.data @ X.data
    n_spots, n_genes = X.shape
    n_factors = usage.shape[0]
    repeats_usage = _repeats(X.nnz, n_spots, n_genes, n_factors)
    repeats_loadings = _repeats(X.nnz, n_genes, n_spots, n_factors)
    products, gram = _products(transposed, usage)
    loss, residual, at_start, converged, spoken = [], np.inf, None, False, monotonic()
    for iteration in range(max_iter + 1):
        _balance(usage, loadings, products, gram)
        products_usage, gram_usage = _products(X, loadings)
        norm = np.hypot(
            _projected_gradient_norm(usage, gram_usage, products_usage),
            _projected_gradient_norm(loadings, gram, products),
        )
        at_start = norm if at_start is None else at_start
        residual = norm / at_start if at_start > 0 else 0.0
        converged = bool(residual <= tolerance)
        if converged or iteration == max_iter:
            break
        if monotonic() - spoken > SECONDS_BETWEEN_LINES:
            spoken = monotonic()
            logger.info("NMF iteration %d: loss %.6g, gradient %.1e of start", iteration, loss[-1], residual)
        _sweep(usage, gram_usage, products_usage, repeats_usage)
        products, gram = _products(transposed, usage)
        _sweep(loadings, gram, products, repeats_loadings)
        cross = np.einsum("kg,kg", products, loadings)
        loss.append(max(total - 2 * cross + np.einsum("kl,kl", gram, loadings @ loadings.T), 0.0))
    return Fit(usage, loadings, np.array(loss), converged, float(residual))


def _products(X, factor):
    """The passes over `X` for one factor: ``(X factorᵀ)ᵀ`` and the Gram matrix of the factor."""
    return np.ascontiguousarray((X @ factor.T).T), factor @ factor.T


def _sweep(factor, gram, products, repeats):
    """Update each component of a factor in turn, in place, up to `repeats` times."""
    first = None
    for _ in range(repeats):
        moved = 0.0
        for k, curvature in enumerate(gram.diagonal()):
            if curvature <= 0:  # the other factor's component is zero: this one has no say in the fit
                continue
            step = products[k] - gram[k] @ factor
            step /= curvature
            np.maximum(step, -factor[k], out=step)
            factor[k] += step
            moved += step @ step
        first = moved if first is None else first
        if moved <= SMALL_STEP**2 * first:
            break


def _balance(usage, loadings, products, gram):
    """Give both halves of each component the same length, in place; the product stays as it is.

    The gradient's norm depends on how a component's scale is split between its halves; this fixes the split.
    """
    ours, theirs = np.linalg.norm(usage, axis=1), np.linalg.norm(loadings, axis=1)
    both = (ours > 0) & (theirs > 0)
    scale = np.sqrt(np.divide(theirs, ours, out=np.ones_like(ours), where=both))
    scale[~both] = 1.0
    usage *= scale[:, None]
    loadings /= scale[:, None]
    products *= scale[:, None]
    gram *= scale[:, None] * scale


def _projected_gradient_norm(factor, gram, products):
    """Length of the gradient, less those entries that only the bound at zero holds back: 0 at an optimum."""
    gradient = gram @ factor - products
    return np.linalg.norm(np.where(factor > 0, gradient, np.minimum(gradient, 0.0)))


def _repeats(n_stored, n_own, n_other, n_factors):
    """How many sweeps over a factor of `n_own` columns to make for one pass over `X`."""
    cost_ratio = (n_stored + n_factors * n_other) / (n_factors * n_own + n_own)
    return 1 + int(REPEATS * (1 + cost_ratio))
