"""Preprocessing against scanpy, numpy and grids whose neighbours are known."""

import numpy as np
import pytest
from scipy import sparse

from pointillist import preprocessing


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    return sparse.csr_matrix(rng.poisson(rng.gamma(1, 2, (1, 200)), (120, 200)).astype(np.float32))


GENES = ["mt-Co1", "MT-ND1", *(f"Gene{i}" for i in range(198))]


def test_quality_equals_scanpys(counts):
    import scanpy as sc
    from anndata import AnnData

    quality, _ = preprocessing.quality_control(counts, GENES)
    adata = AnnData(counts.copy())
    adata.var["mt"] = [name.lower().startswith("mt-") for name in GENES]
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    np.testing.assert_allclose(quality["total_counts"], adata.obs["total_counts"])
    np.testing.assert_array_equal(quality["n_genes"], adata.obs["n_genes_by_counts"])
    np.testing.assert_allclose(quality["mitochondrial"], adata.obs["pct_counts_mt"] / 100, rtol=1e-5)


def test_automatic_thresholds_are_three_mads(counts):
    quality, thresholds = preprocessing.quality_control(counts, GENES)
    logged = np.log1p(quality["total_counts"])
    mad = 1.4826 * np.median(np.abs(logged - np.median(logged)))
    assert thresholds["min_counts"] == pytest.approx(np.expm1(np.median(logged) - 3 * mad))


def test_bad_spots_are_filtered_with_the_reason(counts):
    bad = counts.tolil()
    bad[0] = 0
    bad[1] = 0
    bad[1, 5] = 3
    bad[2, 0] = 5000
    quality, _ = preprocessing.quality_control(bad.tocsr(), GENES)
    assert quality["reason"].iloc[:3].tolist() == ["no counts", "few counts", "mitochondrial"]
    assert quality["filtered"].sum() <= 3 + 0.02 * len(quality)
    with pytest.raises(ValueError, match="no spot is left"):
        preprocessing.quality_control(counts, GENES, min_counts=1e9)


def test_normalised_spots_have_the_median_library(counts):
    kept = np.ones(120, dtype=bool)
    logged = preprocessing.normalise(counts, kept)
    total = np.expm1(logged.toarray().astype(float)).sum(1)
    np.testing.assert_allclose(total, np.median(counts.sum(1).A1), rtol=1e-4)


def test_components_equal_the_singular_value_decomposition(counts):
    logged = preprocessing.normalise(counts, np.ones(120, dtype=bool))
    scores, explained = preprocessing.principal_components(logged, 5)
    centred = logged.toarray().astype(float)
    centred -= centred.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(scores), np.abs(u[:, :5] * s[:5]), atol=1e-6)
    np.testing.assert_allclose(explained, s[:5] ** 2 / (s**2).sum())


def test_variable_genes_are_the_overdispersed_ones():
    rng = np.random.default_rng(1)
    means = rng.gamma(2, 3, 300)
    noisy = np.zeros(300, dtype=bool)
    noisy[::10] = True
    rates = means * np.where(noisy, rng.gamma(0.5, 2, (400, 300)), 1.0)
    chosen = preprocessing.variable_genes(sparse.csr_matrix(rng.poisson(rates)), n_genes=30)
    assert chosen.sum() == 30
    assert (chosen & noisy).sum() >= 27


def hexagons(rows=12, columns=10):
    row, column = np.mgrid[:rows, :columns]
    return np.c_[(column + 0.5 * (row % 2)).ravel() * 100, row.ravel() * 100 * np.sqrt(3) / 2]


def squares(side=10):
    return np.stack(np.mgrid[:side, :side], -1).reshape(-1, 2) * 50.0


@pytest.mark.parametrize(
    "coordinates, kind, inner", [(hexagons(), "hexagonal", 6), (squares(), "square", 4)], ids=["hexagons", "squares"]
)
def test_grids_are_recognised_and_inner_spots_have_all_neighbours(coordinates, kind, inner):
    graph, used = preprocessing.spatial_graph(coordinates)
    assert used == kind
    degree = np.asarray(graph.sum(axis=1)).ravel()
    assert degree.max() == inner
    assert np.median(degree) == inner
    assert (graph != graph.T).nnz == 0
    assert graph.diagonal().sum() == 0


def test_scattered_spots_get_a_delaunay_graph():
    graph, used = preprocessing.spatial_graph(np.random.default_rng(0).uniform(size=(80, 2)))
    assert used == "delaunay"
    assert 4 < graph.sum() / 80 < 6.5


def test_coordinates_that_are_missing_are_refused():
    coordinates = squares()
    coordinates[3] = np.nan
    with pytest.raises(ValueError, match="1 spots have no finite coordinates"):
        preprocessing.spatial_graph(coordinates)


def test_filtered_spots_have_no_neighbour():
    coordinates = squares(4)
    kept = np.ones(16, dtype=bool)
    kept[5] = False
    graph, _ = preprocessing.spatial_graph(coordinates[kept], kind="square")
    expanded = preprocessing.expand_graph(graph, kept)
    assert expanded.shape == (16, 16)
    assert expanded[5].sum() == 0
    assert expanded.sum() == graph.sum()
    np.testing.assert_array_equal(expanded[kept][:, kept].toarray(), graph.toarray())
