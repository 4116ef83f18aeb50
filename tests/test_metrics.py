"""Scores against their definitions, written out, and scipy's and scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import adjusted_rand_score

from pointillist.metrics import adjusted_rand_index, score_by_type, score_proportions


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(4, 0.5), 30)
    truth[truth < 0.05] = 0
    truth /= truth.sum(1, keepdims=True)
    estimate = rng.dirichlet(np.full(4, 0.5), 30) * 0.3 + truth * 0.7
    index = [f"spot_{i}" for i in range(30)]
    return pd.DataFrame(estimate, index, list("abcd")), pd.DataFrame(truth, index, list("abcd"))


def test_scores_by_their_definitions(tables):
    estimate, truth = tables
    p, q = truth.to_numpy(), estimate.to_numpy()
    scores = score_proportions(estimate, truth)
    assert scores["rmse"] == pytest.approx(np.mean(np.sqrt(((p - q) ** 2).sum(1) / 4)))
    assert scores["rmse_pooled"] == pytest.approx(np.sqrt(np.mean((p - q) ** 2)))
    assert scores["pearson"] == pytest.approx(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q)]))
    assert scores["jsd"] == pytest.approx(np.mean([jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q)]))
    # Area by hand: trapezoids over recall at each threshold.
    order = np.argsort(-q.ravel(), kind="stable")
    present = (p.ravel() > 0)[order]
    precision = np.r_[1, np.cumsum(present) / np.arange(1, 121)]
    recall = np.r_[0, np.cumsum(present) / present.sum()]
    assert scores["aupr"] == pytest.approx(np.trapezoid(precision, recall), abs=1e-6)


def test_perfect_and_shuffled(tables):
    _, truth = tables
    perfect = score_proportions(truth, truth)
    assert perfect["rmse"] == pytest.approx(0, abs=1e-12)
    assert perfect["jsd"] == pytest.approx(0, abs=1e-12)
    assert perfect["pearson"] == pytest.approx(1)
    assert perfect["aupr"] == pytest.approx(1)
    shuffled = truth.sample(frac=1, random_state=0).set_axis(truth.index)
    assert score_proportions(shuffled, truth)["pearson"] < 0.5


def test_matched_by_name_and_missing_types_count_as_zero(tables):
    estimate, truth = tables
    reordered = estimate.iloc[::-1, ::-1]
    assert score_proportions(reordered, truth) == pytest.approx(score_proportions(estimate, truth))
    lacking = score_proportions(estimate.drop(columns="d"), truth)
    assert lacking["rmse"] == pytest.approx(score_proportions(estimate.assign(d=0.0), truth)["rmse"])


def test_spots_without_estimate_are_left_out(tables):
    estimate, truth = tables
    estimate = estimate.copy()
    estimate.iloc[:5] = np.nan
    assert score_proportions(estimate, truth)["n_spots"] == 25


def test_nothing_in_common_is_refused(tables):
    estimate, truth = tables
    with pytest.raises(ValueError, match="no cell type"):
        score_proportions(estimate.rename(columns=str.upper), truth)
    with pytest.raises(ValueError, match="no spot"):
        score_proportions(estimate.rename(index=str.upper), truth)


def test_scores_by_type(tables):
    estimate, truth = tables
    table = score_by_type(estimate, truth).set_index("cell_type")
    assert table.loc["b", "pearson"] == pytest.approx(np.corrcoef(estimate["b"], truth["b"])[0, 1])


def test_adjusted_rand_index_leaves_missing_labels_out():
    labels = pd.Series(["x", "x", "y", "y", None, "y"], list("abcdef"))
    clusters = pd.Series([1, 1, 2, 3, 3, None], list("abcdef"))
    assert adjusted_rand_index(labels, clusters) == pytest.approx(adjusted_rand_score([0, 0, 1, 1], [1, 1, 2, 3]))


def test_figures_of_starmap(shared_data):
    """Plain NNLS on STARmap with all cells as the reference: ten lines of code elsewhere reached .126, .895, .200."""
    import anndata

    from pointillist.deconvolution import constrained_regression
    from pointillist.signature import build_signature

    spots = anndata.read_h5ad(shared_data("starmap/spots.h5ad"))
    cells = anndata.read_h5ad(shared_data("starmap/reference.h5ad"))
    truth = pd.read_csv(shared_data("starmap/truth.csv"), index_col=0)
    signature = build_signature(cells.X, cells.obs["cell_type"], cells.var_names).restrict(spots.var_names)
    estimate = constrained_regression(spots.X, signature.matrix).proportions
    scores = score_proportions(pd.DataFrame(estimate, spots.obs_names, signature.cell_types), truth)
    assert scores["rmse_pooled"] == pytest.approx(0.126, abs=0.006)
    assert scores["pearson_median"] == pytest.approx(0.895, abs=0.012)
    assert scores["jsd"] == pytest.approx(0.200, abs=0.012)
