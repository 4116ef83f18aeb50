"""CIBERSORT against the R original's own numbers, libsvm, and the null it claims."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from pointillist.deconvolution import cibersort


@pytest.fixture(scope="module")
def mixtures():
    rng = np.random.default_rng(5)
    R = rng.gamma(0.4, 20, (5, 80))
    P = rng.dirichlet(np.full(5, 0.5), 25)
    return rng.poisson(P @ R).astype(float), R, P


def read(path):
    return pd.read_csv(path, sep="\t", index_col=0)


@pytest.mark.parametrize(
    "mixture, oracle", [("mixture", "exact_rel_perm0"), ("mixture_noisy", "noisy_rel_perm100_seed42")]
)
def test_equals_the_original_at_its_tolerance(shared_data, mixture, oracle):
    signature = read(shared_data("cibersort/signature_matrix.tsv"))
    spots = read(shared_data(f"cibersort/{mixture}.tsv")).loc[signature.index]
    expected = read(shared_data(f"cibersort/oracle_{oracle}.tsv"))[:6]
    result = cibersort(spots.T.to_numpy()[:6], signature.T.to_numpy(), n_permutations=0, tolerance=1e-3)
    np.testing.assert_allclose(result.proportions, expected[signature.columns], atol=1e-10)
    np.testing.assert_allclose(result.fit["pearson"], expected["Correlation"], atol=1e-10)
    np.testing.assert_allclose(result.fit["rmse"], expected["RMSE"], atol=1e-10)


def test_a_tighter_tolerance_stays_near_the_original(shared_data):
    signature = read(shared_data("cibersort/signature_matrix.tsv"))
    spots = read(shared_data("cibersort/mixture.tsv")).loc[signature.index]
    expected = read(shared_data("cibersort/oracle_exact_rel_perm0.tsv"))[signature.columns].to_numpy()
    result = cibersort(spots.T.to_numpy()[:4], signature.T.to_numpy(), n_permutations=0, tolerance=1e-5)
    assert 1e-6 < np.abs(result.proportions - expected[:4]).max() < 2e-3


def test_recovers_planted_proportions_and_not_with_a_shuffled_signature(mixtures):
    X, R, P = mixtures

    def mean_pearson(signature):
        estimate = cibersort(X, signature, n_permutations=0).proportions
        return np.nanmean([np.corrcoef(a, b)[0, 1] for a, b in zip(estimate, P)])

    assert mean_pearson(R) > 0.95
    assert mean_pearson(R[:, np.random.default_rng(0).permutation(R.shape[1])]) < 0.4


def test_p_values_are_small_on_mixtures_and_uniform_without_any_signature_cell(mixtures):
    X, R, _ = mixtures
    rng = np.random.default_rng(6)
    noise = rng.permuted(np.repeat(X, 8, axis=0), axis=1)
    p_mixture = cibersort(X, R, n_permutations=99, nu=(0.5,), tolerance=1e-3).fit["p_value"]
    p_noise = cibersort(noise, R, n_permutations=300, nu=(0.5,), tolerance=1e-3).fit["p_value"]
    assert np.allclose(p_mixture, 0.01)
    # Mixtures that no cell type fits are tied at p = 1, as they are in the null.
    assert stats.kstest(p_noise[p_noise < 1], "uniform", args=(0, p_noise[p_noise < 1].max())).pvalue > 0.01
    assert stats.kstest(p_mixture, "uniform").pvalue < 1e-6


def test_p_and_q_values_by_their_definition(mixtures):
    X, R, _ = mixtures
    fit = cibersort(X, R, n_permutations=9, nu=(0.5,), tolerance=1e-3).fit
    assert set(np.round(fit["p_value"] * 10).astype(int)) <= set(range(1, 11))
    np.testing.assert_allclose(fit["q_value"], stats.false_discovery_control(fit["p_value"]))


def test_seed_sparse_and_empty_spots(mixtures):
    X, R, _ = mixtures
    X = X[:4].copy()
    X[2] = 0
    options = {"n_permutations": 5, "nu": (0.5,), "tolerance": 1e-3}
    first = cibersort(X, R, seed=1, **options)
    again = cibersort(X, R, seed=1, **options)
    csr = cibersort(sparse.csr_matrix(X), R, seed=1, **options)
    np.testing.assert_array_equal(first.proportions, again.proportions)
    np.testing.assert_array_equal(first.fit["p_value"], again.fit["p_value"])
    np.testing.assert_allclose(first.proportions, csr.proportions, atol=1e-12)
    assert np.isnan(first.proportions[2]).all()
    assert np.isnan(first.fit["p_value"][2])


def test_refuses_nu_outside_its_range(mixtures):
    X, R, _ = mixtures
    with pytest.raises(ValueError, match="nu is"):
        cibersort(X, R, nu=(0.5, 1.5))
