"""Least squares under constraints for many spots, which share one Gram matrix or have one each.

Non-negative: ``min_f ½ fᵀGf − bᵀf`` with ``f ≥ 0`` by block principal pivoting (Kim & Park 2011): the variables are
split into a passive set F (free) and the rest (zero); all that break their sign change sides at once, with a
one-at-a-time rule as the guard against cycles. With a shared Gram matrix, spots with the same F share one inverse; with
one each (weights that depend on the spot) all systems are solved together, the rest masked out.

Simplex: the same with ``Σ f = 1``. With the multiplier λ of the sum, ``f(λ)`` is the non-negative solution for
``b + λ1``, and ``s(λ) = Σ f(λ)`` never falls and is linear as long as F stays: Newton's step on ``s(λ) = 1`` is exact
once F is right, and a bracket keeps it from leaving.

References
----------
Kim & Park (2011), SIAM Journal on Scientific Computing 33:3261.
"""

from threading import Lock

import numpy as np

from pointillist.threads import for_each_part

_TOLERANCE = 1e-12
_FULL_EXCHANGES = 3
_BLOCK = 8192
# 2^16 passive sets at most, of 16 × 16 each.
_MAX_TABLED_TYPES = 16


def nonnegative_least_squares(gram, cross, allowed=None):
    """Non-negative least squares of many spots against one signature.

    Parameters
    ----------
    gram : ndarray, K × K, or spots × K × K
        ``R W Rᵀ``, positive definite; one for all spots or one for each.
    cross : ndarray, spots × K
        ``X W Rᵀ``.
    allowed : ndarray of bool, spots × K, optional
        Coefficients that may differ from zero; by default all.

    Returns
    -------
    ndarray, spots × K

    Raises
    ------
    ValueError
        The Gram matrix is not positive definite: some cell types have linearly dependent signatures.
    """
    scaled, scale = _unit_diagonal(gram)
    if gram.ndim == 3:
        return _block_pivoting(scaled, cross / scale, allowed=allowed)[0] / scale
    solution = np.empty_like(cross, dtype=float)
    shared = _SharedInverses(scaled) if len(scaled) <= _MAX_TABLED_TYPES and len(cross) > _BLOCK else None

    def solve(part):
        among = None if allowed is None else allowed[part]
        solution[part] = _block_pivoting(scaled, cross[part] / scale, allowed=among, shared=shared)[0] / scale

    for_each_part(solve, len(cross), _BLOCK)
    return solution


def simplex_least_squares(gram, cross, max_iter=100):
    """Least squares of many spots with coefficients that are non-negative and sum to 1.

    Parameters and errors as `nonnegative_least_squares`.

    Raises
    ------
    RuntimeError
        The multiplier of some spot is not found in `max_iter` steps.
    """
    scaled, scale = _unit_diagonal(gram)
    n_spots = len(cross)
    ones = 1 / scale
    # At the solution λ = (Gf − b)_k for every passive k, and Gf is a mean of entries of G: that brackets λ.
    smallest, largest = gram.min(axis=(-2, -1)), gram.max(axis=(-2, -1))
    slack = 1e-9 * (np.abs(largest) + np.abs(cross).max())
    low = smallest - cross.max(axis=1) - slack
    high = largest - cross.min(axis=1) + slack
    multiplier = (low + high) / 2
    solution = np.empty(cross.shape)
    passive = np.ones(cross.shape, dtype=bool)
    todo = np.arange(n_spots)
    for _ in range(max_iter):
        right = (cross[todo] + multiplier[todo, None]) * _of(ones, todo)
        found, passive[todo] = _block_pivoting(_of(scaled, todo, 3), right, passive[todo])
        solution[todo] = found * _of(ones, todo)
        excess = solution[todo].sum(axis=1) - 1
        slope = _sum_slope(_of(scaled, todo, 3), _of(ones, todo), passive[todo])
        over = excess > 0
        high[todo[over]] = multiplier[todo[over]]
        low[todo[~over]] = multiplier[todo[~over]]
        step = multiplier[todo] - np.divide(excess, slope, out=np.full(len(todo), np.inf), where=slope > 0)
        outside = ~((step > low[todo]) & (step < high[todo]))
        step[outside] = (low[todo] + high[todo])[outside] / 2
        unsettled = np.abs(excess) > 1e-11
        multiplier[todo] = np.where(unsettled, step, multiplier[todo])
        todo = todo[unsettled]
        if not len(todo):
            return solution / solution.sum(axis=1, keepdims=True)
    raise RuntimeError(f"simplex regression did not settle in {max_iter} steps for {len(todo)} of {n_spots} spots")


def kkt_residual(gram, cross, solution, equality=False):
    """Largest violation of the optimality conditions of each spot, relative to its largest ``|b|``.

    For `equality` the multiplier of the sum is the one that the passive coefficients share.
    """
    gradient = _times(solution, gram) - cross
    if equality:
        positive = solution > 0
        gradient = gradient - (gradient * positive).sum(axis=1, keepdims=True) / positive.sum(axis=1, keepdims=True)
    stationarity = np.where(solution > 0, np.abs(gradient), np.clip(-gradient, 0, None)).max(axis=1)
    infeasibility = np.clip(-solution, 0, None).max(axis=1)
    return np.maximum(stationarity, infeasibility) / np.abs(cross).max(axis=1).clip(min=1e-300)


