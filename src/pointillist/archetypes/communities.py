r"""Archetypal communities, and the genes that mark them.

The community of an archetype is made of the `r` spots nearest to it in PC space. Its markers are found by Wilcoxon's
rank-sum test of the community against all other spots (Mann & Whitney 1947): with `R` the sum of the community's ranks
(ties share their mean rank), `n` spots in it and `m` outside,

.. math:: z = \frac{R - n(n+m+1)/2}{\sqrt{T\, n m (n+m+1)/12}}, \qquad
          T = 1 - \frac{\sum_t (t^3 - t)}{(n+m)^3 - (n+m)}

where `t` runs over the sizes of groups of ties, spots without the gene among them. *p* is two-sided and normal, *q* its
Benjamini-Hochberg adjustment over all genes of the community.

>>> communities = archetypal_communities(pcs, analysis.archetypes, n_spots=50)
>>> markers = find_markers(lognorm, genes, communities.membership)
"""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csc_matrix, issparse
from scipy.spatial.distance import cdist
from scipy.stats import false_discovery_control, norm

from pointillist.archetypes.stability import archetype_names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Communities:
    """Spots nearest to each archetype, or group of archetypes.

    Parameters
    ----------
    names : list of str
        A group is called after its first archetype.
    membership : ndarray of bool, spots × communities
        Communities may share spots.
    spots : ndarray of int, communities × r
        Rows of the members, nearest first.
    """

    names: list
    membership: np.ndarray
    spots: np.ndarray


