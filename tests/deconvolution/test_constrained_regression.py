"""Constrained regression against scipy's solvers, its optimality conditions and planted mixtures."""

import numpy as np
import pytest
from scipy import optimize, sparse

from pointillist.deconvolution import constrained_regression
from pointillist.deconvolution._least_squares import (
    kkt_residual,
    nonnegative_least_squares,
    simplex_least_squares,
)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    R = rng.gamma(0.4, 5, (9, 120))
    P = rng.dirichlet(np.full(9, 0.3), 400)
    X = rng.poisson(P @ R * 3).astype(float)
    return X, R, P


def test_nnls_equals_scipy(problem):
    X, R, _ = problem
    ours = nonnegative_least_squares(R @ R.T, X @ R.T)
    theirs = np.array([optimize.nnls(R.T, y)[0] for y in X])
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_nnls_meets_its_optimality_conditions_on_collinear_signatures():
    rng = np.random.default_rng(2)
    base = rng.gamma(0.5, 3, (4, 80))
    R = np.vstack([base, base * 0.999 + rng.gamma(0.5, 3, (4, 80)) * 1e-3])
    X = rng.poisson(rng.dirichlet(np.ones(8), 300) @ R * 10).astype(float)
    gram, cross = R @ R.T, X @ R.T
    assert kkt_residual(gram, cross, nonnegative_least_squares(gram, cross)).max() < 1e-8


def test_kkt_residual_notices_a_wrong_solution(problem):
    X, R, _ = problem
    gram, cross = R @ R.T, X @ R.T
    clipped = np.clip(np.linalg.solve(gram, cross.T).T, 0, None)
    assert kkt_residual(gram, cross, clipped).max() > 1e-3


def test_simplex_meets_its_optimality_conditions(problem):
    X, R, _ = problem
    signature, spots = R / R.sum(1, keepdims=True), X / X.sum(1, keepdims=True)
    gram, cross = signature @ signature.T, spots @ signature.T
    solution = simplex_least_squares(gram, cross)
    np.testing.assert_allclose(solution.sum(axis=1), 1, atol=1e-12)
    assert solution.min() >= 0
    assert kkt_residual(gram, cross, solution, equality=True).max() < 1e-8


