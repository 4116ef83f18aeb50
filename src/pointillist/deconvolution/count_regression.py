"""Count regression: the likelihood of a spot's counts as a mixture of cell types, as in RCTD.

    x_sg ~ Poisson(μ_sg)  or  NB(μ_sg, α),     μ_sg = exp(γ_g) Σ_k f_sk R_kg,     f ≥ 0

``R`` is the mean expression of each cell type per 10,000 counts, less the noise of few cells (see `_within_types`),
and drawn towards the mean of all types as if by one more cell, so that no gene is impossible; ``f`` the abundance, on
the scale of counts; ``γ`` the platform effect, from the pseudo-bulk (see `platform_effect`); α one dispersion for all
genes.

Two things that the likelihood does not know move the estimate on, by estimating equations with the same mean and
variance: genes vary together within a type, so far as the sample's residuals show it (see `_covariation`), and
residuals beyond three standard deviations weigh less (Huber), since what the reference lacks also leaves counts.

Modes: ``full`` (all types), ``multi`` (types added one by one while each raises the log-likelihood by 25), ``doublet``
(one or two types, for spots of about a cell's size, with a class for each spot); the last two are by likelihood alone.
Smoothing over the neighbour graph is offered with a strength that held-out counts choose, none among the choices.

Intervals come from the likelihood's curvature, widened by the overdispersion of the spot's Pearson residuals.

Examples
--------
>>> import numpy as np
>>> R = np.array([[900.0, 100.0, 0.0], [0.0, 200.0, 800.0]])
>>> count_regression(np.array([[90.0, 30.0, 80.0]]), R).proportions.round(2)
array([[0.5, 0.5]])
"""

import logging
from dataclasses import replace

import numpy as np
from scipy import sparse

from pointillist.deconvolution._count_likelihood import Mixture
from pointillist.deconvolution._count_model import BLOCK, corrected_signature, filled_counts, fit_counts, with_variance
from pointillist.deconvolution._covariation import correlation_within_types
from pointillist.deconvolution._spatial_smoothing import choose_strength, smooth
from pointillist.deconvolution._spot_classes import a_few, one_or_two
from pointillist.deconvolution._within_types import within_types
from pointillist.deconvolution.intervals import stretch, widening
from pointillist.deconvolution.platform_effect import OPTION as PLATFORM_EFFECT
from pointillist.deconvolution.result import Deconvolution, as_csr, check_shapes, goodness_of_fit, to_proportions
from pointillist.record import Method
from pointillist.threads import for_each_part

log = logging.getLogger(__name__)

LIKELIHOODS = ("poisson", "negative_binomial")
MODES = ("full", "multi", "doublet")
SMOOTHING = ("none", "auto")
COVARIATION = ("none", "reference")


