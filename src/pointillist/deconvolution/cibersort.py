"""CIBERSORT: linear ν-support-vector regression of a spot on the signature, with a permutation p-value.

    y ≈ Rᵀ w,  for each ν in {0.25, 0.5, 0.75} with C = 1

The signature R is standardised by the mean and standard deviation (n − 1) of all its values, the spot y by its own. The
regression is solved to its optimum, many spots at a time. The ν whose reconstruction ``Rᵀ f`` has the lowest RMSE is
kept, where f are the coefficients w with negative ones set to 0, divided by their sum: the proportions.

In absolute mode the abundance is f times the median of the spot over the genes, divided by the median of all spots and
genes (1 where that is smaller); or the coefficients themselves, with negative ones set to 0.

The p-value compares the spot's Pearson R with the same fit on `n_permutations` random mixtures, whose values are drawn
from the whole sample: ``p = (1 + #{R_null ≥ R}) / (1 + n)``. The null depends on the signature and not on the spot, so
that one serves all spots; q-values are Benjamini–Hochberg's over spots.

Examples
--------
>>> import numpy as np
>>> R = np.random.default_rng(0).gamma(0.5, 10, (3, 60))
>>> cibersort(np.array([[0.7, 0.2, 0.1]]) @ R, R, n_permutations=0).proportions.round(2)
array([[0.7, 0.2, 0.1]])
"""

import logging
import time
from dataclasses import dataclass, fields

import numpy as np
from scipy import sparse
from scipy.stats import false_discovery_control, rankdata

from pointillist.deconvolution._support_vectors import NuRegression
from pointillist.deconvolution.result import Deconvolution, as_csr, blocks, check_shapes, to_proportions
from pointillist.record import Method
from pointillist.seeds import generator
from pointillist.threads import worker_threads

log = logging.getLogger(__name__)

MODES = ("relative", "absolute")
ABSOLUTE_SCALES = ("signature_score", "coefficients")
_BLOCK = 1024
_MAX_THREADS = 16
_LOG_SECONDS = 5.0


def cibersort(
    X,
    R,
    nu=(0.25, 0.5, 0.75),
    n_permutations=100,
    mode="relative",
    absolute_scale="signature_score",
    quantile_normalization=False,
    seed=0,
):
    """Proportions of cell types by ν-support-vector regression, with a p-value for every spot.

    Parameters
    ----------
    X : ndarray or sparse, spots × genes
        Counts on the linear scale.
    R : ndarray, cell types × genes
        Signature: mean expression on the linear scale.
    nu : sequence of float
        Values of ν to try, in (0, 1].
    n_permutations : int
        Random mixtures behind the p-value; 0 leaves ``p_value`` and ``q_value`` out.
    mode : {"relative", "absolute"}
        Whether to give an abundance that can be compared between spots, besides the proportions.
    absolute_scale : {"signature_score", "coefficients"}
        What the abundances of a spot sum to in absolute mode: the spot's median over the genes relative to that of
        all spots, or the sum of the regression's coefficients. Where most counts are 0, as in spots of few counts,
        the former is 0.
    quantile_normalization : bool
        Give all spots the distribution of their mean. For bulk arrays, not for counts.
    seed : int

    Returns
    -------
    Deconvolution
        ``fit`` has ``pearson`` and ``rmse`` (both on standardised values), ``nu``, ``p_value``, ``q_value``. Spots that
        are constant over the genes are NaN throughout; one that no cell type fits has NaN proportions and p = 1.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are negative or not finite, a signature that is constant, options outside
        their range, or a signature score that is 0 in every spot.
    RuntimeError
        A spot's regression that did not reach its optimum.

    References
    ----------
    Newman et al. (2015), Nature Methods 12:453. Schölkopf et al. (2000), Neural Computation 12:1207. Phipson & Smyth
    (2010), Statistical Applications in Genetics and Molecular Biology 9:39 (the add-one p-value). Bolstad et al.
    (2003), Bioinformatics 19:185 (quantile normalisation).
    """
    _check(X, R, nu, n_permutations, mode, absolute_scale)
    X, R = as_csr(X), np.asarray(R, dtype=float)
    regression = NuRegression(((R - R.mean()) / R.std(ddof=1)).T)
    normalize = _quantiles(X) if quantile_normalization else _dense
    fit = _best_fits(regression, nu, X.shape[0], lambda part: normalize(X[part]), "spots")
    pool = _pool(X, normalize) if n_permutations or mode == "absolute" else None
    if (unfit := int((fit.varied & np.isnan(fit.pearson)).sum())) > 0:
        log.warning("CIBERSORT: no cell type fits %d of %d spots: most of their genes may be 0", unfit, X.shape[0])
    proportions = to_proportions(fit.weights)
    abundance = None
    if mode == "absolute":
        score = 1.0
        if absolute_scale == "signature_score":
            score = _signature_score(X, normalize, pool)[:, None]
        abundance = score * (fit.weights if absolute_scale == "coefficients" else proportions)
    goodness = {"pearson": fit.pearson, "rmse": fit.rmse, "nu": fit.nu}
    if n_permutations:
        mixtures = _random_mixtures(pool, R, n_permutations, seed)
        null = _best_fits(regression, nu, n_permutations, lambda part: mixtures[part], "permutations").pearson
        reached = np.where(fit.varied, np.nan_to_num(fit.pearson, nan=-1.0), np.nan)
        goodness["p_value"], goodness["q_value"] = _p_values(reached, np.sort(np.nan_to_num(null, nan=-1.0)))
    return Deconvolution(proportions, goodness, abundance)