def test_simplex_equals_a_general_solver(problem):
    X, R, _ = problem
    signature, spots = R / R.sum(1, keepdims=True), X[:20] / X[:20].sum(1, keepdims=True)
    gram, cross = signature @ signature.T, spots @ signature.T
    ours = simplex_least_squares(gram, cross)
    scale = np.abs(gram).max()
    for b, f in zip(cross, ours):
        theirs = optimize.minimize(
            lambda g, b=b: (g @ gram @ g / 2 - b @ g) / scale,
            np.full(9, 1 / 9),
            jac=lambda g, b=b: (gram @ g - b) / scale,
            bounds=[(0, 1)] * 9,
            constraints={"type": "eq", "fun": lambda g: g.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        ).x
        np.testing.assert_allclose(f, theirs, atol=1e-5)


@pytest.mark.parametrize("constraint", ["nonnegative", "simplex"])
class TestConstrainedRegression:
    def test_recovers_planted_proportions_and_not_with_a_shuffled_signature(self, problem, constraint):
        X, R, P = problem
        shuffled = R[:, np.random.default_rng(0).permutation(R.shape[1])]

        def mean_pearson(signature):
            estimate = constrained_regression(X, signature, constraint).proportions
            return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(estimate, P)])

        assert mean_pearson(R) > 0.95
        assert mean_pearson(shuffled) < 0.3

    def test_noiseless_mixture_is_exact(self, problem, constraint):
        _, R, P = problem
        result = constrained_regression(P @ R, R, constraint)
        np.testing.assert_allclose(result.proportions, P, atol=1e-8)
        np.testing.assert_allclose(result.fit["pearson"], 1, atol=1e-7)

    def test_sparse_equals_dense(self, problem, constraint):
        X, R, _ = problem
        dense = constrained_regression(X, R, constraint)
        csr = constrained_regression(sparse.csr_matrix(X.astype(np.float32)), R, constraint)
        np.testing.assert_allclose(dense.proportions, csr.proportions, atol=1e-9)
        for name in ("pearson", "rmse"):
            np.testing.assert_allclose(dense.fit[name], csr.fit[name], atol=1e-9)

    def test_fit_is_that_of_the_reconstruction(self, problem, constraint):
        X, R, _ = problem
        result = constrained_regression(X, R, constraint)
        if constraint == "nonnegative":
            fitted = result.abundance @ R
            np.testing.assert_allclose(result.fit["rmse"], np.sqrt(((X - fitted) ** 2).mean(1)), atol=1e-9)
            expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(X, fitted)]
            np.testing.assert_allclose(result.fit["pearson"], expected, atol=1e-9)
        assert np.all(result.fit["pearson"] <= 1)

    def test_permuting_spots_genes_and_types_permutes_the_result(self, problem, constraint):
        X, R, _ = problem
        rng = np.random.default_rng(3)
        spots, genes, types = (rng.permutation(n) for n in (*X.shape, len(R)))
        expected = constrained_regression(X, R, constraint).proportions[spots][:, types]
        ours = constrained_regression(X[spots][:, genes], R[types][:, genes], constraint).proportions
        np.testing.assert_allclose(ours, expected, atol=1e-9)

    def test_library_size_does_not_matter(self, problem, constraint):
        X, R, _ = problem
        ours = constrained_regression(X * 7.0, R, constraint).proportions
        np.testing.assert_allclose(ours, constrained_regression(X, R, constraint).proportions, atol=1e-9)

    def test_an_empty_spot_is_nan(self, problem, constraint):
        X, R, _ = problem
        X = X[:3].copy()
        X[1] = 0
        proportions = constrained_regression(X, R, constraint).proportions
        assert np.isnan(proportions[1]).all()
        np.testing.assert_allclose(proportions[[0, 2]].sum(1), 1)

    def test_refuses_what_it_cannot_solve(self, problem, constraint):
        X, R, _ = problem
        with pytest.raises(ValueError, match="linearly dependent"):
            constrained_regression(X, R[[0, 0, 1]], constraint)
        with pytest.raises(ValueError, match="at least two"):
            constrained_regression(X, R[:1], constraint)
        with pytest.raises(ValueError, match="negative"):
            constrained_regression(-X, R, constraint)
        with pytest.raises(ValueError, match="same genes"):
            constrained_regression(X[:, 1:], R, constraint)
        with pytest.raises(ValueError, match="NaN"):
            constrained_regression(np.where(X > 100, np.nan, X) * np.nan, R, constraint)


def test_every_spot_may_have_its_own_gram_matrix(problem):
    X, R, _ = problem
    rng = np.random.default_rng(4)
    weights = rng.gamma(1, 1, X.shape)
    grams = np.einsum("sg,kg,lg->skl", weights, R, R)
    cross = (weights * X) @ R.T
    ours = nonnegative_least_squares(grams, cross)
    theirs = np.array([optimize.nnls(np.sqrt(w)[:, None] * R.T, np.sqrt(w) * y)[0] for w, y in zip(weights, X)])
    np.testing.assert_allclose(ours, theirs, atol=1e-8)
    assert kkt_residual(grams, cross, ours).max() < 1e-8
    shares = simplex_least_squares(grams, cross)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert kkt_residual(grams, cross, shares, equality=True).max() < 1e-8


def test_coefficients_can_be_kept_at_zero(problem):
    X, R, _ = problem
    allowed = np.ones((len(X), len(R)), dtype=bool)
    allowed[:, [2, 5]] = False
    ours = nonnegative_least_squares(R @ R.T, X @ R.T, allowed)
    kept = [0, 1, 3, 4, 6, 7, 8]
    np.testing.assert_allclose(ours[:, kept], nonnegative_least_squares(R[kept] @ R[kept].T, X @ R[kept].T), atol=1e-9)
    assert not ours[:, [2, 5]].any()


