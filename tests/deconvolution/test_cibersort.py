"""CIBERSORT against the R original's own numbers, its definitions, and the null it claims."""

import logging

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from pointillist.deconvolution import _support_vectors, cibersort

ABSOLUTE = {"mode": "absolute"}
COEFFICIENTS = {"mode": "absolute", "absolute_scale": "coefficients"}


@pytest.fixture(scope="module")
def mixtures():
    rng = np.random.default_rng(5)
    R = rng.gamma(0.4, 20, (5, 80))
    P = rng.dirichlet(np.full(5, 0.5), 25)
    return rng.poisson(P @ R).astype(float), R, P


def read(path):
    return pd.read_csv(path, sep="\t", index_col=0)


@pytest.mark.parametrize(
    "mixture, oracle, options",
    [
        ("mixture", "exact_rel_perm0", {}),
        ("mixture_noisy", "noisy_rel_perm100_seed42", {}),
        ("mixture_noisy", "noisy_qn_rel_perm100", {"quantile_normalization": True}),
        ("mixture_noisy", "noisy_abs_perm100", ABSOLUTE),
        ("mixture_noisy", "noisy_absnosum_perm100", COEFFICIENTS),
    ],
)
def test_equals_the_original_up_to_its_tolerance(shared_data, mixture, oracle, options):
    signature = read(shared_data("cibersort/signature_matrix.tsv"))
    spots = read(shared_data(f"cibersort/{mixture}.tsv")).loc[signature.index].T.to_numpy()
    expected = read(shared_data(f"cibersort/oracle_{oracle}.tsv"))
    result = cibersort(spots, signature.T.to_numpy(), n_permutations=0, **options)
    value = result.proportions if result.abundance is None else result.abundance
    np.testing.assert_allclose(value, expected[signature.columns], atol=2e-3)
    np.testing.assert_allclose(result.fit["pearson"], expected["Correlation"], atol=5e-4)
    np.testing.assert_allclose(result.fit["rmse"], expected["RMSE"], atol=2e-3)
    if result.abundance is not None:
        score = expected.filter(like="Absolute score").to_numpy().ravel()
        # The score is a ratio of medians, which no solver enters; coefficients carry the original's tolerance.
        atol = 1e-12 if options == ABSOLUTE else 5e-3
        np.testing.assert_allclose(result.abundance.sum(axis=1), score, atol=atol)
    # Without the option the numbers are elsewhere.
    if options:
        assert np.abs(cibersort(spots, signature.T.to_numpy(), n_permutations=0).proportions - value).max() > 0.03


def test_every_spot_of_the_original_is_significant(shared_data):
    signature = read(shared_data("cibersort/signature_matrix.tsv"))
    spots = read(shared_data("cibersort/mixture_noisy.tsv")).loc[signature.index].T.to_numpy()
    expected = read(shared_data("cibersort/oracle_noisy_rel_perm100_seed42.tsv"))
    p_value = cibersort(spots, signature.T.to_numpy()).fit["p_value"]
    # The original's p is the share of the null above; ours adds one to both counts.
    np.testing.assert_allclose(p_value, (expected["P-value"] * 100 + 1) / 101, atol=1e-12)


def test_recovers_planted_proportions_and_not_with_a_shuffled_signature(mixtures):
    X, R, P = mixtures

    def mean_pearson(signature):
        estimate = cibersort(X, signature, n_permutations=0).proportions
        return np.nanmean([np.corrcoef(a, b)[0, 1] for a, b in zip(estimate, P)])

    assert mean_pearson(R) > 0.95
    assert mean_pearson(R[:, np.random.default_rng(0).permutation(R.shape[1])]) < 0.4


def test_absolute_scores_grow_with_the_cells_and_proportions_do_not(mixtures):
    X, R, _ = mixtures
    X = np.vstack([X, 3 * X[:5]])
    result = cibersort(X, R, n_permutations=0, **ABSOLUTE)
    np.testing.assert_allclose(result.abundance[25:], 3 * result.abundance[:5])
    np.testing.assert_allclose(result.proportions[25:], result.proportions[:5], atol=1e-9)
    np.testing.assert_allclose(result.abundance.sum(axis=1), np.median(X, axis=1) / max(np.median(X), 1))
    relative = cibersort(X, R, n_permutations=0)
    assert relative.abundance is None
    np.testing.assert_array_equal(relative.proportions, result.proportions)
    for scaled in (result, cibersort(X, R, n_permutations=0, **COEFFICIENTS)):
        np.testing.assert_allclose(
            scaled.abundance / scaled.abundance.sum(axis=1, keepdims=True), scaled.proportions, atol=1e-12
        )


