"""Constrained regression: each spot as a non-negative mixture of the signature's rows.

    min_f Σ_g w_g (y − Rᵀf)_g²   with f ≥ 0             (NNLS; then divided by its sum)
    min_f Σ_g w_g (y − Rᵀf)_g²   with f ≥ 0, Σ f = 1    (simplex, "CLS")

``y`` is a spot's counts over the genes used and ``R`` the mean expression of each cell type on the linear scale. The
weights are 1 (``none``), the inverse of the genes' mean expression, to which the variance of counts is proportional
(``inverse_variance``), or those of dampened weighted least squares (``dampened``), ``w_g = min(1/ŷ_g², 2^j min 1/ŷ²)``,
which depend on the spot's own fit ŷ and are iterated. The dampening j is the one whose coefficients vary least
between random halves of the genes.

With weights that spots share they also share the K × K Gram matrix ``R W Rᵀ``, and the sample is passed over once.

NNLS needs no common scale, the simplex form does: spots and signature are first scaled by their totals (over
the genes shared by both), and its coefficients are turned back into shares of a cell's whole expression.

Examples
--------
>>> import numpy as np
>>> R = np.array([[9.0, 1.0, 0.0], [0.0, 2.0, 8.0]])
>>> constrained_regression(np.array([[9.0, 3.0, 8.0]]), R).proportions.round(3)
array([[0.5, 0.5]])
"""

import numpy as np
from scipy import sparse

from pointillist.deconvolution._least_squares import nonnegative_least_squares, simplex_least_squares
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
from pointillist.seeds import generator

CONSTRAINTS = ("nonnegative", "simplex")
WEIGHTS = ("none", "inverse_variance", "dampened")
_FLOOR = 0.05
_HALVES, _LARGEST_DAMPENING = 100, 24
_STEP, _SETTLED, _MAX_ROUNDS = 0.2, 0.01, 200


def constrained_regression(X, R, constraint="nonnegative", weights="none", spot_totals=None, type_totals=None, seed=0):
    """Proportions of cell types by least squares with non-negative coefficients.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
        Counts.
    R : ndarray, cell types × genes
        Signature: mean expression on the linear scale.
    constraint : {"nonnegative", "simplex"}
        Whether coefficients are only non-negative, or also sum to 1.
    weights : {"none", "inverse_variance", "dampened"}
        How much each gene counts.
    spot_totals, type_totals : ndarray, optional
        For the simplex: totals of each spot and each cell type over all genes that sample and reference
        share; by default over the genes given.
    seed : int
        Of the random halves of the genes, for dampened weights.

    Returns
    -------
    Deconvolution
        ``fit`` has ``pearson`` and ``rmse`` on the scale of `X`; ``abundance`` are NNLS's coefficients.

    Raises
    ------
    ValueError
        Shapes that do not fit, negative or non-finite values, or linearly dependent signatures.

    References
    ----------
    Lawson & Hanson (1974), Solving Least Squares Problems. Kim & Park (2011), SIAM J Sci Comput 33:3261. Tsoucas et al.
    (2019), Nature Communications 10:2975 (dampened weights).
    """
    check_shapes(X, R)
    if constraint not in CONSTRAINTS:
        raise ValueError(f"constraint is {constraint!r}, expected 'nonnegative' or 'simplex'")
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}, expected one of {list(WEIGHTS)}")
    X, R = as_csr(X), np.asarray(R, dtype=float)
    if constraint == "nonnegative":
        abundance, passed = _solve(X, R, nonnegative_least_squares, weights, seed)
        return Deconvolution(to_proportions(abundance), goodness_of_fit(X, R, abundance, passed), abundance)

    spot_totals = _flat(X.sum(axis=1)) if spot_totals is None else _flat(spot_totals)
    type_totals = R.sum(axis=1) if type_totals is None else _flat(type_totals)
    signature = R / type_totals[:, None]
    filled = np.flatnonzero(spot_totals > 0)
    shares = np.zeros((X.shape[0], len(R)))
    if len(filled):
        shares[filled], _ = _solve(
            _scaled(X[filled], spot_totals[filled]), signature, simplex_least_squares, weights, seed
        )
    return Deconvolution(
        to_proportions(shares / type_totals), goodness_of_fit(X, signature, shares * spot_totals[:, None])
    )


def _solve(X, R, solver, weights, seed):
    """Coefficients, and ``pass_over(X, R.T)``."""
    if weights == "inverse_variance":
        mean = R.mean(axis=0)
        weighted = (R / (mean + _FLOOR * mean.mean())).T
        products, totals, squares = pass_over(X, np.hstack([weighted, R.T]))
        return solver(R @ weighted, products[:, : len(R)]), (products[:, len(R) :], totals, squares)
    passed = pass_over(X, R.T)
    coefficients = solver(R @ R.T, passed[0])
    if weights == "dampened":
        coefficients = _dampened(X, R, solver, coefficients, seed)
    return coefficients, passed


