"""Training on minibatches of spots: reproducible to the byte, stopped by held-out spots, the best state kept."""

import logging
from contextlib import contextmanager
from copy import deepcopy
from time import monotonic
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from pointillist.embedding._networks import Minibatch
from pointillist.errors import InputError, Problem
from pointillist.seeds import seed_for

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0
ROWS_AT_ONCE = 1024  # when nothing is to be learnt


class Spots:
    """Spots of which any can be had as a `Minibatch`; the matrices stay sparse.

    Parameters
    ----------
    counts : csr_array, spots × genes
    expression : csr_array, spots × genes
        Input of the encoder.
    batch : int array, spots
        Codes from 0.
    names : sequence
        What the spots are called in messages.
    """

    def __init__(self, counts, expression, batch, names):
        self.counts, self.expression, self.names = counts, expression, np.asarray(names)
        self.log_totals = np.log(counts.sum(axis=1))
        n_batches = int(batch.max()) + 1
        self.batch = np.eye(n_batches, dtype=np.float32)[batch] if n_batches > 1 else np.empty((len(batch), 0))

    def __len__(self):
        return self.counts.shape[0]

    def take(self, rows):
        """The spots in `rows`, in that order."""
        counts = self.counts[rows]
        spots = np.repeat(np.arange(len(rows)), np.diff(counts.indptr))
        return Minibatch(
            expression=torch.from_numpy(self.expression[rows].toarray().astype(np.float32)),
            batch=torch.from_numpy(self.batch[rows].astype(np.float32)),
            log_totals=torch.from_numpy(self.log_totals[rows].astype(np.float32))[:, None],
            values=torch.from_numpy(counts.data),
            spots=torch.from_numpy(spots),
            genes=torch.from_numpy(counts.indices.astype(np.int64)),
        )


class Training(NamedTuple):
    """How it went: losses by epoch, the epoch whose state the network now has, and whether the losses had settled."""

    losses: pd.DataFrame
    best_epoch: int
    converged: bool


def train(network, spots, training, validation, *, beta, epochs, batch_size, learning_rate, patience, seed):
    """Train `network` in place and leave it in the state of the lowest validation loss.

    Parameters
    ----------
    network : VariationalAutoencoder
    spots : Spots
    training, validation : int arrays
        Rows of `spots`.
    beta : float
        Weight of the KL divergence.
    epochs, batch_size, patience : int
        Training stops once the validation loss has not fallen for `patience` epochs.
    learning_rate : float
        Of Adam.
    seed : int

    Returns
    -------
    Training

    Raises
    ------
    InputError
        The loss of a spot is NaN or infinite.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    draws = torch_generator(seed, "training")
    n_latent = network.mean.out_features
    # The same noise for every epoch, so that epochs differ by their weights alone.
    fixed_noise = torch.randn((len(validation), n_latent), generator=torch_generator(seed, "validation"))
    rows, best, best_loss, best_epoch, spoken = [], None, np.inf, 0, monotonic()
    for epoch in range(1, epochs + 1):
        parts = []
        for chosen in torch.from_numpy(training)[torch.randperm(len(training), generator=draws)].split(batch_size):
            chosen = chosen.numpy()
            loss = network.loss(spots.take(chosen), torch.randn((len(chosen), n_latent), generator=draws))
            refuse_non_finite(loss, epoch, spots.names[chosen], learning_rate)
            optimizer.zero_grad()
            (loss.reconstruction + beta * loss.kl).mean().backward()
            optimizer.step()
            parts.append(_numbers(loss))
        seen = np.concatenate(parts).mean(axis=0)
        unseen = _validation_loss(network, spots, validation, fixed_noise, epoch, learning_rate)
        rows.append((epoch, *seen, -seen.sum(), *unseen, -unseen.sum()))
        current = unseen[0] + beta * unseen[1]
        if current < best_loss:
            best, best_loss, best_epoch = deepcopy(network.state_dict()), current, epoch
        if monotonic() - spoken > SECONDS_BETWEEN_LINES:
            spoken = monotonic()
            logger.info(
                "epoch %d of %d at most: ELBO %.2f in training, %.2f held out (best in epoch %d)",
                *(epoch, epochs, -seen.sum(), -unseen.sum(), best_epoch),
            )
        if epoch - best_epoch >= patience:
            break
    network.load_state_dict(best)
    names = [f"{side}_{part}" for side in ("train", "validation") for part in ("reconstruction", "kl", "elbo")]
    return Training(pd.DataFrame(rows, columns=["epoch", *names]), best_epoch, bool(epoch - best_epoch >= patience))


def latent_means(network, spots):
    """Mean of ``q(z | x)`` of every spot, spots × latent dimensions, float64."""
    means = []
    with torch.no_grad():
        for rows in np.split(np.arange(len(spots)), range(ROWS_AT_ONCE, len(spots), ROWS_AT_ONCE)):
            chosen = spots.take(rows)
            means.append(network.encode(chosen.expression, chosen.batch)[0].numpy())
    return np.concatenate(means).astype(np.float64)


@contextmanager
def reproducible():
    """Deterministic algorithms on one thread for the time being: sums then have one order, whatever the machine."""
    threads = torch.get_num_threads()
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.set_num_threads(threads)


def torch_generator(seed, *names):
    """`torch.Generator` of the draw called `names`; see `seeds.seed_for`."""
    return torch.Generator().manual_seed(seed_for(seed, *names))


def _validation_loss(network, spots, validation, noise, epoch, learning_rate):
    parts = []
    with torch.no_grad():
        for first in range(0, len(validation), ROWS_AT_ONCE):
            chosen = validation[first : first + ROWS_AT_ONCE]
            loss = network.loss(spots.take(chosen), noise[first : first + ROWS_AT_ONCE])
            refuse_non_finite(loss, epoch, spots.names[chosen], learning_rate)
            parts.append(_numbers(loss))
    return np.concatenate(parts).mean(axis=0)


def _numbers(loss):
    return torch.stack(loss, dim=1).detach().numpy()


def refuse_non_finite(loss, epoch, names, learning_rate):
    for part, values in loss._asdict().items():
        bad = ~torch.isfinite(values.detach()).numpy()
        if bad.any():
            listed = ", ".join(map(str, names[bad][:5]))
            raise InputError(
                Problem(
                    "non-finite-loss",
                    f"a {part} loss that is not finite in epoch {epoch}, in {bad.sum()} of {len(bad)} spots: {listed}"
                    + (", …" if bad.sum() > 5 else ""),
                    "a finite loss for every spot",
                    f"lower learning_rate (now {learning_rate:g}), or look at the counts of these spots",
                )
            )
