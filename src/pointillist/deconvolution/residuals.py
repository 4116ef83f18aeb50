"""Residuals of a reconstruction: what the reference leaves unexplained, and genes of what it may lack.

With counts ``x``, the fit ``μ = f R`` scaled to each spot's total, and ``m_sg = μ_sg Σ_s x_sg / Σ_s μ_sg``, which takes
out what the two platforms capture differently of a gene, in every spot alike:

    unexplained_s = Σ_g [max(x − μ, 0) − E max(X − μ, 0)] / Σ_g x       X ~ Poisson(μ): counting noise is taken off
    z_sg = (x − m) / √(m + m²/100)                                      Pearson residuals
    v = argmax Σ_{g≠h} v_g (zᵀz)_gh v_h  with  v ≥ 0, ‖v‖ = 1           missing signature
    t = z v                                                             where it is

A cell type that the reference lacks leaves its genes in too great number where its cells are: their residuals go up and
down together, and ``v`` holds those genes. A gene that varies by itself counts for nothing, as only pairs are summed.
Further signatures are found with the ones before projected out.

Every sample has such signatures: one is a cell type where its genes are those of one and its map is a region's. It is
otherwise noise, a gradient of the tissue, a state of a cell type that is there, or the shadow of the signature before
it: the genes of the types that stand in for what is missing, which go up where it is not.

>>> found = residuals(X, R, proportions, genes)  # doctest: +SKIP
>>> found.by_gene["missing_1"].nlargest(10), found.by_spot["missing_1"]  # doctest: +SKIP

References
----------
Lause, Berens & Kobak (2021), Genome Biology 22:258 (Pearson residuals). Montanari & Richard (2016), IEEE Transactions
on Information Theory 62:1458 (non-negative principal components).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist.deconvolution.result import as_csr, check_shapes

_DISPERSION = 0.01
_N_STARTS = 4
_BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Residuals:
    """What a reconstruction leaves of the counts.

    Attributes
    ----------
    by_spot : DataFrame, spots
        ``unexplained``, the share of counts above the fit beyond counting noise; ``pearson``, between the spot and its
        reconstruction over all genes given; ``missing_1``, …: how far the genes of each missing signature go up
        together in the spot, t. NaN where the spot has no counts or no estimate.
    by_gene : DataFrame, genes, those of the first missing signature first
        ``observed`` and ``fitted`` totals, ``log2_ratio`` of the two, ``excess``, the mean squared residual over spots
        (1 or less for counting noise), and ``missing_1``, …: the weights v.
    strengths : tuple of float
        Variance of each t over what it would be if the residuals of its genes had nothing to do with each other.
    """

    by_spot: pd.DataFrame
    by_gene: pd.DataFrame
    strengths: tuple


def residuals(X, R, shares, genes, n_signatures=3, n_leading=2000):
    """What a reconstruction leaves of the counts, and the genes that go up together where it fails.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
        Raw counts, over all genes that sample and reference share: the markers alone would lack those of a cell type
        that the reference does not have.
    R : ndarray, cell types × genes
        Signature on the linear scale.
    shares : ndarray, spots × cell types
        Of the spot's RNA, on any scale: each spot's fit is scaled to its total. NaN rows have no estimate.
    genes : sequence of str
    n_signatures : int
        Missing signatures to look for.
    n_leading : int
        They are looked for among so many genes, those with the largest excess.

    Returns
    -------
    Residuals

    Raises
    ------
    ValueError
        Shapes that do not fit, or no spot with counts and an estimate.
    """
    check_shapes(X, R)
    X, R, shares = as_csr(X), np.asarray(R, dtype=float), np.asarray(shares, dtype=float)
    if shares.shape != (X.shape[0], R.shape[0]):
        raise ValueError(f"shares are {shares.shape}, expected {(X.shape[0], R.shape[0])}: spots × cell types")
    if len(genes) != X.shape[1]:
        raise ValueError(f"{len(genes)} gene names for {X.shape[1]} genes")
    totals = np.asarray(X.sum(axis=1), dtype=float).ravel()
    sizes = shares @ R.sum(axis=1)
    fits = np.flatnonzero(np.isfinite(sizes) & (sizes > 0) & (totals > 0))
    if not len(fits):
        raise ValueError("no spot has both counts and an estimate: there is nothing to compare")
    X, totals = X[fits], totals[fits]
    abundance = shares[fits] * (totals / sizes[fits])[:, None]
    observed = np.asarray(X.sum(axis=0), dtype=float).ravel()
    fitted = abundance.sum(axis=0) @ R
    fit = _Fit(X, R, abundance, totals, observed, fitted)

    excess, unexplained, pearson = np.zeros(X.shape[1]), np.empty(len(fits)), np.empty(len(fits))
    for part, x, mu in fit.blocks():
        excess += (fit.standardise(x, mu, part) ** 2).sum(axis=0)
        unexplained[part] = (np.maximum(x - mu, 0) - _expected_excess(mu)).sum(axis=1) / totals[part]
        pearson[part] = _row_correlation(x, mu)
    excess /= len(fits)

    leading = np.sort(np.argsort(-excess, kind="stable")[:n_leading])
    gram = np.zeros((len(leading), len(leading)))
    for part, x, mu in fit.blocks(leading):
        z = fit.standardise(x, mu, part, leading)
        gram += z.T @ z
    gram /= len(fits)
    weights = _nonnegative_components(gram, n_signatures)
    names = [f"missing_{number}" for number in range(1, n_signatures + 1)]
    score = np.empty((len(fits), n_signatures))
    for part, x, mu in fit.blocks(leading):
        score[part] = fit.standardise(x, mu, part, leading) @ weights.T

    by_spot = pd.DataFrame(np.nan, index=range(len(shares)), columns=["unexplained", "pearson", *names])
    by_spot.iloc[fits] = np.column_stack([unexplained, pearson, score])
    by_gene = pd.DataFrame(
        {
            "observed": observed,
            "fitted": fitted,
            "log2_ratio": np.log2((observed + 1) / (fitted + 1)),
            "excess": excess,
        },
        index=pd.Index(np.asarray(genes), name="gene"),
    )
    full = np.zeros((n_signatures, X.shape[1]))
    full[:, leading] = weights
    for name, row in zip(names, full):
        by_gene[name] = row
    order = np.lexsort((np.arange(len(excess)), -excess, -full[0]))
    own = weights**2 @ np.diag(gram)
    together = np.einsum("ng,gh,nh->n", weights, gram, weights)
    strengths = np.divide(together, own, out=np.zeros(n_signatures), where=own > 0)
    return Residuals(by_spot, by_gene.iloc[order], tuple(strengths.tolist()))


class _Fit:
    """Counts and their fit, a few spots at a time, never as one dense matrix."""

    def __init__(self, X, R, abundance, totals, observed, fitted):
        self.X, self.R, self.abundance, self.totals = X, R, abundance, totals
        self.factor = np.divide(observed, fitted, out=np.zeros_like(observed), where=fitted > 0)
        # A gene that no type of the reference expresses is expected in proportion to the spots' totals.
        self.flat = np.where(fitted > 0, 0.0, observed / totals.sum())

    def blocks(self, genes=slice(None)):
        R = self.R[:, genes]
        X = self.X[:, genes]
        size = max(1, _BLOCK_ENTRIES // max(R.shape[1], 1))
        for start in range(0, X.shape[0], size):
            part = slice(start, min(start + size, X.shape[0]))
            x = X[part].toarray() if sparse.issparse(X) else X[part]
            yield part, np.asarray(x, dtype=float), self.abundance[part] @ R

    def standardise(self, x, mu, part, genes=slice(None)):
        mean = mu * self.factor[genes] + self.totals[part, None] * self.flat[genes]
        spread = np.sqrt(mean + _DISPERSION * mean**2)
        z = np.divide(x - mean, spread, out=np.zeros_like(mean), where=spread > 0)
        # One count where next to none is expected would outweigh all other spots.
        bound = np.sqrt(self.X.shape[0])
        return np.clip(z, -bound, bound)


def _expected_excess(mu):
    """``E max(X − μ, 0)`` of a Poisson variable X with mean μ, half its mean absolute deviation."""
    from scipy.special import gammaln, xlogy

    whole = np.floor(mu)
    return np.exp(xlogy(whole + 1, mu) - mu - gammaln(whole + 1))


def _row_correlation(x, y):
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), spread, out=np.full(len(x), np.nan), where=spread > 0)


def _nonnegative_components(gram, n_components):
    """Non-negative unit vectors, the one of largest covariance first: power steps cut at zero, from several starts."""
    from scipy.linalg import eigh

    n = len(gram)
    pairs = gram - np.diag(np.diag(gram))
    found = np.zeros((n_components, n))
    for component in found:
        vectors = eigh(pairs, subset_by_index=[max(0, n - _N_STARTS), n - 1])[1].T[::-1]
        # Steps go up only where no eigenvalue is negative.
        shift = max(0.0, -eigh(pairs, subset_by_index=[0, 0], eigvals_only=True)[0])
        reached = _ascend(pairs, shift, np.maximum(np.concatenate([vectors, -vectors]), 0))
        covariances = np.einsum("ng,ng->n", reached @ pairs, reached)
        # Starts that lead to the same place differ by rounding: the first of them is taken.
        best = int(np.argmax(covariances > covariances.max() - 1e-6 * abs(covariances.max())))
        if covariances[best] > 0:
            component[:] = reached[best]
        # Projected out of rows and columns.
        beside = pairs @ component
        pairs = pairs - np.outer(component, beside) - np.outer(beside, component)
        pairs += (component @ beside) * np.outer(component, component)
    return found


def _ascend(pairs, shift, starts, max_iter=400):
    """Unit vectors at the local maxima above non-negative starts, one a row."""
    vectors = _units(starts)
    for _ in range(max_iter):
        following = _units(np.maximum(vectors @ pairs + shift * vectors, 0))
        moved = np.abs(following - vectors).max()
        vectors = following
        if moved < 1e-7:
            break
    return vectors


def _units(rows):
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
