"""Single steps against scipy: projections on the simplex and on the hull, and the weights of spots."""

import numpy as np
import pytest
from scipy.optimize import nnls

from pointillist.archetypes.hull_steps import (
    few_generators,
    furthest_sum,
    project_on_hull,
    simplex_projection,
    weight_step,
)


def on_simplex(A, b):
    x = nnls(np.vstack([A, 1e4 * np.ones(A.shape[1])]), np.append(b, 1e4))[0]
    return x / x.sum()


def test_the_simplex_projection_is_the_nearest_point():
    V = np.random.default_rng(0).normal(size=(6, 40)) * 2
    projected, _ = simplex_projection(V)
    expected = np.array([on_simplex(np.eye(6), v) for v in V.T]).T
    np.testing.assert_allclose(projected, expected, atol=1e-6)


def test_the_hull_projection_is_the_nearest_point():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 4))
    for target in np.vstack([rng.normal(size=(6, 4)) * 3, X[:2] * 0.3]):
        support, weights = project_on_hull(X, target, np.array([0]), np.ones(1), n_new=60)
        expected = np.linalg.norm(on_simplex(X.T, target) @ X - target)
        assert np.linalg.norm(weights @ X[support] - target) <= expected + 1e-5
        assert weights.min() > 0
        assert abs(weights.sum() - 1) < 1e-12


def test_weights_reach_the_optimum_and_are_never_worse_than_before():
    rng = np.random.default_rng(2)
    X, H = rng.normal(size=(60, 5)), rng.normal(size=(4, 5)) * 2
    before = rng.dirichlet(np.ones(4), 60).T
    one, many = weight_step(before, H, X, 1), weight_step(before, H, X, 500)
    error = [((X - W.T @ H) ** 2).sum(axis=1) for W in (before, one, many)]
    expected = np.array([((x - on_simplex(H.T, x) @ H) ** 2).sum() for x in X])
    assert (error[1] <= error[0] + 1e-12).all()
    np.testing.assert_allclose(error[2], expected, atol=1e-6)


def test_few_generators_make_the_same_point():
    rng = np.random.default_rng(3)
    X, b = rng.normal(size=(50, 4)), rng.dirichlet(np.ones(50))
    support, weights = few_generators(X, b)
    assert len(support) <= 5
    np.testing.assert_allclose(weights @ X[support], b @ X, atol=1e-9)


def test_furthest_sum_takes_corners_and_no_spot_twice():
    corners = np.array([[0.0, 0], [9, 0], [0, 9], [9, 9]])
    inner = np.random.default_rng(0).uniform(1, 8, (30, 2))
    X = np.vstack([inner, corners, corners, corners])
    for first in (0, 30, 35):
        assert {tuple(x) for x in X[furthest_sum(X, 4, first)]} == {tuple(x) for x in corners}
    with pytest.raises(ValueError, match="fewer than 5 spots that differ"):
        furthest_sum(X[30:], 5, 0)
