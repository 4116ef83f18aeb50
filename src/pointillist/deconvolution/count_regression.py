"""Count regression: the likelihood of a spot's counts as a mixture of cell types, as in RCTD.

    x_sg ~ Poisson(μ_sg)  or  NB(μ_sg, α),     μ_sg = exp(γ_g) Σ_k f_sk R_kg,     f ≥ 0

``R`` is the mean expression of each cell type per 10,000 counts, drawn towards the mean of all types as if by one more
cell, so that no gene is impossible; ``f`` the abundance, on the scale of counts; ``γ`` the platform effect, from the
pseudo-bulk (see `platform_effect`); α one dispersion for all genes, from the Poisson fit's residuals.

Modes: ``full`` (all types), ``multi`` (types added one by one while each raises the log-likelihood by 25), ``doublet``
(one or two types, for spots of about a cell's size, with a class for each spot). Smoothing over the neighbour graph is
offered with a strength that held-out counts choose, none among the choices.

Intervals come from the likelihood's curvature, widened by the overdispersion of the spot's Pearson residuals.

Examples
--------
>>> import numpy as np
>>> R = np.array([[900.0, 100.0, 0.0], [0.0, 200.0, 800.0]])
>>> count_regression(np.array([[90.0, 30.0, 80.0]]), R).proportions.round(2)
array([[0.5, 0.5]])
"""

import logging
import time
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from pointillist.deconvolution._count_likelihood import Mixture
from pointillist.deconvolution._least_squares import nonnegative_least_squares
from pointillist.deconvolution._spatial_smoothing import choose_strength, smooth
from pointillist.deconvolution._spot_classes import a_few, one_or_two
from pointillist.deconvolution.intervals import profile_intervals, stretch, widening
from pointillist.deconvolution.noise_correction import OPTION as NOISE_CORRECTION
from pointillist.deconvolution.noise_correction import check_noise_correction
from pointillist.deconvolution.platform_effect import OPTION as PLATFORM_EFFECT
from pointillist.deconvolution.platform_effect import platform_effect as estimate_platform_effect
from pointillist.deconvolution.result import (
    Deconvolution,
    as_csr,
    blocks,
    check_shapes,
    goodness_of_fit,
    pass_over,
    to_proportions,
)
from pointillist.record import Method

log = logging.getLogger(__name__)

LIKELIHOODS = ("poisson", "negative_binomial")
MODES = ("full", "multi", "doublet")
SMOOTHING = ("none", "auto")
_BLOCK = 1024


