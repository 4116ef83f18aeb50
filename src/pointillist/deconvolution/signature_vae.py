"""Signature-guided variational autoencoder (Starfysh's model): proportions from gene sets, without a reference.

::

    c_s ~ Dirichlet(α p_s)                                      proportions, spots × cell types
    z_s ~ N(Σ_k c_sk u_k, diag Σ_k c_sk v_k)                    state; u_k, v_k that of cell type k
    l_s ~ N(m_s, τ²)                                            log library size
    x_sg ~ NB(exp(l_s) softmax_g(f(z_s)), θ_g)                  counts

``p_s`` is what the scores of the gene sets say of spot s: each score above its 10 % quantile over spots, divided by
their sum; squared, and divided anew, where the spot is among the anchors (highest scores) of a set. ``m_s`` is the mean
log total of the spot and its neighbours, ``τ²`` the variance about it. The decoder is
``f(z) = log Σ_k max(z_k, 0) P_k``, with a soft maximum: its programmes ``P_k`` (shares of genes) start at the mean
profiles of the anchors, and ``u_k`` at the k-th unit vector, so that a mixture of cell types starts as that mixture of
profiles; all are learnt.

``q(c | x)`` is a Dirichlet, ``q(z | x, c)`` and ``q(l | x)`` are normal, each starting at its prior; with histology
features, ``q(z | x, c)`` is the product of that expert and one that sees the image, ``q(c)`` sees it too, and ``z``
explains the features, linearly. The evidence lower bound has its KL terms in closed form and one draw of ``c``, ``z``
and ``l`` a step.

A tenth of the counts is held out by binomial thinning. Epochs, and restarts from other weights, are chosen by the
likelihood of these counts at the posterior means.

>>> import numpy as np
>>> from pointillist.deconvolution import signature_vae
>>> rng = np.random.default_rng(0)
>>> profiles = np.repeat(np.eye(3) * 9 + 1, 10, axis=1)
>>> X = rng.poisson(rng.dirichlet(np.ones(3), 60) @ profiles)
>>> genes = [f"g{g}" for g in range(30)]
>>> sets = {name: genes[start : start + 8] for name, start in (("a", 0), ("b", 10), ("c", 20))}
>>> signature_vae(X, genes, sets, n_restarts=1, epochs=2).proportions.shape
(60, 3)
"""

import logging
from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist.deconvolution._signature_inputs import (
    choose_genes,
    log_normalised,
    prior_of,
    scores_of,
    smoothed_library,
    standardised,
    starting_profiles,
    thinned,
    usable,
)
from pointillist.deconvolution.result import Deconvolution
from pointillist.embedding.vae import FEWEST_SPOTS, checked_counts
from pointillist.record import Method
from pointillist.seeds import generator

log = logging.getLogger(__name__)

HISTOLOGY = ("none", "image")
_LEAST_LIBRARY_VARIANCE = 1e-3


