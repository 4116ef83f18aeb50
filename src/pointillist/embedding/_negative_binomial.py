"""Negative binomial likelihood of counts, by mean and inverse dispersion.

::

    NB(x; μ, θ) = Γ(x + θ) / (Γ(θ) x!) · (θ / (θ + μ))^θ · (μ / (θ + μ))^x

with variance ``μ + μ² / θ``. With ``a = log μ - log θ`` its logarithm is ::

    x (a - softplus(a)) + log Γ(x + θ) - log Γ(θ) - log Γ(x + 1) - θ softplus(a)

in which everything but the last term is zero where ``x`` is: it is evaluated at the stored counts alone.
"""

import torch
from torch.nn.functional import softplus


def log_likelihood(values, spots, genes, log_mean, log_dispersion):
    """Log-likelihood of each spot's counts, summed over its genes.

    Parameters
    ----------
    values : float64 tensor, (n,)
        The counts that are not zero.
    spots, genes : int64 tensors, (n,)
        Where they are.
    log_mean : tensor, spots × genes
    log_dispersion : tensor, genes
        Logarithm of ``θ``.

    Returns
    -------
    float64 tensor, spots
    """
    log_odds = log_mean - log_dispersion
    tail = softplus(log_odds)
    dispersion = log_dispersion.exp().double()  # differences of log Γ lose all digits in single precision
    stored = (
        values * (log_odds - tail)[spots, genes]
        + torch.lgamma(values + dispersion[genes])
        - torch.lgamma(dispersion)[genes]
        - torch.lgamma(values + 1)
    )
    zero = torch.zeros(len(log_mean), dtype=torch.float64)
    return zero.index_add(0, spots, stored) - (tail @ log_dispersion.exp()).double()
