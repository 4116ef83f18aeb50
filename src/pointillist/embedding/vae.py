"""Variational autoencoder with a negative binomial likelihood: spots in a few dimensions, learnt from raw counts.

Every spot ``s`` has a latent ``z_s`` of ``d`` dimensions, from which its counts ``x_s`` are drawn (Lopez et al. 2018)::

    z_s ~ N(0, I)
    x_sg ~ NB(mean = l_s · softmax_g(f(z_s, b_s)), inverse dispersion = θ_g)

with ``l_s`` the spot's total (an offset, so that depth is no part of ``z``), ``b_s`` its batch, ``f`` the decoder and
``θ_g`` a parameter of each gene. The posterior is approximated by ``q(z | x) = N(m(x), diag v(x))``, where an encoder
that sees ``log(1 + x · median total / total)`` gives ``m`` and ``v``. Both are trained to maximise ::

    E_q log p(x | z) - β KL(q(z | x) ‖ N(0, I))

which at ``β = 1`` is the evidence lower bound (ELBO; Kingma & Welling 2014). The KL divergence is in closed form; the
expectation is over one draw per spot and epoch.

Some spots are held out. Training stops when their loss has not fallen for `patience` epochs, and the state in which it
was lowest is the one returned. The decoder starts at the sample's mean profile, and ``θ`` at its moment estimate, so
that all that is learnt is how spots differ.

>>> import numpy as np
>>> from pointillist.embedding import vae
>>> counts = np.random.default_rng(0).poisson(2.0, (60, 30))
>>> vae(counts, n_latent=2, epochs=3).latent.shape
(60, 2)
"""

import logging
from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist.embedding.embedding import Embedding
from pointillist.record import Method
from pointillist.seeds import generator

logger = logging.getLogger(__name__)

FEWEST_SPOTS = 10
DISPERSION_RANGE = (0.01, 100.0)  # of the start only


def vae(
    counts,
    n_latent=10,
    n_hidden=128,
    n_layers=1,
    beta=1.0,
    epochs=400,
    batch_size=128,
    learning_rate=1e-3,
    validation_share=0.1,
    patience=30,
    batch=None,
    spots=None,
    seed=0,
):
    """Latent space of the spots under a negative binomial variational autoencoder.

    Runs on one CPU thread, whatever torch is set to: two runs with a seed return the same bytes.

    Parameters
    ----------
    counts : sparse or dense matrix, spots × genes
        Raw counts, usually of the variable genes.
    n_latent, n_hidden, n_layers : int
        Sizes of the latent space and of the hidden layers, and number of the latter on either side.
    beta : float
        Weight of the KL divergence.
    epochs : int
        At most.
    batch_size : int
        Spots per step.
    learning_rate : float
        Of Adam.
    validation_share : float
        Share of the spots held out.
    patience : int
        Epochs without a lower validation loss after which training stops.
    batch : sequence, spots, optional
        Categories (slide, capture area) whose effect the decoder accounts for.
    spots : sequence, spots, optional
        Names of the spots, for messages; row numbers by default.
    seed : int

    Returns
    -------
    Embedding
        ``latent`` is the mean of ``q(z | x)``; the losses are named ``reconstruction``, ``kl`` and ``elbo``.

    Raises
    ------
    ValueError
        Counts that are not raw (negative, NaN, infinite), fewer than 10 spots with counts, or an option out of range.
    InputError
        A loss that is not finite, with the epoch and the spots.

    References
    ----------
    Lopez et al. (2018). Deep generative modeling for single-cell transcriptomics. Nature Methods 15:1053.
    Kingma & Welling (2014). Auto-encoding variational Bayes. ICLR.
    """
    _check_options(
        **{"n_latent": n_latent, "n_hidden": n_hidden, "n_layers": n_layers, "epochs": epochs},
        **{"batch_size": batch_size, "patience": patience, "beta": beta, "learning_rate": learning_rate},
        validation_share=validation_share,
    )
    counts = checked_counts(counts)
    codes = _batch_codes(batch, counts.shape[0])
    names = np.arange(counts.shape[0]) if spots is None else np.asarray(spots)
    filled = np.flatnonzero(np.diff(counts.indptr))
    if len(filled) < FEWEST_SPOTS:
        raise ValueError(f"found {len(filled)} spots with counts; a latent space needs at least {FEWEST_SPOTS}")
    if len(filled) < counts.shape[0]:
        logger.warning("%d spots have no counts in these genes: no latent", counts.shape[0] - len(filled))
    # Not at the top: the records of all methods are read without torch.
    import torch

    from pointillist.embedding._networks import VariationalAutoencoder
    from pointillist.embedding._training import Spots, latent_means, reproducible, torch_generator, train

    kept = counts[filled]
    data = Spots(kept, _log_normalised(kept), codes[filled], names[filled])
    order = generator(seed, "vae", "held out").permutation(len(data))
    held_out, training = np.split(order, [max(1, round(validation_share * len(data)))])
    profile, dispersion = mean_profile(kept[training])
    logger.info("VAE: %d spots to train on, %d held out, %d genes", len(training), len(held_out), counts.shape[1])
    with reproducible():
        network = VariationalAutoencoder(
            n_latent,
            n_hidden,
            n_layers,
            data.batch.shape[1],
            torch.tensor(np.log(profile), dtype=torch.float32),
            torch.tensor(np.log(dispersion), dtype=torch.float32),
            torch_generator(seed, "vae", "weights"),
        )
        trained = train(
            *(network, data, training, held_out),
            **{"beta": beta, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate},
            **{"patience": patience, "seed": seed},
        )
        means = _ordered(latent_means(network, data))
        dispersion = network.log_dispersion.detach().double().exp().numpy()
    best = trained.losses.iloc[trained.best_epoch - 1]
    logger.info("VAE: best epoch %d of %d, held-out ELBO %.2f", trained.best_epoch, len(trained.losses), best.iloc[-1])
    if not trained.converged:
        logger.warning("VAE: the validation loss was still falling after %d epochs", epochs)
    latent = np.full((counts.shape[0], n_latent), np.nan)
    latent[filled] = means
    unseen = np.zeros(counts.shape[0], dtype=bool)
    unseen[filled[held_out]] = True
    return Embedding(latent, trained.losses, trained.converged, trained.best_epoch, unseen, dispersion)


