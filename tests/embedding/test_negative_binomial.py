"""The negative binomial likelihood against scipy's, and its gradient against finite differences."""

import numpy as np
import pytest
import torch
from scipy import stats

from pointillist.embedding._negative_binomial import log_likelihood


def stored(counts):
    spots, genes = np.nonzero(counts)
    return torch.from_numpy(counts[spots, genes].astype(float)), torch.from_numpy(spots), torch.from_numpy(genes)


@pytest.fixture(scope="module")
def case():
    draws = np.random.default_rng(0)
    mean = draws.gamma(0.5, 4.0, (7, 12))
    dispersion = np.exp(draws.normal(0, 2, 12))
    counts = draws.poisson(mean)
    counts[3] = 0
    return counts, mean, dispersion


def test_equals_scipy(case):
    counts, mean, dispersion = case
    ours = log_likelihood(*stored(counts), torch.tensor(mean).log(), torch.tensor(dispersion).log())
    theirs = stats.nbinom.logpmf(counts, dispersion, dispersion / (dispersion + mean)).sum(axis=1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_single_precision_is_enough_even_near_poisson(case):
    counts, mean, _ = case
    dispersion = np.full(12, 1e5)
    ours = log_likelihood(*stored(counts), torch.tensor(mean).log().float(), torch.tensor(dispersion).log().float())
    theirs = stats.nbinom.logpmf(counts, dispersion, dispersion / (dispersion + mean)).sum(axis=1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    np.testing.assert_allclose(ours, stats.poisson.logpmf(counts, mean).sum(axis=1), rtol=1e-3)


def test_gradient_is_right(case):
    counts, mean, dispersion = case
    log_mean = torch.tensor(mean).log().requires_grad_()
    log_dispersion = torch.tensor(dispersion).log().requires_grad_()
    assert torch.autograd.gradcheck(lambda *at: log_likelihood(*stored(counts), *at), (log_mean, log_dispersion))


def test_gradient_in_the_mean_in_closed_form(case):
    counts, mean, dispersion = case
    log_mean = torch.tensor(mean).log().requires_grad_()
    log_likelihood(*stored(counts), log_mean, torch.tensor(dispersion).log()).sum().backward()
    np.testing.assert_allclose(log_mean.grad, dispersion * (counts - mean) / (dispersion + mean), atol=1e-12)
