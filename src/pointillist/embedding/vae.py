"""Variational autoencoder of counts with a negative binomial likelihood.

    z_s ~ N(0, I),   x_sg ~ NB(mean l_s · softmax(f(z_s))_g, θ_g)
    loss = −E_q log p(X given Z) + β KL(q(Z given X) ‖ N(0, I))

``l_s`` is the spot's library size, given as an offset, ``f`` the decoder and ``θ`` the inverse dispersion of each gene;
``q`` is normal with mean and variance from an encoder that sees log-normalised counts. A share of the spots is held
out: training stops when their loss no longer falls, and the state where it was lowest is kept.

Examples
--------
>>> result = vae(counts, n_latent=10, seed=1)  # doctest: +SKIP
>>> result.latent.shape, result.losses["validation_loss"].min()  # doctest: +SKIP
"""

import logging
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist.record import Method
from pointillist.seeds import seed_for

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Embedding:
    """Spots as a few numbers each.

    Attributes
    ----------
    latent : ndarray, spots × latent
        Mean of q(Z given X).
    losses : DataFrame
        One row an epoch: ``epoch`` and, for ``train_`` and ``validation_``, ``reconstruction``, ``kl`` and ``loss``, in
        nats a spot.
    best_epoch : int
        The epoch whose state was kept.
    converged : bool
        Whether training stopped by itself, before the last epoch allowed.
    dispersion : ndarray, genes
        θ of the negative binomial.
    """

    latent: np.ndarray
    losses: pd.DataFrame
    best_epoch: int
    converged: bool
    dispersion: np.ndarray


def vae(
    counts,
    n_latent=10,
    n_hidden=128,
    beta=1.0,
    epochs=400,
    batch_size=128,
    learning_rate=1e-3,
    validation_share=0.1,
    patience=40,
    seed=0,
):
    """Embedding of spots by a variational autoencoder with negative binomial likelihood.

    Parameters
    ----------
    counts : CSR or ndarray, spots × genes
        Raw counts; every spot has at least one.
    n_latent, n_hidden : int
    beta : float
        Weight of the KL divergence.
    epochs : int
        Most passes over the spots.
    batch_size : int
    learning_rate : float
        Of Adam.
    validation_share : float
        Share of the spots held out, above 0 and below 1.
    patience : int
        Epochs without a lower validation loss after which training stops.
    seed : int
        Reaches held-out spots, weights, order of the batches and noise.

    Returns
    -------
    Embedding

    Raises
    ------
    ValueError
        Values that are no counts, a spot without counts, or a loss that is not finite: the message has the epoch and
        the spots.

    References
    ----------
    Kingma & Welling (2014), ICLR. Lopez et al. (2018), Nature Methods 15:1053.
    """
    import torch

    counts = _checked(counts, validation_share, n_latent, epochs)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "vae"))
            return _train(
                counts, n_latent, n_hidden, beta, epochs, batch_size, learning_rate, validation_share, patience
            )
    finally:
        torch.use_deterministic_algorithms(deterministic)