def signature_vae(
    X,
    genes,
    gene_sets,
    scores=None,
    graph=None,
    image_features=None,
    spots=None,
    histology="none",
    n_restarts=3,
    concentration=3.0,
    n_anchors=40,
    anchor_sharpness=2.0,
    max_genes=1000,
    min_genes=3,
    n_hidden=64,
    epochs=80,
    batch_size=128,
    learning_rate=1e-2,
    held_out=0.1,
    patience=20,
    seed=0,
):
    """Proportions of the cell types that gene sets describe, without a reference.

    Runs on one CPU thread, whatever torch is set to: two runs with a seed return the same bytes.

    Parameters
    ----------
    X : ndarray or sparse matrix, spots × genes
        Raw counts.
    genes : sequence of str
    gene_sets : dict of str to sequence of str
        Genes of each cell type. Columns follow its keys, less the sets with too few genes: `usable_gene_sets`.
    scores : DataFrame, spots × sets, optional
        Score of every set in every spot; by default `pointillist.archetypes.score_signatures`.
    graph : sparse matrix, spots × spots, optional
        Neighbour graph, by which library sizes are smoothed; without it their prior is that of all spots.
    image_features : ndarray, spots × features, optional
        Of the histology around each spot; looked at where `histology` is ``image``.
    spots : sequence, spots, optional
        Names of the spots, for messages; row numbers by default.
    histology : {"none", "image"}
        Whether the image has a say.
    n_restarts : int
        Independent trainings, of which the best is kept.
    concentration : float
        α, the sum of the prior's parameters: how many draws of a cell type the prior counts as.
    n_anchors : int
        Spots with the highest score of each set; fewer where all anchors would be more than half of the spots.
    anchor_sharpness : float
        Power to which the prior of anchors is raised.
    max_genes : int
        The genes of all sets and the most variable others, or, where sets have more, the most variable of each set.
    min_genes : int
        A set with fewer genes that vary in the sample is left out, with a warning.
    n_hidden : int
        Units of the encoders' hidden layer.
    epochs, batch_size, patience : int
        Passes over the spots at most; spots per step, or an eighth of all spots if that is fewer; epochs without a
        higher held-out likelihood before it stops.
    learning_rate : float
        Of Adam.
    held_out : float
        Share of the counts held out.
    seed : int

    Returns
    -------
    Deconvolution
        Means of ``q(c)``, shares of the RNA; without intervals, since those of ``q(c)`` know nothing of wrong sets or
        of profiles that anchors do not fix, and hold far fewer shares than they claim. ``fit`` has ``pearson`` and
        ``rmse`` of counts and reconstruction, and ``elbo``. A spot without counts in the chosen genes is NaN.

    Raises
    ------
    ValueError
        Counts that are not raw, fewer than 10 spots or two sets, tables that do not fit, or an option out of range.
    InputError
        A loss that is not finite, with the epoch and the spots.

    References
    ----------
    He et al. (2024). Starfysh integrates spatial transcriptomic and histologic data to reveal heterogeneous
    tumor-immune hubs. Nature Biotechnology.
    """
    _check_options(
        {"n_restarts": n_restarts, "n_anchors": n_anchors, "max_genes": max_genes, "min_genes": min_genes},
        {"n_hidden": n_hidden, "epochs": epochs, "batch_size": batch_size, "patience": patience},
        positive={"concentration": concentration, "anchor_sharpness": anchor_sharpness, "learning_rate": learning_rate},
        held_out=held_out,
    )
    counts = checked_counts(X)
    genes = _checked_genes(genes, counts.shape[1])
    n_spots = counts.shape[0]
    graph = _checked_table(graph, "the graph", n_spots, n_spots)
    if histology not in HISTOLOGY:
        raise ValueError(f"histology is {histology!r}, expected one of {list(HISTOLOGY)}")
    if histology == "image" and image_features is None:
        raise ValueError("histology is 'image', but there is no tissue image: give one, or set histology to none")
    image = _checked_table(image_features if histology == "image" else None, "image_features", n_spots)
    sets = usable(log_normalised(counts), genes, gene_sets, min_genes)
    if len(sets) < 2:
        found = f"{len(sets)} of {len(gene_sets)} gene sets have {min_genes} genes that vary in the sample"
        raise ValueError(f"{found}; a mixture needs at least two")
    chosen = choose_genes(log_normalised(counts), genes, sets, max_genes)
    filled = np.flatnonzero(counts[:, chosen].sum(axis=1))
    if len(filled) < FEWEST_SPOTS:
        raise ValueError(f"found {len(filled)} spots with counts in the sets' genes; expected at least {FEWEST_SPOTS}")
    if len(filled) < n_spots:
        log.warning("%d spots have no counts in the genes chosen: no proportions", n_spots - len(filled))
    scores = scores_of(counts, genes, sets, scores, seed)
    prior, anchors = prior_of(scores[filled], n_anchors, anchor_sharpness)
    log.info("%d spots, %d genes, %d gene sets: %s", len(filled), len(chosen), len(sets), ", ".join(map(str, sets)))

    result = _fit(
        counts[filled][:, chosen],
        prior,
        anchors,
        None if graph is None else sparse.csr_array(graph)[filled][:, filled],
        np.empty((len(filled), 0)) if image is None else standardised(image[filled]),
        np.arange(n_spots)[filled] if spots is None else np.asarray(spots)[filled],
        {"concentration": concentration, "n_hidden": n_hidden},
        {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "patience": patience},
        n_restarts,
        held_out,
        seed,
    )
    return _over_all_spots(*result, filled, n_spots)


def usable_gene_sets(X, genes, gene_sets, min_genes=3):
    """The gene sets that `signature_vae` has columns of, each with its genes that vary in the sample.

    Parameters
    ----------
    X : ndarray or sparse matrix, spots × genes
        Raw counts.
    genes : sequence of str
    gene_sets : dict of str to sequence of str
    min_genes : int

    Returns
    -------
    dict of str to list of str
    """
    counts = checked_counts(X)
    return usable(log_normalised(counts), _checked_genes(genes, counts.shape[1]), gene_sets, min_genes)


