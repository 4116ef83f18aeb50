"""Markers of communities against scipy's rank-sum test and scanpy's."""

import numpy as np
import pytest
from scipy import sparse, stats

from pointillist.archetypes import archetypal_communities, community_size, find_markers


@pytest.fixture(scope="module")
def expression():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1, 1, 40), (90, 40))
    counts[:30, :5] += rng.poisson(3, (30, 5))
    membership = np.zeros((90, 2), dtype=bool)
    membership[:30, 0] = membership[50:90, 1] = True
    return sparse.csr_matrix(np.log1p(counts).astype(np.float32)), membership, [f"g{i:02d}" for i in range(40)]


def every(expression):
    X, membership, genes = expression
    options = {"n_markers": None, "max_q": 1.0, "min_log_fold_change": -99.0, "min_exclusivity": 0.0}
    return find_markers(X, genes, membership, ["A1", "A2"], **options)


def test_p_values_are_the_rank_sum_tests(expression):
    X, membership, genes = expression
    table = every(expression).set_index(["archetype", "gene"])
    dense = X.toarray()
    for name, inside in zip(("A1", "A2"), membership.T):
        for i, gene in enumerate(genes):
            result = stats.mannwhitneyu(dense[inside, i], dense[~inside, i], method="asymptotic", use_continuity=False)
            assert table.loc[(name, gene), "p_value"] == pytest.approx(result.pvalue, rel=1e-5, abs=1e-12)


def test_scores_equal_scanpys(expression):
    import anndata
    import pandas as pd
    import scanpy as sc

    X, membership, genes = expression
    adata = anndata.AnnData(X.astype(np.float64), var=pd.DataFrame(index=genes))
    adata.obs["inside"] = pd.Categorical(np.where(membership[:, 0], "yes", "no"))
    sc.tl.rank_genes_groups(adata, "inside", groups=["yes"], method="wilcoxon", tie_correct=True)
    theirs = sc.get.rank_genes_groups_df(adata, "yes").set_index("names")
    ours = every(expression).query("archetype == 'A1'").set_index("gene")
    np.testing.assert_allclose(ours["score"], theirs.loc[ours.index, "scores"], rtol=1e-4, atol=1e-5)
    # Where one side has no count the ratio is that of the small constants, which scanpy adds to float32.
    folds = theirs.loc[ours.index, "logfoldchanges"].to_numpy()
    usual = np.abs(folds) < 20
    np.testing.assert_allclose(ours["log_fold_change"].to_numpy()[usual], folds[usual], rtol=1e-3, atol=1e-4)


def test_planted_markers_pass_the_filters_and_none_in_random_communities(expression):
    X, membership, genes = expression
    table = find_markers(X, genes, membership, ["A1", "A2"])
    assert set(genes[:5]) <= set(table.loc[table["archetype"] == "A1", "gene"])
    random = np.random.default_rng(1).permutation(membership, axis=0)
    assert len(find_markers(X, genes, random, ["A1", "A2"])) <= 1


def test_communities_are_the_nearest_spots():
    pcs = np.random.default_rng(0).normal(size=(50, 3))
    found = archetypal_communities(pcs, pcs[[4, 9]] * 1.5, n_spots=7)
    for column, centre in enumerate(pcs[[4, 9]] * 1.5):
        nearest = np.argsort(((pcs - centre) ** 2).sum(axis=1))[:7]
        assert set(np.flatnonzero(found.membership[:, column])) == set(nearest)
    assert community_size(262, 10) == 26
    assert community_size(5000, 10) == 100
