"""Constrained regression: each spot as a non-negative mixture of the signature's rows.

    min_f ‖y − Rᵀ f‖²   with f ≥ 0             (NNLS; then divided by its sum)
    min_f ‖y − Rᵀ f‖²   with f ≥ 0, Σ f = 1    (simplex, "CLS")

``y`` is a spot's counts over the genes used and ``R`` the mean expression of each cell type on the linear scale. All
spots share the K × K Gram matrix ``R Rᵀ``, so that the sample is passed over once, as ``X Rᵀ``.

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
from pointillist.deconvolution.result import Deconvolution, check_shapes, goodness_of_fit, to_proportions
from pointillist.record import Method


def constrained_regression(X, R, constraint="nonnegative", spot_totals=None, type_totals=None):
    """Proportions of cell types by least squares with non-negative coefficients.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
        Counts.
    R : ndarray, cell types × genes
        Signature: mean expression on the linear scale.
    constraint : {"nonnegative", "simplex"}
        Whether coefficients are only non-negative, or also sum to 1.
    spot_totals, type_totals : ndarray, optional
        For the simplex: totals of each spot and each cell type over all genes that sample and reference
        share; by default over the genes given.

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
    Lawson & Hanson (1974), Solving Least Squares Problems. Kim & Park (2011), SIAM J Sci Comput 33:3261.
    """
    check_shapes(X, R)
    R = np.asarray(R, dtype=float)
    X = X.astype(float)
    match constraint:
        case "nonnegative":
            abundance = nonnegative_least_squares(R @ R.T, np.asarray(X @ R.T))
            return Deconvolution(to_proportions(abundance), goodness_of_fit(X, R, abundance), abundance)
        case "simplex":
            return _simplex(X, R, spot_totals, type_totals)
        case _:
            raise ValueError(f"constraint is {constraint!r}, expected 'nonnegative' or 'simplex'")


def _simplex(X, R, spot_totals, type_totals):
    spot_totals = _flat(X.sum(axis=1)) if spot_totals is None else _flat(spot_totals)
    type_totals = R.sum(axis=1) if type_totals is None else _flat(type_totals)
    signature = R / type_totals[:, None]
    filled = spot_totals > 0
    shares = np.zeros((X.shape[0], len(R)))
    scale = np.divide(1, spot_totals, out=np.zeros_like(spot_totals), where=filled)
    scaled = sparse.diags_array(scale) @ X
    if filled.any():
        cross = np.asarray(scaled @ signature.T)[filled]
        shares[filled] = simplex_least_squares(signature @ signature.T, cross)
    fit = goodness_of_fit(X, signature, shares * spot_totals[:, None])
    return Deconvolution(to_proportions(shares / type_totals), fit)


def nnls(X, R):
    """`constrained_regression` with non-negative coefficients."""
    return constrained_regression(X, R, "nonnegative")


def simplex(X, R, spot_totals=None, type_totals=None):
    """`constrained_regression` with coefficients on the simplex."""
    return constrained_regression(X, R, "simplex", spot_totals, type_totals)


def _flat(vector):
    return np.asarray(vector, dtype=float).ravel()


NNLS = Method(
    name="nnls",
    title="Non-negative least squares",
    summary="Least squares with non-negative coefficients, divided by their sum; the baseline of every report",
    function=nnls,
    citations=("lawson1974", "kim2011"),
    needs=frozenset({"reference"}),
    gives="nnls_proportions",
)

SIMPLEX = Method(
    name="simplex",
    title="Simplex-constrained least squares",
    summary="Least squares with non-negative coefficients that sum to 1",
    function=simplex,
    citations=("kim2011",),
    needs=frozenset({"reference"}),
    gives="simplex_proportions",
)
