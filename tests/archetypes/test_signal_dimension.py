"""The signal dimension of planted programmes, of nothing, and against the components of a dense matrix."""

import numpy as np
import pytest
from scipy import sparse

from pointillist.archetypes import choose_n_archetypes, signal_dimension
from pointillist.archetypes.signal_dimension import _leading_variances


def planted(n_dimensions, seed=0, n_spots=300, n_genes=200):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(n_dimensions + 1, 0.4), n_spots)
    profiles = rng.gamma(0.5, 1, (n_dimensions + 1, n_genes))
    return np.log1p(rng.poisson(shares @ profiles * 3))


@pytest.mark.parametrize("n_dimensions", [2, 4, 6])
def test_finds_the_dimensions_that_mixtures_span(n_dimensions):
    assert signal_dimension(planted(n_dimensions)) == n_dimensions
    assert signal_dimension(sparse.csr_matrix(planted(n_dimensions)), seed=1) == n_dimensions


def test_independent_genes_have_none():
    rng = np.random.default_rng(1)
    assert signal_dimension(np.log1p(rng.poisson(rng.gamma(1, 1, 150), (250, 150)))) == 0


def test_variances_are_those_of_the_principal_components():
    X = planted(3)
    expected = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)[:5] ** 2 / (len(X) - 1)
    np.testing.assert_allclose(_leading_variances(sparse.csc_array(X), 5), expected, rtol=1e-6)


def test_one_archetype_more_than_dimensions():
    rng = np.random.default_rng(2)
    X = rng.dirichlet(np.ones(4), 200) @ rng.normal(size=(4, 6))
    curve = choose_n_archetypes(X, 2, 12, step=1, rule="dimension", dimension=3, n_starts=1)
    assert curve.chosen == 4 and not curve.at_limit
    assert curve.n_archetypes.tolist() == [2, 3, 4, 5, 6, 7]
    with pytest.raises(ValueError, match="dimension"):
        choose_n_archetypes(X, 2, 12, rule="dimension")


def test_refuses_too_little():
    with pytest.raises(ValueError, match="3 × 3"):
        signal_dimension(np.ones((2, 5)))
