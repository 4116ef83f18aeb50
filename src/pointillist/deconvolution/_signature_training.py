"""Training of the signature-guided variational autoencoder: scored on held-out counts, the best state kept."""

import logging
from contextlib import contextmanager
from copy import deepcopy
from time import monotonic
from typing import NamedTuple

import numpy as np
import torch

from pointillist.deconvolution._signature_networks import SignatureNetwork
from pointillist.embedding._training import refuse_non_finite, torch_generator
from pointillist.metrics import row_pearson
from pointillist.seeds import seed_for

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0
ROWS_AT_ONCE = 1024  # when nothing is to be learnt
STEPS_PER_EPOCH = 8  # at least: small samples need as many steps as large ones


class Restart(NamedTuple):
    """A network in its best state, with that state's epoch and score, and the score of every epoch."""

    network: SignatureNetwork
    best_epoch: int
    best_score: float
    scores: list


def train(network, sample, held_out, log_ratio, *, epochs, batch_size, learning_rate, patience, seed, restart):
    """Train in place until the likelihood of held-out counts has not risen for `patience` epochs; keep the best state.

    Parameters
    ----------
    network : SignatureNetwork
    sample, held_out : Sample
        The same spots with the counts to train on, and with those held out.
    log_ratio : float
        Logarithm of the share held out over the share that is not.
    seed, restart : int

    Returns
    -------
    Restart

    Raises
    ------
    InputError
        The loss of a spot is NaN or infinite, or no epoch had a finite score.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    draws = torch_generator(seed, "signature_vae", "training", restart)
    # Parts of one size: a last part of a few spots would move the weights as far as any other.
    n_steps = min(max(-(-len(sample) // batch_size), STEPS_PER_EPOCH), len(sample))
    scores, best, best_epoch, best_score, spoken = [], None, 0, -np.inf, monotonic()
    with dirichlet_draws(seed, "training", restart):
        for epoch in range(1, epochs + 1):
            total = 0.0
            for rows in torch.randperm(len(sample), generator=draws).tensor_split(n_steps):
                rows = rows.numpy()
                loss = network.loss(sample.take(rows), network.count_terms(sample), draws)
                refuse_non_finite(loss, epoch, sample.names[rows], learning_rate)
                mean = sum(loss).mean()
                optimizer.zero_grad()
                mean.backward()
                optimizer.step()
                total += mean.item() * len(rows)
            likelihood = held_out_likelihood(network, sample, held_out, log_ratio)
            refuse_non_finite(Score(likelihood), epoch, sample.names, learning_rate)
            scores.append(likelihood.mean().item())
            if scores[-1] > best_score:
                best, best_score, best_epoch = deepcopy(network.state_dict()), scores[-1], epoch
            if monotonic() - spoken > SECONDS_BETWEEN_LINES:
                spoken = monotonic()
                logger.info(
                    "restart %d, epoch %d of %d at most: ELBO %.1f, held-out likelihood %.3f (best %.3f in epoch %d)",
                    *(restart, epoch, epochs, -total / len(sample), scores[-1], best_score, best_epoch),
                )
            if epoch - best_epoch >= patience:
                break
    network.load_state_dict(best)
    return Restart(network, best_epoch, best_score, scores)


class Score(NamedTuple):
    """What restarts and epochs are chosen by, of each spot."""

    held_out: torch.Tensor


def held_out_likelihood(network, sample, held_out, log_ratio):
    """Log-likelihood of each spot's held-out counts at the posterior means that the other counts give."""
    values = []
    with torch.no_grad():
        terms = network.count_terms(held_out)
        for rows in chunks(len(sample)):
            log_mean = network.at_means(sample.take(rows))[1] + log_ratio
            values.append(network.log_likelihood(held_out.take(rows), terms, log_mean))
    return torch.cat(values)


def posterior_of(network, sample, seed, n_draws=5):
    """Concentration of ``q(c)``, reconstruction's fit and ELBO of every spot.

    Returns
    -------
    concentration : ndarray, spots × cell types
    fit : dict of str to ndarray, spots
        ``pearson`` and ``rmse`` of the counts with their mean, and ``elbo`` over `n_draws` draws.
    """
    concentration, pearson, rmse, elbo = [], [], [], []
    draws = torch_generator(seed, "signature_vae", "elbo")
    with torch.no_grad(), dirichlet_draws(seed, "elbo"):
        terms = network.count_terms(sample)
        for rows in chunks(len(sample)):
            batch = sample.take(rows)
            shape, log_mean = network.at_means(batch)
            counts = torch.zeros(log_mean.shape, dtype=torch.float64)
            counts[batch.spots, batch.genes] = terms[0][batch.places]
            counts, fitted = counts.numpy(), log_mean.double().exp().numpy()
            concentration.append(shape.double().numpy())
            pearson.append(row_pearson(counts, fitted))
            rmse.append(np.sqrt(((counts - fitted) ** 2).mean(axis=1)))
            elbo.append(-np.mean([sum(network.loss(batch, terms, draws)).numpy() for _ in range(n_draws)], axis=0))
    fit = {"pearson": pearson, "rmse": rmse, "elbo": elbo}
    return np.concatenate(concentration), {name: np.concatenate(parts) for name, parts in fit.items()}


@contextmanager
def dirichlet_draws(seed, *names):
    """Lend torch's global generator, the only one it draws from a Dirichlet by, to the draw called `names`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "signature_vae", "dirichlet", *names))
        yield


def chunks(n_spots):
    """Rows in parts of bounded size."""
    return np.split(np.arange(n_spots), range(ROWS_AT_ONCE, n_spots, ROWS_AT_ONCE))
