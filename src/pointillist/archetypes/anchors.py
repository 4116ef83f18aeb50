"""Anchor spots: the purest spots of each archetype, and of each signature by its score.

    score_st = mean over g in set t of z_sg  −  mean over its control genes of z_sg

where z is log-normalised expression, scaled per gene, and the control genes are drawn from the same bins of mean
expression as the set's genes: a spot scores high where a set is expressed more than other genes of its kind.
"""

import logging

import numpy as np
import pandas as pd

from pointillist.seeds import generator

log = logging.getLogger(__name__)


def archetype_anchors(weights, n_anchors, barcodes, names):
    """Spots with the largest weight of each archetype.

    Parameters
    ----------
    weights : ndarray, spots × archetypes
    n_anchors : int
    barcodes, names : sequence of str
        Of the spots and of the archetypes.

    Returns
    -------
    DataFrame
        Columns ``archetype, barcode, rank, value``.
    """
    return _top(pd.DataFrame(weights, index=barcodes, columns=names), n_anchors, "archetype")


def signature_anchors(scores, n_anchors):
    """Spots with the highest score of each signature.

    Parameters
    ----------
    scores : DataFrame, spots × signatures
    n_anchors : int

    Returns
    -------
    DataFrame
        Columns ``signature, barcode, rank, value``.
    """
    return _top(scores, n_anchors, "signature")


def score_signatures(X_lognorm, genes, gene_sets, n_controls=50, n_bins=25, min_genes=3, seed=0):
    """Score of every gene set in every spot, against control genes of like expression.

    Parameters
    ----------
    X_lognorm : CSR, spots × genes
        Log-normalised expression.
    genes : sequence of str
    gene_sets : dict of str to sequence of str
    n_controls : int
        Control genes drawn for each gene of a set.
    n_bins : int
        Bins of mean expression.
    min_genes : int
        A set with fewer genes that vary in the sample is left out, with a warning.
    seed : int

    Returns
    -------
    DataFrame, spots × sets
        Scaled to mean 0 and standard deviation 1 over spots.

    Raises
    ------
    ValueError
        No set has `min_genes` genes.

    References
    ----------
    Tirosh et al. (2016), Science 352:189, for control genes from bins of expression. He et al. (2024), Nature
    Biotechnology, for anchors by score.
    """
    X = X_lognorm.astype(float)
    mean = np.asarray(X.mean(axis=0)).ravel()
    variance = np.asarray(X.multiply(X).mean(axis=0)).ravel() - mean**2
    deviation = np.sqrt(np.clip(variance, 0, None))
    usable = deviation > 1e-8
    position = pd.Series(np.arange(len(mean)), index=pd.Index(genes))[usable]
    # Equal means by name, so that the order of columns does not matter.
    order = np.argsort(np.lexsort((position.index.astype(str), mean[usable])))
    bins = pd.Series(order * min(n_bins, len(order)) // max(len(order), 1), index=position.index)

    columns, names = [], []
    for name, members in gene_sets.items():
        members = sorted(set(members) & set(position.index))
        if len(members) < min_genes:
            log.warning("signature %s is left out: %d of its genes vary in the sample", name, len(members))
            continue
        rng = generator(seed, "signature_controls", name)
        controls, others = set(), bins.drop(members)
        if others.empty:
            raise ValueError(f"signature {name} holds every gene that varies: none is left to compare it with")
        for place in bins[members]:
            # A bin that the set fills, as in small panels, borrows from the nearest one.
            away = (others - place).abs()
            pool = np.array(sorted(others.index[away == away.min()]), dtype=object)
            controls.update(rng.choice(pool, min(n_controls, len(pool)), replace=False))
        contrast = np.zeros(len(mean))
        for chosen, sign in ((members, 1.0), (sorted(controls), -1.0)):
            rows = position[chosen].to_numpy()
            contrast[rows] += sign / (len(rows) * deviation[rows])
        columns.append(contrast)
        names.append(name)
    if not names:
        raise ValueError(f"none of {len(gene_sets)} gene sets has {min_genes} genes that vary in the sample")
    # Means cancel when scores are centred, so that the sparse matrix is multiplied as it is.
    scores = X @ np.array(columns).T
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    return pd.DataFrame(scores, columns=pd.Index(names))


def _top(table, n, kind):
    table = pd.DataFrame(table)
    rows = []
    for name in table.columns:
        values = table[name].to_numpy(dtype=float)
        leading = np.argsort(-values, kind="stable")[:n]
        rows.append(
            pd.DataFrame(
                {
                    kind: name,
                    "barcode": table.index.to_numpy()[leading],
                    "rank": np.arange(1, len(leading) + 1),
                    "value": values[leading],
                }
            )
        )
    return pd.concat(rows, ignore_index=True)