def _fit(counts, prior, anchors, graph, image, names, model, training, n_restarts, held_out, seed):
    """Concentration of ``q(c)`` and fit of every spot, by the restart that predicts the held-out counts best."""
    # Not at the top: the records of all methods are read without torch.
    from pointillist.deconvolution._signature_networks import Sample, SignatureNetwork
    from pointillist.deconvolution._signature_training import posterior_of, train
    from pointillist.embedding._training import reproducible, torch_generator

    kept, unseen = thinned(counts, held_out, generator(seed, "signature_vae", "held out"))
    totals = np.log(np.maximum(kept.sum(axis=1), 1.0))
    library = smoothed_library(totals, graph)
    expression = log_normalised(kept)
    mean = expression.mean(axis=0)
    spread = np.sqrt(np.clip(expression.power(2).mean(axis=0) - mean**2, 1e-4, None))
    profiles, dispersion = starting_profiles(kept, anchors)
    sample = Sample(kept, expression, prior, library, image, names)
    others = Sample(unseen, expression, prior, library, image, names)
    restarts = []
    with reproducible():
        for restart in range(n_restarts):
            network = SignatureNetwork(
                *map(_single, (np.log(profiles), np.log(dispersion), mean, spread)),
                library_variance=max(float(np.var(totals - library)), _LEAST_LIBRARY_VARIANCE),
                n_image=image.shape[1],
                generator=torch_generator(seed, "signature_vae", "weights", restart),
                **model,
            )
            ratio = np.log(held_out / (1 - held_out))
            trained = train(network, sample, others, ratio, **training, seed=seed, restart=restart)
            log.info(
                "restart %d of %d: held-out likelihood %.3f in epoch %d of %d",
                *(restart + 1, n_restarts, trained.best_score, trained.best_epoch, len(trained.scores)),
            )
            restarts.append(trained)
        best = max(restarts, key=lambda trained: trained.best_score)
        if len(best.scores) == training["epochs"] and best.best_epoch == training["epochs"]:
            log.info("the held-out likelihood was still rising after %d epochs", training["epochs"])
        # All counts now: what was held out belongs to the spots as well.
        every = Sample(counts, log_normalised(counts), prior, library - np.log1p(-held_out), image, names)
        return posterior_of(best.network, every, seed)


def _over_all_spots(concentration, fit, filled, n_spots):
    def spread(values):
        table = np.full((n_spots, *values.shape[1:]), np.nan)
        table[filled] = values
        return table

    mean = concentration / concentration.sum(axis=1, keepdims=True)
    return Deconvolution(spread(mean), {name: spread(values) for name, values in fit.items()})


def _single(values):
    import torch

    return torch.tensor(values, dtype=torch.float32)


def _checked_genes(genes, n_genes):
    genes = pd.Index(genes).astype(str)
    if len(genes) != n_genes:
        raise ValueError(f"{len(genes)} names of genes; expected one for each of the {n_genes} columns")
    if genes.has_duplicates:
        raise ValueError(f"gene {genes[genes.duplicated()][0]!r} stands twice; expected every gene once")
    return genes


def _checked_table(table, what, n_rows, n_columns=None):
    if table is None:
        return None
    table = table if sparse.issparse(table) else np.asarray(table, dtype=float)
    if table.ndim != 2 or table.shape[0] != n_rows or (n_columns and table.shape[1] != n_columns):
        expected = f"{n_rows} rows" + (f" and {n_columns} columns" if n_columns else "")
        raise ValueError(f"{what} has the shape {table.shape}; expected {expected}, by spots")
    values = table.data if sparse.issparse(table) else table
    if not np.isfinite(values).all():
        raise ValueError(f"{what} holds NaN or infinite values")
    return table


def _check_options(*whole, positive, held_out):
    for name, value in (item for options in whole for item in options.items()):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
    for name, value in positive.items():
        if not isinstance(value, Real) or not np.isfinite(value) or value <= 0:
            raise ValueError(f"{name} is {value!r}; expected a number above 0")
    if not isinstance(held_out, Real) or not 0 < held_out <= 0.5:
        raise ValueError(f"held_out is {held_out!r}; expected a share above 0 and at most 0.5")


def _whole(default, description):
    return {"type": "integer", "minimum": 1, "default": default, "description": description}


def _positive(default, description):
    return {"type": "number", "exclusiveMinimum": 0, "default": default, "description": description}


SIGNATURE_VAE = Method(
    name="signature_vae",
    title="Signature-guided VAE",
    summary="Variational autoencoder of the counts whose proportions have a prior from gene sets (Starfysh's model); "
    "without a reference",
    function=signature_vae,
    citations=("he2024", "lopez2018", "kingma2014"),
    needs=frozenset({"gene_sets"}),
    gives="signature_vae_proportions",
    options={
        "histology": {
            "type": "string",
            "enum": list(HISTOLOGY),
            "default": "none",
            "description": "image: stains around each spot are a second view of its state; needs a tissue image",
        },
        "n_restarts": _whole(3, "independent trainings, of which the likelihood of held-out counts chooses one"),
        "concentration": _positive(3.0, "sum of the prior's parameters: how much the gene sets' scores weigh"),
        "n_anchors": _whole(40, "spots with the highest score of each set, where the decoder starts"),
        "anchor_sharpness": _positive(2.0, "power to which the prior of anchors is raised"),
        "max_genes": _whole(1000, "genes of the sets and the most variable others, at most"),
        "min_genes": _whole(3, "a set with fewer genes that vary in the sample is left out"),
        "n_hidden": _whole(64, "units of the encoders' hidden layer"),
        "epochs": _whole(80, "passes over the spots at most"),
        "batch_size": _whole(128, "spots per step, or an eighth of all spots if that is fewer"),
        "learning_rate": _positive(1e-2, "step size of Adam"),
        "held_out": {**_positive(0.1, "share of the counts held out, by which training is stopped"), "maximum": 0.5},
        "patience": _whole(20, "epochs without a higher held-out likelihood after which training stops"),
    },
)