def _train(counts, n_latent, n_hidden, beta, epochs, batch_size, learning_rate, validation_share, patience):
    import torch

    from pointillist.embedding._networks import VariationalAutoencoder

    n_spots = counts.shape[0]
    library = np.asarray(counts.sum(axis=1)).ravel()
    profile = torch.tensor(np.asarray(counts.sum(axis=0)).ravel() / library.sum(), dtype=torch.float32)
    scale = sparse.diags_array(np.median(library) / library)
    expression = sparse.csr_matrix(scale @ counts)
    expression.data = np.log1p(expression.data)

    def batch(rows):
        dense = (torch.tensor(matrix[rows].toarray(), dtype=torch.float32) for matrix in (counts, expression))
        return *dense, torch.tensor(np.log(library[rows]), dtype=torch.float32)[:, None]

    order = torch.randperm(n_spots).numpy()
    n_validation = min(max(int(round(validation_share * n_spots)), 1), n_spots - 1)
    held_out, trained = np.sort(order[:n_validation]), np.sort(order[n_validation:])
    model = VariationalAutoencoder(profile, n_latent, n_hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    # The same noise each epoch, so that validation losses differ by the model alone.
    validation = *batch(held_out), torch.randn(n_validation, n_latent)

    rows, best, state, shown = [], np.inf, None, time.monotonic()
    for epoch in range(1, epochs + 1):
        model.train()
        shuffled = trained[torch.randperm(len(trained)).numpy()]
        sums = {"reconstruction": 0.0, "kl": 0.0}
        for start in range(0, len(shuffled), batch_size):
            spots = shuffled[start : start + batch_size]
            parts = model.losses(*batch(spots), torch.randn(len(spots), n_latent))
            loss = (parts["reconstruction"] + beta * parts["kl"]).mean()
            if not torch.isfinite(loss):
                raise ValueError(_not_finite(epoch, spots, parts, library))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
            optimizer.step()
            for name, values in parts.items():
                sums[name] += float(values.detach().sum())
        row = {"epoch": epoch, **_named("train", {name: total / len(trained) for name, total in sums.items()}, beta)}
        model.eval()
        with torch.no_grad():
            parts = {name: float(values.mean()) for name, values in model.losses(*validation).items()}
        row |= _named("validation", parts, beta)
        rows.append(row)
        if row["validation_loss"] < best:
            best, best_epoch = row["validation_loss"], epoch
            state = {name: values.clone() for name, values in model.state_dict().items()}
        if time.monotonic() - shown > _PROGRESS_SECONDS:
            shown = time.monotonic()
            log.info("VAE epoch %d of at most %d: validation loss %.1f", epoch, epochs, row["validation_loss"])
        if epoch - best_epoch >= patience:
            break
    converged = epoch - best_epoch >= patience
    log.info("VAE: validation loss %.1f at epoch %d of %d", best, best_epoch, epoch)
    if not converged:
        log.warning("VAE: the validation loss still fell within %d epochs of the last; allow more epochs", patience)

    model.load_state_dict(state)
    model.eval()
    with torch.no_grad():
        chunks = np.array_split(np.arange(n_spots), max(n_spots // 4096, 1))
        latent = np.concatenate([model.encode(batch(chunk)[1])[0].numpy() for chunk in chunks])
        dispersion = model.log_dispersion.exp().numpy()
    return Embedding(latent.astype(float), pd.DataFrame(rows), best_epoch, converged, dispersion.astype(float))


def _named(side, parts, beta):
    named = {f"{side}_{name}": value for name, value in parts.items()}
    return {**named, f"{side}_loss": parts["reconstruction"] + beta * parts["kl"]}


def _checked(counts, validation_share, n_latent, epochs):
    counts = sparse.csr_matrix(counts, dtype=np.float64)
    if not np.isfinite(counts.data).all() or (counts.data < 0).any():
        raise ValueError("the counts hold NaN, infinite or negative values: give raw counts")
    if (counts.data % 1 != 0).any():
        raise ValueError("the counts are not whole numbers: the negative binomial needs raw counts")
    empty = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() == 0)
    if len(empty):
        raise ValueError(f"{len(empty)} spots have no count in the genes used (first: row {empty[0]}): filter them")
    if not 0 < validation_share < 1 or counts.shape[0] < 10:
        raise ValueError(
            f"{counts.shape[0]} spots with a validation share of {validation_share}: too few to hold out any"
        )
    if n_latent < 1 or epochs < 1:
        raise ValueError(f"n_latent={n_latent} and epochs={epochs} have to be at least 1")
    return counts


def _not_finite(epoch, spots, parts, library):
    wrong = ~np.isfinite((parts["reconstruction"] + parts["kl"]).detach().numpy())
    named = spots[wrong][np.argsort(-library[spots[wrong]])][:5].tolist()
    return (
        f"the loss is not finite in epoch {epoch}, for {wrong.sum()} spots of a batch (rows {named}, the largest has "
        f"{library[spots[wrong]].max():.0f} counts): lower learning_rate, or look at these spots"
    )


def _option(kind, default, description, **bounds):
    return {"type": kind, "default": default, "description": description, **bounds}


RECORD = Method(
    name="vae",
    title="Variational autoencoder",
    summary="Variational autoencoder with a negative binomial likelihood and the library size as offset",
    function=vae,
    citations=("kingma2014", "lopez2018"),
    gives="X_vae",
    options={
        "n_latent": _option("integer", 10, "latent dimensions", minimum=1),
        "n_hidden": _option("integer", 128, "units of the hidden layers", minimum=1),
        "beta": _option("number", 1.0, "weight of the KL divergence", minimum=0),
        "epochs": _option("integer", 400, "most passes over the spots", minimum=1),
        "batch_size": _option("integer", 128, "spots a batch", minimum=2),
        "learning_rate": _option("number", 1e-3, "of Adam", exclusiveMinimum=0),
        "validation_share": _option("number", 0.1, "share of spots held out", exclusiveMinimum=0, exclusiveMaximum=1),
        "patience": _option("integer", 40, "epochs without improvement before it stops", minimum=1),
    },
)
