"""Smoothing of proportions over neighbouring spots, with the strength that predicts held-out counts best.

    max Σ_s log-likelihood_s − ½ ρ Σ_{s~t} h_s h_t ‖f_s/n_s − f_t/n_t‖²

``n`` are the spots' totals and ``h`` makes ρ count in units of an average spot's information: at ρ = 1 a neighbour
weighs as much as the spot itself. The Laplacian prior is the intrinsic conditional autoregression. For ρ, a tenth of
the counts of each spot is held out by binomial thinning, which leaves both parts independent where counts are Poisson.

References
----------
Ma & Zhou (2022), Nature Biotechnology 40:1349 (conditional autoregression). Neufeld et al. (2024), Biostatistics 25:270
(count thinning).
"""

import logging

import numpy as np
from scipy import sparse

from pointillist.deconvolution._least_squares import nonnegative_least_squares
from pointillist.seeds import generator

log = logging.getLogger(__name__)

STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
HELD_OUT = 0.1
_SWEEPS, _SETTLED = 2000, 2e-5


def smooth(gram, cross, abundance, graph, strength, start=None):
    """Abundance that minimises each spot's quadratic form and its distance from its neighbours'.

    Parameters
    ----------
    gram : ndarray, spots × K × K
    cross : ndarray, spots × K
    abundance : ndarray, spots × K
        The unsmoothed fit.
    graph : sparse matrix, spots × spots
        Symmetric neighbour graph.
    strength : float
        ρ.
    start : ndarray, spots × K, optional
        Abundance to begin at, such as that of a weaker smoothing.

    Returns
    -------
    ndarray, spots × K

    Raises
    ------
    RuntimeError
        The sweeps do not settle.
    """
    if not strength:
        return abundance
    graph = sparse.csr_array(graph, dtype=float)
    total = abundance.sum(axis=1)
    filled = total > 0
    n_types = abundance.shape[1]
    # Of proportions: the information is that of the abundance times the squared total.
    information = np.trace(gram, axis1=1, axis2=2) / n_types * total**2
    scale = strength * np.median(information[filled])
    graph = sparse.csr_array(graph.multiply(filled[:, None] * filled[None, :]))
    pull = np.asarray(graph.sum(axis=1)).ravel()
    weight = scale / np.maximum(pull.mean(), 1e-12)
    diagonal = np.arange(n_types)
    safe = np.where(filled, total, 1)
    system = gram * (safe**2)[:, None, None]
    system[:, diagonal, diagonal] += (weight * pull)[:, None]
    right = cross * safe[:, None]
    shares = (abundance if start is None else start) / safe[:, None]
    # Spots of one colour are no neighbours, so that solving them together is coordinate descent, which cannot fail.
    classes = [(spots, graph[spots]) for spots in _colour_classes(graph, np.flatnonzero(filled))]
    for _ in range(_SWEEPS):
        change = 0.0
        for spots, neighbours in classes:
            new = nonnegative_least_squares(system[spots], right[spots] + weight * (neighbours @ shares))
            change = max(change, np.abs(new - shares[spots]).max())
            shares[spots] = new
        if change < _SETTLED:
            return shares * safe[:, None]
    raise RuntimeError(f"smoothing did not settle in {_SWEEPS} sweeps (change {change:.1e})")


def _colour_classes(graph, spots):
    """Sets of spots without an edge among them, by giving each spot the first colour that no neighbour has."""
    colour = np.full(graph.shape[0], -1)
    for spot in spots:
        taken = set(colour[graph.indices[graph.indptr[spot] : graph.indptr[spot + 1]]].tolist())
        colour[spot] = next(c for c in range(len(taken) + 1) if c not in taken)
    return [np.flatnonzero(colour == c) for c in range(colour.max() + 1)]


def choose_strength(fit, X, graph, seed):
    """The strength that makes held-out counts most likely.

    Parameters
    ----------
    fit : callable
        Takes counts, spots × genes; returns an object with ``gram``, ``cross``, ``abundance`` and
        ``log_likelihood(counts, abundance)`` of each spot.
    X : CSR, spots × genes
    graph : sparse matrix, spots × spots
    seed : int

    Returns
    -------
    strength : float
        0 where smoothing does not raise the held-out likelihood by more than the standard error of the gain.
    curve : list of (float, float)
        Held-out log-likelihood per spot of each strength, relative to none.
    """
    rng = generator(seed, "held-out counts")
    counts = sparse.csr_array(X)
    held = counts.copy()
    held.data = rng.binomial(counts.data.round().astype(np.int64), HELD_OUT).astype(float)
    trained = fit(sparse.csr_array(counts - held))
    factor = HELD_OUT / (1 - HELD_OUT)
    gains, smoothed, plain = [], None, None
    for strength in STRENGTHS:
        smoothed = smooth(trained.gram, trained.cross, trained.abundance, graph, strength, smoothed)
        value = trained.log_likelihood(held, smoothed * factor)
        plain = value if plain is None else plain
        gains.append(value - plain)
        log.info("smoothing %-5g held-out log-likelihood per spot %+.3f", strength, gains[-1].mean())
        # What is far worse than a weaker smoothing gets no better by a stronger one.
        if max(gain.mean() for gain in gains) - gains[-1].mean() > 2 * _error(gains[-1]):
            break
    best = int(np.argmax([gain.mean() for gain in gains]))
    chosen = STRENGTHS[best] if gains[best].mean() > _error(gains[best]) else 0.0
    log.info("smoothing %g chosen", chosen)
    return chosen, [(strength, float(gain.mean())) for strength, gain in zip(STRENGTHS, gains)]


def _error(values):
    """Standard error of the mean."""
    return values.std(ddof=1) / np.sqrt(len(values))
