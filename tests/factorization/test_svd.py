"""Truncated SVD against the full SVD of numpy (simulated matrices and starmap)."""

import numpy as np
import pytest
from scipy import sparse

from pointillist.factorization import truncated_svd


@pytest.fixture(scope="module")
def sparse_counts():
    draws = np.random.default_rng(1)
    means = draws.gamma(0.3, 1.0, (120, 6)) @ draws.gamma(0.3, 1.0, (6, 80))
    return sparse.csr_matrix(np.log1p(draws.poisson(means)))


@pytest.mark.parametrize("n_factors", [1, 5, 39, 40, 80])
def test_error_is_the_tail_of_the_full_svd(sparse_counts, n_factors):
    fit = truncated_svd(sparse_counts, n_factors)
    values = np.linalg.svd(sparse_counts.toarray(), compute_uv=False)
    error = np.linalg.norm(sparse_counts.toarray() - fit.usage @ fit.loadings) ** 2
    tail = np.sum(values[n_factors:] ** 2)
    total = np.sum(values**2)
    assert error == pytest.approx(tail, rel=1e-9, abs=1e-12 * total)
    assert fit.loss[-1] == pytest.approx(tail, rel=1e-9, abs=1e-12 * total)
    assert len(fit.loss) == n_factors
    np.testing.assert_allclose(np.linalg.norm(fit.usage, axis=0), values[:n_factors], rtol=1e-9, atol=1e-12)
    assert fit.explained == pytest.approx(1 - tail / total, abs=1e-12)


def test_no_other_factors_of_the_rank_come_closer(sparse_counts):
    fit = truncated_svd(sparse_counts, 4)
    draws = np.random.default_rng(0)
    for scale in (1e-1, 1e-2, 1e-3):
        usage = fit.usage + scale * draws.standard_normal(fit.usage.shape)
        loadings = fit.loadings + scale * draws.standard_normal(fit.loadings.shape)
        assert np.linalg.norm(sparse_counts - usage @ loadings) ** 2 > fit.loss[-1]


def test_factors_are_orthonormal_ordered_and_sign_fixed(sparse_counts):
    fit = truncated_svd(sparse_counts, 6)
    np.testing.assert_allclose(fit.loadings @ fit.loadings.T, np.eye(6), atol=1e-10)
    lengths = np.linalg.norm(fit.usage, axis=0)
    assert (np.diff(lengths) < 0).all()
    largest = np.abs(fit.loadings).argmax(axis=1)
    assert (fit.loadings[np.arange(6), largest] > 0).all()
    np.testing.assert_allclose(fit.share, lengths**2 / np.sum(lengths**2), rtol=1e-9)


def test_same_bytes_for_a_seed_and_same_result_for_any(sparse_counts):
    once, again, other = (truncated_svd(sparse_counts, 6, seed=seed) for seed in (3, 3, 4))
    assert once.usage.tobytes() == again.usage.tobytes()
    assert once.loadings.tobytes() == again.loadings.tobytes()
    np.testing.assert_allclose(once.usage, other.usage, atol=1e-9)


def test_order_of_spots_and_storage_do_not_matter(sparse_counts):
    order = np.random.default_rng(0).permutation(sparse_counts.shape[0])
    fit = truncated_svd(sparse_counts, 5)
    moved = truncated_svd(sparse_counts[order], 5)
    np.testing.assert_allclose(moved.usage, fit.usage[order], atol=1e-9)
    for stored in (sparse_counts.toarray(), sparse_counts.tocsc(), sparse_counts.astype(np.float64).tocoo()):
        np.testing.assert_allclose(truncated_svd(stored, 5).usage, fit.usage, atol=1e-12)


def test_real_spots(shared_data):
    import anndata

    counts = anndata.read_h5ad(shared_data("starmap/spots.h5ad")).X
    fit = truncated_svd(counts.log1p(), 10)
    values = np.linalg.svd(counts.log1p().toarray().astype(float), compute_uv=False)
    assert fit.loss[-1] == pytest.approx(np.sum(values[10:] ** 2), rel=1e-6)


@pytest.mark.parametrize(
    ("matrix", "n_factors", "message"),
    [
        (np.array([[1.0, np.nan], [1.0, 2.0]]), 1, "NaN or infinite"),
        (np.ones(3), 1, "1 dimensions"),
        (np.ones((3, 2)), 3, "from 1 to 2"),
        (np.ones((3, 2)), 0, "from 1 to 2"),
        (np.ones((3, 2)), 1.5, "whole number"),
        (np.zeros((3, 2)), 1, "no value other than zero"),
    ],
)
def test_unfit_input_is_refused(matrix, n_factors, message):
    with pytest.raises(ValueError, match=message):
        truncated_svd(matrix, n_factors)


def test_input_is_left_as_it_was():
    matrix = sparse.csr_matrix(([1.0, 0.0, 2.0], [1, 0, 0], [0, 2, 3]), shape=(2, 2))
    truncated_svd(matrix, 1)
    assert matrix.data.tolist() == [1.0, 0.0, 2.0]
    assert matrix.indices.tolist() == [1, 0, 0]