def test_a_signature_score_of_zero_is_said(mixtures, caplog):
    X, R, _ = mixtures
    X = X.copy()
    X[:2] = np.where(X[:2] > np.quantile(X[:2], 0.55, axis=1, keepdims=True), X[:2], 0)
    with caplog.at_level(logging.WARNING):
        result = cibersort(sparse.csr_matrix(X), R, n_permutations=0, **ABSOLUTE)
    assert "0 in 2 of 25 spots" in caplog.text
    assert (result.abundance[:2] == 0).all()
    np.testing.assert_allclose(result.proportions[:2].sum(axis=1), 1)
    with pytest.raises(ValueError, match="coefficients"):
        cibersort(X[:2], R, n_permutations=0, **ABSOLUTE)


def test_quantile_normalization_shares_the_rank_among_ties(mixtures):
    X, R, _ = mixtures
    X = X.copy()
    X[3] *= 5
    ranks = pd.DataFrame(X.T).rank().to_numpy().T - 1
    target = np.sort(X, axis=1).mean(axis=0)
    normalized = np.interp(ranks, np.arange(X.shape[1]), target)
    expected = cibersort(normalized, R, n_permutations=9)
    for given in (X, sparse.csr_matrix(X)):
        result = cibersort(given, R, n_permutations=9, quantile_normalization=True)
        np.testing.assert_allclose(result.proportions, expected.proportions, atol=1e-9)
        np.testing.assert_allclose(result.fit["p_value"], expected.fit["p_value"])
    assert np.abs(cibersort(X, R, n_permutations=0).proportions - expected.proportions).max() > 0.01


def test_p_values_are_uniform_without_any_signature_cell_and_small_with_them(mixtures):
    rng = np.random.default_rng(6)
    R = rng.gamma(0.4, 20, (8, 80))
    noise = rng.negative_binomial(2, 0.2, (400, 80)).astype(float)
    p_noise = cibersort(sparse.csr_matrix(noise), R, n_permutations=1000).fit["p_value"]
    assert stats.kstest(p_noise, "uniform").pvalue > 0.05
    X, R, _ = mixtures
    p_mixture = cibersort(X, R, n_permutations=99).fit["p_value"]
    assert np.allclose(p_mixture, 0.01)
    assert stats.kstest(p_mixture, "uniform").pvalue < 1e-6


def test_p_and_q_values_by_their_definition(mixtures):
    X, R, _ = mixtures
    fit = cibersort(X, R, n_permutations=9).fit
    assert set(np.round(fit["p_value"] * 10).astype(int)) <= set(range(1, 11))
    np.testing.assert_allclose(fit["q_value"], stats.false_discovery_control(fit["p_value"]))
    assert {"p_value", "q_value"}.isdisjoint(cibersort(X, R, n_permutations=0).fit)


def same(first, second, rows=slice(None), atol=1e-9):
    np.testing.assert_allclose(first.proportions, second.proportions[rows], atol=atol)
    for name, value in first.fit.items():
        np.testing.assert_allclose(value, second.fit[name][rows], atol=atol, err_msg=name)


