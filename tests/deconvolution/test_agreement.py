"""Agreement by its definition on tables whose agreement is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

from pointillist.deconvolution import compare_methods, find_consensus


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    index = pd.Index([f"spot_{i}" for i in range(20)], name="barcode")
    return {name: pd.DataFrame(rng.dirichlet(np.ones(3), 20), index, ["a/b", "c d", "é"]) for name in ("x", "y", "z")}


def test_disagreement_is_the_mean_divergence_over_pairs(tables):
    by_spot, by_type = compare_methods(tables)
    values = [table.to_numpy() for table in tables.values()]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [np.mean([jensenshannon(values[a][s], values[b][s], base=2) ** 2 for a, b in pairs]) for s in range(20)]
    np.testing.assert_allclose(by_spot["jsd"], expected)
    np.testing.assert_allclose(by_spot["mean:c d"], np.mean([v[:, 1] for v in values], axis=0))
    np.testing.assert_allclose(by_spot["sd:é"], np.std([v[:, 2] for v in values], axis=0, ddof=1))
    row = by_type.query("cell_type == 'a/b' and method == 'x' and other == 'z'").iloc[0]
    assert row["pearson"] == pytest.approx(np.corrcoef(values[0][:, 0], values[2][:, 0])[0, 1])


def test_equal_methods_agree(tables):
    by_spot, by_type = compare_methods({"x": tables["x"], "y": tables["x"]})
    np.testing.assert_allclose(by_spot["jsd"], 0, atol=1e-12)
    assert (by_spot["dominant"] == tables["x"].idxmax(axis=1)).all()
    assert (by_spot["dominant_agreement"] == 1).all()
    np.testing.assert_allclose(by_type["pearson"], 1)


def test_a_spot_without_estimate_is_missing(tables):
    tables["y"].iloc[3] = np.nan
    by_spot, _ = compare_methods(tables)
    assert by_spot.iloc[3][["jsd", "dominant", "dominant_agreement"]].isna().all()
    assert by_spot.drop(index="spot_3")["jsd"].notna().all()


def test_refuses_tables_that_do_not_match(tables):
    with pytest.raises(ValueError, match="at least two"):
        compare_methods({"x": tables["x"]})
    with pytest.raises(ValueError, match="differ"):
        compare_methods({"x": tables["x"], "y": tables["y"].iloc[::-1]})


def test_consensus_is_the_mean_of_the_methods_preferred():
    tables = {
        name: pd.DataFrame([[share, 1 - share], [np.nan, np.nan]], ["s1", "s2"], ["a", "b"])
        for name, share in (("gls", 0.2), ("nnls", 0.9), ("count_regression", 0.4))
    }
    consensus, members = find_consensus(tables, ["count_regression", "gls", "dwls"])
    assert members == ["gls", "count_regression"]
    np.testing.assert_allclose(consensus.loc["s1"], [0.3, 0.7])
    assert consensus.loc["s2"].isna().all()
    assert find_consensus(tables, ["dwls"])[1] == ["gls", "nnls", "count_regression"]
