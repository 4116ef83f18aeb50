"""Intervals of proportions, from the curvature of a fit under non-negativity.

Around the solution ``f`` the objective is ``½ tᵀGt + dᵀt`` with the Gram matrix G and the dual d (zero where f > 0).
For one coefficient the others that are free follow along, as in a profile likelihood; those at zero stay there. With
noise of variance s² the bounds lie where the objective has risen by ``½ z² s²``, and are said as shares of the new sum.

Such bounds know of the counts' noise, not of how far the cells of a tissue lie from those of a reference. They are
therefore calibrated: half of the reference's cells are mixed into spots whose shares are known, the other half
estimates them, and the bounds are widened until they hold as many of the shares as they claim to (a split-conformal
interval, scaled by the model's own). What the reference does not show at all is not covered by it.

References
----------
Lei et al. (2018), Journal of the American Statistical Association 113:1094.
"""

import numpy as np
from scipy import sparse
from scipy.stats import norm

from pointillist.seeds import generator

_MIXTURES = 300
_MOST_CELLS = 30
# Added to the model's own half-width, so that one that is all but sure does not set the scale of all.
_CUSHION = 0.02


def profile_intervals(gram, cross, solution, noise, level=0.95):
    """Bounds of each proportion.

    Parameters
    ----------
    gram : ndarray, K × K, or spots × K × K
    cross : ndarray, spots × K
    solution : ndarray, spots × K
        The minimiser of ``½ fᵀGf − bᵀf`` with ``f ≥ 0``.
    noise : ndarray, spots
        Standard deviation of the noise in units of the weights behind G: 1 where G is the information.
    level : float
        Coverage aimed at.

    Returns
    -------
    lower, upper : ndarray, spots × K
        NaN where the spot has no positive coefficient.
    """
    n_spots, n_types = solution.shape
    passive = solution > 0
    patterns, which = (
        (passive, np.arange(n_spots)) if gram.ndim == 3 else np.unique(passive, axis=0, return_inverse=True)
    )
    system = gram * (patterns[:, :, None] & patterns[:, None, :])
    diagonal = np.arange(n_types)
    system[:, diagonal, diagonal] += ~patterns
    inverse = np.linalg.inv(system) * (patterns[:, :, None] & patterns[:, None, :])
    # How the free coefficients move when coefficient k grows by one, and what that costs.
    outward = -np.einsum("pij,...jk->pik", inverse, gram) if gram.ndim == 2 else -inverse @ gram
    own = np.diagonal(inverse, axis1=1, axis2=2)
    inward = np.divide(inverse, own[:, None, :], out=np.zeros_like(inverse), where=own[:, None, :] > 0)
    direction = np.where(patterns[:, None, :], inward, outward)
    direction[:, diagonal, diagonal] = 1
    curvature = np.einsum("pik,pik->pk", direction, np.matmul(gram, direction))
    growth = direction.sum(axis=1)

    curvature, growth = np.clip(curvature, 1e-300, None)[which], growth[which]
    gradient = solution @ gram - cross if gram.ndim == 2 else np.einsum("sk,skl->sl", solution, gram) - cross
    dual = np.where(passive, 0, np.clip(gradient, 0, None))
    rise = (norm.ppf((1 + level) / 2) * np.asarray(noise, dtype=float)[:, None]) ** 2
    step = (np.sqrt(dual**2 + curvature * rise) - dual) / curvature
    total = solution.sum(axis=1, keepdims=True)

    def share(moved):
        value = np.clip(solution + moved, 0, None)
        rest = np.clip(total + moved * growth - value, 0, None)
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, value / (value + rest), np.nan)

    now = np.divide(solution, total, out=np.full_like(solution, np.nan), where=total > 0)
    return np.minimum(share(-step), now), np.maximum(share(step), now)