def _dampened(X, R, solver, start, seed):
    pairs = _pairs(R)
    limit = 2.0 ** _dampening(_flat(X.sum(axis=0)), R, start.sum(axis=0) @ R, pairs, seed)
    coefficients = np.empty_like(start)
    for part, block in blocks(X, 1024):
        dense = block.toarray() if sparse.issparse(block) else block
        coefficients[part] = _iterate(dense, R, solver, start[part], pairs, limit)
    return coefficients


def _iterate(X, R, solver, start, pairs, limit):
    """Weights from the fit, fit from the weights, each round a fifth of the way, as DWLS does."""
    current = start.copy()
    todo = np.flatnonzero(start.sum(axis=1) > 0)
    for _ in range(_MAX_ROUNDS):
        weights = _dampened_weights(current[todo] @ R, limit)
        found = solver(_grams(weights, pairs, len(R)), (weights * X[todo]) @ R.T)
        change = np.abs(found - current[todo]).sum(axis=1) / current[todo].sum(axis=1)
        current[todo] += _STEP * (found - current[todo])
        todo = todo[_STEP * change > _SETTLED]
        if not len(todo):
            break
    return current


def _dampening(pseudo_bulk, R, fitted, pairs, seed):
    """Exponent j of the bound on the weights: least varying coefficients over random halves of the genes."""
    rng = generator(seed, "dampened weights")
    halves = rng.permuted(np.tile(np.arange(R.shape[1]) % 2 == 0, (_HALVES, 1)), axis=1)
    largest = np.log2(_dampened_weights(fitted[None], np.inf).max())
    variances = []
    for j in range(max(1, min(_LARGEST_DAMPENING, int(np.ceil(largest))))):
        weights = _dampened_weights(fitted[None], 2.0**j) * halves
        grams = _grams(weights, pairs, len(R))
        coefficients = np.linalg.solve(grams, ((weights * pseudo_bulk) @ R.T)[:, :, None])[:, :, 0]
        coefficients /= coefficients.sum(axis=1, keepdims=True)
        variances.append(coefficients.var(axis=0).mean())
    return int(np.argmin(variances))


def _dampened_weights(fitted, limit):
    """``1 / ŷ²`` as multiples of the smallest of the spot, at most `limit` times it."""
    largest = fitted.max(axis=1, keepdims=True)
    tiny = 1e-12 * largest
    return np.minimum((largest / np.maximum(fitted, tiny)) ** 2, limit)


def _pairs(R):
    """Products of each two rows of `R`, genes × K(K + 1)/2: weights times these are the Gram matrices of all spots."""
    first, second = np.triu_indices(len(R))
    return (R[first] * R[second]).T


def _grams(weights, pairs, n_types):
    first, second = np.triu_indices(n_types)
    grams = np.empty((len(weights), n_types, n_types))
    grams[:, first, second] = grams[:, second, first] = weights @ pairs
    return grams


def _scaled(X, totals):
    return sparse.diags_array(1 / totals) @ X if sparse.issparse(X) else X / totals[:, None]


def _flat(vector):
    return np.asarray(vector, dtype=float).ravel()


def nnls(X, R):
    """`constrained_regression` with non-negative coefficients and all genes alike."""
    return constrained_regression(X, R)


def wnnls(X, R):
    """`constrained_regression` with non-negative coefficients and genes weighted by their inverse variance."""
    return constrained_regression(X, R, weights="inverse_variance")


def dwls(X, R, seed=0):
    """`constrained_regression` with non-negative coefficients and dampened weights."""
    return constrained_regression(X, R, weights="dampened", seed=seed)


def simplex(X, R, weights="none", spot_totals=None, type_totals=None, seed=0):
    """`constrained_regression` with coefficients on the simplex."""
    return constrained_regression(X, R, "simplex", weights, spot_totals, type_totals, seed)


NNLS = Method(
    name="nnls",
    title="Non-negative least squares",
    summary="Least squares with non-negative coefficients, divided by their sum; the baseline of every report",
    function=nnls,
    citations=("lawson1974", "kim2011"),
    needs=frozenset({"reference"}),
    gives="nnls_proportions",
)

WNNLS = Method(
    name="wnnls",
    title="Weighted non-negative least squares",
    summary="Non-negative least squares over all shared genes, each weighted by the inverse of its mean",
    function=wnnls,
    citations=("lawson1974", "kim2011"),
    needs=frozenset({"reference"}),
    gives="wnnls_proportions",
    genes="shared",
)

DWLS = Method(
    name="dwls",
    title="Dampened weighted least squares",
    summary="Non-negative least squares with weights from each spot's own fit, bounded where they would be unstable",
    function=dwls,
    citations=("tsoucas2019", "kim2011"),
    needs=frozenset({"reference"}),
    gives="dwls_proportions",
)

SIMPLEX = Method(
    name="simplex",
    title="Simplex-constrained least squares",
    summary="Least squares with non-negative coefficients that sum to 1",
    function=simplex,
    citations=("kim2011", "tsoucas2019"),
    needs=frozenset({"reference"}),
    gives="simplex_proportions",
    options={
        "weights": {
            "type": "string",
            "enum": list(WEIGHTS),
            "default": "none",
            "description": "how much each gene counts: all alike, by the inverse of its mean, or dampened as in DWLS",
        },
    },
)
