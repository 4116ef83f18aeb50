"""Few cell types a spot: the best one, two or several, and how sure the choice is.

The likelihood's quadratic form at the full fit ranks all candidates at once; the leading ones are fitted for real.
"""

import numpy as np

from pointillist.deconvolution._least_squares import nonnegative_least_squares

SINGLET, DOUBLET_CERTAIN, DOUBLET_UNCERTAIN, REJECT = "singlet", "doublet_certain", "doublet_uncertain", "reject"

# Differences of log-likelihood, divided by the overdispersion: those of RCTD.
SUPPORTED = 25.0
CONFIDENT = 10.0
_FITTED = 3


def one_or_two(mixture, X, full, value, overdispersion):
    """Doublet mode: at most two types a spot.

    Parameters
    ----------
    mixture : Mixture
    X : ndarray, spots × genes
    full, value : ndarray
        The full fit, spots × K, and its log-likelihood.
    overdispersion : float
        At least 1.

    Returns
    -------
    abundance : ndarray, spots × K
        Of the one or two types; the full fit where the spot is rejected.
    classes : ndarray of str, spots
        ``singlet``: a second type adds less than `SUPPORTED`. ``doublet_certain``: the best pair leads every other by
        `CONFIDENT`; else ``doublet_uncertain``. ``reject``: further types add more than `SUPPORTED`.
    """
    n_types = full.shape[1]
    gram, cross = mixture.quadratic(X, full)
    first, second = np.triu_indices(n_types, 1)
    pairs = np.argsort(-_pair_gains(gram, cross, first, second), axis=1, kind="stable")[:, :_FITTED]
    pair_fits, pair_values = _fit_each(mixture, X, full, (first[pairs], second[pairs]))
    singles = np.argsort(-(cross**2 / np.diagonal(gram, axis1=1, axis2=2)), axis=1, kind="stable")[:, :_FITTED]
    single_fits, single_values = _fit_each(mixture, X, full, (singles,))

    spots = np.arange(len(X))
    pair, single = pair_values.argmax(axis=1), single_values.argmax(axis=1)
    best_pair, best_single = pair_values[spots, pair], single_values[spots, single]
    others = pair_values.copy()
    others[spots, pair] = -np.inf
    runner_up = others.max(axis=1)
    is_singlet = best_pair - best_single < SUPPORTED * overdispersion
    is_sure = best_pair - runner_up >= CONFIDENT * overdispersion
    is_rejected = value - np.where(is_singlet, best_single, best_pair) >= SUPPORTED * overdispersion
    classes = np.where(is_singlet, SINGLET, np.where(is_sure, DOUBLET_CERTAIN, DOUBLET_UNCERTAIN))
    abundance = np.where(is_singlet[:, None], single_fits[spots, single], pair_fits[spots, pair])
    return np.where(is_rejected[:, None], full, abundance), np.where(is_rejected, REJECT, classes)


def a_few(mixture, X, full, overdispersion, max_types):
    """Multi mode: types are added one by one as long as each adds more than `SUPPORTED`.

    Returns
    -------
    ndarray, spots × K
    """
    n_spots, n_types = full.shape
    gram, cross = mixture.quadratic(X, full)
    chosen = np.zeros((n_spots, n_types), dtype=bool)
    value = np.full(n_spots, -np.inf)
    abundance = np.zeros_like(full)
    todo = np.arange(n_spots)
    for _ in range(min(max_types, n_types)):
        gains = np.full((len(todo), n_types), -np.inf)
        for k in range(n_types):
            new = ~chosen[todo, k]
            allowed = chosen[todo[new]].copy()
            allowed[:, k] = True
            fit = nonnegative_least_squares(gram[todo[new]], cross[todo[new]], allowed)
            gains[new, k] = (fit * cross[todo[new]]).sum(axis=1)
        trial = chosen[todo].copy()
        trial[np.arange(len(todo)), gains.argmax(axis=1)] = True
        fit, reached = mixture.maximise(X[todo], _start(full[todo], trial), trial)
        kept = reached - value[todo] > SUPPORTED * overdispersion
        chosen[todo[kept]], abundance[todo[kept]], value[todo[kept]] = trial[kept], fit[kept], reached[kept]
        todo = todo[kept]
        if not len(todo):
            break
    return abundance


def _pair_gains(gram, cross, first, second):
    """Twice the fall of the quadratic form with two types only, spots × pairs."""
    own = np.diagonal(gram, axis1=1, axis2=2)
    a, d, b = own[:, first], own[:, second], gram[:, first, second]
    p, q = cross[:, first], cross[:, second]
    determinant = np.clip(a * d - b * b, 1e-12 * a * d, None)
    f, g = (d * p - b * q) / determinant, (a * q - b * p) / determinant
    alone = np.maximum(np.clip(p, 0, None) ** 2 / a, np.clip(q, 0, None) ** 2 / d)
    return np.where((f >= 0) & (g >= 0), f * p + g * q, alone)


def _fit_each(mixture, X, full, candidates):
    """Fits with only the candidate types: spots × candidates × K, and their log-likelihoods."""
    n_spots, n_candidates = candidates[0].shape
    fits, values = np.empty((n_spots, n_candidates, full.shape[1])), np.empty((n_spots, n_candidates))
    for c in range(n_candidates):
        allowed = np.zeros(full.shape, dtype=bool)
        for member in candidates:
            allowed[np.arange(n_spots), member[:, c]] = True
        fits[:, c], values[:, c] = mixture.maximise(X, _start(full, allowed), allowed)
    return fits, values


def _start(full, allowed):
    """The spot's abundance spread over the types allowed."""
    return full.sum(axis=1, keepdims=True) * allowed / allowed.sum(axis=1, keepdims=True)
