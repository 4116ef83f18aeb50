"""Domains on planted clusters; the baseline against a loop; the records import without torch."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from pointillist.embedding import neighbour_mean, spatial_domains


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [90, 60, 30])
    return np.array([[0, 0, 0], [6, 0, 0], [0, 6, 3]])[labels] + rng.normal(size=(180, 3)), labels


def test_planted_clusters_and_their_number_are_found(clusters):
    latent, labels = clusters
    found = spatial_domains(latent)
    assert adjusted_rand_score(labels, found) > 0.95
    assert np.bincount(found).tolist() == sorted(np.bincount(found), reverse=True)
    assert adjusted_rand_score(np.random.default_rng(0).permutation(labels), found) < 0.1


def test_the_order_of_spots_does_not_matter(clusters):
    latent, _ = clusters
    order = np.random.default_rng(1).permutation(len(latent))
    assert adjusted_rand_score(spatial_domains(latent, 3)[order], spatial_domains(latent[order], 3)) == 1


def test_refuses_more_domains_than_spots_and_nan():
    with pytest.raises(ValueError, match="5 domains for 3 spots"):
        spatial_domains(np.zeros((3, 2)), 5)
    with pytest.raises(ValueError, match="not finite"):
        spatial_domains(np.full((30, 2), np.nan))


def test_neighbour_mean_equals_a_loop():
    rng = np.random.default_rng(0)
    graph = np.triu(rng.random((12, 12)) < 0.3, 1)
    graph = graph | graph.T
    latent = rng.normal(size=(12, 4))
    expected = [latent[[s, *np.flatnonzero(graph[s])]].mean(axis=0) for s in range(12)]
    np.testing.assert_allclose(neighbour_mean(latent, sparse.csr_matrix(graph)), expected)


def test_records_are_known_without_torch():
    code = "import sys, pointillist.embedding; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