def count_regression(
    X,
    R,
    n_cells=None,
    cells=None,
    codes=None,
    cell_totals=None,
    graph=None,
    likelihood="negative_binomial",
    mode="full",
    max_types=4,
    platform_effect="auto",
    smoothing="auto",
    covariation="reference",
    outlier_bound=3.0,
    seed=0,
):
    """Proportions of cell types by the likelihood of the counts.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
        Raw counts.
    R : ndarray, cell types × genes
        Signature: mean expression per 10,000 counts, linear.
    n_cells : ndarray, cell types, optional
        Cells behind each row of `R`; 100 of each if not given.
    cells, codes, cell_totals : optional
        Raw counts of the reference, cells × genes, the row of `R` that each cell belongs to (−1 for none) and its total
        counts over all genes: with them means of few cells are drawn together, genes vary together, and intervals are
        calibrated; without they hold the counts' noise only.
    graph : sparse matrix, spots × spots, optional
        Neighbour graph; without it nothing is smoothed.
    likelihood : {"poisson", "negative_binomial"}
    mode : {"full", "multi", "doublet"}
    max_types : int
        Of ``multi``.
    platform_effect : {"auto", "always", "never"}
    smoothing : {"none", "auto"}
        ``auto`` tries strengths from none to strong on held-out counts, in mode ``full``.
    covariation : {"none", "reference"}
        Whether genes vary together as they do within the types of `cells`, in mode ``full``.
    outlier_bound : float
        Standard deviations beyond which a count's residual weighs less, by Huber's rule; 0 for none. In mode ``full``.
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
        Shapes that do not fit, negative or non-finite values, linearly dependent signatures, `cells` of which no type
        has two, or unknown options.

    References
    ----------
    Cable et al. (2022), Nature Biotechnology 40:517. Liang & Zeger (1986), Biometrika 73:13. Huber (1964), Annals of
    Mathematical Statistics 35:73. Efron & Morris (1973), Journal of the American Statistical Association 68:117.
    """
    check_shapes(X, R)
    _check_options(likelihood, mode, max_types, smoothing, covariation, outlier_bound)
    X, R = as_csr(X), np.asarray(R, dtype=float)
    correlation = None
    if cells is not None:
        cells, codes = sparse.csr_array(cells, dtype=float), np.asarray(codes)
        totals = np.asarray(cells.sum(axis=1)).ravel() if cell_totals is None else np.asarray(cell_totals, dtype=float)
        reference = within_types(cells, codes, R, totals)
        R = reference.shrunken_means()
        if covariation == "reference" and mode == "full":
            correlation = correlation_within_types(reference)
    mixture = Mixture(
        corrected_signature(X, R, n_cells, platform_effect), outlier_bound=outlier_bound if mode == "full" else 0.0
    )
    mixture = with_variance(mixture, X, correlation, likelihood == "negative_binomial")
    fitted = fit_counts(X, mixture)
    abundance, classes = fitted.abundance, None
    if smoothing == "auto" and mode == "full" and graph is not None:
        strength, _ = choose_strength(lambda counts: fit_counts(counts, mixture), X, graph, seed)
        abundance = smooth(fitted.gram, fitted.cross, abundance, graph, strength)
    elif mode != "full":
        abundance, classes = _few_types(X, fitted, mode, max_types)
    proportions = to_proportions(abundance)
    lower, upper = fitted.intervals()
    if cells is not None:

        def fit_mixtures(mixtures, means, *seen):
            means = within_types(*seen[:2], means, seen[2]).shrunken_means()
            found = fit_counts(mixtures, replace(mixture, R=corrected_signature(mixtures, means, n_cells, "never")))
            bounds = found.intervals()
            return bounds[0], to_proportions(found.abundance), bounds[1]

        full = to_proportions(fitted.abundance)
        factor = widening(fit_mixtures, X, full, cells, codes, totals, seed)
        log.info("intervals widened by %.2f, as mixtures of held-out cells ask for", factor)
        lower, upper = stretch(lower, full, upper, factor)
    fit = goodness_of_fit(X, mixture.R, abundance) | {"overdispersion": fitted.overdispersion}
    if classes is not None:
        fit["spot_class"] = classes
    # Those of all types, so that a type left out keeps its bound.
    return Deconvolution(proportions, fit, abundance, np.fmin(lower, proportions), np.fmax(upper, proportions))


def _few_types(X, fitted, mode, max_types):
    mixture = fitted.mixture
    abundance = np.zeros_like(fitted.abundance)
    classes = np.full(len(abundance), None, dtype=object) if mode == "doublet" else None
    overdispersion = float(np.nanmedian(fitted.overdispersion))

    def choose(part):
        counts, filled = filled_counts(X, fitted.abundance, part)
        full = fitted.abundance[filled]
        if mode == "multi":
            abundance[filled] = a_few(mixture, counts, full, overdispersion, max_types)
        else:
            value = mixture.log_likelihood(counts, full)
            abundance[filled], classes[filled] = one_or_two(mixture, counts, full, value, overdispersion)

    for_each_part(choose, len(abundance), BLOCK)
    return abundance, classes


def _check_options(likelihood, mode, max_types, smoothing, covariation, outlier_bound):
    for name, value, allowed in (
        ("likelihood", likelihood, LIKELIHOODS),
        ("mode", mode, MODES),
        ("smoothing", smoothing, SMOOTHING),
        ("covariation", covariation, COVARIATION),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, expected one of {list(allowed)}")
    if max_types < 1:
        raise ValueError(f"max_types is {max_types}, expected at least 1")
    if outlier_bound < 0:
        raise ValueError(f"outlier_bound is {outlier_bound}, expected 0 (none) or more")


COUNT_REGRESSION = Method(
    name="count_regression",
    title="Count regression",
    summary="Likelihood of the counts as in RCTD, with genes that vary together and outliers allowed for; intervals",
    function=count_regression,
    citations=("cable2022", "liang1986", "huber1964", "efron1973", "ma2022", "neufeld2024", "lei2018"),
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
        "covariation": {
            "type": "string",
            "enum": list(COVARIATION),
            "default": "reference",
            "description": "let genes vary together as within the reference's types, so far as the sample shows it; "
            "mode full",
        },
        "outlier_bound": {
            "type": "number",
            "minimum": 0,
            "default": 3,
            "description": "standard deviations beyond which a count weighs less, such as that of a type that the "
            "reference lacks; 0: none; mode full",
        },
    },
)
