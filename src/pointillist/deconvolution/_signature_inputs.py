"""What the signature-guided variational autoencoder starts from: genes, prior, anchors' profiles, library sizes."""

import logging

import numpy as np
from scipy import sparse

from pointillist.embedding.vae import mean_profile

log = logging.getLogger(__name__)

LOWEST_QUANTILE = 0.1  # of a score, where its cell type counts as absent
FLOOR = 0.02  # of the prior: no cell type is impossible
STRENGTH_OF_MEAN = 0.2  # of the sample's mean in the profile of anchors: no gene is impossible


def usable(expression, genes, gene_sets, min_genes):
    varying = genes[_variance(expression) > 1e-16]
    kept = {}
    for name, members in gene_sets.items():
        found = [gene for gene in dict.fromkeys(map(str, members)) if gene in varying]
        if len(found) < min_genes:
            log.warning("gene set %s is left out: %d of its genes vary in the sample", name, len(found))
        else:
            kept[name] = found
    return kept


def choose_genes(expression, genes, sets, max_genes):
    """Columns of the sets' genes and of the most variable others, in order."""
    variance = _variance(expression)
    members = [genes.get_indexer(found) for found in sets.values()]
    own = np.unique(np.concatenate(members))
    if len(own) > max_genes:
        each = max(max_genes // len(sets), 1)
        own = np.unique(np.concatenate([m[np.argsort(-variance[m], kind="stable")[:each]] for m in members]))
    ranked = np.argsort(-variance, kind="stable")
    others = ranked[(variance[ranked] > 0) & ~np.isin(ranked, own)]
    return np.sort(np.concatenate([own, others[: max(max_genes - len(own), 0)]]))


def scores_of(counts, genes, sets, scores, seed):
    """Scores of the usable sets, spots × sets."""
    if scores is None:
        from pointillist.archetypes.anchors import score_signatures

        scores = score_signatures(log_normalised(counts), genes, sets, min_genes=1, seed=seed)
    missing = [str(name) for name in sets if name not in scores]
    if missing or len(scores) != counts.shape[0]:
        found = f"{len(scores)} rows, and no column for {missing}" if missing else f"{len(scores)} rows"
        raise ValueError(f"scores have {found}; expected {counts.shape[0]} spots and a column for each gene set")
    values = scores[list(sets)].to_numpy(dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinite values")
    return values


def prior_of(scores, n_anchors, sharpness):
    """Mean of the prior of every spot, and the anchors of every set."""
    n_spots, n_sets = scores.shape
    raised = np.clip(scores - np.quantile(scores, LOWEST_QUANTILE, axis=0), 0, None) + 1e-9
    prior = raised / raised.sum(axis=1, keepdims=True)
    n_anchors = min(n_anchors, max(n_spots // (2 * n_sets), 3))
    anchors = np.argsort(-scores, axis=0, kind="stable")[:n_anchors].T
    sharpened = np.unique(anchors)
    prior[sharpened] **= sharpness
    prior /= prior.sum(axis=1, keepdims=True)
    floor = min(FLOOR, 0.5 / n_sets)
    return floor + (1 - floor * n_sets) * prior, anchors


def starting_profiles(counts, anchors):
    """Anchors' profiles with some of the sample's mean, cell types × genes, and each gene's inverse dispersion."""
    mean, dispersion = mean_profile(counts)
    sums = np.stack([counts[rows].sum(axis=0) for rows in anchors])
    total = sums.sum(axis=1, keepdims=True)
    return (1 - STRENGTH_OF_MEAN) * sums / np.maximum(total, 1) + STRENGTH_OF_MEAN * mean, dispersion


def smoothed_library(log_totals, graph):
    """Mean log total of each spot and its neighbours; of all spots where there is no graph."""
    if graph is None:
        return np.full(len(log_totals), log_totals.mean())
    return (graph @ log_totals + log_totals) / (graph.sum(axis=1) + 1)


def thinned(counts, share, rng):
    """Counts to train on and counts held out, each count's molecules told apart by chance."""
    unseen, kept = counts.copy(), counts.copy()
    unseen.data = rng.binomial(counts.data.astype(np.int64), share).astype(float)
    kept.data = counts.data - unseen.data
    for part in (kept, unseen):
        part.eliminate_zeros()
    return kept, unseen


def log_normalised(counts):
    """``log(1 + x · median total / total)``, in which spots without counts stay empty."""
    totals = counts.sum(axis=1)
    filled = totals > 0
    scale = np.divide(
        np.median(totals[filled]) if filled.any() else 1.0, totals, out=np.zeros_like(totals), where=filled
    )
    return (sparse.diags_array(scale) @ counts).tocsr().log1p()


def _variance(expression):
    mean = expression.mean(axis=0)
    return np.clip(expression.power(2).mean(axis=0) - mean**2, 0, None)


def standardised(table):
    spread = table.std(axis=0)
    return (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1)
