"""The batched ν-support-vector regression against libsvm, and by its own optimality conditions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.svm import NuSVR

from pointillist.deconvolution import _support_vectors
from pointillist.deconvolution._support_vectors import NuRegression, _solve

NU = (0.25, 0.5, 0.75)


def standardised(X, R):
    A = ((R - R.mean()) / R.std(ddof=1)).T
    return A, (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, ddof=1, keepdims=True)


def libsvm(A, Y, nu, C=1.0):
    return np.array([NuSVR(kernel="linear", C=C, nu=nu, tol=1e-7).fit(A, y).coef_.ravel() for y in Y])


def conditions(regression, Y, nu, found):
    """By how much the dual's constraints are broken, and the duality gap, from nothing but their definitions."""
    A, C = regression.A, regression.C
    bound = C * nu * A.shape[0]
    residual = Y - found.weights @ A.T - found.intercept[:, None]
    loss = np.maximum(np.abs(residual) - found.tube[:, None], 0).sum(axis=1)
    squares = (found.weights**2).sum(axis=1) / 2
    primal = squares + C * loss + bound * found.tube
    dual = (found.dual * Y).sum(axis=1) - ((found.dual @ A) ** 2).sum(axis=1) / 2
    broken = np.maximum.reduce(
        [
            np.abs(found.dual).max(axis=1) - C,
            np.abs(found.dual.sum(axis=1)),
            np.abs(found.dual).sum(axis=1) - bound,
            -found.tube,
        ]
    )
    return broken, primal - dual


@pytest.fixture(scope="module")
def mixtures():
    rng = np.random.default_rng(3)
    R = rng.gamma(0.5, 20, (6, 120))
    X = rng.poisson(rng.dirichlet(np.full(6, 0.5), 20) @ R).astype(float)
    return standardised(np.vstack([X, rng.permuted(X[:4], axis=1)]), R)


@pytest.mark.parametrize("nu", [*NU, 1.0, 0.05])
def test_equals_libsvm(mixtures, nu):
    A, Y = mixtures
    found = NuRegression(A).solve(Y, nu)
    np.testing.assert_allclose(found.weights, libsvm(A, Y, nu), atol=2e-5)


def test_equals_libsvm_at_another_weight_of_the_loss(mixtures):
    A, Y = mixtures
    found = NuRegression(A, C=0.01).solve(Y, 0.5)
    np.testing.assert_allclose(found.weights, libsvm(A, Y, 0.5, C=0.01), atol=1e-5)
    assert np.abs(found.weights - NuRegression(A).solve(Y, 0.5).weights).max() > 0.01


def test_equals_libsvm_on_correlated_types_with_noise(shared_data):
    def read(name):
        return pd.read_csv(shared_data(f"cibersort/{name}.tsv"), sep="\t", index_col=0)

    signature = read("signature_matrix")
    spots = read("mixture_noisy").loc[signature.index].iloc[:, :3]
    A, Y = standardised(spots.T.to_numpy(), signature.T.to_numpy())
    found = NuRegression(A).solve(Y, np.array(NU))
    for row, nu in enumerate(NU):
        expected = libsvm(A, Y[row : row + 1], nu)[0]
        assert np.abs(found.weights[row] - expected).max() < 1e-4
        assert np.abs(found.weights[row] - NuSVR(kernel="linear", nu=nu).fit(A, Y[row]).coef_).max() > 1e-4


@pytest.mark.parametrize("nu", [*NU, 1.0, 0.05])
def test_no_gap_between_primal_and_dual(mixtures, nu):
    A, Y = mixtures
    regression = NuRegression(A)
    found = regression.solve(Y, nu)
    broken, gap = conditions(regression, Y, nu, found)
    assert broken.max() < 1e-7
    assert np.abs(gap).max() < 1e-9
    assert found.gap.max() < 1e-10
    # The same check finds fault with weights that are 0.1 % away.
    shifted = type(found)(found.weights * 1.001, found.intercept, found.tube, found.dual, found.gap)
    assert (conditions(regression, Y, nu, shifted)[1] > 1e-7).all()


def test_nu_bounds_the_genes_outside_and_the_support_vectors(mixtures):
    A, Y = mixtures
    for nu in NU:
        found = NuRegression(A).solve(Y, nu)
        residual = np.abs(Y - found.weights @ A.T - found.intercept[:, None])
        outside = (residual > found.tube[:, None] + 1e-9).mean(axis=1)
        support = (np.abs(found.dual) > 1e-9).mean(axis=1)
        assert (outside <= nu + 1e-9).all()
        assert (support >= nu - 1e-9).all()


def test_a_mixture_is_solved_alike_in_any_company(mixtures):
    A, Y = mixtures
    regression = NuRegression(A)
    together = regression.solve(np.repeat(Y, 3, axis=0), np.tile(NU, len(Y)))
    alone = [regression.solve(Y[:1], nu).weights[0] for nu in NU]
    np.testing.assert_allclose(together.weights[:3], alone, atol=1e-10)


@pytest.mark.parametrize("tie", ["genes", "counts", "types", "exact", "on_off"])
def test_tied_genes_equal_types_and_exact_mixtures(tie):
    rng = np.random.default_rng(8)
    R = rng.gamma(0.5, 20, (6, 100)).round()
    if tie == "on_off":
        R = (R > 10).astype(float)
    X = rng.poisson(rng.dirichlet(np.ones(6), 60) @ R * (0.05 if tie == "counts" else 1)).astype(float)
    if tie == "genes":
        X, R = np.tile(X[:, :20], 5), np.tile(R[:, :20], 5)
    if tie == "types":
        R[5] = R[0]
    if tie == "exact":
        X = rng.dirichlet(np.ones(6), 60) @ R
    A, Y = standardised(X, R)
    regression = NuRegression(A)
    for nu in NU:
        found = regression.solve(Y, nu)
        broken, gap = conditions(regression, Y, nu, found)
        assert broken.max() < 1e-7
        assert np.abs(gap).max() < 1e-9
        if tie == "types":
            np.testing.assert_allclose(found.weights[:, 0], found.weights[:, 5], atol=1e-6)


def test_what_does_not_converge_is_not_a_number(mixtures, monkeypatch):
    A, Y = mixtures
    monkeypatch.setattr(_support_vectors, "_MAX_ITERATIONS", 3)
    found = NuRegression(A).solve(Y, 0.5)
    assert np.isnan(found.weights).all()
    assert np.isinf(found.gap).all()


def test_a_singular_system_is_solved_all_the_same():
    system = np.array([[[4.0, 2.0, 2.0], [2.0, 3.0, 3.0], [2.0, 3.0, 3.0]]], dtype=np.float32)
    right = np.array([[[2.0], [3.0], [3.0]]], dtype=np.float32)
    solution = _solve(system.copy(), right)
    np.testing.assert_allclose(system @ solution, right, rtol=1e-3)
