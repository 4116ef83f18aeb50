"""Labels and truth beside archetypes: Fisher's test and numpy as witnesses, planted answers, shuffled controls."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from pointillist.archetypes import label_enrichment, truth_correlation


@pytest.fixture(scope="module")
def labelled():
    """Three communities of 30 of 200 spots: two lie in a region each, one anywhere; 20 spots have no label."""
    rng = np.random.default_rng(0)
    barcodes = [f"s{i}" for i in range(200)]
    labels = pd.Series(np.repeat(["core", "edge", "stroma", None], [60, 60, 60, 20]), barcodes, dtype=object)
    inside = np.zeros((200, 3), dtype=bool)
    inside[:30, 0] = inside[60:85, 1] = inside[130:135, 1] = True
    inside[rng.choice(200, 30, replace=False), 2] = True
    return pd.DataFrame(inside, barcodes, ["A1", "A2", "A3"]), labels


def test_it_is_fishers_test_over_the_spots_that_have_a_label(labelled):
    membership, labels = labelled
    table = label_enrichment(membership, labels.sample(frac=1, random_state=0))
    kept = labels.dropna()
    for row in table.to_dict("records"):
        a, b = membership.loc[kept.index, row["archetype"]], kept == row["label"]
        counts = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        expected = fisher_exact(counts, alternative="greater")
        assert row["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)
        assert row["odds_ratio"] == pytest.approx(expected.statistic)
        assert (row["n_both"], row["n_community"], row["n_label"]) == ((a & b).sum(), a.sum(), b.sum())
        assert row["share"] == pytest.approx((a & b).sum() / a.sum())
    np.testing.assert_allclose(table["q_value"], false_discovery_control(table["p_value"]))


def test_planted_regions_are_found_and_shuffled_ones_are_not(labelled):
    membership, labels = labelled
    table = label_enrichment(membership, labels)
    found = table[table["q_value"] < 0.01]
    assert list(zip(found["archetype"], found["label"])) == [("A1", "core"), ("A2", "edge")]
    dealt = pd.Series(np.random.default_rng(1).permutation(labels.to_numpy()), labels.index)
    assert label_enrichment(membership, dealt)["q_value"].min() > 0.05


def test_texts_for_a_missing_label_are_no_label(labelled):
    membership, labels = labelled
    for text in ("NA", "", "nan"):
        pd.testing.assert_frame_equal(
            label_enrichment(membership, labels.fillna(text)), label_enrichment(membership, labels)
        )
    with pytest.raises(ValueError, match="none of the spots has a label"):
        label_enrichment(membership, pd.Series(np.nan, labels.index))


def test_weights_follow_the_type_that_was_planted():
    rng = np.random.default_rng(0)
    barcodes = [f"s{i}" for i in range(150)]
    truth = pd.DataFrame(rng.dirichlet(np.ones(3), 150), barcodes, ["B", "T", "stroma"])
    weights = truth[["T", "B", "stroma"]].set_axis(["A1", "A2", "A3"], axis=1) + rng.normal(0, 0.1, (150, 3))
    weights.iloc[:10] = np.nan
    table = truth_correlation(weights, truth, {"A1": "T", "A2": "stroma", "A3": "not in the truth"})
    best = table[table["rank"] == 1].set_index("archetype")
    assert best["cell_type"].tolist() == ["T", "B", "stroma"]
    assert best["right"].tolist() == [True, False, None]
    assert table.loc[table["rank"] > 1, "right"].isna().all()
    row = table[(table["archetype"] == "A1") & (table["cell_type"] == "B")].iloc[0]
    expected = np.corrcoef(weights["A1"].iloc[10:], truth["B"].iloc[10:])[0, 1]
    assert row["pearson"] == pytest.approx(expected)
    dealt = truth.set_axis(rng.permutation(barcodes))
    assert truth_correlation(weights, dealt)["pearson"].abs().max() < 0.35
    with pytest.raises(ValueError, match="at least 3"):
        truth_correlation(weights, truth.set_axis([f"x{i}" for i in range(150)]))
