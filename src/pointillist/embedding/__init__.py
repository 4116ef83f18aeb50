"""Embeddings: spots as a few numbers each, and the domains that they fall into."""

from pointillist.embedding.domains import neighbour_mean, spatial_domains
from pointillist.embedding.vae import RECORD as VAE
from pointillist.embedding.vae import Embedding, vae

METHODS = {record.name: record for record in (VAE,)}

__all__ = ["METHODS", "Embedding", "fit", "neighbour_mean", "spatial_domains", "vae"]


def fit(model="vae", *arrays, options=None, **context):
    """Embed spots by the model of a name; see `METHODS`.

    Raises
    ------
    ValueError
        No model has that name.
    """
    if model not in METHODS:
        raise ValueError(f"no model {model!r}: there are {', '.join(METHODS)}")
    return METHODS[model].run(*arrays, options=options, **context)
