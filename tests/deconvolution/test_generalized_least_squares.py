"""Generalised least squares against its closed form, Ledoit and Wolf's rule as scikit-learn has it, and real cells."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import nnls as scipy_nnls
from sklearn.covariance import LedoitWolf

from pointillist.deconvolution import constrained_regression, generalized_least_squares
from pointillist.deconvolution._within_types import within_types
from pointillist.deconvolution.generalized_least_squares import within_type_covariance
from pointillist.metrics import score_proportions
from pointillist.signature import build_signature


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    profile = rng.gamma(0.5, 1, (4, 60))
    profile /= profile.sum(axis=1, keepdims=True)
    programme = np.exp(rng.normal(0, 0.4, 60))
    codes = np.repeat(np.arange(4), 50)
    state = rng.normal(0, 1, len(codes))
    expected = profile[codes] * programme[None] ** state[:, None]
    cells = rng.poisson(expected / expected.sum(axis=1, keepdims=True) * 3000).astype(float)
    member = np.eye(4)[:, codes]
    R = member @ cells / (member @ cells.sum(axis=1))[:, None] * 1e4
    X = rng.poisson(rng.dirichlet(np.ones(4), 20) @ profile * 5000).astype(float)
    return X, R, cells, codes


def residuals(R, cells, codes, scale):
    z = cells / cells.sum(axis=1, keepdims=True) * 1e4 - R[codes]
    return z * np.sqrt(50 / 49) / scale


def test_shrinkage_and_covariance_are_ledoit_and_wolfs(problem):
    _, R, cells, codes = problem
    within = within_type_covariance(within_types(sparse.csr_array(cells), codes, R))
    reference = LedoitWolf(assume_centered=True).fit(residuals(R, cells, codes, within.scale))
    assert within.shrinkage == pytest.approx(reference.shrinkage_, rel=1e-9)
    assert 0.02 < within.shrinkage < 0.9
    precision = np.linalg.inv(reference.covariance_ * np.outer(within.scale, within.scale))
    np.testing.assert_allclose(within.solve(R.T), precision @ R.T, rtol=1e-8)
    expected = [
        np.einsum("cg,gh,ch->c", z, reference.get_precision(), z).mean() / 50
        for z in (residuals(R, cells, codes, within.scale)[codes == k] for k in range(4))
    ]
    np.testing.assert_allclose(within.mean_noise, expected, rtol=1e-8)


def test_abundance_is_that_of_least_squares_after_whitening(problem):
    X, R, cells, codes = problem
    result = generalized_least_squares(X, R, cells, codes, platform_effect="never")
    within = within_type_covariance(within_types(cells, codes, R))
    whiten = np.linalg.inv(np.tril(within.factor[0])) / within.scale
    expected = np.array([scipy_nnls(whiten @ within.means.T, whiten @ x)[0] for x in X])
    np.testing.assert_allclose(result.abundance, expected, atol=1e-8)


def test_a_platform_effect_is_taken_out_and_harms_without():
    rng = np.random.default_rng(3)
    profile = rng.gamma(0.5, 1, (5, 300))
    profile /= profile.sum(axis=1, keepdims=True)
    codes = np.repeat(np.arange(5), 40)
    cells = rng.poisson(profile[codes] * 4000).astype(float)
    member = np.eye(5)[:, codes]
    R = member @ cells / (member @ cells.sum(axis=1))[:, None] * 1e4
    truth = rng.dirichlet(np.full(5, 0.6), 150)
    X = rng.poisson(truth @ profile * np.exp(rng.normal(0, 0.9, 300)) * 6000).astype(float)

    def error(choice):
        return np.sqrt(
            ((generalized_least_squares(X, R, cells, codes, platform_effect=choice).proportions - truth) ** 2).mean()
        )

    assert error("always") < 0.9 * error("never")
    assert error("auto") == error("always")


def test_knowing_how_cells_differ_beats_knowing_only_their_means_on_real_tissue(shared_data):
    """starmap_counts: sums of the counts of real cells; the reference are the cells of the other replicate."""
    import anndata

    spots = anndata.read_h5ad(shared_data("starmap_counts/spots.h5ad"))
    reference = anndata.read_h5ad(shared_data("starmap/reference.h5ad"))
    reference = reference[reference.obs["replicate"] == "Dat1"].copy()
    truth = pd.read_csv(shared_data("starmap_counts/truth.csv"), index_col=0)
    labels = reference.obs["cell_type"].astype(str)
    signature = build_signature(reference.X, labels, reference.var_names).restrict(spots.var_names)
    cells = reference[:, spots.var_names].X
    codes = pd.Index(signature.cell_types).get_indexer(labels)

    def score(result):
        estimate = pd.DataFrame(result.proportions, spots.obs_names, signature.cell_types)
        return score_proportions(estimate, truth)

    ours = score(generalized_least_squares(spots.X, signature.matrix, cells, codes))
    baseline = score(constrained_regression(spots.X, signature.matrix))
    assert ours["rmse"] < 0.1 < baseline["rmse"]
    assert ours["jsd"] < 0.19 < baseline["jsd"]


def test_refuses_cells_that_do_not_fit(problem):
    X, R, cells, codes = problem
    with pytest.raises(ValueError, match="do not fit a signature"):
        generalized_least_squares(X, R, cells[:, 1:], codes)
    with pytest.raises(ValueError, match="two cells"):
        generalized_least_squares(X, R, cells[[0, 50, 100, 150]], np.arange(4))
    with pytest.raises(ValueError, match="platform_effect"):
        generalized_least_squares(X, R, cells, codes, platform_effect="perhaps")
