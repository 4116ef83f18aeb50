"""Steps that archetypal analysis is made of: where to start, and how weights move on the simplex.

Everything here works on spots scaled to a mean squared norm of 1, and keeps spots along the second axis of `W`
(archetypes × spots), so that sums over archetypes run over contiguous rows.
"""

import numpy as np
from scipy.optimize import nnls


def furthest_sum(X, n_points, first, n_sweeps=10):
    """Rows of `X` that lie far from each other (FurthestSum, Mørup & Hansen 2012).

    Starting from row `first`, adds the row with the largest sum of distances to those chosen; then `n_sweeps` times
    drops the oldest choice and chooses again, which forgets where it started.

    Raises
    ------
    ValueError
        When `X` has fewer distinct rows than `n_points`.
    """
    squared = np.einsum("sp,sp->s", X, X)
    chosen, total, distances = [], np.zeros(len(X)), {}
    same = 1e-7 * np.sqrt(squared.max())

    def add(row):
        distances[row] = np.sqrt(np.maximum(squared + squared[row] - 2 * X @ X[row], 0))
        chosen.append(row)
        return total + distances[row]

    def furthest():
        # a copy of a chosen row is as far from the others as the row itself, and no archetype more
        candidates = np.where(np.min([distances[row] for row in chosen], axis=0) > same, total, -1)
        row = int(np.argmax(candidates))
        if candidates[row] < 0:
            raise ValueError(f"found fewer than {n_points} spots that differ, expected one for each archetype")
        return row

    total = add(int(first))
    for _ in range(n_points - 1):
        total = add(furthest())
    for _ in range(n_sweeps if n_points > 1 else 0):
        total = total - distances.pop(chosen.pop(0))
        total = add(furthest())
    return np.array(chosen)


def gradient_steps(X, chosen, weights, n_iterations, n_inner=10):
    """PCHA: projected gradient steps on `B` and `W` in turn, from `B` at the rows `chosen` and from `weights`.

    Small steps from weights that spread over all archetypes find better optima than exact steps, which bind each
    spot to a few archetypes at once.

    Returns
    -------
    generators : ndarray, archetypes × spots
    weights : ndarray, archetypes × spots
    """
    n_spots = len(X)
    B = np.zeros((len(chosen), n_spots))
    B[np.arange(len(chosen)), chosen] = 1
    H = X[chosen]
    weight_step, generator_step = np.ones(n_spots), 1.0
    W, weight_step = _weight_gradient_steps(weights, H, X, weight_step, 2 * n_inner)
    for _ in range(n_iterations):
        B, H, generator_step = _generator_gradient_steps(B, H, W, X, generator_step, n_inner)
        W, weight_step = _weight_gradient_steps(W, H, X, weight_step, n_inner)
    return B, W


def _weight_gradient_steps(W, H, X, step, n_steps):
    Q, C = H @ H.T, H @ X.T
    QW = Q @ W
    value = np.einsum("ds,ds->s", W, 0.5 * QW - C)
    for _ in range(n_steps):
        gradient = QW - C
        gradient -= np.einsum("ds,ds->s", gradient, W)
        gradient *= -step
        gradient += W
        moved = _normalised(gradient)
        Q_moved = Q @ moved
        new_value = np.einsum("ds,ds->s", moved, 0.5 * Q_moved - C)
        # every spot is a problem of its own, and so has its own step length
        worse = np.flatnonzero(~(new_value <= value))
        moved[:, worse], Q_moved[:, worse], new_value[worse] = W[:, worse], QW[:, worse], value[worse]
        step = np.minimum(1.2 * step, 1e3)
        step[worse] /= 2.4
        W, QW, value = moved, Q_moved, new_value
    return W, step


def _generator_gradient_steps(B, H, W, X, step, n_steps):
    M, N = W @ W.T, W @ X

    def loss(H):
        return 0.5 * np.vdot(M @ H, H) - np.vdot(N, H)

    value = loss(H)
    for _ in range(n_steps):
        gradient = ((M @ H - N) / len(X)) @ X.T
        gradient -= np.einsum("ds,ds->d", gradient, B)[:, None]
        for _ in range(40):
            moved = _normalised((B - step * gradient).T).T
            H_moved = moved @ X
            new_value = loss(H_moved)
            if new_value <= value:
                B, H, value, step = moved, H_moved, new_value, min(1.2 * step, 1e6)
                break
            step /= 2
        else:
            break
    return B, H, step


def _normalised(weights):
    np.maximum(weights, 0, out=weights)
    weights /= weights.sum(axis=0)
    return weights