def community_size(n_spots, n_communities, wanted=100):
    """Spots in a community: `wanted`, but no more than an equal share of the spots, and at least 5 where there are."""
    return int(min(wanted, max(n_spots // n_communities, 5), max(n_spots - 1, 1)))


def archetypal_communities(pcs, archetypes, n_spots=None, groups=None):
    """The spots nearest to each archetype in PC space.

    Parameters
    ----------
    pcs : ndarray, spots × dimensions
    archetypes : ndarray, archetypes × dimensions
    n_spots : int, optional
        Spots in a community; 100 by default, or an equal share of the spots in a small sample (`community_size`).
    groups : ndarray of int, optional
        Group of each archetype; the distance to a group is that to its nearest archetype.

    Returns
    -------
    Communities

    Raises
    ------
    ValueError
    """
    pcs, archetypes = np.asarray(pcs, dtype=float), np.asarray(archetypes, dtype=float)
    if pcs.ndim != 2 or archetypes.ndim != 2 or pcs.shape[1] != archetypes.shape[1]:
        raise ValueError(f"found spots {pcs.shape} and archetypes {archetypes.shape}, expected the same dimensions")
    groups = np.arange(len(archetypes)) if groups is None else np.asarray(groups)
    if groups.shape != (len(archetypes),):
        raise ValueError(f"found groups of shape {groups.shape}, expected one for each of {len(archetypes)} archetypes")
    labels, first = np.unique(groups, return_index=True)
    n_spots = community_size(len(pcs), len(labels)) if n_spots is None else n_spots
    if not 1 <= n_spots < len(pcs):
        raise ValueError(f"found n_spots={n_spots}, expected at least 1 and fewer than the {len(pcs)} spots")
    distances = cdist(pcs, archetypes)
    to_groups = np.column_stack([distances[:, groups == label].min(axis=1) for label in labels])
    nearest = np.argsort(to_groups, axis=0, kind="stable")[:n_spots].T
    membership = np.zeros(to_groups.shape, dtype=bool)
    membership[nearest.ravel(), np.repeat(np.arange(len(labels)), n_spots)] = True
    names = archetype_names(len(archetypes))
    return Communities([names[i] for i in first], membership, nearest)


def find_markers(
    X_lognorm,
    genes,
    membership,
    names=None,
    n_markers=30,
    max_q=0.05,
    min_log_fold_change=0.25,
    min_exclusivity=0.5,
):
    """Genes expressed more in a community than in all other spots.

    Parameters
    ----------
    X_lognorm : sparse or dense matrix, spots × genes
        Log-normalised expression (log1p), ≥ 0.
    genes : sequence of str
    membership : ndarray of bool, spots × communities
    names : sequence of str, optional
        Names of communities.
    n_markers : int or None
        Genes kept of each community, after the filters; None keeps all.
    max_q, min_log_fold_change, min_exclusivity : float
        Filters; see Returns.

    Returns
    -------
    DataFrame
        ``archetype``, ``gene``, ``score`` (z of the rank sum), ``log_fold_change`` (log2 of the ratio of
        ``expm1(mean log expression) + 1e-9``, as scanpy has it), ``p_value``, ``q_value``, ``exclusivity``
        (mean expression here over its sum with that of the community that has most besides this one, both on the
        linear scale: 1 where no other has it, 0.5 where another has as much; with a single community, the rest of
        the spots takes the other's place), and ``rank`` from 1, by score.

    Raises
    ------
    ValueError

    References
    ----------
    Mann & Whitney (1947), Ann. Math. Statist. 18:50. Benjamini & Hochberg (1995), JRSS B 57:289.
    """
    X = csc_matrix(X_lognorm, copy=not issparse(X_lognorm) or X_lognorm.format == "csc")
    X.eliminate_zeros()
    membership = np.asarray(membership)
    genes = np.asarray(genes, dtype=object)
    _check_markers(X, genes, membership)
    names = archetype_names(membership.shape[1]) if names is None else list(names)
    if len(names) != membership.shape[1]:
        raise ValueError(f"found {len(names)} names, expected one for each of {membership.shape[1]} communities")

    inside = membership.T.astype(float)
    n_inside = inside.sum(axis=1, keepdims=True)
    scores = _rank_sum_scores(X, inside, n_inside)
    p_values = 2 * norm.sf(np.abs(scores))
    q_values = false_discovery_control(p_values, axis=1)
    log_fold_change = _log_fold_change(X, inside, n_inside)
    exclusivity = _exclusivity(X, inside, n_inside)

    tables = []
    for c, name in enumerate(names):
        kept = np.flatnonzero(
            (q_values[c] <= max_q) & (log_fold_change[c] >= min_log_fold_change) & (exclusivity[c] >= min_exclusivity)
        )
        order = kept[np.lexsort((genes[kept].astype(str), -log_fold_change[c, kept], -scores[c, kept]))][:n_markers]
        if not len(order):
            logger.warning("%s: no gene passes as a marker", name)
        tables.append(
            pd.DataFrame(
                {
                    "archetype": name,
                    "gene": genes[order],
                    "score": scores[c, order],
                    "log_fold_change": log_fold_change[c, order],
                    "p_value": p_values[c, order],
                    "q_value": q_values[c, order],
                    "exclusivity": exclusivity[c, order],
                    "rank": np.arange(1, len(order) + 1),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _check_markers(X, genes, membership):
    if membership.ndim != 2 or membership.dtype != bool or len(membership) != X.shape[0] or not membership.shape[1]:
        raise ValueError(
            f"found membership {membership.shape} of {membership.dtype}, expected bool, {X.shape[0]} × communities"
        )
    if genes.shape != (X.shape[1],):
        raise ValueError(f"found {len(genes)} gene names, expected one for each of {X.shape[1]} columns")
    sizes = membership.sum(axis=0)
    if (sizes == 0).any() or (sizes == len(membership)).any():
        raise ValueError(f"found communities of {sizes.tolist()} spots, expected from 1 to {len(membership) - 1}")
    if X.nnz and not (np.isfinite(X.data).all() and X.data.min() >= 0):
        raise ValueError("found negative or non-finite expression, expected log-normalised values (log1p), not scaled")


def _rank_sum_scores(X, inside, n_inside, chunk=4_000_000):
    """z of each gene's rank sum in each community, communities × genes; genes go in chunks of that many entries."""
    n_spots, n_genes = X.shape
    scores = np.empty((len(inside), n_genes))
    n_outside = n_spots - n_inside
    start = 0
    while start < n_genes:
        end = int(np.searchsorted(X.indptr, X.indptr[start] + chunk, side="right")) - 1
        end = min(max(end, start + 1), n_genes)
        ranks, zero_rank, ties = _ranks_above_zero(X[:, start:end])
        rank_sums = inside @ ranks + n_inside * zero_rank
        tie_correction = 1 - ties / (float(n_spots) ** 3 - n_spots)
        variance = tie_correction * n_inside * n_outside * (n_spots + 1) / 12
        difference = rank_sums - n_inside * (n_spots + 1) / 2
        scores[:, start:end] = np.divide(
            difference, np.sqrt(variance), out=np.zeros_like(difference), where=variance > 1e-12
        )
        start = end
    return scores


def _ranks_above_zero(X):
    """Ranks of the entries of a CSC matrix above the rank that its zeros share, that rank, and Σ(t³ − t), by gene."""
    n_spots, n_genes = X.shape
    counts = np.diff(X.indptr)
    gene = np.repeat(np.arange(n_genes), counts)
    n_zero = (n_spots - counts).astype(float)
    zero_rank = (n_zero + 1) / 2
    ties = n_zero**3 - n_zero
    ranks = np.zeros(X.nnz)
    if X.nnz:
        order = np.lexsort((X.data, gene))
        values, gene = X.data[order], gene[order]
        first = np.flatnonzero(np.append(True, (values[1:] != values[:-1]) | (gene[1:] != gene[:-1])))
        size = np.diff(np.append(first, X.nnz))
        owner = gene[first]
        mean_rank = n_zero[owner] + (first - X.indptr[owner]) + (size + 1) / 2
        ranks[order] = np.repeat(mean_rank - zero_rank[owner], size)
        ties += np.bincount(owner, weights=size.astype(float) ** 3 - size, minlength=n_genes)
    return csc_matrix((ranks, X.indices, X.indptr), shape=X.shape), zero_rank, ties


def _log_fold_change(X, inside, n_inside):
    sums = inside @ X.astype(float)
    rest = np.asarray(X.sum(axis=0, dtype=float)).ravel() - sums
    ratio = (np.expm1(sums / n_inside) + 1e-9) / (np.expm1(np.maximum(rest, 0) / (X.shape[0] - n_inside)) + 1e-9)
    return np.log2(ratio)


def _exclusivity(X, inside, n_inside):
    linear = X.astype(float)
    linear.data = np.expm1(linear.data)
    sums = inside @ linear
    means = sums / n_inside
    if len(means) == 1:
        rest = np.asarray(linear.sum(axis=0)).ravel() - sums
        other = np.maximum(rest, 0) / (X.shape[0] - n_inside)
    else:
        top = np.sort(means, axis=0)[-2:]
        other = np.where(means == top[1], top[0], top[1])
    total = means + other
    return np.divide(means, total, out=np.zeros_like(means), where=total > 0)
