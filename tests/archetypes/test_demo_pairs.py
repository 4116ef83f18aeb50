"""The demo's own tissue (simulated): every gene set with cells is paired with the archetype that the truth says.

One cell type has no gene set and must come out as a novel state; one gene set has no cells and must stay unmatched.
"""

import numpy as np
import pandas as pd
import pytest

from pointillist import archetypes, preprocessing
from pointillist.data.simulation import GENE_SET_WITHOUT_TYPE, TYPE_WITHOUT_GENE_SET, simulate_tissue

OPTIONS = archetypes.RECORD.defaults()


@pytest.fixture(scope="module")
def demo():
    tissue = simulate_tissue(seed=0)
    counts = tissue.spots.X.tocsr()
    total = np.asarray(counts.sum(axis=1)).ravel()
    kept = total > np.median(total) / 4
    lognorm = preprocessing.normalise(counts, kept)[kept]
    variable = preprocessing.variable_genes(counts[kept], 2000)
    pcs, _ = preprocessing.principal_components(lognorm[:, variable], 30)
    dimension = archetypes.signal_dimension(lognorm[:, variable], 30, seed=0)
    curve = archetypes.choose_n_archetypes(pcs, 2, 20, 1, rule="dimension", n_starts=1, dimension=dimension)
    found = archetypes.archetypal_analysis(pcs, curve.chosen, OPTIONS["n_starts"], start_from=curve.generators)
    communities = archetypes.archetypal_communities(pcs, found.archetypes)
    barcodes = tissue.spots.obs_names[kept]
    markers = archetypes.find_markers(
        lognorm, tissue.spots.var_names, communities.membership, communities.names, OPTIONS["n_markers"]
    )
    sets = {name: list(rows) for name, rows in tissue.gene_sets.groupby("set")["gene"]}
    refined = archetypes.refine_signatures(
        lognorm,
        tissue.spots.var_names,
        sets,
        pd.DataFrame(communities.membership, barcodes, communities.names),
        markers,
        **{name: OPTIONS[name] for name in ("n_anchors", "n_added", "n_rounds", "min_score", "max_q")},
    )
    weights = pd.DataFrame(found.weights, barcodes, communities.names)
    return refined.matching.pairs, weights, tissue.truth.loc[barcodes]


def test_every_set_with_cells_is_paired_with_the_archetype_that_follows_its_cells(demo):
    pairs, weights, truth = demo
    nearest = {name: weights.corrwith(truth[name]).idxmax() for name in truth}
    right = [name for name in truth if pairs.get(name) == nearest[name]]
    assert len(right) >= 7, (pairs, nearest)


def test_a_type_without_a_set_is_a_novel_state_and_a_set_without_cells_stays_alone(demo):
    pairs, weights, truth = demo
    assert GENE_SET_WITHOUT_TYPE not in pairs
    novel = [name for name in weights if name not in pairs.values()]
    follows = {name: truth.corrwith(weights[name]).idxmax() for name in novel}
    assert TYPE_WITHOUT_GENE_SET in follows.values()
    assert np.corrcoef(weights[novel].to_numpy().T, truth[TYPE_WITHOUT_GENE_SET])[-1, :-1].max() > 0.8
