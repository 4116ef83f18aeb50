"""Covariation: counts of a spot whose genes vary together, as they do among the cells of one type.

    Cov(x_s) ∝ D^½ M D^½,    D = μ (1 + α μ),    M = (1 − m) I + m C

A spot is a sum of a few cells, and cells of one type differ along whole programmes of genes. A likelihood that takes
genes for independent reads such a programme as another cell type. ``C`` is the correlation of the genes within types in
the reference; α, the dispersion, and m, the part of the covariation that this sample shows, are those that make the
residuals of its spots most likely (a Gaussian quasi-likelihood: the first two moments of the counts are all it uses).
With α and m known the abundance solves the generalised estimating equations ``R D^-½ M⁻¹ D^-½ (x − f R) = 0``.

References
----------
Liang & Zeger (1986), Biometrika 73:13. Wedderburn (1974), Biometrika 61:439.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.optimize import minimize_scalar

from pointillist.deconvolution._within_types import FLOOR

# Beyond these directions the correlation is taken for equal in all: what is left of it is mostly noise.
MAX_DIRECTIONS = 300
_OTHER_TYPES = 0.3
_LARGEST_DISPERSION, _SMALLEST_DISPERSION = 3.0, 1e-3


@dataclass(frozen=True)
class Correlation:
    """Correlation of genes by its leading directions, with mean variance 1.

    Attributes
    ----------
    directions : ndarray, genes × r
        Orthonormal.
    variances : ndarray, r
    rest : float
        Variance in every other direction.
    """

    directions: np.ndarray
    variances: np.ndarray
    rest: float

    def mixed(self, share):
        """``(1 − share) I + share C``."""
        return Correlation(self.directions, 1 - share + share * self.variances, 1 - share + share * self.rest)

    @property
    def precisions(self):
        """What the inverse takes off ``I / rest`` along the directions."""
        return 1 / self.rest - 1 / self.variances

    def squared_length(self, Z):
        """``z M⁻¹ zᵀ`` of each row of `Z`."""
        return (Z**2).sum(axis=1) / self.rest - (Z @ self.directions) ** 2 @ self.precisions

    def normal_equations(self, roots, R, X, independent):
        """Gram matrices and right-hand sides of least squares in this metric.

        Parameters
        ----------
        roots : ndarray, spots × genes
            ``D^-½``.
        R : ndarray, K × genes
        X : ndarray, spots × genes
        independent : ndarray, spots × K × K
            Gram matrices with the identity for `M`.

        Returns
        -------
        gram : ndarray, spots × K × K
        cross : ndarray, spots × K
        """
        along = np.stack([(roots * row) @ self.directions for row in R], axis=1)
        weighted = along * self.precisions
        gram = independent / self.rest - weighted @ along.transpose(0, 2, 1)
        scaled = roots * X
        cross = (roots * scaled) @ R.T / self.rest
        cross -= np.einsum("skr,sr->sk", weighted, scaled @ self.directions)
        return gram, cross


def correlation_within_types(reference):
    """Correlation of genes among cells of one type, pooled over types.

    Parameters
    ----------
    reference : WithinTypes

    Returns
    -------
    Correlation
    """
    mean = reference.R.mean(axis=0)
    # Mostly the type's own expression: where a gene is silent, it does not vary.
    covariance, _ = reference.covariance(np.sqrt(reference.R + _OTHER_TYPES * mean + FLOOR * mean.mean()))
    n_genes = len(covariance)
    covariance /= np.trace(covariance) / n_genes
    n_directions = min(MAX_DIRECTIONS, n_genes - 1)
    variances, directions = linalg.eigh(covariance, subset_by_index=(n_genes - n_directions, n_genes - 1))
    rest = (n_genes - variances.sum()) / (n_genes - n_directions)
    return Correlation(directions, variances, rest)


def choose_variance(X, mu, correlation=None, dispersed=True):
    """Dispersion and share of the correlation under which the spots' residuals are most likely.

    Parameters
    ----------
    X, mu : ndarray, spots × genes
        Counts and what a first fit expects; positive.
    correlation : Correlation, optional
        None for independent genes.
    dispersed : bool
        Whether the dispersion may be above 0.

    Returns
    -------
    dispersion : float
    share : float
        In [0, 1]; 0 without a correlation.
    """
    n_genes = X.shape[1]
    residual = X - mu

    def unlikely(dispersion):
        variance = mu * (1 + dispersion * mu)
        scaled = residual / np.sqrt(variance)
        total = (scaled**2).sum(axis=1).mean()
        constant = np.log(variance).sum(axis=1).mean()
        if correlation is None:
            return n_genes * np.log(total / n_genes) + constant, 0.0
        along = ((scaled @ correlation.directions) ** 2).mean(axis=0)

        def of_share(share):
            mixed = correlation.mixed(share)
            size = (total / mixed.rest - along @ mixed.precisions) / n_genes
            others = n_genes - len(along)
            return n_genes * np.log(size) + np.log(mixed.variances).sum() + others * np.log(mixed.rest)

        best = minimize_scalar(of_share, bounds=(0, 1), method="bounded", options={"xatol": 1e-3})
        return best.fun + constant, float(best.x)

    if not dispersed:
        return 0.0, unlikely(0.0)[1]
    bounds = np.log([_SMALLEST_DISPERSION, _LARGEST_DISPERSION])
    best = minimize_scalar(
        lambda log: unlikely(np.exp(log))[0], bounds=bounds, method="bounded", options={"xatol": 0.01}
    )
    dispersion = float(np.exp(best.x))
    return dispersion, unlikely(dispersion)[1]
