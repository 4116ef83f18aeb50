"""Residuals of a reconstruction: counting noise, and a cell type taken out of the reference of a simulated tissue."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from pointillist.data.simulation import simulate_tissue
from pointillist.deconvolution import constrained_regression
from pointillist.deconvolution.residuals import _expected_excess, residuals
from pointillist.signature import build_signature, choose_markers, rank_markers

GENES = [f"g{i}" for i in range(60)]


@pytest.fixture
def signature():
    matrix = np.full((3, 60), 1.0)
    for k in range(3):
        matrix[k, k * 20 : k * 20 + 20] = 12.0
    return matrix * np.random.default_rng(0).uniform(0.5, 1.5, matrix.shape)


def test_the_expected_excess_is_scipys():
    for mean in (0.0, 0.3, 1.0, 4.7, 60.0):
        x = np.arange(400)
        expected = (np.maximum(x - mean, 0) * stats.poisson.pmf(x, mean)).sum()
        assert _expected_excess(np.array([mean]))[0] == pytest.approx(expected, abs=1e-12)


def test_counting_noise_alone_leaves_nothing(signature):
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.ones(3), 400)
    found = residuals(rng.poisson(shares @ signature), signature, shares, GENES)
    assert abs(found.by_spot["unexplained"].mean()) < 0.01
    assert found.by_gene["excess"].mean() == pytest.approx(1, abs=0.07)
    assert max(found.strengths) < 3
    assert np.allclose(found.by_gene["log2_ratio"], 0, atol=0.1)


def test_sparse_counts_blocks_and_empty_spots(signature, monkeypatch):
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.ones(3), 90)
    counts = rng.poisson(shares @ signature)
    counts[5], shares[7] = 0, np.nan
    dense = residuals(counts, signature, shares, GENES)
    monkeypatch.setattr("pointillist.deconvolution.residuals._BLOCK_ENTRIES", 700)
    blocked = residuals(sparse.csr_matrix(counts), signature, shares * 7, GENES)
    pd.testing.assert_frame_equal(dense.by_spot, blocked.by_spot, rtol=1e-6)
    pd.testing.assert_frame_equal(dense.by_gene, blocked.by_gene, rtol=1e-6)
    assert dense.by_spot.index[dense.by_spot.isna().all(axis=1)].tolist() == [5, 7]
    assert dense.by_gene["fitted"].sum() == pytest.approx(dense.by_gene["observed"].sum())
    with pytest.raises(ValueError, match="no spot has both"):
        residuals(np.zeros((3, 60)), signature, shares[:3], GENES)
    with pytest.raises(ValueError, match="spots × cell types"):
        residuals(counts, signature, shares[:3], GENES)


@pytest.fixture(scope="module")
def tissue():
    made = simulate_tissue(seed=0, n_spots=500, n_genes=900, n_proteins=0)
    bad = {name for part in made.expected["low_quality_spots"].values() for name in part}
    return made, ~made.spots.obs_names.isin(bad)


def leave_out(tissue, dropped):
    """Residuals of the tissue with one cell type taken out of its reference."""
    made, kept = tissue
    labels = made.reference.obs["cell_type"].astype(str).to_numpy()
    cells = labels != dropped
    inputs = made.reference.X[cells], labels[cells], made.reference.var_names
    shared = made.reference.var_names[made.reference.var_names.isin(made.spots.var_names)]
    built = build_signature(*inputs).restrict(shared)
    genes = choose_markers(built, rank_markers(*inputs), (10, 40))[0]["gene"].unique()
    spots = made.spots[kept]
    shares = constrained_regression(spots[:, genes].X, built.restrict(genes).matrix).proportions
    return residuals(spots[:, shared].X, built.matrix, shares, shared), made.truth[kept]


@pytest.mark.parametrize("dropped", ["Macrophage", "Plasma cell", "CD8 T cell"])
def test_a_type_that_the_reference_lacks_shows_where_it_is_and_by_its_genes(tissue, dropped):
    found, truth = leave_out(tissue, dropped)
    score = found.by_spot["missing_1"].to_numpy()
    assert np.corrcoef(score, truth[dropped])[0, 1] > 0.7
    made = tissue[0]
    programme = made.programmes.loc[dropped]
    others = made.programmes.drop(index=dropped).max()
    own = (np.log(programme) - np.log(others)).sort_values(ascending=False).index
    own = own[own.isin(found.by_gene.index)][:40]
    assert found.by_gene.index[:20].isin(own).sum() >= 10


def test_a_full_reference_leaves_nothing_of_any_type(tissue):
    found, truth = leave_out(tissue, None)
    score = found.by_spot["missing_1"].to_numpy()
    assert max(abs(np.corrcoef(score, truth[name])[0, 1]) for name in truth) < 0.5
    weaker = leave_out(tissue, "Macrophage")[0]
    assert found.strengths[0] < weaker.strengths[0]


def test_a_gene_that_varies_by_itself_is_no_signature(signature):
    rng = np.random.default_rng(5)
    shares = rng.dirichlet(np.ones(3), 300)
    expected = shares @ signature
    expected[:, 7] *= rng.gamma(0.5, 2, 300)
    expected[:60, [1, 21, 41]] *= 4
    found = residuals(rng.poisson(expected), signature, shares, GENES)
    assert found.by_gene["excess"].idxmax() == "g7"
    assert set(found.by_gene.index[:3]) == {"g1", "g21", "g41"}
    score = found.by_spot["missing_1"]
    assert score[:60].min() > score[60:].median()
    weights = found.by_gene[["missing_1", "missing_2", "missing_3"]]
    assert (weights >= 0).all().all()
    assert set(np.linalg.norm(weights, axis=0).round(9)) <= {0.0, 1.0}


def test_oligodendrocytes_taken_out_of_a_real_reference_are_found(shared_data):
    import anndata

    spots, cells = (anndata.read_h5ad(shared_data(f"starmap/{name}.h5ad")) for name in ("spots", "reference"))
    truth = pd.read_csv(shared_data("starmap/truth.csv"), index_col=0)
    truth.index = truth.index.astype(str)
    labels = cells.obs["cell_type"].astype(str).to_numpy()
    kept = labels != "Oligo"
    inputs = sparse.csr_matrix(cells.X)[kept], labels[kept], cells.var_names
    shared = cells.var_names[cells.var_names.isin(spots.var_names)]
    built = build_signature(*inputs).restrict(shared)
    genes = choose_markers(built, rank_markers(*inputs), (10, 30))[0]["gene"].unique()
    counts = sparse.csr_matrix(spots[:, shared].X)
    markers = counts[:, shared.get_indexer(genes)]
    shares = constrained_regression(markers, built.restrict(genes).matrix).proportions
    found = residuals(counts, built.matrix, shares, shared)
    score = found.by_spot["missing_1"].to_numpy()
    seen = np.isfinite(score)
    assert np.corrcoef(score[seen], truth.loc[spots.obs_names, "Oligo"][seen])[0, 1] > 0.8
    assert {"Plp1", "Mbp", "Mobp"} <= set(found.by_gene.index[:5])
