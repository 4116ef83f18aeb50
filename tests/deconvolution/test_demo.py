"""The demo's own tissue (simulated): least squares on the chosen markers, and a control that has to fail."""

import numpy as np
import pandas as pd
import pytest

from pointillist.data.simulation import simulate_tissue
from pointillist.deconvolution import cibersort, constrained_regression
from pointillist.metrics import score_proportions
from pointillist.signature import build_signature, choose_markers, rank_markers


@pytest.fixture(scope="module")
def demo():
    tissue = simulate_tissue(seed=0)
    cells, spots = tissue.reference, tissue.spots
    labels = cells.obs["cell_type"]
    shared = cells.var_names[cells.var_names.isin(spots.var_names)]
    signature = build_signature(cells.X, labels, cells.var_names).restrict(shared)
    markers, _ = choose_markers(signature, rank_markers(cells.X, labels, cells.var_names))
    genes = markers["gene"].unique()
    return spots[:, genes].X, signature.restrict(genes), spots.obs_names, tissue.truth


def score(demo, matrix, constraint="nonnegative"):
    counts, signature, barcodes, truth = demo
    estimate = constrained_regression(counts, matrix, constraint).proportions
    return score_proportions(pd.DataFrame(estimate, barcodes, signature.cell_types), truth)


def test_least_squares_on_the_chosen_markers_finds_the_planted_proportions(demo):
    assert score(demo, demo[1].matrix)["pearson"] >= 0.85
    assert score(demo, demo[1].matrix, "simplex")["pearson"] >= 0.85


def test_a_shuffled_signature_does_not(demo):
    matrix = demo[1].matrix
    shuffled = np.random.default_rng(0).permuted(matrix.ravel()).reshape(matrix.shape)
    assert score(demo, shuffled)["pearson"] < 0.3


def test_cibersort_gives_every_spot_an_estimate_near_the_planted_one(demo):
    counts, signature, barcodes, truth = demo
    # Spots of no quality are taken out by the pipeline; a handful of counts has no optimum but zero.
    kept = np.asarray(counts.sum(axis=1)).ravel() > 50
    result = cibersort(counts[kept], signature.matrix, n_permutations=100)
    assert not np.isnan(result.proportions).any()
    estimate = pd.DataFrame(result.proportions, barcodes[kept], signature.cell_types)
    assert score_proportions(estimate, truth)["pearson"] >= 0.85
    assert (result.fit["p_value"] < 0.05).all()
