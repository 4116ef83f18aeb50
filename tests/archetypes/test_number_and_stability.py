"""How many archetypes and how firm, on clouds whose dimension and corners are known (of our own making)."""

import numpy as np
import pytest

from pointillist.archetypes import archetypal_analysis, bootstrap_stability, choose_n_archetypes
from pointillist.archetypes.number_of_archetypes import intrinsic_dimension


def corners(n_corners, noise, seed=0, n_spots=200):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_corners, 0.3), n_spots)
    return weights @ rng.normal(0, 3, (n_corners, 10)) + rng.normal(0, noise, (n_spots, 10))


@pytest.mark.parametrize(("n_corners", "noise"), [(4, 0.1), (4, 1.0), (6, 0.3)])
def test_a_noisy_simplex_has_as_many_archetypes_as_corners(n_corners, noise):
    curve = choose_n_archetypes(corners(n_corners, noise), 2, 8, step=1, n_starts=1)
    assert curve.chosen == n_corners
    assert not curve.at_limit


def test_the_gain_rule_keeps_the_number_before_and_says_when_it_meets_the_limit(caplog):
    X = corners(4, 0.05)
    assert choose_n_archetypes(X, 2, 9, step=1, rule="gain", gain=0.01, n_starts=1).chosen == 4
    curve = choose_n_archetypes(X, 2, 3, step=1, rule="gain", gain=0.01, n_starts=1)
    assert (curve.chosen, curve.at_limit) == (3, True)
    assert "limit of the range" in caplog.text


@pytest.mark.parametrize("dimension", [3, 6, 9])
def test_the_intrinsic_dimension_of_a_gaussian_is_its_own(dimension):
    rng = np.random.default_rng(dimension)
    X = rng.normal(size=(1500, dimension)) @ np.linalg.qr(rng.normal(size=(15, dimension)))[0].T
    assert intrinsic_dimension(X + rng.normal(0, 1e-3, X.shape)) == pytest.approx(dimension, rel=0.15)


def test_corners_are_firmer_than_archetypes_of_a_ball():
    X = corners(4, 0.1)
    found = bootstrap_stability(X, archetypal_analysis(X, 4).archetypes, n_bootstraps=5)
    ball = np.random.default_rng(1).normal(size=X.shape)
    loose = bootstrap_stability(ball, archetypal_analysis(ball, 4).archetypes, n_bootstraps=5)
    assert found["spread"].max() < 0.1
    assert (found["recovered"] == 1).all()
    assert loose["spread"].mean() > 3 * found["spread"].mean()
