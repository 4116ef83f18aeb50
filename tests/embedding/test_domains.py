"""Domains against planted groups, and the neighbour mean against a loop (our simulator)."""

import logging

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from pointillist.embedding import neighbour_mean, spatial_domains


@pytest.fixture(scope="module")
def clouds():
    """Three clouds of 150, 90 and 60 spots in 4 dimensions, in random order."""
    draws = np.random.default_rng(0)
    labels = draws.permutation(np.repeat([0, 1, 2], [150, 90, 60]))
    centres = 6 * np.eye(3, 4)
    return centres[labels] + draws.standard_normal((300, 4)), labels


@pytest.mark.parametrize("n_domains", [3, None])
def test_planted_groups_are_found_by_descending_size(clouds, n_domains):
    Z, labels = clouds
    found = spatial_domains(Z, n_domains)
    assert adjusted_rand_score(labels, found) > 0.98
    assert np.unique(found).tolist() == [0, 1, 2]
    assert (np.diff(np.bincount(found)) <= 0).all()


def test_groups_are_not_found_in_shuffled_coordinates(clouds):
    Z, labels = clouds
    shuffled = np.random.default_rng(1).permutation(Z)
    assert abs(adjusted_rand_score(labels, spatial_domains(shuffled, 3))) < 0.05


def test_scale_does_not_matter(clouds):
    Z, _ = clouds
    for scale in (1e-5, 1e5):
        assert adjusted_rand_score(spatial_domains(Z, 3), spatial_domains(scale * Z, 3)) == 1


def test_same_seed_same_labels(clouds):
    Z, _ = clouds
    np.testing.assert_array_equal(spatial_domains(Z, 5, seed=2), spatial_domains(Z, 5, seed=2))


def test_hitting_the_most_domains_is_said(caplog):
    draws = np.random.default_rng(0)
    Z = np.repeat(20 * draws.standard_normal((25, 3)), 20, axis=0) + 0.01 * draws.standard_normal((500, 3))
    with caplog.at_level(logging.WARNING, logger="pointillist"):
        spatial_domains(Z)
    assert "still falling at 15" in caplog.text


@pytest.mark.parametrize(
    ("Z", "n_domains", "message"),
    [
        (np.array([[1.0], [np.nan], [2.0]]), 2, "in 1 spots, the first in row 1"),
        (np.ones((5, 2)), 2, "from 1 to 1 distinct"),
        (np.ones((5, 2)), None, "found 1 distinct"),
        (np.ones(5), 2, "1 dimensions"),
        (np.arange(6.0).reshape(3, 2), 2.5, "n_domains is 2.5"),
    ],
)
def test_unfit_embeddings_are_refused(Z, n_domains, message):
    with pytest.raises(ValueError, match=message):
        spatial_domains(Z, n_domains)


def test_neighbour_mean_equals_a_loop():
    draws = np.random.default_rng(0)
    upper = np.triu(draws.random((30, 30)) < 0.1, 1)
    graph = upper | upper.T
    graph[4] = graph[:, 4] = False
    Z = draws.standard_normal((30, 3))
    by_hand = np.array([Z[[spot, *np.flatnonzero(graph[spot])]].mean(axis=0) for spot in range(30)])
    weighted = sparse.csr_matrix(graph * draws.random((30, 30)) + 2 * np.eye(30))
    np.testing.assert_allclose(neighbour_mean(Z, weighted), by_hand)
    np.testing.assert_allclose(neighbour_mean(Z, graph.astype(int)), by_hand)
    np.testing.assert_array_equal(neighbour_mean(Z, graph)[4], Z[4])


def test_neighbour_mean_helps_where_groups_are_regions(clouds):
    draws = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], 100)
    Z = 2.0 * np.eye(3)[labels] + draws.standard_normal((300, 3))
    chain = sparse.diags_array([np.ones(299), np.ones(299)], offsets=[-1, 1])
    smooth = adjusted_rand_score(labels, spatial_domains(neighbour_mean(Z, chain), 3))
    assert smooth > adjusted_rand_score(labels, spatial_domains(Z, 3)) + 0.1


def test_graph_of_other_spots_is_refused():
    with pytest.raises(ValueError, match="4 × 4 but the embedding has 3 spots"):
        neighbour_mean(np.ones((3, 2)), sparse.eye_array(4))
