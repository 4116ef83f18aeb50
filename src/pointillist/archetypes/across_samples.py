r"""Archetypes of several samples: which of them are one state, and the consensus set that they make.

Archetypes are found in each sample by itself, so that no sample's depth or batch decides those of another. Archetype
:math:`a` of a sample is described by its community: the mean over the community's spots of each gene's log-normalised
expression, standardised over all spots of the same sample,

.. math:: z_{ag} = \frac{\bar x_{ag} - \bar x_g}{s_g}, \qquad
          \mathrm{sim}(a, b) = \mathrm{corr}_{g \in M}(z_{ag}, z_{bg})

with :math:`M` the markers of any archetype of the two samples, among the genes that both measure. In each pair of
samples both sides rank each other by similarity, none takes one below the minimum or without markers of its own, and a
stable marriage pairs them. The pairs of all samples are the edges of a graph of archetypes. Edges are taken by
decreasing similarity (equal ones by name), and an edge merges the two groups that it joins where they have no sample in
common and at least `min_support` of the comparisons between them are pairs. So a group holds at most one archetype of
each sample, and the order of samples does not matter.

>>> profiles = {name: community_profiles(X[name], genes[name], membership[name]) for name in samples}  # doctest: +SKIP
>>> found = match_across_samples(profiles, markers, mass)  # doctest: +SKIP
>>> found.consensus  # doctest: +SKIP

References
----------
Gale & Shapley (1962), The American Mathematical Monthly 69:9.
"""

import logging
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from pointillist.archetypes.stable_marriage import stable_marriage

log = logging.getLogger(__name__)

# A correlation over fewer markers says nothing.
_FEWEST_MARKERS = 10


@dataclass(frozen=True)
class AcrossSamples:
    """Consensus groups of the archetypes of several samples.

    Attributes
    ----------
    consensus : DataFrame, one row an archetype of a sample
        ``group`` (``C1`` is in most samples, then has most mass; empty where the archetype is in no group),
        ``sample``, ``archetype``, ``similarity`` (mean with the group's others), ``n_samples`` of the group, ``mass``.
    pairs : DataFrame, one row for each two archetypes that were compared
        ``sample, archetype, other, other_archetype, similarity, status``: ``merged``, ``paired`` (a stable pair that
        is in no common group), ``rival`` (similar enough, but one of them has a better one), ``below minimum``, or
        ``no markers`` (one of them has no gene that marks it, so that nothing says what it is).
    markers : DataFrame
        Markers of more than half of a group's members: ``group, gene, n_samples, mean_rank``.
    """

    consensus: pd.DataFrame
    pairs: pd.DataFrame
    markers: pd.DataFrame


def community_profiles(X_lognorm, genes, membership):
    """Mean expression of each community, in standard deviations of the sample's spots from their mean.

    Parameters
    ----------
    X_lognorm : sparse or dense matrix, spots × genes
        Log-normalised expression.
    genes : sequence of str
    membership : DataFrame of bool, spots × archetypes

    Returns
    -------
    DataFrame, archetypes × genes
        Of the genes that vary.

    Raises
    ------
    ValueError
    """
    X, inside = csr_matrix(X_lognorm).astype(float), membership.to_numpy(dtype=float)
    if X.shape != (len(inside), len(genes)):
        raise ValueError(f"found expression of shape {X.shape}, expected {len(inside)} spots × {len(genes)} genes")
    sizes = inside.sum(axis=0)
    if not len(sizes) or (sizes == 0).any():
        raise ValueError("found a community without spots, or no community")
    mean = np.asarray(X.mean(axis=0)).ravel()
    deviation = np.sqrt(np.clip(np.asarray(X.multiply(X).mean(axis=0)).ravel() - mean**2, 0, None))
    varies = deviation > 1e-8
    z = (inside.T @ X / sizes[:, None] - mean)[:, varies] / deviation[varies]
    return pd.DataFrame(z, index=membership.columns, columns=pd.Index(genes)[varies])


