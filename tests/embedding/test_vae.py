"""The autoencoder against closed forms, a mean-profile model, and planted groups (of our own making)."""

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from pointillist.embedding import fit, vae
from pointillist.embedding._negative_binomial import log_likelihood
from pointillist.embedding._networks import VariationalAutoencoder, kl_to_standard_normal


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.5, 1, (4, 80))
    labels = np.repeat(np.arange(4), 60)
    rates = profiles[labels] / profiles.sum(1)[labels][:, None] * rng.lognormal(6, 0.4, (240, 1))
    counts = rng.negative_binomial(5, 5 / (5 + rates))
    return sparse.csr_matrix(counts[:, counts.sum(0) > 0]), labels


@pytest.fixture(scope="module")
def trained(groups):
    return vae(groups[0], epochs=150, n_latent=5, seed=1)


def test_likelihood_equals_scipys():
    rng = np.random.default_rng(1)
    counts, mean, theta = rng.poisson(4, (6, 5)), rng.gamma(2, 3, (6, 5)), rng.gamma(2, 2, 5)
    tensors = (torch.tensor(values, dtype=torch.float64) for values in (counts, np.log(mean), np.log(theta)))
    expected = stats.nbinom.logpmf(counts, theta, theta / (theta + mean))
    np.testing.assert_allclose(log_likelihood(*tensors).numpy(), expected, rtol=1e-9)


def test_divergence_equals_torchs():
    mean, log_variance = torch.randn(7, 3), torch.randn(7, 3)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    ).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    model = VariationalAutoencoder(torch.full((4,), 0.25), 2, 3).double()
    counts = torch.tensor([[1.0, 0.0, 3.0, 2.0]], dtype=torch.float64)
    noise, library = torch.randn(1, 2, dtype=torch.float64), torch.tensor([[np.log(6.0)]])

    def loss(latent_bias):
        model.mean.bias.data.zero_()
        hidden = model.encoder(counts.log1p())
        mean, log_variance = model.mean(hidden) + latent_bias, model.log_variance(hidden)
        log_mean = model.decode(mean + noise * (0.5 * log_variance).exp(), library)
        likelihood = log_likelihood(counts, log_mean, model.log_dispersion).sum()
        return kl_to_standard_normal(mean, log_variance).sum() - likelihood

    assert torch.autograd.gradcheck(loss, torch.randn(2, dtype=torch.float64, requires_grad=True))


def test_held_out_spots_are_explained_better_than_by_the_mean_profile(groups, trained):
    # At its start the decoder is nearly the mean profile.
    losses = trained.losses
    assert losses["validation_loss"].min() < 0.93 * losses["validation_loss"].iloc[0]
    assert losses["validation_loss"].idxmin() + 1 == trained.best_epoch
    total = losses["validation_reconstruction"] + losses["validation_kl"]
    np.testing.assert_allclose(losses["validation_loss"], total)


def test_shuffled_genes_hold_nothing_to_be_learnt(groups):
    dense = groups[0].toarray()
    shuffled = np.random.default_rng(0).permuted(dense, axis=0)
    losses = vae(sparse.csr_matrix(shuffled), epochs=60, n_latent=5, seed=1).losses
    assert losses["validation_loss"].min() > 0.97 * losses["validation_loss"].iloc[0]


def test_planted_groups_are_neighbours_in_the_latent_space(groups, trained):
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    labels = groups[1]
    order = np.random.default_rng(0).permutation(len(labels))

    def accuracy(target):
        return cross_val_score(KNeighborsClassifier(5), trained.latent[order], target[order], cv=4).mean()

    assert accuracy(labels) > 0.97
    assert accuracy(np.random.default_rng(1).permutation(labels)) < 0.45


def test_the_same_seed_gives_the_same_bytes_and_leaves_others_draws_alone(groups):
    options = {"epochs": 5, "n_latent": 3, "n_hidden": 16}
    before = torch.random.get_rng_state()
    first = vae(groups[0], seed=3, **options).latent
    assert vae(groups[0], seed=3, **options).latent.tobytes() == first.tobytes()
    assert vae(groups[0], seed=4, **options).latent.tobytes() != first.tobytes()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_number_of_threads_matters_by_rounding_alone(groups):
    options = {"epochs": 5, "n_latent": 3, "n_hidden": 16, "seed": 3}
    threads = torch.get_num_threads()
    results = []
    for number in (1, 2):
        torch.set_num_threads(number)
        results.append(vae(groups[0], **options).latent)
    torch.set_num_threads(threads)
    np.testing.assert_allclose(results[0], results[1], atol=1e-3)


def test_a_loss_that_is_not_finite_names_epoch_and_spots(groups):
    with pytest.raises(ValueError, match=r"not finite in epoch \d+, for \d+ spots of a batch \(rows \["):
        vae(groups[0], epochs=50, learning_rate=1e18)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: x * 0.5, "whole numbers"),
        (lambda x: -x, "negative"),
        (lambda x: x.multiply(np.r_[0, np.ones(x.shape[0] - 1)][:, None]), "first: row 0"),
        (lambda x: x[:5], "too few"),
    ],
)
def test_refuses_what_is_no_count(groups, change, message):
    with pytest.raises(ValueError, match=message):
        vae(sparse.csr_matrix(change(groups[0])), epochs=1)


def test_models_are_found_by_name(groups):
    result = fit("vae", groups[0], options={"epochs": 2, "n_hidden": 8}, seed=1)
    assert not result.converged
    assert list(result.losses["epoch"]) == [1, 2]
    with pytest.raises(ValueError, match="no model 'vea'"):
        fit("vea", groups[0])
