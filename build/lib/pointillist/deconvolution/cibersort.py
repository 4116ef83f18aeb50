"""CIBERSORT: linear ν-support-vector regression of a spot on the signature, with a permutation p-value.

    y ≈ Rᵀ w,  for each ν in {0.25, 0.5, 0.75} with C = 1

The signature R is standardised by the mean and standard deviation (n − 1) of all its values, the spot y by its own. The
ν whose reconstruction ``Rᵀ w`` has the lowest RMSE is kept, where w are the coefficients with negative ones set to 0,
divided by their sum. The p-value compares the spot's Pearson R with the same fit on `n_permutations` random mixtures,
whose values are drawn from the whole sample: ``p = (1 + #{R_null ≥ R}) / (1 + n)``. The null depends on the
signature and not on the spot, so that one serves all spots; q-values are Benjamini–Hochberg's over spots.

Examples
--------
>>> import numpy as np
>>> R = np.random.default_rng(0).gamma(0.5, 10, (3, 60))
>>> cibersort(np.array([[0.7, 0.2, 0.1]]) @ R, R, n_permutations=0).proportions.round(2)
array([[0.7, 0.2, 0.1]])
"""

import logging
import time

import numpy as np
from scipy import sparse
from scipy.stats import false_discovery_control

from pointillist.deconvolution.result import Deconvolution, check_shapes
from pointillist.record import Method
from pointillist.seeds import generator

log = logging.getLogger(__name__)


def cibersort(X, R, nu=(0.25, 0.5, 0.75), n_permutations=100, tolerance=1e-3, seed=0):
    """Proportions of cell types by ν-support-vector regression, with a p-value for every spot.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
        Counts on the linear scale.
    R : ndarray, cell types × genes
        Signature: mean expression on the linear scale.
    nu : sequence of float
        Values of ν to try, in (0, 1].
    n_permutations : int
        Random mixtures behind the p-value; 0 leaves ``p_value`` and ``q_value`` out.
    tolerance : float
        libsvm's stopping tolerance. At CIBERSORT's own, 1e-3, the weights are the original's to rounding.
    seed : int

    Returns
    -------
    Deconvolution
        ``fit`` has ``pearson`` and ``rmse`` (both on standardised values), ``nu``, ``p_value``, ``q_value``. Spots that
        are constant over the genes are NaN throughout; one that no cell type fits has NaN proportions and p = 1.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are negative or not finite, or ν outside (0, 1].

    References
    ----------
    Newman et al. (2015), Nature Methods 12:453. Schölkopf et al. (2000), Neural Computation 12:1207. Phipson & Smyth
    (2010), Statistical Applications in Genetics and Molecular Biology 9:39 (the add-one p-value).
    """
    check_shapes(X, R)
    if not all(0 < value <= 1 for value in nu):
        raise ValueError(f"nu is {list(nu)}, expected values in (0, 1]")
    R = np.asarray(R, dtype=float)
    signature = np.ascontiguousarray(((R - R.mean()) / R.std(ddof=1)).T)
    n_spots, n_types = X.shape[0], R.shape[0]
    weights = np.full((n_spots, n_types), np.nan)
    fit = {name: np.full(n_spots, np.nan) for name in ("pearson", "rmse", "nu")}
    progress = _Progress("spots", n_spots)
    varied = np.zeros(n_spots, dtype=bool)
    for spot in range(n_spots):
        y = X[[spot]].toarray().ravel() if sparse.issparse(X) else np.asarray(X[spot], dtype=float)
        varied[spot] = np.ptp(y) > 0
        if varied[spot]:
            weights[spot], fit["rmse"][spot], fit["pearson"][spot], fit["nu"][spot] = _fit(
                signature, y.astype(float), nu, tolerance
            )
        progress.step()
    if n_permutations:
        null = _null_distribution(X, signature, nu, n_permutations, tolerance, seed)
        reached = np.where(varied, np.nan_to_num(fit["pearson"], nan=-1.0), np.nan)
        fit["p_value"], fit["q_value"] = _p_values(reached, null)
    return Deconvolution(weights, fit)


def _fit(signature, y, nu, tolerance):
    """Weights, RMSE, R and ν of the ν that reconstructs one mixture best."""
    from sklearn.svm import NuSVR

    y = (y - y.mean()) / y.std(ddof=1)
    best = None
    for value in nu:
        model = NuSVR(kernel="linear", nu=value, C=1.0, tol=tolerance, shrinking=True, cache_size=50)
        weights = np.clip(model.fit(signature, y).coef_.ravel(), 0, None)
        if not weights.any():
            continue
        weights = weights / weights.sum()
        fitted = signature @ weights
        rmse = np.sqrt(np.mean((fitted - y) ** 2))
        if best is None or rmse < best[1]:
            best = weights, rmse, np.corrcoef(fitted, y)[0, 1], value
    return best or (np.full(signature.shape[1], np.nan), np.nan, np.nan, np.nan)


def _null_distribution(X, signature, nu, n_permutations, tolerance, seed):
    """Sorted Pearson R of random mixtures; −1 where no cell type fits."""
    rng = generator(seed, "cibersort", "null")
    values = X.data if sparse.issparse(X) else np.asarray(X, dtype=float).ravel()
    n_values, n_genes = X.shape[0] * X.shape[1], X.shape[1]
    null = np.empty(n_permutations)
    progress = _Progress("permutations", n_permutations)
    for index in range(n_permutations):
        # Entries beyond the stored ones are the matrix's zeros.
        drawn = rng.choice(n_values, size=n_genes, replace=n_values < n_genes)
        mixture = np.where(drawn < len(values), values[np.minimum(drawn, len(values) - 1)], 0.0).astype(float)
        null[index] = _fit(signature, mixture, nu, tolerance)[2] if np.ptp(mixture) > 0 else np.nan
        progress.step()
    return np.sort(np.nan_to_num(null, nan=-1.0))


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

    def __init__(self, what, total, every=5.0):
        self.what, self.total, self.every = what, total, every
        self.done, self.last = 0, time.monotonic()

    def step(self):
        self.done += 1
        if time.monotonic() - self.last > self.every:
            self.last = time.monotonic()
            log.info("CIBERSORT: %d of %d %s", self.done, self.total, self.what)


CIBERSORT = Method(
    name="cibersort",
    title="CIBERSORT",
    summary="ν-support-vector regression for three ν, with a permutation p-value for every spot",
    function=cibersort,
    citations=("newman2015", "scholkopf2000", "phipson2010"),
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
        "tolerance": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 1e-3,
            "description": "stopping tolerance of the solver; the default is that of CIBERSORT's original",
        },
    },
)