def simplex_projection(V, threshold=None, n_steps=None):
    """Nearest point of the simplex for each column of `V`, and the threshold τ with ``sum(max(V − τ, 0)) = 1``.

    Newton's steps on that convex, piecewise linear equation: exact after at most as many steps as rows. A
    `threshold` from a similar `V` makes a few `n_steps` enough; what is left is then taken up by the scale.
    """
    # left of the root, which Newton's steps then approach without passing it
    threshold = (V.sum(axis=0) - 1) / len(V) if threshold is None else np.minimum(threshold, V.max(axis=0) - 1 / len(V))
    above = np.empty(V.shape, dtype=bool)
    excess = np.empty_like(V)
    for _ in range(n_steps or len(V) + 1):
        np.subtract(V, threshold, out=excess)
        np.maximum(excess, 0, out=excess)
        np.greater(excess, 0, out=above)
        change = (excess.sum(axis=0) - 1) / np.add.reduce(above.view(np.int8), axis=0, dtype=np.int32)
        threshold = threshold + change
        if not n_steps and np.abs(change).max() < 1e-13:
            break
    np.subtract(V, threshold, out=excess)
    return _normalised(excess), threshold


def weight_step(W, H, X, n_steps=10):
    """Weights of every spot over archetypes `H`: accelerated projected gradient, for no spot worse than `W`."""
    Q, C = H @ H.T, H @ X.T
    curvature = np.linalg.eigvalsh(Q)[-1] + np.finfo(float).tiny
    point, current, momentum, threshold = W, W, 1.0, None
    for _ in range(n_steps):
        gradient = Q @ point
        gradient -= C
        gradient /= -curvature
        gradient += point
        new, threshold = simplex_projection(gradient, threshold, n_steps=None if threshold is None else 2)
        direction = new - current
        uphill = np.einsum("ds,ds->s", point - new, direction) > 0
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        point = direction * np.where(uphill, 0.0, (momentum - 1) / next_momentum)
        point += new
        current, momentum = new, next_momentum
    value, new_value = (np.einsum("ds,ds->s", w, 0.5 * (Q @ w) - C) for w in (W, current))
    worse = np.flatnonzero(~(new_value <= value))
    current[:, worse] = W[:, worse]
    return current


def project_on_hull(X, target, support, weights, n_new=3, tolerance=1e-10):
    """Move ``weights @ X[support]`` towards the point of the convex hull of `X` that is nearest to `target`.

    Wolfe's (1976) method: optimal weights on the present support, then up to `n_new` times the row of `X` that
    lowers the distance fastest is added and weights are optimised again. Never moves further from the target.

    Returns
    -------
    support : ndarray of int
    weights : ndarray, > 0, sums to 1
    """
    support, weights = _optimal_on_support(X, target, support, weights)
    for _ in range(n_new):
        residual = weights @ X[support] - target
        slope = X @ residual
        row = int(np.argmin(slope))
        if weights @ slope[support] - slope[row] <= tolerance or row in support:
            break
        support, weights = _optimal_on_support(X, target, np.append(support, row), np.append(weights, 0.0))
    return support, weights


def _optimal_on_support(X, target, support, weights):
    while len(support) > 1:
        difference = X[support] - target
        gram = difference @ difference.T
        diagonal = gram.ravel()[:: len(gram) + 1]
        diagonal += 1e-12 * (diagonal.mean() + 1e-300)
        optimum = np.linalg.solve(gram, np.ones(len(gram)))
        optimum /= optimum.sum()
        negative = optimum <= 0
        if not negative.any():
            return support, optimum
        # up to the first weight that reaches zero, which then leaves the support
        ratios = np.full(len(weights), np.inf)
        ratios[negative] = weights[negative] / (weights[negative] - optimum[negative])
        leaves = int(np.argmin(ratios))
        weights = weights + ratios[leaves] * (optimum - weights)
        keep = weights > 1e-15
        keep[leaves] = False
        support, weights = support[keep], weights[keep] / weights[keep].sum()
    return support, np.ones(1)


def few_generators(X, generators):
    """The same point ``generators @ X`` from few rows of `X` (Carathéodory), as support and weights."""
    rows = np.flatnonzero(generators > 1e-10)
    points = X[rows]
    point = generators[rows] @ points / generators[rows].sum()
    weights = nnls(np.vstack([points.T, np.ones(len(rows))]), np.append(point, 1.0))[0]
    keep = weights > 1e-12
    return rows[keep], weights[keep] / weights[keep].sum()