def test_order_storage_and_duplicates_make_no_difference(mixtures):
    _, R, P = mixtures
    rng = np.random.default_rng(7)
    X = rng.poisson(P @ R * 0.2).astype(float)  # p-values that are not all at their lowest
    X[:10] = rng.permuted(X[:10], axis=1)
    first = cibersort(X, R, n_permutations=50, seed=1)
    assert len(np.unique(first.fit["p_value"])) > 3
    spots, genes = rng.permutation(X.shape[0]), rng.permutation(X.shape[1])
    same(cibersort(X[spots], R, n_permutations=50, seed=1), first, spots)
    same(cibersort(X[:, genes], R[:, genes], n_permutations=50, seed=1), first)
    for store in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        same(cibersort(store(X), R, n_permutations=50, seed=1), first, atol=1e-12)
    explicit = sparse.csr_matrix(np.where(X == 0, 1.0, X))
    explicit.data[(X == 0).ravel()] = 0  # zeros that are stored
    same(cibersort(explicit, R, n_permutations=50, seed=1), first, atol=1e-12)
    twice = cibersort(np.vstack([X, X[::-1]]), R, n_permutations=50, seed=1)
    np.testing.assert_allclose(twice.proportions[:25], twice.proportions[:24:-1], atol=1e-9)
    again = cibersort(X, R, n_permutations=50, seed=1)
    np.testing.assert_array_equal(first.proportions, again.proportions)
    np.testing.assert_array_equal(first.fit["p_value"], again.fit["p_value"])
    assert (cibersort(X, R, n_permutations=50, seed=2).fit["p_value"] != first.fit["p_value"]).any()


def test_constant_spots_and_spots_that_no_type_fits(mixtures):
    X, R, _ = mixtures
    X = X.copy()
    X[2], X[4] = 0, 7
    X[6] = R.sum(axis=0).max() - R.sum(axis=0)
    for given in (X, sparse.csr_matrix(X)):
        result = cibersort(given, R, n_permutations=19, **COEFFICIENTS)
        for row in (2, 4):
            assert np.isnan(result.proportions[row]).all()
            assert all(np.isnan(value[row]) for value in result.fit.values())
        assert np.isnan(result.proportions[6]).all()
        assert np.isnan(result.fit["pearson"][6])
        assert result.fit["p_value"][6] == 1
        assert np.isfinite(result.proportions[[0, 1, 3, 5]]).all()


def test_spots_whose_optimum_is_no_cell_at_all_get_no_proportions():
    rng = np.random.default_rng(9)
    R = rng.gamma(0.5, 20, (5, 200))
    X = rng.poisson(rng.dirichlet(np.ones(5), 10) @ R * 0.004).astype(float)
    assert (X == 0).mean() > 0.9
    result = cibersort(X, R, n_permutations=9)
    assert np.isnan(result.proportions).all()
    assert (result.fit["p_value"] == 1).all()


def test_a_fit_that_does_not_converge_is_no_result(mixtures, monkeypatch):
    X, R, _ = mixtures
    monkeypatch.setattr(_support_vectors, "_MAX_ITERATIONS", 3)
    with pytest.raises(RuntimeError, match="25 of 25 spots"):
        cibersort(X, R)


def test_long_runs_tell_how_far_they_are(mixtures, monkeypatch, caplog):
    X, R, _ = mixtures
    monkeypatch.setitem(cibersort.__globals__, "_LOG_SECONDS", -1)
    with caplog.at_level(logging.INFO, logger="pointillist"):
        cibersort(X, R, n_permutations=7)
    assert "25 of 25 spots" in caplog.text
    assert "7 of 7 permutations" in caplog.text


@pytest.mark.parametrize(
    "options, message",
    [
        ({"nu": (0.5, 1.5)}, "nu is"),
        ({"nu": (0.0,)}, "nu is"),
        ({"nu": ()}, "nu is"),
        ({"n_permutations": -1}, "n_permutations is -1"),
        ({"n_permutations": 2.5}, "n_permutations is 2.5"),
        ({"mode": "both"}, "mode is 'both', expected one of relative, absolute"),
        ({"absolute_scale": "median"}, "absolute_scale is 'median'"),
    ],
)
def test_refuses_options_outside_their_range(mixtures, options, message):
    X, R, _ = mixtures
    with pytest.raises(ValueError, match=message):
        cibersort(X, R, **options)


def test_refuses_a_signature_that_is_constant_and_values_below_zero(mixtures):
    X, R, _ = mixtures
    with pytest.raises(ValueError, match="constant"):
        cibersort(X, np.ones_like(R))
    with pytest.raises(ValueError, match="negative"):
        cibersort(X - 5, R)
    with pytest.raises(ValueError, match="genes"):
        cibersort(X[:, 1:], R)