def count_regression(
    X,
    R,
    n_cells=None,
    mean_counts=None,
    cells=None,
    codes=None,
    cell_totals=None,
    graph=None,
    likelihood="negative_binomial",
    mode="full",
    max_types=4,
    platform_effect="auto",
    smoothing="auto",
    noise_correction=0.5,
    seed=0,
):
    """Proportions of cell types by the likelihood of the counts.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
        Raw counts.
    R : ndarray, cell types × genes
        Signature: mean expression per 10,000 counts, linear.
    n_cells, mean_counts : ndarray, cell types, optional
        Cells behind each row of `R` and their mean total counts: how noisy it is. Without them it counts as exact.
    cells, codes, cell_totals : optional
        Raw counts of the reference, cells × genes, the row of `R` that each cell belongs to (−1 for none) and its total
        counts over all genes: with them the intervals are calibrated, without they hold the counts' noise only.
    graph : sparse matrix, spots × spots, optional
        Neighbour graph; without it nothing is smoothed.
    likelihood : {"poisson", "negative_binomial"}
    mode : {"full", "multi", "doublet"}
    max_types : int
        Of ``multi``.
    platform_effect : {"auto", "always", "never"}
    smoothing : {"none", "auto"}
        ``auto`` tries strengths from none to strong on held-out counts, in mode ``full``.
    noise_correction : float
        Part of the noise of the signature taken off the information, 0 to 1.
    seed : int
        Of the counts held out, and of the mixtures of cells that calibrate the intervals.

    Returns
    -------
    Deconvolution
        With ``abundance`` and intervals; ``fit`` has ``pearson``, ``rmse``, ``overdispersion`` and, in mode
        ``doublet``, ``spot_class``.

    Raises
    ------
    ValueError
        Shapes that do not fit, negative or non-finite values, linearly dependent signatures, or unknown
        options.

    References
    ----------
    Cable et al. (2022), Nature Biotechnology 40:517.
    """
    check_shapes(X, R)
    _check_options(likelihood, mode, max_types, smoothing, noise_correction)
    X, R = as_csr(X), np.asarray(R, dtype=float)
    model = _model(X, R, n_cells, mean_counts, likelihood, platform_effect, noise_correction)
    fitted = model.fit(X)
    abundance, classes = fitted.abundance, None
    if smoothing == "auto" and mode == "full" and graph is not None:
        strength, _ = choose_strength(model.fit, X, graph, seed)
        abundance = smooth(fitted.gram, fitted.cross, abundance, graph, strength)
    elif mode != "full":
        abundance, classes = _few_types(X, fitted, mode, max_types)
    proportions = to_proportions(abundance)
    lower, upper = fitted.intervals()
    if cells is not None:

        def fit_mixtures(mixtures, means, *_):
            known = _model(mixtures, means, n_cells, mean_counts, "poisson", "never", noise_correction)
            found = replace(known, mixture=replace(known.mixture, dispersion=model.mixture.dispersion)).fit(mixtures)
            bounds = found.intervals()
            return bounds[0], to_proportions(found.abundance), bounds[1]

        cells, codes = sparse.csr_array(cells, dtype=float), np.asarray(codes)
        totals = np.asarray(cells.sum(axis=1)).ravel() if cell_totals is None else np.asarray(cell_totals, dtype=float)
        full = to_proportions(fitted.abundance)
        factor = widening(fit_mixtures, X, full, cells, codes, totals, seed)
        log.info("intervals widened by %.2f, as mixtures of held-out cells ask for", factor)
        lower, upper = stretch(lower, full, upper, factor)
    fit = goodness_of_fit(X, model.mixture.R, abundance) | {"overdispersion": fitted.overdispersion}
    if classes is not None:
        fit["spot_class"] = classes
    # Those of all types, so that a type left out keeps its bound.
    return Deconvolution(proportions, fit, abundance, np.fmin(lower, proportions), np.fmax(upper, proportions))


@dataclass(frozen=True)
class _Model:
    """The likelihood with what noise there is in the signature."""

    mixture: Mixture
    noise: np.ndarray | None

    def fit(self, X):
        """The full fit of all spots, with its quadratic form."""
        return _fit(X, self.mixture, _first_fit(X, self.mixture.R), self.noise)


def _model(X, R, n_cells, mean_counts, likelihood, platform_effect, noise_correction):
    R = _positive(R, n_cells)
    start = _first_fit(X, R)
    gamma, spread = estimate_platform_effect(X, R, start, platform_effect)
    if platform_effect != "never":
        log.info("genes off by a spread of %.2f%s", spread, ", corrected" if gamma.any() else "")
    factor = np.exp(gamma)
    noise = None
    if n_cells is not None and mean_counts is not None and noise_correction:
        # Variance of a mean of counts, per 10,000.
        total = np.asarray(n_cells) * np.asarray(mean_counts)
        noise = noise_correction * R * (1e4 / total)[:, None] * factor**2
    mixture = Mixture(R * factor)
    if likelihood == "negative_binomial":
        mixture = replace(mixture, dispersion=_dispersion(X, _fit(X, mixture, start).abundance, mixture))
        log.info("dispersion %.3g", mixture.dispersion)
    return _Model(mixture, noise)


@dataclass(frozen=True)
class _Fit:
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
        values = np.zeros(len(abundance))
        for _, block, filled in _filled_blocks(X, abundance):
            values[filled] = self.mixture.log_likelihood(block, abundance[filled])
        return values


def _fit(X, mixture, start, noise=None):
    n_spots, n_types = start.shape
    abundance = np.zeros_like(start)
    gram = np.broadcast_to(np.eye(n_types), (n_spots, n_types, n_types)).copy()
    cross = np.zeros_like(start)
    overdispersion = np.full(n_spots, np.nan)
    progress, began = time.monotonic(), time.monotonic()
    for part, block, filled in _filled_blocks(X, start):
        abundance[filled], _ = mixture.maximise(block, start[filled])
        gram[filled], cross[filled] = mixture.quadratic(block, abundance[filled])
        if noise is not None:
            gram[filled] = mixture.without_noise(gram[filled], abundance[filled], noise)
            abundance[filled] = nonnegative_least_squares(gram[filled], cross[filled])
        mu = abundance[filled] @ mixture.R
        chi = ((block - mu) ** 2 / (mu * (1 + mixture.dispersion * mu))).sum(axis=1)
        overdispersion[filled] = np.clip(chi / (block.shape[1] - n_types), 1, None)
        if time.monotonic() - progress > 10:
            progress = time.monotonic()
            log.info("%d of %d spots after %.0f s", part.stop, n_spots, progress - began)
    return _Fit(mixture, abundance, gram, cross, overdispersion)