def _unit_diagonal(gram):
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    if not (diagonal > 0).all():
        empty = np.flatnonzero((~(diagonal > 0)).reshape(-1, diagonal.shape[-1]).any(axis=0)).tolist()
        raise ValueError(f"cell types at positions {empty} express none of the genes used: add markers or drop them")
    scale = np.sqrt(diagonal)
    scaled = gram / (scale[..., :, None] * scale[..., None, :])
    if gram.ndim == 2:
        _check_definite(scaled)
    return scaled, scale


def _of(values, spots, n_dim=2):
    """The part of `values` that belongs to some spots, where spots have values of their own."""
    return values[spots] if values.ndim == n_dim else values


def _times(rows, gram):
    """``rows[s] @ gram`` of each spot, with its own Gram matrix or the shared one."""
    return rows @ gram if gram.ndim == 2 else np.einsum("sk,skl->sl", rows, gram)


def _block_pivoting(gram, cross, passive=None, allowed=None, shared=None):
    """Solve all rows of `cross`; returns the solutions and their passive sets."""
    n_spots, n_types = cross.shape
    passive = cross > 0 if passive is None else passive.copy()
    if allowed is not None:
        passive &= allowed
    best = np.full(n_spots, n_types + 1)
    exchanges = np.full(n_spots, _FULL_EXCHANGES)
    solution = np.zeros_like(cross)
    bound = _TOLERANCE * np.abs(cross).max(axis=1, keepdims=True, initial=0)
    todo = np.arange(n_spots)
    while len(todo):
        own = _of(gram, todo, 3)
        found = _solve_by_passive_set(own, cross[todo], passive[todo], shared)
        solution[todo] = found
        dual = _times(found, own) - cross[todo]
        wrong = np.where(passive[todo], found < -bound[todo], dual < -bound[todo])
        if allowed is not None:
            wrong &= allowed[todo]
        count = wrong.sum(axis=1)
        improved = count < best[todo]
        best[todo[improved]] = count[improved]
        exchanges[todo] = np.where(improved, _FULL_EXCHANGES, exchanges[todo] - 1)
        single = exchanges[todo] < 0
        if single.any():
            last = n_types - 1 - wrong[single, ::-1].argmax(axis=1)
            only = np.zeros((single.sum(), n_types), dtype=bool)
            only[np.arange(len(last)), last] = True
            wrong[single] &= only
        passive[todo] ^= wrong
        todo = todo[count > 0]
    return np.clip(solution, 0, None), passive


def _solve_by_passive_set(gram, cross, passive, shared=None):
    if gram.ndim == 3:
        return _solve_masked(gram, cross, passive)
    if shared is None:
        patterns, which = _patterns(passive)
        inverses = _inverses(gram, patterns)
    else:
        inverses, which = shared.of(passive)
    return np.einsum("skl,sl->sk", inverses[which], cross)


def _solve_masked(gram, cross, passive):
    """Every spot's own system on its passive set, with the identity in place of the rest."""
    system = gram * (passive[:, :, None] & passive[:, None, :])
    diagonal = np.arange(cross.shape[1])
    system[:, diagonal, diagonal] += ~passive
    try:
        return np.linalg.solve(system, (cross * passive)[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        raise ValueError(
            "the signatures of some cell types are linearly dependent on the genes used: merge types that cannot be "
            "told apart, or use more markers"
        ) from None


def _sum_slope(gram, ones, passive):
    """Derivative of Σ f with respect to the multiplier, ``1ᵀ G_FF⁻¹ 1``, for each spot."""
    if gram.ndim == 3:
        return (_solve_masked(gram, ones * passive, passive) * ones).sum(axis=1)
    patterns, which = _patterns(passive)
    return np.einsum("k,pkl,l->p", ones, _inverses(gram, patterns), ones)[which]


def _patterns(passive):
    """The passive sets that occur, and which of them each spot has."""
    if passive.shape[1] > 62:
        return np.unique(passive, axis=0, return_inverse=True)
    _, first, which = np.unique(passive @ (1 << np.arange(passive.shape[1])), return_index=True, return_inverse=True)
    return passive[first], which


def _inverses(gram, patterns):
    """Inverse of the Gram matrix on each passive set, zero elsewhere."""
    inside = patterns[:, :, None] & patterns[:, None, :]
    system = gram * inside
    diagonal = np.arange(len(gram))
    system[:, diagonal, diagonal] += ~patterns
    return np.linalg.inv(system) * inside


class _SharedInverses:
    """Inverses of one Gram matrix by passive set, each computed when it is first asked for, by any thread."""

    def __init__(self, gram):
        self.gram = gram
        self._powers = 1 << np.arange(len(gram))
        self._place = np.full(1 << len(gram), -1, dtype=np.int32)
        self._stored = np.empty((0, *gram.shape))
        self._lock = Lock()

    def of(self, passive):
        """Inverses, and which of them each row of `passive` has."""
        codes = passive @ self._powers
        with self._lock:
            missing = codes[self._place[codes] < 0]
            if len(missing):
                missing = np.unique(missing)
                new = _inverses(self.gram, (missing[:, None] & self._powers) > 0)
                self._place[missing] = len(self._stored) + np.arange(len(missing))
                self._stored = np.concatenate([self._stored, new])
            return self._stored, self._place[codes]


def _check_definite(gram):
    """Refuse a Gram matrix of unit diagonal whose cell types are linearly dependent, naming one set of them."""
    value, vector = np.linalg.eigh(gram)
    if value[0] < 1e-13 * len(gram):
        members = np.flatnonzero(np.abs(vector[:, 0]) > 0.1).tolist()
        raise ValueError(
            f"the signatures of the cell types at positions {members} are linearly dependent on the genes "
            "used: merge types that cannot be told apart, or use more markers"
        )
