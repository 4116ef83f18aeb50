"""The two networks of a variational autoencoder of counts, and its loss by its named parts."""

import torch
from torch import nn

from pointillist.embedding._negative_binomial import log_likelihood


class VariationalAutoencoder(nn.Module):
    """Encoder to a normal distribution, decoder to the mean of a negative binomial.

    Parameters
    ----------
    mean_profile : Tensor, genes
        Share of each gene in all counts: where the decoder starts.
    n_latent, n_hidden : int
    """

    def __init__(self, mean_profile, n_latent, n_hidden):
        super().__init__()
        n_genes = len(mean_profile)
        self.encoder = nn.Sequential(nn.Linear(n_genes, n_hidden), nn.LayerNorm(n_hidden), nn.ReLU())
        self.mean = nn.Linear(n_hidden, n_latent)
        self.log_variance = nn.Linear(n_hidden, n_latent)
        self.decoder = nn.Sequential(nn.Linear(n_latent, n_hidden), nn.LayerNorm(n_hidden), nn.ReLU())
        self.profile = nn.Linear(n_hidden, n_genes)
        self.log_dispersion = nn.Parameter(torch.ones(n_genes))
        with torch.no_grad():
            # Starting at the mean profile, the network only has to learn how spots differ from it.
            self.profile.weight.mul_(0.1)
            self.profile.bias.copy_(mean_profile.clamp(min=1e-8).log())

    def encode(self, expression):
        """Mean and log variance of q(Z given X), each spots × latent."""
        hidden = self.encoder(expression)
        return self.mean(hidden), self.log_variance(hidden).clamp(-10, 10)

    def decode(self, latent, log_library):
        """Log mean of each count, spots × genes: the profile, which sums to 1, times the library size."""
        return torch.log_softmax(self.profile(self.decoder(latent)), dim=1) + log_library

    def losses(self, counts, expression, log_library, noise):
        """Reconstruction and KL divergence of each spot, in nats.

        Parameters
        ----------
        counts, expression : Tensor, spots × genes
            Raw counts, and what the encoder sees.
        log_library : Tensor, spots × 1
        noise : Tensor, spots × latent
            Standard normal draws.

        Returns
        -------
        dict of str to Tensor, spots
        """
        mean, log_variance = self.encode(expression)
        log_mean = self.decode(mean + noise * (0.5 * log_variance).exp(), log_library)
        reconstruction = -log_likelihood(counts, log_mean, self.log_dispersion).sum(dim=1)
        return {"reconstruction": reconstruction, "kl": kl_to_standard_normal(mean, log_variance)}


def kl_to_standard_normal(mean, log_variance):
    """KL divergence of independent normals from the standard normal, summed over dimensions."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