def _few_types(X, fitted, mode, max_types):
    mixture = fitted.mixture
    abundance = np.zeros_like(fitted.abundance)
    classes = np.full(len(abundance), None, dtype=object) if mode == "doublet" else None
    overdispersion = float(np.nanmedian(fitted.overdispersion))
    for _, block, filled in _filled_blocks(X, fitted.abundance):
        full = fitted.abundance[filled]
        if mode == "multi":
            abundance[filled] = a_few(mixture, block, full, overdispersion, max_types)
        else:
            value = mixture.log_likelihood(block, full)
            abundance[filled], classes[filled] = one_or_two(mixture, block, full, value, overdispersion)
    return abundance, classes


def _filled_blocks(X, abundance):
    """Yield (slice, dense counts, positions of its spots), of the spots that hold anything."""
    total = abundance.sum(axis=1)
    for part, block in blocks(X, _BLOCK):
        filled = np.flatnonzero(total[part] > 0)
        if len(filled):
            dense = block[filled].toarray() if sparse.issparse(block) else block[filled]
            yield part, dense, filled + part.start


def _first_fit(X, R):
    """Weighted least squares, with a little of every type where the spot holds anything."""
    mean = R.mean(axis=0)
    weighted = (R / (mean + 0.05 * mean.mean())).T
    products, totals, _ = pass_over(X, weighted)
    start = nonnegative_least_squares(R @ weighted, products)
    return 0.99 * start + 0.01 * totals[:, None] / (R.sum(axis=1).mean() * len(R))


def _positive(R, n_cells):
    """Each type drawn towards the mean of all, as if by one more cell; no gene without any expression."""
    cells = np.full(len(R), 100.0) if n_cells is None else np.asarray(n_cells, dtype=float)
    mean = R.mean(axis=0)
    mean = np.where(mean > 0, mean, 1e-3 * mean.mean())
    return (R * cells[:, None] + mean) / (cells[:, None] + 1)


def _dispersion(X, abundance, mixture):
    """α of Var = μ + α μ² by moments, each count weighted by 1/μ."""
    excess, weight = 0.0, 0.0
    for _, block, filled in _filled_blocks(X, abundance):
        mu = abundance[filled] @ mixture.R
        excess += (((block - mu) ** 2 - block) / mu).sum()
        weight += mu.sum()
    return max(excess / weight, 1e-6)


def _check_options(likelihood, mode, max_types, smoothing, noise_correction):
    for name, value, allowed in (
        ("likelihood", likelihood, LIKELIHOODS),
        ("mode", mode, MODES),
        ("smoothing", smoothing, SMOOTHING),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, expected one of {list(allowed)}")
    if max_types < 1:
        raise ValueError(f"max_types is {max_types}, expected at least 1")
    check_noise_correction(noise_correction)


COUNT_REGRESSION = Method(
    name="count_regression",
    title="Count regression",
    summary="Likelihood of the counts as in RCTD, over the genes that tell types apart, with intervals",
    function=count_regression,
    citations=("cable2022", "ma2022", "neufeld2024", "lei2018"),
    needs=frozenset({"reference"}),
    gives="count_regression_proportions",
    genes="discriminating",
    options={
        "likelihood": {
            "type": "string",
            "enum": list(LIKELIHOODS),
            "default": "negative_binomial",
            "description": "of the counts",
        },
        "mode": {
            "type": "string",
            "enum": list(MODES),
            "default": "full",
            "description": "all types; up to max_types that each add to the fit; or one or two, with a class per spot",
        },
        "max_types": {
            "type": "integer",
            "minimum": 1,
            "default": 4,
            "description": "largest number of types of a spot in mode multi",
        },
        "platform_effect": PLATFORM_EFFECT,
        "smoothing": {
            "type": "string",
            "enum": list(SMOOTHING),
            "default": "auto",
            "description": "over the neighbour graph, by the strength, or none, that held-out counts choose; mode full",
        },
        "noise_correction": NOISE_CORRECTION,
    },
)
