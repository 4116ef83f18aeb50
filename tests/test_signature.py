"""Signature and marker choice against pandas, scipy and a planted set of markers."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from pointillist.deconvolution import METHODS
from pointillist.signature import (
    Signature,
    build_signature,
    choose_markers,
    discriminating_genes,
    genes_for,
    informative_genes,
    rank_markers,
)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(4)
    profile = np.full((3, 60), 2.0)
    for k in range(3):
        profile[k, k * 10 : k * 10 + 10] = 12.0
    types = np.repeat(["B cell", "T cell", "stroma"], [40, 30, 20])
    counts = rng.poisson(profile[np.repeat([0, 1, 2], [40, 30, 20])])
    return sparse.csr_matrix(counts), types, [f"gene_{i:02d}" for i in range(60)]


def test_signature_is_each_types_counts_per_ten_thousand(cells):
    counts, types, genes = cells
    built = build_signature(counts, types, genes)
    dense = pd.DataFrame(counts.toarray(), columns=genes)
    sums = dense.groupby(types).sum()
    expected = sums.div(sums.sum(axis=1), axis=0).mul(1e4)
    pd.testing.assert_frame_equal(built.to_frame(), expected, check_names=False)
    assert built.n_cells.tolist() == [40, 30, 20]
    np.testing.assert_allclose(built.mean_counts, dense.sum(axis=1).groupby(types).mean())
    assert built.condition_number == pytest.approx(np.linalg.cond(expected))


def test_p_values_are_welchs_against_all_other_cells(cells):
    counts, types, genes = cells
    markers = rank_markers(counts, types, genes, max_q=1.1).set_index(["cell_type", "gene"])
    dense = counts.toarray()
    logged = np.log1p(dense / dense.sum(1, keepdims=True) * 1e4)
    for (name, gene), row in markers.sample(12, random_state=0).iterrows():
        column = logged[:, genes.index(gene)]
        inside = types == name
        expected = stats.ttest_ind(column[inside], column[~inside], equal_var=False).pvalue
        assert row["p_value"] == pytest.approx(expected, rel=1e-6)


def test_fold_change_is_that_against_the_nearest_type(cells):
    counts, types, genes = cells
    built = build_signature(counts, types, genes).to_frame()
    row = rank_markers(counts, types, genes).query("cell_type == 'T cell'").iloc[0]
    others = built.drop(index="T cell")[row["gene"]].max()
    assert row["log_fold_change"] == pytest.approx(np.log1p(built.loc["T cell", row["gene"]]) - np.log1p(others))


def test_close_types_keep_markers():
    rng = np.random.default_rng(0)
    profile = np.full((3, 80), 2.0)
    profile[:2, :20] = 12.0
    profile[0, 20:24] = 4.0
    profile[1, 24:28] = 4.0
    counts = rng.poisson(profile[np.repeat([0, 1, 2], 15)])
    markers = rank_markers(counts, np.repeat(["CD4 T", "CD8 T", "B"], 15), [f"g{i}" for i in range(80)])
    assert {"CD4 T", "CD8 T"} <= set(markers["cell_type"])


def test_planted_markers_are_found_and_none_in_shuffled_cells(cells):
    counts, types, genes = cells
    markers = rank_markers(counts, types, genes, max_q=0.01)
    leading = markers[markers["rank"] <= 10]
    assert {name: set(table["gene"]) for name, table in leading.groupby("cell_type")} == {
        "B cell": set(genes[:10]),
        "T cell": set(genes[10:20]),
        "stroma": set(genes[20:30]),
    }
    shuffled = rank_markers(counts, np.random.default_rng(0).permutation(types), genes, max_q=0.01)
    assert len(shuffled) == 0


def test_number_of_markers_minimises_the_condition_number(cells):
    counts, types, genes = cells
    built, markers = build_signature(counts, types, genes), rank_markers(counts, types, genes)
    chosen, curve = choose_markers(built, markers, (3, 8))
    by_hand = {
        n: np.linalg.cond(built.restrict(markers.loc[markers["rank"] <= n, "gene"].unique()).matrix)
        for n in range(3, 9)
    }
    assert curve.set_index("n_per_type")["condition_number"].to_dict() == pytest.approx(by_hand)
    assert curve.loc[curve["chosen"], "n_per_type"].item() == min(by_hand, key=by_hand.get)
    assert chosen.groupby("cell_type").size().max() == min(by_hand, key=by_hand.get)


def test_a_type_without_marker_is_named(cells):
    counts, types, genes = cells
    built, markers = build_signature(counts, types, genes), rank_markers(counts, types, genes, max_q=0.01)
    with pytest.raises(ValueError, match="'stroma'"):
        choose_markers(built.restrict(genes[:20]), markers)


def test_types_with_few_cells_are_left_out(cells):
    counts, types, genes = cells
    assert build_signature(counts, types, genes, min_cells=25).cell_types.tolist() == ["B cell", "T cell"]
    with pytest.raises(ValueError, match="needs two"):
        build_signature(counts, types, genes, min_cells=35)


def test_an_unknown_gene_is_refused():
    with pytest.raises(KeyError, match="absent"):
        Signature(np.eye(2), np.array(["a", "b"]), np.array(["g", "h"]), None).restrict(["g", "x"])


def test_informative_genes_are_those_that_differ_between_types():
    matrix = np.array([[50.0, 10.0, 3.0, 100.0], [50.0, 1.0, 30.0, 101.0]])
    signature = Signature(matrix, np.array(["a", "b"]), np.array(["even", "one", "two", "loud"]))
    assert informative_genes(signature, 2).tolist() == ["one", "two"]
    assert informative_genes(signature, 9).tolist() == ["even", "one", "two", "loud"]


def test_discriminating_genes_are_loud_in_one_type_and_faint_in_the_mean():
    matrix = np.array([[50.0, 20.0, 1.0, 9.0], [50.0, 1.0, 0.1, 8.0], [50.0, 1.0, 0.1, 8.5]])
    signature = Signature(matrix, np.array(list("abc")), np.array(["even", "marker", "faint", "flat"]))
    assert discriminating_genes(signature, at_least=0).tolist() == ["marker"]
    # Where too few pass, the loud ones that differ most.
    assert discriminating_genes(signature, at_least=2).tolist() == ["marker", "flat"]


def test_every_method_gets_the_genes_that_its_record_asks_for():
    signature = Signature(np.eye(3) * 50 + 1, np.array(list("abc")), np.array(["x", "y", "z"]))
    for method in METHODS.values():
        genes = genes_for(method, signature, ["y"], 2)
        assert (
            genes.tolist() == {"markers": ["y"], "shared": ["x", "y"], "discriminating": ["x", "y", "z"]}[method.genes]
        )
