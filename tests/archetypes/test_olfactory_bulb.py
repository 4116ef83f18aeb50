"""Real data: archetypes of the mouse olfactory bulb lie in its layers, and their signatures are those of the layers."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.stats import false_discovery_control, hypergeom, mannwhitneyu

from pointillist.archetypes import (
    archetypal_analysis,
    archetypal_communities,
    archetype_names,
    find_markers,
    refine_signatures,
)
from pointillist.seeds import generator

EVERY = {"n_markers": None, "max_q": 1.0, "min_log_fold_change": -np.inf, "min_exclusivity": 0.0}


@pytest.fixture(scope="module")
def bulb(shared_data):
    adata = anndata.read_h5ad(shared_data("mob/rep11.h5ad"))
    sc.pp.filter_genes(adata, min_cells=5)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=2000)
    sc.pp.pca(adata, n_comps=30, random_state=0)
    found = archetypal_analysis(adata.obsm["X_pca"], 8)
    communities = archetypal_communities(adata.obsm["X_pca"], found.archetypes)
    return adata, communities


def layer_q(adata, membership):
    layers = pd.get_dummies(adata.obs["layer"][adata.obs["layer"] != "NA"].astype(str))
    inside = pd.DataFrame(membership, adata.obs_names).loc[layers.index].to_numpy()
    both = layers.to_numpy().T.astype(int) @ inside
    log_p = hypergeom.logsf(both - 1, len(layers), layers.sum().to_numpy()[:, None], inside.sum(axis=0))
    return pd.DataFrame(false_discovery_control(np.exp(log_p).ravel()).reshape(log_p.shape), layers.columns)


def test_communities_lie_in_layers_and_shuffled_ones_do_not(bulb):
    adata, communities = bulb
    q = layer_q(adata, communities.membership)
    assert (q.min(axis=0) < 0.01).mean() >= 0.6
    shuffled = generator(0, "shuffle").permutation(communities.membership, axis=0)
    assert (layer_q(adata, shuffled).min(axis=0) < 0.01).sum() == 0


def test_matched_signatures_are_those_of_the_layer(bulb, shared_data):
    adata, communities = bulb
    table = pd.read_csv(shared_data("mob/signature_matrix.tsv"), sep="\t", index_col=0)
    gene_sets = {name: list(table.index[table[name] == 1]) for name in table}
    names = communities.names
    markers = find_markers(adata.X, adata.var_names, communities.membership, names)
    membership = pd.DataFrame(communities.membership, adata.obs_names, names)
    refined = refine_signatures(adata.X, adata.var_names, gene_sets, membership, markers, n_anchors=26)
    layer_of = layer_q(adata, communities.membership).set_axis(names, axis=1).idxmin()
    pairs = {signature: layer_of[archetype] for signature, archetype in refined.matching.pairs.items()}
    assert pairs["OEC"].startswith("5")  # ensheathing cells wrap the olfactory nerve
    assert any(
        pairs.get(name, "").startswith("1")
        for name in ("OBINH5", "OBNBL45", "OBNBL3", "OBINH4", "ACOB", "OBDOP2-OBINH123")
    )


def test_markers_are_those_of_scanpy_and_scipy(bulb):
    adata, communities = bulb
    adata = adata[:, adata.var["highly_variable"]].copy()
    inside = communities.membership[:, 0]
    ours = find_markers(adata.X, adata.var_names, communities.membership, **EVERY)
    ours = ours[ours["archetype"] == archetype_names(8)[0]].set_index("gene")
    adata.obs["inside"] = pd.Categorical(np.where(inside, "yes", "no"))
    sc.tl.rank_genes_groups(adata, "inside", groups=["yes"], method="wilcoxon", tie_correct=True)
    theirs = sc.get.rank_genes_groups_df(adata, "yes").set_index("names").loc[ours.index]
    np.testing.assert_allclose(ours["score"], theirs["scores"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours["p_value"], theirs["pvals"], rtol=1e-6)
    np.testing.assert_allclose(ours["q_value"], theirs["pvals_adj"], rtol=1e-6)
    for gene in ours.index[:20]:
        x = adata[:, gene].X.toarray().ravel().astype(float)
        expected = mannwhitneyu(x[inside], x[~inside], method="asymptotic", use_continuity=False).pvalue
        assert ours.loc[gene, "p_value"] == pytest.approx(expected, rel=1e-6)
