"""Figures: every result gets one, spots lie where they are, and the same figure is the same bytes."""

import anndata
import numpy as np
import pandas as pd
import pytest

from pointillist import plotting
from pointillist.data.contract import record_step
from pointillist.planning import Step
from pointillist.report.figures import sample_figures


@pytest.fixture(scope="module")
def spots():
    rng = np.random.default_rng(0)
    index = [f"s{i}" for i in range(30)]
    obs = pd.DataFrame({"filtered": False, "total_counts": rng.poisson(99, 30), "n_genes": 9}, index=index)
    obs["mitochondrial"], obs["region"] = 0.0, pd.Categorical(["a", "b", "c"] * 10)
    obs["pca_domain"] = pd.Categorical(["d1", "d2"] * 15)
    adata = anndata.AnnData(np.ones((30, 4), dtype=np.float32), obs=obs)
    adata.obsm["spatial"] = np.stack(np.mgrid[:5, :6], -1).reshape(-1, 2) * 10.0
    adata.obsm["X_pca"] = rng.normal(size=(30, 3))
    adata.obsm["nnls_proportions"] = pd.DataFrame(rng.dirichlet(np.ones(3), 30), index, ["a/b", "$c$", "é_1"])
    adata.obsm["nnls_fit"] = pd.DataFrame({"pearson": rng.random(30)}, index)
    adata.obsm["svd_usage"] = pd.DataFrame(rng.normal(size=(30, 2)), index, ["factor_01", "factor_02"])
    thresholds = {"min_counts": 50.0, "min_genes": 5.0, "max_mitochondrial": 0.1}
    record_step(adata, "preprocessing", {"thresholds": thresholds}, 0)
    return adata


STEPS = [Step("deconvolution", "nnls"), Step("factorization", "svd_2"), Step("embedding", "pca")]
TITLES = {"nnls": "NNLS", "pca": "PCA"}


def test_every_result_has_a_figure(spots):
    truth = spots.obsm["nnls_proportions"]
    entries = list(sample_figures(spots, STEPS, TITLES, "region", truth))
    names = [entry.name for entry in entries]
    assert names == ["quality", "proportions_nnls", "dominant", "fit", "truth", "usage_svd", "domains"]
    assert len(set(names)) == len(names)
    assert all(entry.title and entry.caption for entry in entries)
    plotting.plt.close("all")


def test_a_sample_without_coordinates_says_so(spots):
    without = spots.copy()
    del without.obsm["spatial"]
    first = next(iter(sample_figures(without, STEPS, TITLES)))
    assert "no coordinates" in first.caption
    plotting.plt.close("all")


def test_y_counts_downwards_as_in_the_image(spots):
    figure = plotting.maps_figure(plotting.Layout.of(spots), spots.obsm["nnls_proportions"])
    axis = figure.axes[0]
    assert axis.yaxis_inverted()
    assert not axis.xaxis_inverted()
    offsets = axis.collections[0].get_offsets()
    np.testing.assert_allclose(offsets, spots.obsm["spatial"])
    plotting.plt.close("all")


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_the_same_figure_is_the_same_bytes(spots, tmp_path, ending):
    for name in ("one", "two"):
        figure = plotting.maps_figure(plotting.Layout.of(spots), spots.obsm["nnls_proportions"])
        plotting.save(figure, tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
