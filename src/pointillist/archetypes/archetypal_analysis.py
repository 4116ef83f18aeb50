r"""Archetypal analysis: spots as mixtures of extreme spots, themselves mixtures of spots.

A linear autoencoder whose latent space is a simplex:

.. math:: \min_{W, B} \lVert X - W B X \rVert^2

========  ======  ==========================================================================================
`X`       S × P   spots, usually their leading principal components
`B`       D × S   generators: each archetype's weights over all spots, ≥ 0, summing to 1 (the encoder)
`H = BX`  D × P   archetypes: points of the convex hull of the spots
`W`       S × D   weights: each spot's shares of the archetypes, ≥ 0, summing to 1 (the decoder)
========  ======  ==========================================================================================

The model is of Cutler & Breiman (1994). It is solved by principal convex hull analysis (Mørup & Hansen 2012):
FurthestSum, then projected gradient steps on `B` and `W` in turn. Here these first steps, which find the basin, are
followed by exact ones, which reach its bottom: `B` one archetype at a time by projection on the hull (Wolfe 1976), `W`
by accelerated projection on the simplex, both extrapolated as long as the error falls. No S × S matrix is made: an
iteration costs O(S P D).

Several starts race for a few exact iterations on at most `START_SPOTS` spots each, and the one that is best on all
spots is finished on them.

>>> analysis = archetypal_analysis(pcs, n_archetypes=8, seed=1)
>>> analysis.weights.shape, analysis.explained_variance
"""

import logging
from dataclasses import dataclass

import numpy as np

from pointillist.archetypes.hull_steps import few_generators, furthest_sum, gradient_steps, project_on_hull, weight_step
from pointillist.seeds import generator

START_SPOTS = 2000
GRADIENT_ITERATIONS = 10
RACE_ITERATIONS = 30

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchetypalAnalysis:
    """Archetypes in decreasing order of the mass they carry, ``weights.sum(axis=0)``.

    Parameters
    ----------
    weights : ndarray, spots × archetypes
        Each spot's shares; rows are ≥ 0 and sum to 1.
    generators : ndarray, archetypes × spots
        Each archetype's weights over spots; rows are ≥ 0 and sum to 1, few are above 0.
    archetypes : ndarray, archetypes × dimensions
        ``generators @ X``.
    explained_variance : float
        1 − squared error / squared distance of the spots from their mean.
    objective : ndarray
        Squared error over all spots after each iteration of the best start, from the end of the race on; never rises.
    start_explained_variance : ndarray
        Explained variance of every start at the end of the race, over all spots.
    converged : bool
        Whether the relative fall of the error came below the tolerance.
    """

    weights: np.ndarray
    generators: np.ndarray
    archetypes: np.ndarray
    explained_variance: float
    objective: np.ndarray
    start_explained_variance: np.ndarray
    converged: bool


def archetypal_analysis(X, n_archetypes, n_starts=5, max_iter=500, tolerance=1e-6, seed=0, start_from=None):
    """Archetypes of a sample, and each spot's shares of them.

    Parameters
    ----------
    X : ndarray, spots × dimensions
        Dense, such as principal components of log-normalised expression.
    n_archetypes : int
    n_starts : int
        First FurthestSum over all spots, then in turn random spots and FurthestSum over a random half of the spots.
    max_iter : int
        Exact iterations of the best start.
    tolerance : float
        Relative fall of the error in one iteration under which it ends.
    seed : int
    start_from : ndarray, at most archetypes × spots, optional
        Generators of another analysis, as one start more; those missing are put at the spots it fits worst.

    Returns
    -------
    ArchetypalAnalysis

    Raises
    ------
    ValueError
        When `X` is not a finite matrix, or has fewer distinct spots than archetypes.

    References
    ----------
    Cutler & Breiman (1994), Technometrics 36:338. Mørup & Hansen (2012), Neurocomputing 80:54.
    """
    X = checked_spots(X)
    n_spots = len(X)
    if int(n_archetypes) != n_archetypes or not 1 <= n_archetypes <= n_spots:
        raise ValueError(f"found n_archetypes={n_archetypes}, expected a whole number from 1 to {n_spots} spots")
    if n_starts < 1:
        raise ValueError(f"found n_starts={n_starts}, expected at least 1")
    n_archetypes = int(n_archetypes)
    scaled = X - X.mean(axis=0)
    total = np.vdot(scaled, scaled)
    if total == 0:
        raise ValueError("found spots that are all the same, expected some variance")
    scaled /= np.sqrt(total / n_spots)

    starts = [_start(scaled, n_archetypes, start, tolerance, seed) for start in range(n_starts)]
    if start_from is not None:
        starts.append(_start_from(scaled, n_archetypes, np.asarray(start_from)))
    points = [_points(scaled, sparse) for sparse in starts]
    weights = [_weights_of(scaled, H) for H in points]
    errors = np.array([_squared_error(scaled, W, H) for W, H in zip(weights, points)])
    best = int(np.argmin(errors))
    sparse, W, objective, converged = _exact_iterations(scaled, starts[best], weights[best], max_iter, tolerance)
    H = _points(scaled, sparse)
    polished = weight_step(W, H, scaled, 100)
    error = _squared_error(scaled, polished, H)
    if error <= objective[-1]:
        W = polished
        objective.append(error)
    if not converged:
        logger.warning("archetypal analysis stopped at max_iter=%d before it converged", max_iter)

    order = np.lexsort((_main_rows(sparse), -W.sum(axis=1)))
    generators = np.zeros((n_archetypes, n_spots))
    for row, archetype in enumerate(order):
        support, weights = sparse[archetype]
        generators[row, support] = weights
    return ArchetypalAnalysis(
        weights=np.ascontiguousarray(W[order].T),
        generators=generators,
        archetypes=generators @ X,
        explained_variance=float(1 - objective[-1] / n_spots),
        objective=np.array(objective) * total / n_spots,
        start_explained_variance=1 - errors / n_spots,
        converged=converged,
    )


