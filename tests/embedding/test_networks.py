"""The parts of the loss against torch.distributions, scipy, and numerical integration over the latent space."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from pointillist.embedding._networks import VariationalAutoencoder, divergence_from_prior
from pointillist.embedding._training import Spots, torch_generator


@pytest.fixture(scope="module")
def spots(grouped):
    counts = grouped[0][:6]
    return Spots(counts, counts.log1p(), np.array([0, 1, 0, 1, 2, 2]), np.arange(6))


def network_of(n_latent, seed=0, n_batches=3):
    draws = np.random.default_rng(seed)
    network = VariationalAutoencoder(
        *(n_latent, 16, 2, n_batches),
        torch.tensor(np.log(draws.dirichlet(np.ones(200))), dtype=torch.float32),
        torch.tensor(draws.normal(size=200), dtype=torch.float32),
        torch_generator(seed, "test"),
    )
    with torch.no_grad():
        network.output.weight.mul_(20)  # so that the latent matters
    return network


def test_divergence_equals_torch_distributions():
    draws = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn((2, 50, 7), generator=draws, dtype=torch.float64)
    posterior = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    prior = torch.distributions.Normal(torch.zeros(7, dtype=torch.float64), torch.ones(7, dtype=torch.float64))
    theirs = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    torch.testing.assert_close(divergence_from_prior(mean, log_variance), theirs, rtol=1e-12, atol=1e-12)
    assert divergence_from_prior(torch.zeros(1, 7), torch.zeros(1, 7)).item() == 0


def test_reconstruction_is_the_likelihood_of_the_decoded_profile(spots, grouped):
    network, chosen = network_of(3), spots.take(np.arange(6))
    noise = torch.randn((6, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean, log_variance = network.encode(chosen.expression, chosen.batch)
        shares = network.decode(mean + torch.exp(log_variance / 2) * noise, chosen.batch).exp().double().numpy()
        loss = network.loss(chosen, noise)
    counts = grouped[0][:6].toarray()
    means = counts.sum(axis=1, keepdims=True) * shares
    dispersion = network.log_dispersion.detach().double().exp().numpy()
    theirs = stats.nbinom.logpmf(counts, dispersion, dispersion / (dispersion + means)).sum(axis=1)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(loss.reconstruction, -theirs, rtol=1e-5)


def test_elbo_is_the_evidence_less_the_gap_of_the_posterior(spots):
    """With one latent dimension all integrals can be done on a grid: ELBO = log p(x) - KL(q ‖ p(z | x))."""
    network, row = network_of(1), spots.take(np.array([0]))
    grid = np.linspace(-12, 12, 2001)
    width = grid[1] - grid[0]
    with torch.no_grad():
        mean, log_variance = (value.double().item() for value in network.encode(row.expression, row.batch))
        deviation = np.exp(log_variance / 2)
        noise = torch.tensor((grid - mean) / deviation, dtype=torch.float32)[:, None]
        losses = [network.loss(row, at[None]) for at in noise]
    likelihood = -np.array([loss.reconstruction.item() for loss in losses])
    posterior = stats.norm.logpdf(grid, mean, deviation)
    joint = likelihood + stats.norm.logpdf(grid)
    evidence = logsumexp(joint) + np.log(width)
    elbo = (np.exp(posterior) * likelihood).sum() * width - losses[0].kl.item()
    gap = (np.exp(posterior) * (posterior - (joint - evidence))).sum() * width
    assert gap > 1e-3
    assert elbo == pytest.approx(evidence - gap, abs=1e-3)


def test_batch_changes_the_decoded_profile_and_one_batch_has_no_indicator(spots, grouped):
    network, latent = network_of(2), torch.zeros(2, 2)
    first, second = network.decode(latent, torch.eye(3)[:2])
    assert not torch.allclose(first, second)
    single = Spots(grouped[0][:6], grouped[0][:6].log1p(), np.zeros(6, dtype=int), np.arange(6))
    assert single.take(np.arange(3)).batch.shape == (3, 0)


def test_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, other, third = network_of(2, seed=0), network_of(2, seed=0), network_of(2, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name])
    assert not torch.equal(one.mean.weight, third.mean.weight)
    assert one.encoder.linears[0].weight.abs().max() <= 1 / np.sqrt(203)