def match_across_samples(profiles, markers, mass, min_similarity=0.4, min_support=0.5, min_shared_genes=50):
    """Pair the archetypes of every two samples and merge the pairs into consensus groups.

    Parameters
    ----------
    profiles : dict of str to DataFrame, archetypes × genes
        Of each sample, from `community_profiles`.
    markers : dict of str to DataFrame
        Columns ``archetype, gene, rank``.
    mass : dict of str to Series
        Mean weight of each archetype over the sample's spots.
    min_similarity : float
        Least correlation of a pair.
    min_support : float
        Least share of pairs among the comparisons between two groups that are merged, 0 to 1.
    min_shared_genes : int
        Two samples that share fewer genes are not compared, with a warning.

    Returns
    -------
    AcrossSamples

    Raises
    ------
    ValueError
        Fewer than two samples, or their names differ between the arguments.
    """
    samples = sorted(profiles)
    if len(samples) < 2:
        raise ValueError(f"found {len(samples)} samples, expected at least two")
    if set(markers) != set(samples) or set(mass) != set(samples):
        raise ValueError("profiles, markers and mass do not name the same samples")
    for name in samples:
        lacking = profiles[name].index.difference(mass[name].index)
        if not profiles[name].columns.is_unique or len(lacking):
            raise ValueError(f"sample {name} has a gene twice, or archetypes without mass: {list(lacking)}")
    rows, stable, compared = [], {}, set()
    for one, two in combinations(samples, 2):
        similarity = _similarity(one, two, profiles, markers, min_shared_genes)
        if similarity is None:
            continue
        compared.add((one, two))
        marked = (similarity.index.isin(markers[one]["archetype"]), similarity.columns.isin(markers[two]["archetype"]))
        described = pd.DataFrame(np.logical_and.outer(*marked), similarity.index, similarity.columns)
        wanted = similarity.where(described & (similarity >= min_similarity))
        pairs = stable_marriage(wanted, wanted.T)
        for a, b in ((a, b) for a in similarity.index for b in similarity.columns):
            value = similarity.loc[a, b]
            if pairs.get(a) == b:
                status, stable[(one, a), (two, b)] = "paired", value
            elif not described.loc[a, b]:
                status = "no markers"
            else:
                status = "rival" if value >= min_similarity else "below minimum"
            rows.append((one, a, two, b, value, status))
    columns = ["sample", "archetype", "other", "other_archetype", "similarity", "status"]
    pairs = pd.DataFrame(rows, columns=columns).astype({"similarity": float})
    groups = _merged(stable, compared, min_support)
    groups = _named(groups, mass)
    group_of = {node: name for name, members in groups.items() for node in members}
    together = [
        status == "paired" and group_of.get((s, a), s) == group_of.get((t, b), t) for s, a, t, b, _, status in rows
    ]
    pairs.loc[np.array(together, dtype=bool), "status"] = "merged"
    return AcrossSamples(
        _consensus(profiles, mass, groups, pairs),
        pairs,
        _shared_markers(groups, markers),
    )


def _similarity(one, two, profiles, markers, min_shared_genes):
    """Correlations, archetypes of one sample × those of the other; None where they share too few genes."""
    shared = profiles[one].columns.intersection(profiles[two].columns)
    if len(shared) < min_shared_genes:
        log.warning("%s and %s are not compared: they share %d genes, fewer than %d; are their names of one kind?",
                    one, two, len(shared), min_shared_genes)  # fmt: skip
        return None
    genes = sorted({*markers[one]["gene"], *markers[two]["gene"]} & set(shared))
    if len(genes) < _FEWEST_MARKERS:
        log.warning("%s and %s are not compared: they share %d markers of archetypes, fewer than %d",
                    one, two, len(genes), _FEWEST_MARKERS)  # fmt: skip
        return None
    a, b = (_unit(profiles[name][genes].to_numpy(dtype=float)) for name in (one, two))
    return pd.DataFrame(a @ b.T, index=profiles[one].index, columns=profiles[two].index)


def _unit(rows):
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _merged(stable, compared, min_support):
    """Groups of at least two nodes (sample, archetype), at most one of each sample."""
    group = {node: (node,) for edge in stable for node in edge}
    for one, two in sorted(stable, key=lambda edge: (-stable[edge], edge)):
        left, right = group[one], group[two]
        if {sample for sample, _ in left} & {sample for sample, _ in right}:
            continue
        between = [tuple(sorted((a, b))) for a in left for b in right]
        between = [(a, b) for a, b in between if (a[0], b[0]) in compared]
        if sum(pair in stable for pair in between) < min_support * len(between):
            continue
        merged = tuple(sorted(left + right))
        group.update(dict.fromkeys(merged, merged))
    return sorted({members for members in group.values() if len(members) > 1})


def _named(groups, mass):
    ordered = sorted(
        groups, key=lambda members: (-len(members), -np.mean([mass[sample][a] for sample, a in members]), members)
    )
    width = len(str(len(ordered)))
    return {f"C{number:0{width}d}": members for number, members in enumerate(ordered, 1)}


def _consensus(profiles, mass, groups, pairs):
    ends = [pairs[["sample", "archetype"]], pairs[["other", "other_archetype"]]]
    left, right = ([tuple(row) for row in end.itertuples(index=False)] for end in ends)
    similarity = dict(zip(zip(left, right), pairs["similarity"]))
    rows = []
    for name, members in groups.items():
        for node in members:
            values = [similarity.get(tuple(sorted((node, other)))) for other in members if other != node]
            values = [value for value in values if value is not None]
            rows.append((name, *node, float(np.mean(values)), len(members), float(mass[node[0]][node[1]])))
    grouped = {(sample, archetype) for _, sample, archetype, *_ in rows}
    for sample in sorted(profiles):
        for archetype in profiles[sample].index:
            if (sample, archetype) not in grouped:
                rows.append(("", sample, archetype, np.nan, 1, float(mass[sample][archetype])))
    return pd.DataFrame(rows, columns=["group", "sample", "archetype", "similarity", "n_samples", "mass"])


def _shared_markers(groups, markers):
    tables = []
    for name, members in groups.items():
        found = [markers[sample].loc[markers[sample]["archetype"] == archetype] for sample, archetype in members]
        by_gene = pd.concat(found).groupby("gene")["rank"].agg(["size", "mean"]).reset_index()
        by_gene = by_gene[by_gene["size"] > len(members) / 2].sort_values(
            ["size", "mean", "gene"], ascending=[False, True, True]
        )
        tables.append(by_gene.set_axis(["gene", "n_samples", "mean_rank"], axis=1).assign(group=name))
    columns = ["group", "gene", "n_samples", "mean_rank"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
