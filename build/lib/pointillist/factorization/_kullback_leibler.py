"""Multiplicative updates: non-negative factors under the Kullback–Leibler divergence.

Minimises ``D(X ‖ R) = Σ_sg x_sg log(x_sg / r_sg) - x_sg + r_sg`` with ``R = Wᵀ H``, ``W`` (K × S) and ``H`` (K × G)
non-negative: the Poisson likelihood of counts. Every update lowers it (Lee & Seung 2001)::

    W ← W ∘ (H (X / R)ᵀ) / (Σ_g H),    H ← H ∘ (W (X / R)) / (Σ_s W)

``X / R`` is zero where ``X`` is, so ``R`` is needed at the stored values alone; it is made for some rows at a time.
"""

import logging
from time import monotonic

import numpy as np
from scipy import sparse

from pointillist.factorization._hals import SECONDS_BETWEEN_LINES, Fit

logger = logging.getLogger(__name__)

VALUES_PER_BLOCK = 1 << 22  # entries of R that exist at any time
TINY = np.finfo(float).tiny


def fit_kullback_leibler(X, usage, loadings, max_iter, tolerance):
    """Non-negative factors of a sparse matrix under the Kullback–Leibler divergence, from a positive start.

    Parameters
    ----------
    X : csr_array, spots × genes
    usage, loadings : ndarray, factors × spots and factors × genes
        The start, without zeros: these updates never leave zero.
    max_iter : int
    tolerance : float
        Stop once ``Σ |w ∘ ∂D/∂w| + Σ |h ∘ ∂D/∂h|``, which is zero at an optimum, is this share of ``Σ X``. (Not of its
        value at the start, which says little here: the first updates mend the scale of the start and lower it
        a hundredfold.)

    Returns
    -------
    Fit
    """
    usage, loadings = np.array(usage, order="C"), np.array(loadings, order="C")
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    constant = np.sum(X.data * np.log(X.data)) - X.data.sum()
    loss, residual, converged, spoken = [], np.inf, False, monotonic()
    rebuilt = _rebuilt(X, rows, usage, loadings)
    for iteration in range(max_iter + 1):
        ratio = sparse.csr_array((X.data / rebuilt, X.indices, X.indptr), shape=X.shape)
        numerator, total = np.ascontiguousarray((ratio @ loadings.T).T), loadings.sum(axis=1)[:, None]
        slack = np.abs(usage * (total - numerator)).sum()
        slack += np.abs(loadings * (usage.sum(axis=1)[:, None] - (ratio.T @ usage.T).T)).sum()
        residual = slack / X.data.sum()
        converged = bool(residual <= tolerance)
        if converged or iteration == max_iter:
            break
        if monotonic() - spoken > SECONDS_BETWEEN_LINES:
            spoken = monotonic()
            logger.info("NMF (KL) iteration %d: loss %.6g, slack %.1e", iteration, loss[-1], residual)
        usage *= numerator / np.maximum(total, TINY)
        rebuilt = _rebuilt(X, rows, usage, loadings)
        ratio = sparse.csr_array((X.data / rebuilt, X.indices, X.indptr), shape=X.shape)
        loadings *= (ratio.T @ usage.T).T / np.maximum(usage.sum(axis=1)[:, None], TINY)
        rebuilt = _rebuilt(X, rows, usage, loadings)
        mass = usage.sum(axis=1) @ loadings.sum(axis=1)
        loss.append(max(constant - X.data @ np.log(rebuilt) + mass, 0.0))
    return Fit(usage, loadings, np.array(loss), converged, float(residual))


def _rebuilt(X, rows, usage, loadings):
    """``Wᵀ H`` at the stored values of `X`, in their order."""
    values = np.empty(X.nnz)
    step = max(1, VALUES_PER_BLOCK // X.shape[1])
    for first in range(0, X.shape[0], step):
        begin, end = X.indptr[first], X.indptr[min(first + step, X.shape[0])]
        block = usage[:, first : first + step].T @ loadings
        values[begin:end] = block[rows[begin:end] - first, X.indices[begin:end]]
    return np.maximum(values, TINY, out=values)