def checked_spots(X):
    """`X` as a C-contiguous float64 matrix.

    Raises
    ------
    ValueError
        When it is not a finite matrix.
    """
    X = np.array(X, dtype=float, order="C")
    if X.ndim != 2 or not X.size:
        raise ValueError(f"found an array of shape {X.shape}, expected spots × dimensions")
    if not np.isfinite(X).all():
        rows = np.flatnonzero(~np.isfinite(X).all(axis=1))
        raise ValueError(f"found {len(rows)} spots that are not finite (first: row {rows[0]}), expected finite numbers")
    return X


def _start(X, n_archetypes, start, tolerance, seed):
    """Generators of one start at the end of the race."""
    draws = generator(seed, "archetypal_analysis", n_archetypes, "start", start)
    n_spots = len(X)
    if start % 2:
        chosen = draws.choice(n_spots, n_archetypes, replace=False)
    else:
        pool = np.arange(n_spots)
        if start:
            pool = np.sort(draws.choice(n_spots, max(n_spots // 2, n_archetypes), replace=False))
        chosen = pool[furthest_sum(X[pool], n_archetypes, draws.integers(len(pool)))]
    rows = np.arange(n_spots)
    if n_spots > START_SPOTS:
        rows = np.union1d(draws.choice(n_spots, START_SPOTS, replace=False), chosen)
    subset = X[rows]
    weights = draws.exponential(size=(n_archetypes, len(rows)))
    B, W = gradient_steps(subset, np.searchsorted(rows, chosen), weights / weights.sum(axis=0), GRADIENT_ITERATIONS)
    sparse = [few_generators(subset, row) for row in B]
    sparse, *_ = _exact_iterations(subset, sparse, W, RACE_ITERATIONS, tolerance)
    return [(rows[support], weights) for support, weights in sparse]


def _start_from(X, n_archetypes, generators):
    if generators.ndim != 2 or generators.shape[1] != len(X) or not 1 <= len(generators) <= n_archetypes:
        raise ValueError(
            f"found start_from of shape {generators.shape}, expected at most {n_archetypes} archetypes × {len(X)} spots"
        )
    sparse = [few_generators(X, row) for row in generators]
    while len(sparse) < n_archetypes:
        sparse.append(_worst_spot(X, _weights_of(X, _points(X, sparse)), _points(X, sparse)))
    return sparse


def _exact_iterations(X, sparse, W, max_iter, tolerance):
    """Alternate exact steps on `B` and `W`, extrapolated; the error of the iterations that are kept never rises."""
    H = _points(X, sparse)
    W = _weights_of(X, H) if W is None else weight_step(W, H, X, 50)
    objective = [_squared_error(X, W, H)]
    before = W, H
    extrapolation, retry = 0.0, 0.5
    converged = False
    for iteration in range(max_iter):
        W_ahead, H_ahead = W, H
        if extrapolation:
            W_ahead = np.maximum(W + extrapolation * (W - before[0]), 0)
            W_ahead /= W_ahead.sum(axis=0)
            H_ahead = H + extrapolation * (H - before[1])
        new_sparse, H_new = _generator_step(X, sparse, W_ahead, H_ahead)
        W_new = weight_step(W_ahead, H_new, X)
        error = _squared_error(X, W_new, H_new)
        if iteration % 50 == 49:
            logger.info("iteration %d: squared error %.6g a spot", iteration + 1, objective[-1] / len(X))
        if error > objective[-1]:
            if not extrapolation:
                # the exact steps cannot rise but by rounding: this is the bottom
                converged = True
                break
            extrapolation, retry = 0.0, extrapolation / 2
            continue
        fall = objective[-1] - error
        before, W, H, sparse = (W, H), W_new, H_new, new_sparse
        objective.append(error)
        if fall <= tolerance * error or error <= 1e-14 * len(X):
            converged = True
            break
        extrapolation = min(1.1 * extrapolation, 1.0) if extrapolation else retry
    return sparse, W, objective, converged


def _generator_step(X, sparse, W, H):
    M, N = W @ W.T, W @ X
    sparse, H = list(sparse), H.copy()
    for d in range(len(H)):
        if M[d, d] > 1e-12 * len(X):
            # with the others fixed the error is M[d, d] ‖H[d] − target‖², so that the best H[d] is the nearest one
            target = H[d] + (N[d] - M[d] @ H) / M[d, d]
            sparse[d] = project_on_hull(X, target, *sparse[d])
        else:
            sparse[d] = _worst_spot(X, W, H)
        H[d] = sparse[d][1] @ X[sparse[d][0]]
    return sparse, H


def _worst_spot(X, W, H):
    residual = X - W.T @ H
    return np.array([int(np.argmax(np.einsum("sp,sp->s", residual, residual)))]), np.ones(1)


def _weights_of(X, H):
    return weight_step(np.full((len(H), len(X)), 1 / len(H)), H, X, 50)


def _points(X, sparse):
    return np.array([weights @ X[support] for support, weights in sparse])


def _squared_error(X, W, H):
    residual = H.T @ W
    residual -= X.T
    return float(np.vdot(residual, residual))


def _main_rows(sparse):
    return np.array([support[np.argmax(weights)] for support, weights in sparse])
