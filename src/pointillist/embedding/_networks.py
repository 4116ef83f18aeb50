"""Encoder and decoder of the variational autoencoder, and its loss by named parts.

Encoder: log-normalised expression → mean and log-variance of ``q(z | x)``. Decoder: ``z`` → share of each gene in the
spot's counts. Batch membership, as indicators, joins the input of every layer.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from pointillist.embedding._negative_binomial import log_likelihood

SMALL_START = 0.1  # of the output weights' usual scale: the decoder starts near the mean profile


class Minibatch(NamedTuple):
    """Some spots: input of the encoder (spots × genes), indicators of batches, log totals (spots × 1), counts."""

    expression: torch.Tensor
    batch: torch.Tensor
    log_totals: torch.Tensor
    values: torch.Tensor
    spots: torch.Tensor
    genes: torch.Tensor


class Loss(NamedTuple):
    """Parts of the loss of each spot; the negative ELBO is their sum."""

    reconstruction: torch.Tensor
    kl: torch.Tensor


class VariationalAutoencoder(nn.Module):
    """Gaussian encoder and negative binomial decoder.

    Parameters
    ----------
    n_latent, n_hidden, n_layers, n_batches : int
    log_profile : tensor, genes
        Logarithm of each gene's share in all counts, where the decoder starts.
    log_dispersion : tensor, genes
        Where the logarithm of the inverse dispersion starts.
    generator : torch.Generator
        Of the initial weights.
    """

    def __init__(self, n_latent, n_hidden, n_layers, n_batches, log_profile, log_dispersion, generator):
        super().__init__()
        n_genes = len(log_profile)
        self.encoder = Layers(n_genes, n_hidden, n_layers, n_batches, generator)
        self.mean = linear(n_hidden, n_latent, generator)
        self.log_variance = linear(n_hidden, n_latent, generator)
        self.decoder = Layers(n_latent, n_hidden, n_layers, n_batches, generator)
        self.output = linear(n_hidden + n_batches, n_genes, generator)
        self.log_dispersion = nn.Parameter(log_dispersion.clone())
        with torch.no_grad():
            self.output.weight.mul_(SMALL_START)
            self.output.bias.copy_(log_profile)

    def encode(self, expression, batch):
        """Mean and log-variance of ``q(z | x)``, each spots × latent dimensions."""
        hidden = self.encoder(expression, batch)
        return self.mean(hidden), self.log_variance(hidden)

    def decode(self, latent, batch):
        """Logarithm of each gene's share in a spot's counts, spots × genes."""
        hidden = self.decoder(latent, batch)
        return torch.log_softmax(self.output(torch.cat([hidden, batch], dim=1)), dim=1)

    def loss(self, spots, noise):
        """Parts of the negative ELBO of each spot, with ``z`` drawn once by `noise` (spots × latent dimensions).

        Parameters
        ----------
        spots : Minibatch
        noise : tensor
            Standard normal.

        Returns
        -------
        Loss
        """
        mean, log_variance = self.encode(spots.expression, spots.batch)
        latent = mean + torch.exp(log_variance / 2) * noise
        log_mean = self.decode(latent, spots.batch) + spots.log_totals
        likelihood = log_likelihood(spots.values, spots.spots, spots.genes, log_mean, self.log_dispersion)
        return Loss(-likelihood, divergence_from_prior(mean, log_variance))


class Layers(nn.Module):
    """Linear layers, each normalised and rectified, with batch indicators joining the input of each."""

    def __init__(self, n_inputs, n_hidden, n_layers, n_batches, generator):
        super().__init__()
        sizes = [n_inputs] + [n_hidden] * (n_layers - 1)
        self.linears = nn.ModuleList(linear(size + n_batches, n_hidden, generator) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(n_hidden) for _ in sizes)

    def forward(self, values, batch):
        for layer, norm in zip(self.linears, self.norms, strict=True):
            values = torch.relu(norm(layer(torch.cat([values, batch], dim=1))))
        return values


def divergence_from_prior(mean, log_variance):
    """``KL(N(mean, variance) ‖ N(0, I))`` of each spot, in closed form."""
    return (0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)).sum(dim=1).double()


def linear(n_inputs, n_outputs, generator):
    """Linear layer with uniform weights drawn from `generator`, never from torch's global state; bias zero."""
    layer = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs)
    bound = 1 / math.sqrt(n_inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer
