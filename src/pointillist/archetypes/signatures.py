"""Archetypes and signatures: paired by stable marriage, then each lends the other what it knows.

A signature ranks archetypes by its mean score over their communities; an archetype ranks signatures by how much their
genes are enriched among its markers (hypergeometric test). Both sides have a minimum, so that nobody is married for
want of others: an archetype left alone is a candidate for a state that no signature describes, a signature left alone
was not found in the sample. Then each pair's leading markers join the signature, scores and anchors are computed again,
and so on until the anchors stay.

References
----------
He et al. (2024), Nature Biotechnology (Starfysh). Gale & Shapley (1962).
"""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import cdist

from pointillist.archetypes.anchors import score_signatures, signature_anchors
from pointillist.archetypes.stable_marriage import stable_marriage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SignatureMatching:
    """Which archetype is which signature.

    Attributes
    ----------
    pairs : dict of str to str
        Archetype of each matched signature.
    scores : DataFrame, signatures × archetypes
        Mean score over each community, in standard deviations over spots.
    enrichment : DataFrame, archetypes × signatures
        −log10 of the hypergeometric p-value.
    q_values : DataFrame, archetypes × signatures
        Benjamini–Hochberg over all pairs.
    overlap : DataFrame of int, archetypes × signatures
        Genes in both.
    """

    pairs: dict
    scores: pd.DataFrame
    enrichment: pd.DataFrame
    q_values: pd.DataFrame
    overlap: pd.DataFrame


@dataclass(frozen=True)
class Refinement:
    """Signatures after refinement and the way there.

    Attributes
    ----------
    gene_sets : dict of str to list of str
    scores : DataFrame, spots × signatures
    anchors : DataFrame
        Columns ``signature, barcode, rank, value``.
    matching : SignatureMatching
        Of the last round.
    rounds : DataFrame
        One row for each round and signature: ``round, signature, archetype, n_genes, genes_added, anchors_changed,
        jaccard``.
    """

    gene_sets: dict
    scores: pd.DataFrame
    anchors: pd.DataFrame
    matching: SignatureMatching
    rounds: pd.DataFrame


def match_signatures(
    scores,
    membership,
    markers,
    gene_sets,
    genes,
    min_score=0.5,
    max_q=0.05,
    preference="two_sided",
    anchors=None,
):
    """Pair signatures with archetypes by stable marriage; signatures propose.

    Parameters
    ----------
    scores : DataFrame, spots × signatures
        From `score_signatures`.
    membership : DataFrame of bool, spots × archetypes
        Communities.
    markers : DataFrame
        Columns ``archetype, gene``.
    gene_sets : dict of str to sequence of str
    genes : sequence of str
        Genes that could have been markers.
    min_score : float
        Smallest mean score over a community, in standard deviations.
    max_q : float
        Largest q-value of the enrichment.
    preference : {"two_sided", "overlap"}
        ``overlap``, as in Starfysh: both sides rank by the number of the signature's anchors in the community, and
        accept where there is one.
    anchors : DataFrame
        Columns ``signature, barcode``; for ``overlap``.

    Returns
    -------
    SignatureMatching

    Raises
    ------
    ValueError
    """
    if preference not in ("two_sided", "overlap") or (preference == "overlap" and anchors is None):
        given = "anchors" if anchors is not None else "no anchors"
        raise ValueError(f"found preference={preference!r} and {given}, expected two_sided, or overlap with anchors")
    names, archetypes = list(scores.columns), list(membership.columns)
    weights = membership.to_numpy(dtype=float)
    means = pd.DataFrame((scores.to_numpy().T @ weights) / weights.sum(axis=0), index=names, columns=archetypes)
    universe = set(genes)
    sets = {name: set(gene_sets[name]) & universe for name in names}
    found = {name: set(markers.loc[markers["archetype"] == name, "gene"]) for name in archetypes}
    overlap = pd.DataFrame([[len(found[a] & sets[s]) for s in names] for a in archetypes], archetypes, names)
    log_p = pd.DataFrame(
        [
            [stats.hypergeom.logsf(overlap.loc[a, s] - 1, len(universe), len(sets[s]), len(found[a])) for s in names]
            for a in archetypes
        ],
        archetypes,
        names,
    )
    q = stats.false_discovery_control(np.exp(log_p.to_numpy()).ravel()).reshape(log_p.shape)
    q_values = pd.DataFrame(q, archetypes, names)
    enrichment = (-log_p / np.log(10)).abs()
    if preference == "two_sided":
        wants, accepts = means.where(means >= min_score), enrichment.where(q_values <= max_q)
    else:
        inside = anchors.join(membership, on="barcode").groupby("signature")[archetypes].sum()
        wants = inside.reindex(names, fill_value=0).astype(float)
        wants = wants.where(wants > 0)
        accepts = wants.T
    pairs = stable_marriage(wants, accepts)
    return SignatureMatching(pairs, means, enrichment, q_values, overlap)


