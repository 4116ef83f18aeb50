"""Embedding: a few numbers per spot, learnt by a neural network, and the domains of tissue that they fall into."""

import difflib

from pointillist.embedding.domains import neighbour_mean, spatial_domains
from pointillist.embedding.embedding import Embedding
from pointillist.embedding.vae import VAE, vae

METHODS = {record.name: record for record in (VAE,)}


def fit(counts, model="vae", **options):
    """Latent space of the spots by the model of that name.

    Parameters
    ----------
    counts : sparse or dense matrix, spots × genes
        Raw counts.
    model : str
        A key of ``METHODS``.
    **options
        Of the model.

    Returns
    -------
    Embedding

    Raises
    ------
    ValueError
        An unknown model, or what the model refuses.
    """
    if model not in METHODS:
        near = difflib.get_close_matches(str(model), METHODS, n=1)
        raise ValueError(
            f"model is {model!r}; expected one of {', '.join(METHODS)}"
            + (f". Did you mean {near[0]!r}?" if near else "")
        )
    return METHODS[model].function(counts, **options)


__all__ = ["METHODS", "Embedding", "fit", "neighbour_mean", "spatial_domains", "vae"]
