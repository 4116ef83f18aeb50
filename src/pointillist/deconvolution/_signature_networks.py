"""Encoders and decoder of the signature-guided variational autoencoder, and its loss by parts; see `signature_vae`."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn.functional import softplus

from pointillist.embedding._networks import Layers, linear

SHARPNESS = 20.0  # of the decoder's rectifier: where it bends is small beside 1, the length of a cell type's state
SMALL = 0.1  # of new heads' usual scale: every posterior starts near its prior
LOWEST_CONCENTRATION = 0.02  # below it draws are 0 or 1 in single precision
STATE_VARIANCE = 1e-3  # where s starts
LIBRARY_VARIANCE = 0.01  # where the variance of q(l) starts


class Batch(NamedTuple):
    """Some spots: the encoder's input (spots × genes), log totals, priors of ``c`` and ``l``, image features; and where
    the stored counts are, each with its place in the table of different counts of a gene.
    """

    expression: torch.Tensor
    log_totals: torch.Tensor
    prior: torch.Tensor
    log_library: torch.Tensor
    image: torch.Tensor
    spots: torch.Tensor
    genes: torch.Tensor
    places: torch.Tensor


class Sample:
    """Spots of which any can be had as a `Batch`; the matrices stay sparse.

    Parameters
    ----------
    counts, expression : csr_array, spots × genes
        Counts, and the input of the encoder.
    prior : ndarray, spots × cell types
        Mean of the prior of ``c``.
    log_library : ndarray, spots
        Mean of the prior of ``l``.
    image : ndarray, spots × features
    names : sequence
        What the spots are called in messages.
    """

    def __init__(self, counts, expression, prior, log_library, image, names):
        self.expression, self.prior, self.image, self.names = expression, prior, image, np.asarray(names)
        self.log_library = np.asarray(log_library)[:, None]
        self.log_totals = np.log(np.maximum(counts.sum(axis=1), 1.0))[:, None]
        self.values, self.value_genes, self.places = _different_counts(counts)

    def __len__(self):
        return len(self.prior)

    def take(self, rows):
        """The spots in `rows`, in that order."""
        places = self.places[rows]
        dense = (self.expression[rows].toarray(), self.log_totals[rows], self.prior[rows], self.log_library[rows])
        return Batch(
            *(torch.from_numpy(table.astype(np.float32)) for table in (*dense, self.image[rows])),
            spots=torch.from_numpy(np.repeat(np.arange(len(rows)), np.diff(places.indptr))),
            genes=torch.from_numpy(places.indices.astype(np.int64)),
            places=torch.from_numpy(places.data - 1),
        )


class Loss(NamedTuple):
    """Parts of the negative evidence lower bound of each spot, which is their sum."""

    reconstruction: torch.Tensor
    kl_proportions: torch.Tensor
    kl_state: torch.Tensor
    kl_library: torch.Tensor


class Posterior(NamedTuple):
    """``q(c)`` and ``q(l)``, and features of expression and image that the experts of ``q(z)`` are made from."""

    concentration: torch.Tensor
    log_library: torch.Tensor
    log_library_variance: torch.Tensor
    hidden: torch.Tensor
    seen: torch.Tensor


class SignatureNetwork(nn.Module):
    """The model of `signature_vae` with its posteriors.

    Parameters
    ----------
    log_profiles : tensor, cell types × genes
        Where the decoder's programmes start.
    log_dispersion : tensor, genes
        Where ``log θ`` starts.
    centre, scale : tensors, genes
        By which the encoder's input is standardised.
    concentration, library_variance : float
        Sum of the Dirichlet prior's parameters; variance of the library size's prior, on the log scale.
    n_image : int
        Histology features, 0 for none.
    n_hidden : int
    generator : torch.Generator
        Of the initial weights.
    """

    def __init__(
        self,
        log_profiles,
        log_dispersion,
        centre,
        scale,
        *,
        concentration,
        library_variance,
        n_image,
        n_hidden,
        generator,
    ):
        super().__init__()
        n_types, n_genes = log_profiles.shape
        self.concentration, self.log_library_variance, self.n_image = concentration, library_variance, n_image
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.encoder = Layers(n_genes, n_hidden, 1, 0, generator)
        self.to_proportions = _head(n_hidden, n_types, generator)
        self.to_precision = _head(n_hidden, 1, generator)
        self.to_library = _head(n_hidden, 2, generator)
        self.to_state = _head(n_hidden + n_types, 2 * n_types, generator)
        self.states = nn.Parameter(torch.eye(n_types))
        self.log_variances = nn.Parameter(torch.full((n_types, n_types), math.log(STATE_VARIANCE)))
        self.log_profiles = nn.Parameter(log_profiles.clone())
        self.log_dispersion = nn.Parameter(log_dispersion.clone())
        if n_image:
            self.image_encoder = Layers(n_image, n_hidden, 1, 0, generator)
            self.image_to_state = _head(n_hidden, 2 * n_types, generator)
            self.image_decoder = linear(n_types, n_image, generator)
            self.image_log_variance = nn.Parameter(torch.zeros(n_image))

    def encode(self, batch):
        """`Posterior` of the spots."""
        nothing = batch.prior[:, :0]
        hidden = self.encoder((batch.expression - self.centre) / self.scale, nothing)
        seen = self.image_encoder(batch.image, nothing) if self.n_image else torch.zeros_like(hidden)
        # A softplus about its own inverse at the prior: with all weights at zero q(c) is the prior.
        start = batch.prior + torch.log(-torch.expm1(-batch.prior))
        shape = softplus(start + self.to_proportions(hidden + seen))
        precision = self.concentration * torch.exp(self.to_precision(hidden + seen))
        shift, log_variance = self.to_library(hidden).chunk(2, dim=1)
        return Posterior(
            (precision * shape).clamp_min(LOWEST_CONCENTRATION),
            batch.log_totals + shift,
            LIBRARY_VARIANCE * torch.exp(log_variance),
            hidden,
            seen,
        )

    def state(self, posterior, proportions):
        """Mean and variance of ``p(z | c)`` and of ``q(z | x, c)``, the latter with the image's expert, if any."""
        prior_mean = proportions @ self.states
        prior_variance = proportions @ self.log_variances.exp()
        joined = torch.cat([posterior.hidden, proportions], dim=1)
        shift, log_ratio = self.to_state(joined).chunk(2, dim=1)
        mean, variance = prior_mean + shift, prior_variance * log_ratio.exp()
        if self.n_image:
            other_mean, other_log = self.image_to_state(posterior.seen).chunk(2, dim=1)
            precision, other = 1 / variance, torch.exp(-other_log)
            variance = 1 / (precision + other)
            mean = variance * (precision * mean + other * other_mean)
        return prior_mean, prior_variance, mean, variance

    def decode(self, state):
        """Logarithm of each gene's share in the spot's counts, spots × genes."""
        amount = softplus(state, beta=SHARPNESS) + 1e-6
        mixture = amount @ torch.softmax(self.log_profiles, dim=1)
        return torch.log(mixture / amount.sum(dim=1, keepdim=True))

    def loss(self, batch, terms, generator):
        """Parts of the negative ELBO, with one draw of ``c``, ``z`` and ``l`` for each spot.

        Parameters
        ----------
        batch : Batch
        terms : (tensor, tensor)
            From `count_terms`, of the sample that the batch is of.
        generator : torch.Generator
            Of ``z`` and ``l``; torch draws from a Dirichlet by its global generator alone.

        Returns
        -------
        Loss
        """
        posterior = self.encode(batch)
        proportions = torch.distributions.Dirichlet(posterior.concentration, validate_args=False).rsample()
        prior_mean, prior_variance, mean, variance = self.state(posterior, proportions)
        state = mean + variance.sqrt() * torch.randn(mean.shape, generator=generator)
        noise = torch.randn((len(mean), 1), generator=generator)
        log_library = posterior.log_library + posterior.log_library_variance.sqrt() * noise
        likelihood = self.log_likelihood(batch, terms, self.decode(state) + log_library)
        if self.n_image:
            likelihood = likelihood + self._image_likelihood(batch.image, state)
        prior = (self.concentration * batch.prior).clamp_min(LOWEST_CONCENTRATION)
        library_variance = torch.full_like(posterior.log_library_variance, self.log_library_variance)
        return Loss(
            -likelihood,
            kl_dirichlet(posterior.concentration.double(), prior.double()),
            kl_normal(mean, variance, prior_mean, prior_variance),
            kl_normal(posterior.log_library, posterior.log_library_variance, batch.log_library, library_variance),
        )

    def at_means(self, batch):
        """Concentration of ``q(c)``, and ``log μ`` at the means of the posteriors."""
        posterior = self.encode(batch)
        proportions = posterior.concentration / posterior.concentration.sum(dim=1, keepdim=True)
        mean = self.state(posterior, proportions)[2]
        return posterior.concentration, self.decode(mean) + posterior.log_library

    def count_terms(self, sample):
        """Every different count ``x`` of a gene, and its ``log Γ(x + θ) − log Γ(θ) − log Γ(x + 1)``.

        A sample has far fewer of them than counts, and the gamma function is most of the work.
        """
        values, genes = torch.from_numpy(sample.values), torch.from_numpy(sample.value_genes)
        dispersion = self.log_dispersion.exp().double()  # differences of log Γ lose all digits in single precision
        terms = torch.lgamma(values + dispersion[genes]) - torch.lgamma(dispersion)[genes] - torch.lgamma(values + 1)
        return values, terms

    def log_likelihood(self, batch, terms, log_mean):
        """Negative binomial log-likelihood of each spot's counts; see `pointillist.embedding._negative_binomial`."""
        log_odds = log_mean - self.log_dispersion
        tail = softplus(log_odds)
        values, constants = terms
        stored = values[batch.places] * (log_odds - tail)[batch.spots, batch.genes] + constants[batch.places]
        zero = torch.zeros(len(log_mean), dtype=torch.float64)
        return zero.index_add(0, batch.spots, stored) - (tail @ self.log_dispersion.exp()).double()

    def _image_likelihood(self, image, state):
        squared = (image - self.image_decoder(state)) ** 2 * torch.exp(-self.image_log_variance)
        return -0.5 * (squared + self.image_log_variance + math.log(2 * math.pi)).sum(dim=1).double()