def widening(fit, X, proportions, cells, codes, cell_totals, seed, level=0.95):
    """By how much a method's intervals have to be stretched to hold the shares of mixtures of unseen cells.

    Parameters
    ----------
    fit : callable
        Takes spots × genes, R, cells × genes, codes and totals of the cells; returns lower bound, estimate and upper
        bound, spots × cell types.
    X : ndarray or CSR, spots × genes
        The sample, for the depth of its spots.
    proportions : ndarray, spots × cell types
        Estimated on it, for what its spots are made of.
    cells : CSR, cells × genes
    codes : ndarray of int, cells
        Cell type; −1 for none.
    cell_totals : ndarray, cells
    seed : int

    Returns
    -------
    float
        At least 1; 1 too where the reference has too few cells to be split.
    """
    rng = generator(seed, "interval mixtures")
    n_types = proportions.shape[1]
    seen, unseen = _halves(codes, n_types, rng)
    estimated = np.flatnonzero(~np.isnan(proportions[:, 0]))
    if seen is None or not len(estimated):
        return 1.0
    mixtures, shares = _mix(X, proportions, estimated, cells, codes, cell_totals, unseen, rng)
    R = mean_expression(cells[seen], codes[seen], cell_totals[seen], n_types)
    lower, estimate, upper = fit(mixtures, R, cells[seen], codes[seen], cell_totals[seen])
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(
            shares > estimate,
            (shares - estimate) / (upper - estimate + _CUSHION),
            (estimate - shares) / (estimate - lower + _CUSHION),
        )
    present = ((shares > 0) | (estimate > 0)) & ~np.isnan(needed)
    return float(np.quantile(needed[present], level)) if present.any() else 1.0


def stretch(lower, proportions, upper, factor):
    """Bounds `factor` times as far from the proportions, within 0 and 1."""
    return (
        np.clip(proportions - factor * (proportions - lower + _CUSHION), 0, None),
        np.clip(proportions + factor * (upper - proportions + _CUSHION), None, 1),
    )


def mean_expression(cells, codes, cell_totals, n_types):
    """Counts of each type's cells per 10,000 of their total, cell types × genes."""
    member = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_types, len(codes)))
    sums = member @ cells
    sums = sums.toarray() if sparse.issparse(sums) else np.asarray(sums)
    return sums / (member @ cell_totals)[:, None] * 1e4


def _halves(codes, n_types, rng):
    """Positions of every second cell of each type in random order, and of the others."""
    order = rng.permutation(np.flatnonzero(codes >= 0))
    order = order[np.argsort(codes[order], kind="stable")]
    counts = np.bincount(codes[order], minlength=n_types)
    if counts.min() < 2:
        return None, None
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[rank % 2 == 0], order[rank % 2 == 1]


def _mix(X, proportions, estimated, cells, codes, cell_totals, unseen, rng):
    """Spots of unseen cells: composed and as deep as spots of the sample, and the share of each type's RNA."""
    n_types = proportions.shape[1]
    depth = np.asarray(X.sum(axis=1), dtype=float).ravel()
    within = np.asarray(cells.sum(axis=1), dtype=float).ravel()
    n_cells = int(np.clip(np.median(depth[estimated]) / within[unseen].mean(), 1, _MOST_CELLS))
    members = [unseen[codes[unseen] == k] for k in range(n_types)]
    like = rng.choice(estimated, _MIXTURES)
    mixer = sparse.lil_array((_MIXTURES, cells.shape[0]))
    shares = np.zeros((_MIXTURES, n_types))
    for m, spot in enumerate(like):
        for k in rng.choice(n_types, n_cells, p=proportions[spot] / proportions[spot].sum()):
            cell = rng.choice(members[k])
            mixer[m, cell] += 1
            shares[m, k] += cell_totals[cell]
    mixed = sparse.csr_array(mixer.tocsr() @ sparse.csr_array(cells))
    reached = np.asarray(mixed.sum(axis=1)).ravel()
    kept = np.minimum(1, depth[like] / np.maximum(reached, 1))
    mixed.data = rng.binomial(mixed.data.round().astype(np.int64), np.repeat(kept, np.diff(mixed.indptr))).astype(float)
    return mixed, shares / shares.sum(axis=1, keepdims=True)
