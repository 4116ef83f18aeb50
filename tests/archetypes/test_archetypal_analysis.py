"""Archetypes against a known simplex, an independent solver, and the properties that a solution must have."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, nnls
from scipy.spatial.distance import cdist

from pointillist.archetypes import archetypal_analysis, archetype_tree, choose_n_archetypes, merge_by_radius


def simplex(n_spots=400, n_vertices=4, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    vertices = rng.normal(0, 5, (n_vertices, 6))
    weights = rng.dirichlet(np.full(n_vertices, 0.4), n_spots)
    return weights @ vertices + rng.normal(0, noise, (n_spots, 6)), vertices


def vertex_error(found, vertices):
    distances = cdist(found, vertices)
    return distances[linear_sum_assignment(distances)].max() / cdist(vertices, vertices).max()


def slow_reference(X, n_archetypes, n_iterations=60, n_starts=5):
    """Alternating least squares by scipy's nnls with a heavy row for the sum; nothing shared with ours."""
    heavy = 200.0

    def on_simplex(A, b):
        x, _ = nnls(np.vstack([A, heavy * np.ones(A.shape[1])]), np.append(b, heavy))
        return x / x.sum()

    best = -np.inf
    for start in range(n_starts):
        H = X[np.random.default_rng(start).choice(len(X), n_archetypes, replace=False)]
        for _ in range(n_iterations):
            W = np.array([on_simplex(H.T, x) for x in X])
            H = np.array([on_simplex(X.T, target) @ X for target in np.linalg.pinv(W) @ X])
        W = np.array([on_simplex(H.T, x) for x in X])
        best = max(best, 1 - ((X - W @ H) ** 2).sum() / ((X - X.mean(0)) ** 2).sum())
    return best


def test_vertices_of_a_known_simplex_come_back_and_not_from_a_ball():
    X, vertices = simplex()
    assert vertex_error(archetypal_analysis(X, 4).archetypes, vertices) < 0.04
    ball = np.random.default_rng(0).normal(size=X.shape)
    assert archetypal_analysis(ball, 4, n_starts=2).explained_variance < 0.6


def test_the_error_shrinks_with_noise_and_with_spots():
    errors = [np.mean([vertex_error(archetypal_analysis(*args).archetypes, vertices) for args, vertices in cases])
              for cases in ([((X, 4), v) for X, v in (simplex(400, noise=noise, seed=s) for s in range(3))]
                            for noise in (1.0, 0.3, 0.0))]  # fmt: skip
    assert errors == sorted(errors, reverse=True)
    few, many = (np.mean([vertex_error(archetypal_analysis(simplex(n, seed=s)[0], 4).archetypes, simplex(n, seed=s)[1])
                          for s in range(3)]) for n in (40, 1000))  # fmt: skip
    assert many < few


def test_it_explains_no_less_than_an_independent_solver():
    X, _ = simplex(60, 5, noise=0.8, seed=3)
    assert archetypal_analysis(X, 4).explained_variance >= slow_reference(X, 4) - 1e-3


@pytest.mark.parametrize("n_archetypes", [1, 3, 6])
def test_weights_lie_on_the_simplex_and_the_objective_never_rises(n_archetypes):
    X, _ = simplex(200, 5, noise=0.5)
    found = archetypal_analysis(X, n_archetypes)
    for rows in (found.weights, found.generators):
        assert rows.min() >= 0
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-9)
    assert (np.diff(found.objective) <= 1e-9 * found.objective[0]).all()
    np.testing.assert_allclose(found.archetypes, found.generators @ X, atol=1e-9)
    residual = ((X - found.weights @ found.archetypes) ** 2).sum()
    assert found.explained_variance == pytest.approx(1 - residual / ((X - X.mean(0)) ** 2).sum(), abs=1e-6)
    mass = found.weights.sum(axis=0)
    assert (np.diff(mass) <= 1e-9).all()


def test_seeds_and_the_order_of_spots():
    X, _ = simplex(200, 4, noise=0.5)
    first, again = archetypal_analysis(X, 4, seed=1), archetypal_analysis(X, 4, seed=1)
    assert first.weights.tobytes() == again.weights.tobytes()
    order = np.random.default_rng(0).permutation(200)
    shuffled = archetypal_analysis(X[order], 4, seed=1)
    assert shuffled.explained_variance == pytest.approx(first.explained_variance, abs=2e-3)


def test_refuses_what_has_no_archetypes():
    with pytest.raises(ValueError, match="n_archetypes=9"):
        archetypal_analysis(np.eye(4), 9)
    with pytest.raises(ValueError, match="not finite"):
        archetypal_analysis(np.full((5, 2), np.nan), 2)
    with pytest.raises(ValueError, match="all the same"):
        archetypal_analysis(np.ones((5, 2)), 2)


def test_the_number_of_vertices_is_found():
    X, _ = simplex(300, 5, noise=0.05, seed=1)
    curve = choose_n_archetypes(X, 2, 7, step=1, n_starts=1, rule="gain")
    assert curve.chosen == 5
    assert not curve.at_limit
    assert choose_n_archetypes(X, 2, 7, step=1, n_starts=1).chosen in (4, 5)
    # In one dimension two archetypes say all.
    line = np.outer(np.random.default_rng(0).uniform(size=80), [1.0, 2.0])
    assert choose_n_archetypes(line, 2, 4, step=1, n_starts=1, rule="gain").chosen == 2
    assert (np.diff(curve.explained_variance) > -1e-6).all()


def test_near_archetypes_are_merged_by_tree_and_by_radius():
    points = np.array([[0.0, 0.0], [0.2, 0.0], [9.0, 0.0], [0.0, 9.0]])
    tree = archetype_tree(points, levels=(0.0, 0.25, 1.0))
    assert [len(set(tree.groups[level])) for level in (0.0, 0.25, 1.0)] == [4, 3, 1]
    assert tree.groups[0.25][0] == tree.groups[0.25][1]
    spots = np.random.default_rng(0).normal(0, 1, (200, 2))
    merged = merge_by_radius(spots, points, radius=20)
    assert merged[0] == merged[1]
    assert len(set(merged)) >= 2