def test_inverse_variance_weights_are_the_inverse_of_the_mean_expression(problem):
    X, R, _ = problem
    mean = R.mean(axis=0)
    weights = np.sqrt(1 / (mean + 0.05 * mean.mean()))
    ours = constrained_regression(X, R, weights="inverse_variance").abundance
    theirs = np.array([optimize.nnls(weights[:, None] * R.T, weights * y)[0] for y in X])
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_dampened_weights_are_a_fixed_point(problem):
    """Weighted least squares with the weights of its own fit gives that fit back, to the tolerance of the rounds."""
    from pointillist.deconvolution.constrained_regression import _dampened_weights, _dampening, _pairs

    X, R, P = problem
    ours = constrained_regression(X, R, weights="dampened")
    start = nonnegative_least_squares(R @ R.T, X @ R.T)
    limit = 2.0 ** _dampening(X.sum(axis=0), R, start.sum(axis=0) @ R, _pairs(R), 0)
    assert limit > 1
    weights = np.sqrt(_dampened_weights(ours.abundance @ R, limit))
    again = np.array([optimize.nnls(w[:, None] * R.T, w * y)[0] for w, y in zip(weights, X)])
    change = np.abs(again - ours.abundance).sum(axis=1) / ours.abundance.sum(axis=1)
    assert np.median(change) < 0.05
    assert np.corrcoef(ours.proportions.ravel(), P.ravel())[0, 1] > 0.95


def test_dampened_weights_serve_a_rare_type_that_plain_ones_miss():
    """A type whose markers are faint: unweighted squares are ruled by the loud genes that all types share."""
    rng = np.random.default_rng(7)
    R = np.vstack([np.r_[rng.gamma(2, 200, 30), rng.gamma(2, 1, 90)] for _ in range(4)])
    R[:, :30] = R[0, :30] * rng.uniform(0.97, 1.03, (4, 30))
    for k in range(4):
        R[k, 30 + 20 * k : 50 + 20 * k] += 12
    P = rng.dirichlet([1, 1, 1, 0.2], 300)
    X = rng.poisson(P @ R).astype(float)

    def error(weights):
        return np.sqrt(((constrained_regression(X, R, weights=weights).proportions - P) ** 2).mean())

    assert error("dampened") < 0.7 * error("none")
    assert error("inverse_variance") < 0.7 * error("none")


def test_simplex_scales_by_the_totals_given():
    R = np.array([[8.0, 1.0, 1.0], [1.0, 2.0, 1.0]])
    spot = np.array([[0.25, 0.75]]) @ R
    result = constrained_regression(spot, R, "simplex", spot_totals=spot.sum(1), type_totals=R.sum(1))
    np.testing.assert_allclose(result.proportions, [[0.25, 0.75]], atol=1e-10)


def test_unknown_weights():
    with pytest.raises(ValueError, match="weights"):
        constrained_regression(np.ones((2, 3)), np.ones((2, 3)), weights="heavy")


def test_unknown_constraint():
    with pytest.raises(ValueError, match="'nonnegative' or 'simplex'"):
        constrained_regression(np.ones((2, 3)), np.ones((2, 3)), "ridge")


@pytest.mark.parametrize("n_types", [5, 20])
def test_many_spots_solved_in_parts_equal_few_solved_at_once(n_types):
    """Above a block of spots parts run on threads, and few types share a table of inverses."""
    rng = np.random.default_rng(7)
    R = rng.gamma(0.5, 1, (n_types, 60))
    X = rng.poisson(rng.dirichlet(np.full(n_types, 0.3), 20000) @ R * 20).astype(float)
    found = nonnegative_least_squares(R @ R.T, X @ R.T)
    some = np.r_[0:40, 9000:9040, 19960:20000]
    np.testing.assert_allclose(found[some], nonnegative_least_squares(R @ R.T, X[some] @ R.T), atol=1e-12)
    assert kkt_residual(R @ R.T, X @ R.T, found).max() < 1e-12
    np.testing.assert_allclose(found[some], [optimize.nnls(R.T, x)[0] for x in X[some]], atol=1e-8)
