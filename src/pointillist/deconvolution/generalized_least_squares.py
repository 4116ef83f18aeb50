"""Generalised least squares: regression that knows how the cells of one type differ among themselves.

    min_f (y − Rᵀf)ᵀ V⁻¹ (y − Rᵀf)   with f ≥ 0,      V = M^½ [(1 − λ) S + λ μ I] M^½

``y`` is a spot's counts over the genes that sample and reference share and ``R`` the mean expression of each cell type.
A spot is a sum of a few cells, and cells of a type do not all look like their mean: genes vary together, with the
cell's state. Those directions must not be read as other cell types. ``S`` is their covariance, pooled over types from
the reference's cells, of residuals divided by ``M^½``; ``M`` holds the mean expression of the genes, to which the
variance of counts is proportional. Its shrinkage λ towards the identity is Ledoit and Wolf's, which needs no tuning.
``V⁻¹Rᵀ`` is computed once, so that a sample costs one pass, as unweighted least squares does.

Means of few cells are noisy, and noise would draw the coefficients of such types towards zero: they are drawn towards
the mean of all types first (see `_within_types`).

Examples
--------
>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> R = rng.gamma(0.5, 10, (2, 40))
>>> cells, codes = rng.poisson(np.repeat(R, 30, axis=0)), np.repeat([0, 1], 30)
>>> generalized_least_squares(np.array([[0.7, 0.3]]) @ R, R, cells, codes).proportions.round(1)
array([[0.7, 0.3]])
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, sparse

from pointillist.deconvolution._least_squares import nonnegative_least_squares
from pointillist.deconvolution._within_types import evenly, mean_scale, within_types
from pointillist.deconvolution.intervals import profile_intervals, stretch, widening
from pointillist.deconvolution.platform_effect import OPTION as PLATFORM_EFFECT
from pointillist.deconvolution.platform_effect import platform_effect as estimate_platform_effect
from pointillist.deconvolution.result import (
    Deconvolution,
    as_csr,
    check_shapes,
    goodness_of_fit,
    pass_over,
    to_proportions,
)
from pointillist.record import Method

log = logging.getLogger(__name__)

_SAMPLED_SPOTS = 500
_CELLS_OF_NOISE = 100


@dataclass(frozen=True)
class Within:
    """How the cells of a type differ from their mean.

    Attributes
    ----------
    scale : ndarray, genes
        ``M^½``.
    factor : tuple
        Cholesky factor of the shrunk covariance of residuals divided by `scale`, for `scipy.linalg.cho_solve`.
    shrinkage : float
        λ, in [0, 1].
    means : ndarray, cell types × genes
        Expected mean expression, given the noise of the observed one.
    mean_noise : ndarray, cell types
        ``tr(V⁻¹V_k)/n_k``: expected length of the noise in the type's mean expression.
    """

    scale: np.ndarray
    factor: tuple
    shrinkage: float
    means: np.ndarray
    mean_noise: np.ndarray

    def solve(self, columns):
        """``V⁻¹`` times some columns, genes × n."""
        return linalg.cho_solve(self.factor, columns / self.scale[:, None], check_finite=False) / self.scale[:, None]


def within_type_covariance(reference):
    """Covariance of expression among cells of one type, shrunk by Ledoit and Wolf's rule.

    Parameters
    ----------
    reference : WithinTypes

    Returns
    -------
    Within

    References
    ----------
    Ledoit & Wolf (2004), Journal of Multivariate Analysis 88:365.
    """
    scale = mean_scale(reference.R)
    shrunk, shrinkage = reference.covariance(scale)
    factor = linalg.cho_factor(shrunk, lower=True, overwrite_a=True, check_finite=False)

    noise = np.zeros(len(reference.R))
    for k in np.unique(reference.codes):
        residual = reference.residuals(evenly(np.flatnonzero(reference.codes == k), _CELLS_OF_NOISE), scale)
        half = linalg.solve_triangular(factor[0], residual.T, lower=True, check_finite=False)
        noise[k] = (half**2).sum(axis=0).mean() / reference.n_cells[k]
    return Within(scale, factor, shrinkage, reference.shrunken_means(), noise)


def generalized_least_squares(X, R, cells, codes, cell_totals=None, platform_effect="auto", seed=0):
    """Proportions of cell types by least squares in the metric of the variation within types.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
        Counts.
    R : ndarray, cell types × genes
        Signature: mean expression per 10,000 counts, linear.
    cells : ndarray or CSR, cells × genes
        Raw counts of the reference.
    codes : ndarray of int, cells
        Row of `R` that each cell belongs to; −1 for none.
    cell_totals : ndarray, cells, optional
        Total counts of each cell over all genes; by default over the genes given.
    platform_effect : {"auto", "always", "never"}
        Whether genes are corrected by their pseudo-bulk.
    seed : int
        Of the mixtures of cells that calibrate the intervals.

    Returns
    -------
    Deconvolution
        With ``abundance`` and calibrated intervals.

    Raises
    ------
    ValueError
        Shapes that do not fit, negative or non-finite values, or linearly dependent signatures.

    References
    ----------
    Aitken (1936), Proceedings of the Royal Society of Edinburgh 55:42. Ledoit & Wolf (2004), Journal of Multivariate
    Analysis 88:365. Efron & Morris (1973), Journal of the American Statistical Association 68:117.
    """
    check_shapes(X, R)
    X, R = as_csr(X), np.asarray(R, dtype=float)
    cells, codes = sparse.csr_array(cells, dtype=float), np.asarray(codes)
    totals = np.asarray(cells.sum(axis=1)).ravel() if cell_totals is None else np.asarray(cell_totals, dtype=float)
    result, (shrinkage, spread, corrected) = _fit(X, R, cells, codes, totals, platform_effect)
    log.info("shrinkage %.2f; genes off by a spread of %.2f%s", shrinkage, spread, ", corrected" if corrected else "")

    def fit_mixtures(*mixtures):
        found, _ = _fit(*mixtures, "never")
        return found.lower, found.proportions, found.upper

    factor = widening(fit_mixtures, X, result.proportions, cells, codes, totals, seed)
    log.info("intervals widened by %.2f, as mixtures of held-out cells ask for", factor)
    lower, upper = stretch(result.lower, result.proportions, result.upper, factor)
    return replace(result, lower=lower, upper=upper)


def _fit(X, R, cells, codes, cell_totals, platform_effect):
    within = within_type_covariance(within_types(cells, codes, R, cell_totals))
    R = within.means
    weighted = within.solve(R.T)
    gram = R @ weighted
    cross, *_ = pass_over(X, weighted)
    abundance = nonnegative_least_squares(gram, cross)
    gamma, spread = estimate_platform_effect(X, R, abundance, platform_effect)
    factor = np.exp(gamma)
    if gamma.any():
        cross, *_ = pass_over(X, weighted / factor[:, None])
        abundance = nonnegative_least_squares(gram, cross)
    lower, upper = profile_intervals(gram, cross, abundance, _noise(X, R, abundance, within, factor))
    fit = goodness_of_fit(X, R * factor, abundance)
    return Deconvolution(to_proportions(abundance), fit, abundance, lower, upper), (
        within.shrinkage,
        spread,
        gamma.any(),
    )


def _noise(X, R, abundance, within, factor):
    """Standard deviation of each spot's noise, in units of V: its cells', as they add up, and that of the means."""
    total = abundance.sum(axis=1)
    some = evenly(np.flatnonzero(total > 0), _SAMPLED_SPOTS)
    if not len(some):
        return np.zeros(len(total))
    observed = X[some].toarray() if sparse.issparse(X) else X[some]
    residual = observed / factor - abundance[some] @ R
    freedom = np.clip(R.shape[1] - (abundance[some] > 0).sum(axis=1), 1, None)
    chi = np.einsum("sg,gs->s", residual, within.solve(residual.T)) / freedom
    from_cells = np.median(chi / total[some]) * total
    from_means = abundance**2 @ (within.mean_noise / R.shape[1])
    return np.sqrt(from_cells + from_means)


GLS = Method(
    name="gls",
    title="Generalised least squares",
    summary="Non-negative least squares in the metric of how cells of a type differ, over all shared genes",
    function=generalized_least_squares,
    citations=("aitken1936", "ledoit2004", "efron1973", "lei2018"),
    needs=frozenset({"reference"}),
    gives="gls_proportions",
    genes="shared",
    options={
        "platform_effect": PLATFORM_EFFECT,
    },
)
