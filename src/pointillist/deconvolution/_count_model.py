"""The model of count regression as it is fitted to a sample: signature, platform effect, variance of the counts."""

import logging
import time
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from pointillist.deconvolution._count_likelihood import Mixture
from pointillist.deconvolution._covariation import choose_variance
from pointillist.deconvolution._least_squares import nonnegative_least_squares
from pointillist.deconvolution._within_types import evenly
from pointillist.deconvolution.intervals import profile_intervals
from pointillist.deconvolution.platform_effect import platform_effect as estimate_platform_effect
from pointillist.deconvolution.result import block_of, pass_over
from pointillist.threads import for_each_part

log = logging.getLogger(__name__)

BLOCK = 1024
_SAMPLED_SPOTS = 500


@dataclass(frozen=True)
class CountFit:
    """The full fit of all spots, with its quadratic form."""

    mixture: Mixture
    abundance: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    overdispersion: np.ndarray

    def intervals(self):
        """Bounds of the proportions by the counts' noise."""
        return profile_intervals(self.gram, self.cross, self.abundance, np.sqrt(self.overdispersion))

    def log_likelihood(self, X, abundance):
        """Log-likelihood of each spot at some abundance."""
        values = np.zeros(len(abundance))

        def evaluate(part):
            counts, filled = filled_counts(X, abundance, part)
            values[filled] = self.mixture.log_likelihood(counts, abundance[filled])

        for_each_part(evaluate, len(abundance), BLOCK)
        return values


def corrected_signature(X, R, n_cells=None, platform_effect="auto"):
    """The signature on the sample's scale: no gene impossible, corrected for the platform's effect.

    Parameters
    ----------
    X : CSR, spots × genes
    R : ndarray, K × genes
    n_cells : ndarray, K, optional
    platform_effect : {"auto", "always", "never"}

    Returns
    -------
    ndarray, K × genes
    """
    R = _positive(R, n_cells)
    gamma, spread = estimate_platform_effect(X, R, first_fit(X, R), platform_effect)
    if platform_effect != "never":
        log.info("genes off by a spread of %.2f%s", spread, ", corrected" if gamma.any() else "")
    return R * np.exp(gamma)


def with_variance(mixture, X, correlation, dispersed):
    """The mixture with the dispersion, and the share of the genes' correlation, that the sample's residuals show.

    Parameters
    ----------
    mixture : Mixture
        Of Poisson counts.
    X : CSR, spots × genes
    correlation : Correlation or None
    dispersed : bool
        False where counts stay Poisson.

    Returns
    -------
    Mixture
    """
    if correlation is None and not dispersed:
        return mixture
    some = evenly(np.flatnonzero(np.asarray(X.sum(axis=1)).ravel() > 0), _SAMPLED_SPOTS)
    sampled = X[some]
    abundance = first_fit(sampled, mixture.R)
    filled = abundance.sum(axis=1) > 0
    if not filled.any():
        return mixture
    dense = sampled[filled].toarray() if sparse.issparse(sampled) else sampled[filled]
    abundance, _ = mixture.maximise(dense, abundance[filled])
    dispersion, share = choose_variance(dense, abundance @ mixture.R, correlation, dispersed)
    log.info("dispersion %.3g, %.0f %% of the covariation within types", dispersion, 100 * share)
    mixed = None if correlation is None else correlation.mixed(share)
    return replace(mixture, dispersion=dispersion, correlation=mixed)


def fit_counts(X, mixture):
    """The full fit of all spots.

    Parameters
    ----------
    X : CSR, spots × genes
    mixture : Mixture

    Returns
    -------
    CountFit
    """
    start = first_fit(X, mixture.R)
    n_spots, n_types = start.shape
    abundance = np.zeros_like(start)
    gram = np.broadcast_to(np.eye(n_types), (n_spots, n_types, n_types)).copy()
    cross = np.zeros_like(start)
    overdispersion = np.full(n_spots, np.nan)
    progress, began = time.monotonic(), time.monotonic()

    def estimate(part):
        nonlocal progress
        counts, filled = filled_counts(X, start, part)
        abundance[filled], gram[filled], cross[filled] = mixture.estimate(counts, start[filled])
        misfit = mixture.misfit(counts, abundance[filled])
        overdispersion[filled] = np.clip(misfit / (counts.shape[1] - n_types), 1, None)
        if time.monotonic() - progress > 10:
            progress = time.monotonic()
            log.info("%d of %d spots after %.0f s", part.stop, n_spots, progress - began)

    for_each_part(estimate, n_spots, BLOCK)
    return CountFit(mixture, abundance, gram, cross, overdispersion)


def first_fit(X, R):
    """Weighted least squares, with a little of every type where the spot holds anything."""
    mean = R.mean(axis=0)
    weighted = (R / (mean + 0.05 * mean.mean())).T
    products, totals, _ = pass_over(X, weighted)
    start = nonnegative_least_squares(R @ weighted, products)
    return 0.99 * start + 0.01 * totals[:, None] / (R.sum(axis=1).mean() * len(R))


def filled_counts(X, abundance, part):
    """Dense counts of those spots of a slice that hold anything, and their positions."""
    filled = np.flatnonzero(abundance[part].sum(axis=1) > 0)
    block = block_of(X, part)[filled]
    return block.toarray() if sparse.issparse(block) else block, filled + part.start


def _positive(R, n_cells):
    """Each type drawn towards the mean of all, as if by one more cell; no gene without any expression."""
    cells = np.full(len(R), 100.0) if n_cells is None else np.asarray(n_cells, dtype=float)
    mean = R.mean(axis=0)
    mean = np.where(mean > 0, mean, 1e-3 * mean.mean())
    return (R * cells[:, None] + mean) / (cells[:, None] + 1)