def matching_table(matching, markers, pcs, membership, anchors, barcodes, n_nearest=2, n_markers=5):
    """Pairs with both sides' ranks, candidate novel states, and signatures that were not found.

    Parameters
    ----------
    matching : SignatureMatching
    markers : DataFrame
    pcs : ndarray, spots × dimensions
    membership : DataFrame of bool, spots × archetypes
    anchors : DataFrame
        Of the signatures.
    barcodes : Index
    n_nearest : int
        Anchor groups whose distance is averaged.
    n_markers : int

    Returns
    -------
    DataFrame
        Columns ``archetype, signature, status, mean_score, score_rank, enrichment, q_value, enrichment_rank, n_overlap,
        distance_to_anchors, markers``; ``status`` is ``paired``, ``novel`` or ``not found``. ``score_rank`` is the
        archetype's place in the signature's list, ``enrichment_rank`` the signature's place in the archetype's.
    """
    position = pd.Series(np.arange(len(barcodes)), index=barcodes)
    centres = np.array([pcs[position[rows["barcode"]]].mean(axis=0) for _, rows in anchors.groupby("signature")])
    communities = np.array([pcs[membership[name].to_numpy()].mean(axis=0) for name in membership])
    distances = np.sort(cdist(communities, centres), axis=1)[:, :n_nearest].mean(axis=1)
    distance = dict(zip(membership.columns, distances))
    of_archetype = {archetype: signature for signature, archetype in matching.pairs.items()}
    score_rank = matching.scores.rank(axis=1, ascending=False, method="min").astype(int)
    enrichment_rank = matching.enrichment.rank(axis=1, ascending=False, method="min").astype(int)
    rows = []
    for archetype in membership.columns:
        leading = ", ".join(markers.loc[markers["archetype"] == archetype, "gene"].head(n_markers))
        signature = of_archetype.get(archetype)
        row = {"archetype": archetype, "signature": signature or "", "status": "paired" if signature else "novel"}
        if signature:
            row |= {
                "mean_score": matching.scores.loc[signature, archetype],
                "score_rank": score_rank.loc[signature, archetype],
                "enrichment": matching.enrichment.loc[archetype, signature],
                "q_value": matching.q_values.loc[archetype, signature],
                "enrichment_rank": enrichment_rank.loc[archetype, signature],
                "n_overlap": matching.overlap.loc[archetype, signature],
            }
        rows.append({**row, "distance_to_anchors": distance[archetype], "markers": leading})
    for signature in matching.scores.index:
        if signature not in matching.pairs:
            rows.append({"archetype": "", "signature": signature, "status": "not found"})
    columns = (
        "archetype signature status mean_score score_rank enrichment q_value enrichment_rank n_overlap "
        "distance_to_anchors markers"
    ).split()
    table = pd.DataFrame(rows, columns=columns)
    counted = ["score_rank", "enrichment_rank", "n_overlap"]
    return table.astype(dict.fromkeys(counted, "Int64"))


def refine_signatures(
    X_lognorm,
    genes,
    gene_sets,
    membership,
    markers,
    n_anchors=60,
    n_added=10,
    n_rounds=5,
    min_score=0.5,
    max_q=0.05,
    seed=0,
    preference="two_sided",
):
    """Match, let paired archetypes lend markers to their signatures, and repeat until the anchors stay.

    Parameters
    ----------
    X_lognorm : CSR, spots × genes
    genes : sequence of str
    gene_sets : dict of str to sequence of str
    membership : DataFrame of bool, spots × archetypes
        Indexed by barcode.
    markers : DataFrame
        Columns ``archetype, gene``, best first.
    n_anchors : int
        Anchor spots of each signature.
    n_added : int
        Markers that a paired archetype lends.
    n_rounds : int
        Most rounds; 0 only matches.
    min_score, max_q : float
        As of `match_signatures`.
    seed : int
    preference : {"two_sided", "overlap"}
        As of `match_signatures`.

    Returns
    -------
    Refinement
    """
    given = {name: list(dict.fromkeys(members)) for name, members in gene_sets.items()}

    def evaluate(sets):
        scores = score_signatures(X_lognorm, genes, sets, seed=seed).set_axis(membership.index)
        return scores, signature_anchors(scores, n_anchors)

    def match(scores, sets, anchors):
        return match_signatures(scores, membership, markers, sets, genes, min_score, max_q, preference, anchors)

    scores, anchors = evaluate(given)
    # Enrichment is always that of the sets as given: markers that were lent prove nothing about who lent them.
    matching = match(scores, given, anchors)
    sets, rounds = given, []
    for number in range(1, n_rounds + 1):
        lent = {
            signature: list(markers.loc[markers["archetype"] == archetype, "gene"].head(n_added))
            for signature, archetype in matching.pairs.items()
        }
        refined = {name: list(dict.fromkeys([*members, *lent.get(name, [])])) for name, members in given.items()}
        scores, changed = evaluate(refined)
        rows = _changes(number, sets, refined, anchors, changed, matching.pairs)
        rounds += rows
        sets, anchors, matching = refined, changed, match(scores, given, changed)
        total = sum(row["anchors_changed"] for row in rows)
        log.info("refinement round %d: %d anchors changed, %d signatures paired", number, total, len(matching.pairs))
        if not total:
            break
    columns = ["round", "signature", "archetype", "n_genes", "genes_added", "anchors_changed", "jaccard"]
    kept = {name: sets[name] for name in scores.columns}
    return Refinement(kept, scores, anchors, matching, pd.DataFrame(rounds, columns=columns))


def _changes(number, before, after, old_anchors, new_anchors, pairs):
    rows = []
    for name, table in new_anchors.groupby("signature", sort=True):
        new = set(table["barcode"])
        old = set(old_anchors.loc[old_anchors["signature"] == name, "barcode"])
        rows.append(
            {
                "round": number,
                "signature": name,
                "archetype": pairs.get(name, ""),
                "n_genes": len(after[name]),
                "genes_added": ", ".join(gene for gene in after[name] if gene not in before[name]),
                "anchors_changed": len(new - old),
                "jaccard": len(new & old) / len(new | old),
            }
        )
    return rows
