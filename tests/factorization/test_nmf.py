"""NMF against scikit-learn, the conditions of an optimum, and planted factors (our simulator; starmap)."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import non_negative_factorization

from pointillist.factorization import nmf, truncated_svd
from pointillist.factorization._hals import fit_frobenius
from pointillist.factorization._kullback_leibler import fit_kullback_leibler
from pointillist.factorization.nmf import nndsvd


def squared_error(X, usage, loadings):
    return np.linalg.norm(X.toarray() - usage @ loadings) ** 2


def divergence(X, usage, loadings):
    dense, fitted = X.toarray(), usage @ loadings
    logs = np.where(dense > 0, dense * np.log(np.where(dense > 0, dense, 1) / np.maximum(fitted, 1e-300)), 0)
    return (logs - dense + fitted).sum()


def random_start(shape, n_factors, seed):
    draws = np.random.default_rng(seed)
    return draws.random((n_factors, shape[0])), draws.random((n_factors, shape[1]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_squared_loss_is_not_above_scikit_learns_from_the_same_start(planted, seed):
    X = sparse.csr_array(planted[2].log1p())
    usage, loadings = random_start(X.shape, 4, seed)
    fit = fit_frobenius(X, usage, loadings, max_iter=2000, tolerance=1e-5)
    theirs, theirs_loadings, _ = non_negative_factorization(
        X, usage.T.copy(), loadings.copy(), n_components=4, init="custom", solver="cd", tol=1e-7, max_iter=3000
    )
    assert fit.converged
    assert fit.loss[-1] <= squared_error(X, theirs, theirs_loadings) * (1 + 1e-4)


def test_divergence_is_not_above_scikit_learns_from_the_same_start(planted):
    X = sparse.csr_array(planted[2])
    usage, loadings = random_start(X.shape, 4, 0)
    fit = fit_kullback_leibler(X, usage, loadings, max_iter=100, tolerance=1e-12)
    theirs, theirs_loadings, _ = non_negative_factorization(
        X, usage.T.copy(), loadings.copy(), n_components=4, init="custom", solver="mu",
        beta_loss="kullback-leibler", tol=0, max_iter=100,
    )  # fmt: skip
    assert fit.loss[-1] <= divergence(X, theirs, theirs_loadings) * (1 + 1e-4)


@pytest.mark.parametrize(("loss", "by_hand"), [("frobenius", squared_error), ("kullback_leibler", divergence)])
def test_loss_is_exact_and_never_rises(planted, loss, by_hand):
    X = planted[2]
    fit = nmf(X, 4, loss=loss, max_iter=300)
    assert fit.loss[-1] == pytest.approx(by_hand(X, fit.usage, fit.loadings), rel=1e-9)
    assert (np.diff(fit.loss) <= 1e-12 * fit.loss[0]).all()
    assert fit.explained == pytest.approx(1 - squared_error(X, fit.usage, fit.loadings) / (X.data @ X.data), abs=1e-9)


def test_residual_is_the_projected_gradient_relative_to_the_start(planted):
    """By hand, components being split evenly between their halves."""
    X = sparse.csr_array(planted[2].log1p())

    def by_hand(usage, loadings):
        scale = np.sqrt(np.linalg.norm(loadings, axis=1) / np.linalg.norm(usage, axis=1))[:, None]
        usage, loadings = usage * scale, loadings / scale
        error = usage.T @ loadings - X.toarray()
        total = 0.0
        for factor, gradient in ((usage, loadings @ error.T), (loadings, usage @ error)):
            held = (factor == 0) & (gradient > 0)
            total += (gradient[~held] ** 2).sum()
        return np.sqrt(total)

    usage, loadings = nndsvd(X, 4)
    for max_iter in (1, 5, 30):
        fit = fit_frobenius(X, usage, loadings, max_iter, tolerance=1e-12)
        assert (fit.loadings == 0).any()
        assert fit.residual == pytest.approx(by_hand(fit.usage, fit.loadings) / by_hand(usage, loadings), rel=1e-6)


@pytest.mark.parametrize("init", ["nndsvd", "random"])
def test_conditions_of_an_optimum_hold(planted, init):
    X = planted[2].log1p().toarray()
    fit = nmf(X, 4, init=init, tolerance=1e-8, max_iter=20000)
    assert fit.converged
    error = fit.usage @ fit.loadings - X
    for factor, gradient in ((fit.usage, error @ fit.loadings.T), (fit.loadings, fit.usage.T @ error)):
        scale = np.abs(X).sum() / factor.sum()
        assert (factor >= 0).all()
        assert np.abs(gradient[factor > 0]).max() < 1e-4 * scale
        assert gradient[factor == 0].min(initial=0) > -1e-4 * scale


@pytest.mark.parametrize("loss", ["frobenius", "kullback_leibler"])
def test_planted_factors_are_found_and_not_in_shuffled_counts(planted, shuffled, matched_correlation, loss):
    usage, loadings, X = planted
    fit = nmf(X, 4, loss=loss, max_iter=200)
    assert matched_correlation(fit.loadings, loadings) > 0.97
    assert matched_correlation(fit.usage.T, usage.T) > 0.97
    control = nmf(shuffled, 4, loss=loss, max_iter=200)
    assert matched_correlation(control.loadings, loadings) < 0.8
    assert matched_correlation(control.usage.T, usage.T) < 0.5
    assert control.explained < fit.explained - 0.1


def test_factors_are_profiles_in_order_of_their_share(planted):
    fit = nmf(planted[2], 4)
    np.testing.assert_allclose(fit.loadings.sum(axis=1), 1)
    assert (np.diff(fit.share) <= 0).all()
    np.testing.assert_allclose(fit.share, fit.usage.sum(axis=0) / fit.usage.sum())


def test_a_factor_too_many_is_empty_or_harmless():
    X = np.outer([1.0, 2.0, 3.0, 1.0], [1.0, 2.0, 1.0])
    fit = nmf(X, 2, tolerance=1e-8)
    np.testing.assert_allclose(fit.usage @ fit.loadings, X, atol=1e-6)
    assert np.isfinite(fit.usage).all() and fit.share.sum() == pytest.approx(1)


def test_non_negative_factors_cannot_beat_the_svd(planted):
    X = planted[2].log1p()
    assert nmf(X, 4).loss[-1] > truncated_svd(X, 4).loss[-1]


def test_same_bytes_for_a_seed_and_other_starts_for_another(planted):
    X = planted[2]
    once, again, other = (nmf(X, 4, init="random", max_iter=3, seed=seed) for seed in (3, 3, 4))
    assert once.usage.tobytes() == again.usage.tobytes()
    assert once.loadings.tobytes() == again.loadings.tobytes()
    assert not np.allclose(once.loss, other.loss, rtol=1e-6)


def test_of_several_starts_the_lowest_loss_is_kept(planted):
    X = planted[2].log1p()
    starts = [nmf(X, 6, init="random", n_starts=n, max_iter=20, seed=5).loss[-1] for n in (1, 2, 3, 4)]
    assert all(later <= earlier for earlier, later in pairwise(starts))
    several = nmf(X, 6, init="random", n_starts=4, max_iter=20, seed=5)
    assert several.loss[-1] < starts[0]
    assert several.start > 0


def test_order_of_genes_and_storage_do_not_matter(planted):
    X = planted[2]
    order = np.random.default_rng(0).permutation(X.shape[1])
    fit, moved = nmf(X, 4, tolerance=1e-7), nmf(X[:, order], 4, tolerance=1e-7)
    np.testing.assert_allclose(moved.loadings, fit.loadings[:, order], atol=1e-5)
    np.testing.assert_allclose(nmf(X.toarray(), 4, tolerance=1e-7).usage, fit.usage, rtol=1e-6, atol=1e-6)


def test_nndsvd_is_the_heavier_part_of_each_singular_vector(planted):
    X = sparse.csr_array(planted[2])
    usage, loadings = nndsvd(X, 4)
    left, values, right = np.linalg.svd(X.toarray(), full_matrices=False)
    np.testing.assert_allclose(  # the first singular vectors are of one sign, so that the start is they themselves
        np.outer(usage[0], loadings[0]), values[0] * np.outer(left[:, 0], right[0]), atol=1e-8 * values[0]
    )
    for k in range(1, 4):
        product = values[k] * np.outer(left[:, k], right[k])
        same_sign = np.where(np.outer(usage[k] > 0, loadings[k] > 0), product, 0)
        np.testing.assert_allclose(np.outer(usage[k], loadings[k]), same_sign, atol=1e-8 * values[0])
    assert (nndsvd(X, 4, fill=True)[0] > 0).all()


def test_reaching_max_iter_is_said(planted, caplog):
    with caplog.at_level(logging.WARNING, logger="pointillist"):
        fit = nmf(planted[2], 4, max_iter=2)
    assert not fit.converged and len(fit.loss) == 2
    assert "max_iter = 2" in caplog.text


def test_real_spots(shared_data):
    import anndata

    X = anndata.read_h5ad(shared_data("starmap/spots.h5ad")).X.astype(float).log1p()
    fit = nmf(X, 10)
    assert fit.converged
    assert fit.loss[-1] == pytest.approx(squared_error(X, fit.usage, fit.loadings), rel=1e-9)
    assert truncated_svd(X, 10).explained > fit.explained > truncated_svd(X, 5).explained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "loss is 'hinge'; expected one of frobenius, kullback_leibler"),
        ({"init": "zeros"}, "init is 'zeros'"),
        ({"n_starts": 0}, "n_starts is 0"),
        ({"max_iter": 2.5}, "max_iter is 2.5"),
        ({"tolerance": 0}, "tolerance is 0"),
        ({"n_factors": 151}, "from 1 to 150"),
    ],
)
def test_unfit_options_are_refused(planted, options, message):
    with pytest.raises(ValueError, match=message):
        nmf(planted[2], **{"n_factors": 4, **options})


def test_negative_values_are_refused_with_their_rows():
    with pytest.raises(ValueError, match=r"X with negative values: 2 of them, in 2 spots, the first in rows 1, 2"):
        nmf(np.array([[1.0, 2.0], [-1.0, 0.0], [0.0, -3.0]]), 1)