def _log_normalised(counts):
    """``log(1 + x · median total / total)``, sparse."""
    totals = counts.sum(axis=1)
    return (sparse.diags_array(np.median(totals) / totals) @ counts).tocsr().log1p()


def mean_profile(counts):
    """Share of each gene in all counts, and by moments the inverse dispersion that counts have about it."""
    totals = counts.sum(axis=1)
    sums = counts.sum(axis=0)
    profile = (sums + 0.5) / (sums + 0.5).sum()
    squares = (totals**2).sum() * profile**2
    excess = counts.power(2).sum(axis=0) - 2 * profile * (counts.T @ totals) + squares - totals.sum() * profile
    dispersion = np.divide(squares, excess, out=np.full_like(excess, np.inf), where=excess > 0)
    return profile, np.clip(dispersion, *DISPERSION_RANGE)


def _ordered(latent):
    """Dimensions by descending variance, signed so that the entry of largest size is positive."""
    latent = latent[:, np.argsort(-latent.var(axis=0), kind="stable")]
    largest = np.abs(latent).argmax(axis=0)
    return latent * np.where(latent[largest, np.arange(latent.shape[1])] < 0, -1.0, 1.0)


def checked_counts(counts):
    if getattr(counts, "ndim", 2) != 2:
        raise ValueError(f"counts have {counts.ndim} dimensions; expected a matrix of spots × genes")
    counts = sparse.csr_array(counts, dtype=np.float64, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    for what, bad in (("NaN or infinite", ~np.isfinite(counts.data)), ("negative", counts.data < 0)):
        if bad.any():
            row = counts.nonzero()[0][bad][0]
            raise ValueError(f"counts have {bad.sum()} {what} values, the first in row {row}; expected raw counts")
    fractions = counts.data != np.round(counts.data)
    if fractions.any():
        raise ValueError(
            f"{fractions.mean():.0%} of the stored counts are not whole numbers (such as"
            f" {counts.data[fractions][0]:.4g}); expected raw counts. Give the counts layer, not the normalised matrix"
        )
    return counts


def _batch_codes(batch, n_spots):
    if batch is None:
        return np.zeros(n_spots, dtype=np.int64)
    codes, _ = pd.factorize(np.asarray(batch, dtype=object), sort=True)
    if len(codes) != n_spots:
        raise ValueError(f"batch has {len(codes)} entries; expected one for each of the {n_spots} spots")
    if (codes < 0).any():
        raise ValueError(f"batch is missing for {(codes < 0).sum()} spots, the first in row {np.argmin(codes)}")
    return codes


def _check_options(validation_share, learning_rate, beta, **whole):
    for name, value in whole.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
    for name, value, low in (("learning_rate", learning_rate, 0), ("beta", beta, 0)):
        if not isinstance(value, Real) or not np.isfinite(value) or value <= low:
            raise ValueError(f"{name} is {value!r}; expected a number above 0")
    if not isinstance(validation_share, Real) or not 0 < validation_share <= 0.5:
        raise ValueError(f"validation_share is {validation_share!r}; expected a share above 0 and at most 0.5")


def _whole(default, description):
    return {"type": "integer", "minimum": 1, "default": default, "description": description}


def _positive(default, description):
    return {"type": "number", "exclusiveMinimum": 0, "default": default, "description": description}


VAE = Method(
    name="vae",
    title="Variational autoencoder (negative binomial)",
    summary="Neural latent space of the raw counts, with each spot's total as an offset",
    function=vae,
    citations=("lopez2018", "kingma2014"),
    gives="X_vae",
    options={
        "n_latent": _whole(10, "Latent dimensions"),
        "n_hidden": _whole(128, "Units in each hidden layer"),
        "n_layers": _whole(1, "Hidden layers in the encoder, and in the decoder"),
        "beta": _positive(1.0, "Weight of the KL divergence; 1 is the evidence lower bound"),
        "epochs": _whole(400, "Passes over the spots at most"),
        "batch_size": _whole(128, "Spots per step"),
        "learning_rate": _positive(1e-3, "Step size of Adam"),
        "validation_share": {
            **_positive(0.1, "Share of the spots held out, by which training is stopped"),
            "maximum": 0.5,
        },
        "patience": _whole(30, "Epochs without a lower held-out loss after which training stops"),
    },
)