def _check(X, R, nu, n_permutations, mode, absolute_scale):
    check_shapes(X, R)
    if not len(nu) or not all(0 < value <= 1 for value in nu):
        raise ValueError(f"nu is {list(nu)}, expected one or more values in (0, 1]")
    if int(n_permutations) != n_permutations or n_permutations < 0:
        raise ValueError(f"n_permutations is {n_permutations}, expected a whole number, 0 or more")
    for name, value, known in (("mode", mode, MODES), ("absolute_scale", absolute_scale, ABSOLUTE_SCALES)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    if np.ptp(R) == 0:
        raise ValueError("the signature is constant: no cell type can be told from another")


@dataclass(frozen=True)
class _Fits:
    """Of each mixture: coefficients without the negative ones, goodness of fit, ν, and whether it varies at all."""

    weights: np.ndarray
    pearson: np.ndarray
    rmse: np.ndarray
    nu: np.ndarray
    varied: np.ndarray


def _best_fits(regression, nu, n, read, what):
    """Fit `n` mixtures, which `read` gives part by part, batch by batch on as many threads as BLAS may use."""
    size = max(1, regression.batch // len(nu))
    parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    progress = _Progress(what, n)
    fits, failed = [], 0
    # The matrices are small: threads pay on batches, not within a product.
    with worker_threads(_MAX_THREADS) as threads:
        for part, (fit, unsolved) in zip(
            parts, threads.map(lambda part: _fit_batch(regression, nu, read(part)), parts)
        ):
            fits.append(fit)
            failed += unsolved
            progress.step(part.stop)
    if failed:
        raise RuntimeError(
            f"the regression of {failed} of {n} {what} did not reach its optimum: look for cell types whose signatures "
            "are equal, or values that span many orders of magnitude"
        )
    return _Fits(*(np.concatenate([getattr(fit, field.name) for fit in fits]) for field in fields(_Fits)))


def _fit_batch(regression, nu, mixtures):
    """Fit mixtures that are dense already; also returns how many of them could not be solved."""
    n, n_types = len(mixtures), regression.n_types
    varied = np.ptp(mixtures, axis=1) > 0
    fit = _Fits(np.full((n, n_types), np.nan), *np.full((3, n), np.nan), varied)
    if not varied.any():
        return fit, 0
    Y = mixtures[varied]
    Y = (Y - Y.mean(axis=1, keepdims=True)) / Y.std(axis=1, ddof=1, keepdims=True)
    optima = regression.solve(np.repeat(Y, len(nu), axis=0), np.tile(nu, len(Y)))
    unsolved = np.isinf(optima.gap).reshape(len(Y), -1).any(axis=1).sum()

    # What the duality gap cannot tell from 0 is 0: its direction would be that of the rounding.
    certain = optima.weights > np.sqrt(2 * optima.gap)[:, None]
    weights = np.where(certain, optima.weights, 0.0).reshape(len(Y), len(nu), n_types)
    total = weights.sum(axis=2, keepdims=True)
    fits_any = total[:, :, 0] > 0
    fitted = weights / np.where(total > 0, total, np.nan) @ regression.A.T
    rmse = np.sqrt(np.mean((fitted - Y[:, None]) ** 2, axis=2))
    best = np.argmin(np.where(fits_any, rmse, np.inf), axis=1)
    chosen = np.arange(len(Y)), best
    fitted = fitted[chosen]
    fitted -= fitted.mean(axis=1, keepdims=True)
    pearson = (fitted * Y).sum(axis=1) / np.sqrt((fitted**2).sum(axis=1) * (Y**2).sum(axis=1))
    found = fits_any.any(axis=1)
    rows = np.flatnonzero(varied)[found]
    fit.weights[rows] = weights[chosen][found]
    fit.pearson[rows] = np.clip(pearson[found], -1, 1)
    fit.rmse[rows] = rmse[chosen][found]
    fit.nu[rows] = np.asarray(nu, dtype=float)[best[found]]
    return fit, int(unsolved)


def _dense(block):
    return (block.toarray() if sparse.issparse(block) else block).astype(float)


def _quantiles(X):
    """Function that gives the spots of a block the mean distribution of all spots, which is never held whole."""
    target = np.zeros(X.shape[1])
    for _, block in blocks(X, _BLOCK):
        target += np.sort(_dense(block), axis=1).sum(axis=0)
    target /= X.shape[0]
    # Ties share their mean rank, which lies on a quantile or half-way between two.
    levels = np.interp(np.arange(2 * len(target) - 1) / 2, np.arange(len(target)), target)
    return lambda block: levels[(2 * rankdata(_dense(block), axis=1)).astype(int) - 2]


def _pool(X, normalize):
    """Distinct values of the whole sample, zeros among them, and the number of entries up to each."""
    if normalize is _dense and sparse.issparse(X):
        stored = X.data[X.data != 0].astype(float)
        counted = [(np.unique(stored, return_counts=True)), (np.zeros(1), [X.shape[0] * X.shape[1] - len(stored)])]
    else:
        counted = [np.unique(normalize(block), return_counts=True) for _, block in blocks(X, _BLOCK)]
    values, where = np.unique(np.concatenate([value for value, _ in counted]), return_inverse=True)
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, where, np.concatenate([count for _, count in counted]).astype(np.int64))
    return values, np.cumsum(counts)


def _entries(pool, positions):
    """Entries of the whole sample at positions of its sorted order."""
    values, up_to = pool
    return values[np.searchsorted(up_to, positions, side="right")]


def _signature_score(X, normalize, pool):
    """Median of each spot over the genes, relative to the median of the whole sample."""
    score = np.empty(X.shape[0])
    for part, block in blocks(X, _BLOCK):
        score[part] = np.median(normalize(block), axis=1)
    if not score.any():
        raise ValueError(
            "the median over the genes is 0 in every spot, so that signature_score has no scale: "
            "use absolute_scale: coefficients"
        )
    if (empty := int((score == 0).sum())) > 0:
        log.warning("CIBERSORT: signature score, and with it the abundance, is 0 in %d of %d spots", empty, len(score))
    n = pool[1][-1]
    median = _entries(pool, np.array([(n - 1) // 2, n // 2])).mean()
    return score / max(median, 1.0)


def _random_mixtures(pool, R, n_permutations, seed):
    """Mixtures of values drawn from the whole sample, as dense rows."""
    rng = generator(seed, "cibersort", "null")
    n_values, n_genes = int(pool[1][-1]), R.shape[1]
    # Drawn by rank and given to genes in the order of their signature, so that neither order of the input matters.
    order = np.lexsort(np.vstack([R, np.sort(R, axis=0)]))
    mixtures = np.empty((n_permutations, n_genes))
    for mixture in mixtures:
        mixture[order] = _entries(pool, rng.choice(n_values, size=n_genes, replace=n_values < n_genes))
    return mixtures


def _p_values(pearson, null):
    """p-values with the add-one estimate, and Benjamini–Hochberg's q-values over the spots that were tested."""
    tested = ~np.isnan(pearson)
    p_value, q_value = np.full((2, len(pearson)), np.nan)
    exceeding = len(null) - np.searchsorted(null, pearson[tested], side="left")
    p_value[tested] = (1 + exceeding) / (1 + len(null))
    if tested.any():
        q_value[tested] = false_discovery_control(p_value[tested])
    return p_value, q_value


class _Progress:
    """A line in the log every few seconds."""

    def __init__(self, what, total):
        self.what, self.total, self.last = what, total, time.monotonic()

    def step(self, done):
        if time.monotonic() - self.last > _LOG_SECONDS:
            self.last = time.monotonic()
            log.info("CIBERSORT: %d of %d %s", done, self.total, self.what)


CIBERSORT = Method(
    name="cibersort",
    title="CIBERSORT",
    summary="ν-support-vector regression for three ν, with a permutation p-value for every spot",
    function=cibersort,
    citations=("newman2015", "scholkopf2000", "phipson2010", "bolstad2003"),
    needs=frozenset({"reference"}),
    gives="cibersort_proportions",
    options={
        "nu": {
            "type": "array",
            "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "minItems": 1,
            "default": [0.25, 0.5, 0.75],
            "description": "values of ν to try; the one with the lowest RMSE is kept",
        },
        "n_permutations": {
            "type": "integer",
            "minimum": 0,
            "default": 100,
            "description": "random mixtures behind the p-value; 0 gives none",
        },
        "mode": {
            "enum": list(MODES),
            "default": "relative",
            "description": "absolute gives an abundance that can be compared between spots, besides the proportions",
        },
        "absolute_scale": {
            "enum": list(ABSOLUTE_SCALES),
            "default": "signature_score",
            "description": "what a spot's abundances sum to: its median over the genes relative to that of all spots, "
            "or the regression's coefficients (where most counts are 0)",
        },
        "quantile_normalization": {
            "type": "boolean",
            "default": False,
            "description": "give all spots the same distribution; for bulk arrays, not for counts",
        },
    },
)
