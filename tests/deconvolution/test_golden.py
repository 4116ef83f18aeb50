"""Golden values: what each method finds on real tissue, so that no change of a result goes unseen.

starmap_counts, spots that are sums of the raw counts of real cells, with the cells of the other replicate as the
reference. A change of these figures is a decision: renew them together with the changelog.
"""

import anndata
import numpy as np
import pandas as pd
import pytest

from pointillist.deconvolution import METHODS, per_cell
from pointillist.metrics import score_proportions
from pointillist.signature import build_signature, choose_markers, genes_for, rank_markers

# RMSE, JSD, mean Pearson and AUPR by Spotless's definitions, and the first spot's share of eL6 and of Astro.
EXPECTED = {
    "gls": (0.0940, 0.1776, 0.8214, 0.8134, 0.5704, 0.1820),
    "count_regression": (0.0908, 0.1611, 0.8332, 0.8310, 0.5843, 0.1937),
    "cibersort": (0.1087, 0.2177, 0.7937, 0.7866, 0.5941, 0.1307),
    "dwls": (0.1064, 0.2132, 0.7903, 0.7854, 0.6244, 0.2740),
    "wnnls": (0.0957, 0.1782, 0.8265, 0.8198, 0.4727, 0.1900),
    "simplex": (0.1202, 0.2577, 0.7332, 0.6962, 0.6008, 0.0000),
    "nnls": (0.1104, 0.2210, 0.7630, 0.7420, 0.7207, 0.0000),
}


@pytest.fixture(scope="module")
def tissue(shared_data):
    spots = anndata.read_h5ad(shared_data("starmap_counts/spots.h5ad"))
    reference = anndata.read_h5ad(shared_data("starmap/reference.h5ad"))
    reference = reference[reference.obs["replicate"] == "Dat1", spots.var_names].copy()
    truth = pd.read_csv(shared_data("starmap_counts/truth.csv"), index_col=0)
    labels = reference.obs["cell_type"].astype(str)
    signature = build_signature(reference.X, labels, spots.var_names)
    markers, _ = choose_markers(signature, rank_markers(reference.X, labels, spots.var_names))
    return spots, reference.X, labels, signature, markers["gene"].unique(), truth


def test_every_method_has_a_golden_value():
    assert set(EXPECTED) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_finds_what_it_found(tissue, name):
    spots, cells, labels, signature, markers, truth = tissue
    method = METHODS[name]
    genes = genes_for(method, signature, markers, 5000)
    columns = spots.var_names.get_indexer(genes)
    result = method.run(
        spots.X[:, columns],
        signature.restrict(genes).matrix,
        options={"n_permutations": 0} if name == "cibersort" else {},
        cells=cells[:, columns],
        codes=pd.Index(signature.cell_types).get_indexer(labels),
        cell_totals=np.asarray(cells.sum(axis=1)).ravel(),
        n_cells=signature.n_cells,
        spot_totals=np.asarray(spots.X.sum(axis=1)).ravel(),
        type_totals=signature.matrix.sum(axis=1),
        seed=0,
    )
    estimate = pd.DataFrame(per_cell(result, signature.mean_counts).proportions, spots.obs_names, signature.cell_types)
    scores = score_proportions(estimate, truth)
    found = [scores["rmse"], scores["jsd"], scores["pearson"], scores["aupr"], *estimate.iloc[0][["eL6", "Astro"]]]
    np.testing.assert_allclose(found, EXPECTED[name], atol=1e-3)
