"""Scores and matching on spots with planted programmes (of our own making), and scanpy's score as a witness."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from pointillist.archetypes import (
    archetype_anchors,
    find_markers,
    match_signatures,
    matching_table,
    refine_signatures,
    score_signatures,
)

GENES = [f"gene_{i:03d}" for i in range(300)]


@pytest.fixture(scope="module")
def planted():
    """Three regions of 60 spots, each with 20 genes of its own; the third has no signature, one signature no region."""
    rng = np.random.default_rng(0)
    rates = np.tile(rng.gamma(2, 1, 300), (180, 1))
    for k in range(3):
        rates[k * 60 : (k + 1) * 60, k * 20 : (k + 1) * 20] *= 5
    X = sparse.csr_matrix(np.log1p(rng.poisson(rates)).astype(np.float32))
    sets = {"first": GENES[:12], "second": GENES[20:32], "absent": GENES[200:212]}
    index = [f"spot_{i}" for i in range(180)]
    membership = pd.DataFrame(np.repeat(np.eye(3, dtype=bool), 60, axis=0), index, ["A1", "A2", "A3"])
    markers = find_markers(X, GENES, membership.to_numpy(), list(membership))
    return X, sets, membership, markers


def test_planted_pairs_are_found_and_the_others_stay_alone(planted):
    X, sets, membership, markers = planted
    scores = score_signatures(X, GENES, sets).set_axis(membership.index)
    matching = match_signatures(scores, membership, markers, sets, GENES)
    assert matching.pairs == {"first": "A1", "second": "A2"}
    shuffled = membership.sample(frac=1, random_state=0).set_axis(membership.index)
    noise = find_markers(X, GENES, shuffled.to_numpy(), list(membership))
    assert match_signatures(scores, shuffled, noise, sets, GENES).pairs == {}


def test_enrichment_is_fishers_test(planted):
    X, sets, membership, markers = planted
    scores = score_signatures(X, GENES, sets).set_axis(membership.index)
    matching = match_signatures(scores, membership, markers, sets, GENES)
    found = set(markers.loc[markers["archetype"] == "A1", "gene"])
    both = len(found & set(sets["first"]))
    table = [[both, len(found) - both], [12 - both, 300 - 12 - len(found) + both]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert matching.enrichment.loc["A1", "first"] == pytest.approx(-np.log10(expected), rel=1e-6)
    assert matching.overlap.loc["A1", "first"] == both


def test_scores_agree_with_scanpys_on_scaled_expression(planted):
    import anndata
    import scanpy as sc

    X, sets, *_ = planted
    adata = anndata.AnnData(X.toarray(), var=pd.DataFrame(index=GENES))
    sc.pp.scale(adata)
    ours = score_signatures(X, GENES, sets, seed=1)
    for name, members in sets.items():
        sc.tl.score_genes(adata, members, score_name=name)
        assert np.corrcoef(adata.obs[name], ours[name])[0, 1] > (0.97 if name != "absent" else 0.8)


def test_scores_do_not_depend_on_the_other_sets_or_the_storage(planted):
    X, sets, *_ = planted
    every = score_signatures(X, GENES, sets)
    np.testing.assert_allclose(
        score_signatures(X.tocsc(), GENES, {"second": sets["second"]})["second"], every["second"]
    )
    np.testing.assert_allclose(every.mean(), 0, atol=1e-9)
    np.testing.assert_allclose(every.std(ddof=0), 1)


def test_sets_without_genes_are_left_out_or_refused(planted):
    X, sets, *_ = planted
    assert list(score_signatures(X, GENES, {**sets, "other": ["x", "y", "z"]})) == list(sets)
    with pytest.raises(ValueError, match="none of 1 gene sets"):
        score_signatures(X, GENES, {"other": ["x", "y", "z"]})


def test_the_table_names_pairs_novel_states_and_what_was_not_found(planted):
    X, sets, membership, markers = planted
    refined = refine_signatures(X, GENES, sets, membership, markers, n_anchors=30)
    pcs = np.asarray(X @ np.random.default_rng(0).normal(size=(300, 3)))
    table = matching_table(refined.matching, markers, pcs, membership, refined.anchors, membership.index)
    assert table.set_index("archetype")["status"].drop("").to_dict() == {"A1": "paired", "A2": "paired", "A3": "novel"}
    assert table.loc[table["status"] == "not found", "signature"].tolist() == ["absent"]
    first = table.set_index("signature").loc["first"]
    assert (first["score_rank"], first["enrichment_rank"]) == (1, 1)


def test_refinement_adds_the_pairs_markers_and_stops_when_anchors_stay(planted):
    X, sets, membership, markers = planted
    refined = refine_signatures(X, GENES, sets, membership, markers, n_anchors=30, n_added=10, n_rounds=8)
    assert refined.gene_sets["absent"] == sets["absent"]
    added = set(refined.gene_sets["first"]) - set(sets["first"])
    assert added
    assert added <= set(GENES[:20])
    last = refined.rounds[refined.rounds["round"] == refined.rounds["round"].max()]
    assert last["anchors_changed"].sum() == 0
    assert (last["jaccard"] == 1).all()
    untouched = refine_signatures(X, GENES, sets, membership, markers, n_anchors=30, n_rounds=0)
    assert untouched.gene_sets == sets
    assert len(untouched.rounds) == 0


def test_anchors_are_the_purest_spots():
    weights = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    table = archetype_anchors(weights, 2, list("wxyz"), ["A1", "A2"])
    assert table["barcode"].tolist() == ["w", "y", "z", "x"]
    assert table["rank"].tolist() == [1, 2, 1, 2]


def test_overlap_pairs_by_anchors_in_the_community(planted):
    X, sets, membership, markers = planted
    refined = refine_signatures(X, GENES, sets, membership, markers, n_anchors=30, n_rounds=0, preference="overlap")
    assert {name: refined.matching.pairs[name] for name in ("first", "second")} == {"first": "A1", "second": "A2"}
    # with no minimum but one anchor, the absent set is given the archetype that is left
    assert refined.matching.pairs["absent"] == "A3"
    with pytest.raises(ValueError, match="no anchors"):
        match_signatures(refined.scores, membership, markers, sets, GENES, preference="overlap")


def test_a_small_panel_borrows_controls_and_the_order_of_genes_does_not_matter(planted):
    X, *_ = planted
    panel, sets = X[:, :24], {"first": GENES[:20]}
    scores = score_signatures(panel, GENES[:24], sets)["first"]
    assert scores[:60].mean() > scores[60:].mean() + 1
    order = np.random.default_rng(0).permutation(24)
    again = score_signatures(panel[:, order], [GENES[i] for i in order], sets)["first"]
    np.testing.assert_allclose(again, scores, atol=1e-9)
    with pytest.raises(ValueError, match="every gene"):
        score_signatures(X[:, :20], GENES[:20], sets)
