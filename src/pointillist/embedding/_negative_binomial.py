"""Negative binomial likelihood of counts, by mean and inverse dispersion.

    log p(x; μ, θ) = log Γ(x + θ) − log Γ(θ) − log Γ(x + 1) + θ log(θ / (θ + μ)) + x log(μ / (θ + μ))

with variance ``μ + μ² / θ``. Logarithms of μ and θ are taken, so that neither can leave its range.
"""

import torch


def log_likelihood(counts, log_mean, log_dispersion):
    """Log likelihood of each count.

    Parameters
    ----------
    counts, log_mean : Tensor, spots × genes
    log_dispersion : Tensor, genes
        Log of the inverse dispersion θ.

    Returns
    -------
    Tensor, spots × genes
    """
    theta = log_dispersion.exp()
    log_total = torch.logaddexp(log_mean, log_dispersion.expand_as(log_mean))
    return (
        torch.lgamma(counts + theta)
        - torch.lgamma(theta)
        - torch.lgamma(counts + 1)
        + theta * (log_dispersion - log_total)
        + counts * (log_mean - log_total)
    )