def kl_dirichlet(q, p):
    """``KL(Dirichlet(q) ‖ Dirichlet(p))`` of each row, in closed form."""
    total = q.sum(dim=1)
    return (
        torch.lgamma(total)
        - torch.lgamma(q).sum(dim=1)
        - torch.lgamma(p.sum(dim=1))
        + torch.lgamma(p).sum(dim=1)
        + ((q - p) * (torch.digamma(q) - torch.digamma(total)[:, None])).sum(dim=1)
    )


def kl_normal(mean, variance, prior_mean, prior_variance):
    """``KL(N(mean, variance) ‖ N(prior_mean, prior_variance))`` of each row, in closed form."""
    ratio = variance / prior_variance
    return 0.5 * ((mean - prior_mean) ** 2 / prior_variance + ratio - 1 - torch.log(ratio)).sum(dim=1).double()


def _different_counts(counts):
    """The different counts of each gene, the gene of each, and for every stored count its place among them, plus 1."""
    pairs = counts.indices.astype(np.int64) * (int(counts.data.max(initial=0)) + 1) + counts.data.astype(np.int64)
    unique, places = np.unique(pairs, return_inverse=True)
    genes, values = np.divmod(unique, int(counts.data.max(initial=0)) + 1)
    # Plus 1, so that the first is stored as well.
    table = sparse.csr_array((places.ravel() + 1, counts.indices, counts.indptr), shape=counts.shape)
    return values.astype(np.float64), genes, table


def _head(n_inputs, n_outputs, generator):
    layer = linear(n_inputs, n_outputs, generator)
    with torch.no_grad():
        layer.weight.mul_(SMALL)
    return layer
