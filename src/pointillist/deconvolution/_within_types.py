"""How the cells of one type differ among themselves, and what follows for the means of types with few cells.

Residuals are cells per 10,000 counts less their type's mean, divided by a scale. Their covariance, pooled over types,
is shrunk towards the identity by Ledoit and Wolf's rule, which needs no tuning.

The mean of n cells has the variance ``s²_g/n`` in a gene. Noise in the regressors draws coefficients towards zero,
those of rare types most. What regression asks for instead is the expected mean given the observed one: for every gene,
types are drawn towards their common mean by ``(s²_g/n) / (τ²_g + s²_g/n)``, where ``τ²_g`` is how much the types truly
differ (the random effects of an analysis of variance, by moments). A gene that tells no types apart so loses its noise,
and a marker keeps its height.

References
----------
Ledoit & Wolf (2004), Journal of Multivariate Analysis 88:365. DerSimonian & Laird (1986), Controlled Clinical Trials
7:177 (τ² by moments). Efron & Morris (1973), Journal of the American Statistical Association 68:117. Carroll et al.
(2006), Measurement Error in Nonlinear Models, chapter 4 (regression calibration).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pointillist.deconvolution.result import as_csr

# A covariance does not gain from more cells than this, and its cost grows with them.
MAX_CELLS = 5000
_BLOCK = 1000
_NO_NOISE = 1e-9
# Of the mean gene's expression, so that a gene that is hardly expressed does not set the scale.
FLOOR = 0.05


def mean_scale(R):
    """Root of the mean expression of the genes over types, to which the variance of counts is proportional."""
    mean = R.mean(axis=0)
    return np.sqrt(mean + FLOOR * mean.mean())


def evenly(positions, n):
    """At most `n` of some positions, evenly spaced."""
    return positions[np.linspace(0, len(positions) - 1, min(n, len(positions))).astype(int)]


@dataclass(frozen=True)
class WithinTypes:
    """Cells of a reference beside the mean of their type.

    Attributes
    ----------
    cells : CSR, cells × genes
        Raw counts.
    codes : ndarray of int, cells
        Row of `R`.
    totals : ndarray, cells
        Counts over all genes of the reference.
    R : ndarray, cell types × genes
        Mean expression per 10,000 counts.
    n_cells : ndarray, cell types
        Cells of each type in the reference, those left out here included.
    """

    cells: sparse.csr_array
    codes: np.ndarray
    totals: np.ndarray
    R: np.ndarray
    n_cells: np.ndarray

    def residuals(self, positions, scale):
        """Residuals of some cells, cells × genes; a mean of n cells leaves (n − 1)/n of their variance, given back."""
        codes = self.codes[positions]
        counts = self.cells[positions]
        dense = counts.toarray() if sparse.issparse(counts) else np.asarray(counts)
        dense = dense * (1e4 / self.totals[positions])[:, None] - self.R[codes]
        n = self.n_cells[codes]
        return dense * np.sqrt(n / (n - 1))[:, None] / (scale if scale.ndim == 1 else scale[codes])

    def covariance(self, scale):
        """Shrunk covariance of the residuals.

        Parameters
        ----------
        scale : ndarray, genes, or cell types × genes

        Returns
        -------
        covariance : ndarray, genes × genes
        shrinkage : float
            In [0, 1].
        """
        n, n_genes = self.cells.shape
        covariance, lengths = np.zeros((n_genes, n_genes)), np.empty(n)
        for part in np.array_split(np.arange(n), max(1, n // _BLOCK)):
            residual = self.residuals(part, scale)
            covariance += residual.T @ residual
            lengths[part] = (residual**2).sum(axis=1)
        covariance /= n
        average = np.trace(covariance) / n_genes
        squared = (covariance**2).sum()
        distance = squared - average**2 * n_genes
        error = ((lengths**2).mean() - squared) / n
        shrinkage = float(np.clip(error / distance, 0, 1)) if distance > 0 else 1.0
        covariance *= 1 - shrinkage
        covariance[np.diag_indices(n_genes)] += max(shrinkage, 1e-3) * average
        return covariance, shrinkage

    def shrunken_means(self):
        """Expected mean expression of each type, given how noisy the observed one is.

        Returns
        -------
        ndarray, cell types × genes
            Types of which there is no cell stay as they are.
        """
        n = len(self.codes)
        squared = np.zeros(self.R.shape[1])
        for part in np.array_split(np.arange(n), max(1, n // _BLOCK)):
            squared += (self.residuals(part, np.ones(self.R.shape[1])) ** 2).sum(axis=0)
        some = self.n_cells > 0
        means = self.R[some]
        noise = np.maximum(squared / n, _NO_NOISE) / self.n_cells[some][:, None]
        weight = 1 / noise
        centre = (weight * means).sum(axis=0) / weight.sum(axis=0)
        excess = (weight * (means - centre) ** 2).sum(axis=0) - (len(means) - 1)
        freedom = weight.sum(axis=0) - (weight**2).sum(axis=0) / weight.sum(axis=0)
        between = np.clip(np.divide(excess, freedom, out=np.zeros_like(excess), where=freedom > 0), 0, None)
        weight = 1 / (between + noise)
        centre = (weight * means).sum(axis=0) / weight.sum(axis=0)
        shrunken = self.R.copy()
        shrunken[some] = centre + (means - centre) * between / (between + noise)
        return shrunken


def within_types(cells, codes, R, cell_totals=None):
    """The cells that say how a type varies: of types with two cells at least, and not more than are needed.

    Parameters
    ----------
    cells : ndarray or CSR, cells × genes
        Raw counts of the reference.
    codes : ndarray of int, cells
        Row of `R` that a cell belongs to; −1 for none.
    R : ndarray, cell types × genes
        Mean expression per 10,000 counts.
    cell_totals : ndarray, cells, optional
        Total counts of each cell over all genes of the reference; by default over the genes given.

    Returns
    -------
    WithinTypes

    Raises
    ------
    ValueError
        No cell type has two cells, or the cells do not fit the signature.
    """
    cells, codes = as_csr(cells), np.asarray(codes)
    if cells.shape != (len(codes), R.shape[1]) or codes.max(initial=-1) >= len(R):
        raise ValueError(f"{cells.shape} cells × genes with {len(codes)} codes do not fit a signature of {R.shape}")
    totals = np.asarray(cells.sum(axis=1), dtype=float).ravel() if cell_totals is None else np.asarray(cell_totals)
    n_cells = np.bincount(codes[codes >= 0], minlength=len(R))
    used = np.flatnonzero((codes >= 0) & (totals > 0) & (n_cells[codes] > 1))
    if not len(used):
        raise ValueError("no cell type of the reference has two cells: how cells of a type differ cannot be estimated")
    used = evenly(used[np.argsort(codes[used], kind="stable")], MAX_CELLS)
    return WithinTypes(cells[used], codes[used], totals[used], R, n_cells)
