"""Figures: every result gets one, spots lie where they are, and the same figure is the same bytes."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from pointillist import plotting
from pointillist.archetypes import label_enrichment, truth_correlation
from pointillist.data.contract import record_step
from pointillist.planning import Step
from pointillist.report.archetype_figures import across_samples_figures
from pointillist.report.content import describe_sample
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


@pytest.fixture
def diagnosed(spots):
    """The spots with everything that a deconvolution may bring beside proportions."""
    rng, index = np.random.default_rng(1), spots.obs_names
    full, types = spots.copy(), list(spots.obsm["nnls_proportions"])
    shares = full.obsm["nnls_proportions"]
    full.obsm["rctd_proportions"] = full.obsm["consensus_proportions"] = shares
    fit = pd.DataFrame({"pearson": rng.random(30), "spot_class": pd.Categorical(["singlet", "reject"] * 15)}, index)
    for name in types[:2]:
        fit[f"lower:{name}"], fit[f"upper:{name}"] = shares[name] * 0.8, shares[name] * 1.1
    full.obsm["rctd_fit"] = fit
    full.obsm["agreement"] = pd.DataFrame({"jsd": rng.random(30), "dominant_agreement": 1.0}, index)
    full.obsm["residuals"] = pd.DataFrame(
        {"unexplained": rng.normal(size=30), "pearson": 0.5, "missing_1": rng.normal(size=30)}, index
    )
    genes = {"log2_ratio": 1.0, "excess": [1.0, 2.0, 3.0, np.nan], "missing_1": [0.1, 0.9, 0.0, np.nan]}
    full.varm["residuals"] = pd.DataFrame({"observed": 2.0, "fitted": 1.0, **genes}, full.var_names)
    correlations = pd.DataFrame(np.full((3, 3), 0.4), types, types)
    correlations.iloc[0, 1] = correlations.iloc[1, 0] = 0.97
    long = (
        correlations.rename_axis("cell_type")
        .reset_index()
        .melt("cell_type", var_name="other", value_name="correlation")
    )
    by_type = pd.DataFrame({"cell_type": types, "method": "nnls", "other": "rctd", "pearson": [0.2, np.nan, 0.9]})
    names = ["level", "code", "subject", "found", "implies", "fix"]
    full.uns["deconvolution"] = {
        "correlations": long,
        "agreement_by_type": by_type,
        "cell_types": pd.DataFrame({"cell_type": types, "n_cells": 9, "most_similar": types[::-1]}),
        "findings": pd.DataFrame([["warning", "similar-types", "a/b, $c$", "r 0.97", "noise", "merge"]], columns=names),
        "summary": pd.DataFrame(
            {"condition_number": [5.0], "scaled_condition_number": 3.0, "n_shared_genes": 4, "share_of_counts": 0.9}
        ),
    }
    return full


def test_diagnostics_intervals_classes_and_agreement_are_drawn(diagnosed):
    steps, titles = [Step("deconvolution", name) for name in ("nnls", "rctd")], {"nnls": "NNLS", "rctd": "RCTD"}
    entries = {entry.name: entry for entry in sample_figures(diagnosed, steps, titles)}
    names = ["reference_correlations", "proportions_consensus", "residuals", "interval_widths", "interval_maps"]
    assert set(names + ["spot_classes", "agreement", "agreement_by_type"]) <= set(entries)
    assert "Framed: pairs above 0.95" in entries["reference_correlations"].caption
    heading = [axis.get_title(loc="left").replace("\n", " ") for axis in entries["residuals"].figure.axes]
    assert f"missing 1: {diagnosed.var_names[1]}, {diagnosed.var_names[0]}" in heading
    boxes = entries["interval_widths"].figure.axes[0]
    assert [label.get_text() for label in boxes.get_yticklabels()] == list(diagnosed.obsm["nnls_proportions"])[:2]
    assert len(boxes.patches) == 2
    legend = entries["spot_classes"].figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["singlet", "reject"]
    plotting.plt.close("all")


def test_findings_and_genes_are_listed(diagnosed):
    described = describe_sample("s", diagnosed, [], {}, pd.DataFrame(columns=["reason", "method"]), {})
    (section,) = [section for section in described["sections"] if section["stage"] == "deconvolution"]
    assert section["findings"][0].startswith("Reference: 4 genes shared with the sample hold 90% of its counts")
    assert section["findings"][1] == "a/b, $c$: r 0.97. So noise. What to do: merge."
    _, genes = section["tables"]
    assert genes["frame"]["gene"].tolist() == [diagnosed.var_names[1], diagnosed.var_names[0]]


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_the_same_figure_is_the_same_bytes(spots, tmp_path, ending):
    for name in ("one", "two"):
        figure = plotting.maps_figure(plotting.Layout.of(spots), spots.obsm["nnls_proportions"])
        plotting.save(figure, tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()


@pytest.fixture
def archetypal(spots):
    """The spots with three archetypes, their tree, stability and matching."""
    rng, full = np.random.default_rng(2), spots.copy()
    names = ["A1", "A2", "A3"]
    full.obsm["archetype_weights"] = pd.DataFrame(rng.dirichlet(np.ones(3), 30), full.obs_names, names)
    full.obsm["signature_scores"] = pd.DataFrame(rng.normal(size=(30, 2)), full.obs_names, ["first", "second"])
    full.X = rng.gamma(1, 1, size=(30, 4)).astype(np.float32)
    members = pd.DataFrame(
        {"archetype": np.repeat(names, 8), "barcode": full.obs_names[:24], "rank": [*range(1, 9)] * 3}
    )
    genes = list(full.var_names[:3])
    rounds = pd.DataFrame({"round": [1, 1, 2, 2], "signature": ["first", "second"] * 2})
    rounds["anchors_changed"] = [3, 2, 0, 0]
    tree = {
        "linkage": [[0, 1, 1.0, 2], [2, 3, 4.0, 3]],
        "names": names,
        "groups": {"0.0": [0, 1, 2], "0.5": [0, 0, 1]},
    }
    full.uns["archetypes"] = {
        "components": pd.DataFrame(rng.normal(size=(3, 3)), names),
        "curve": pd.DataFrame({"n_archetypes": [2, 3], "explained_variance": [0.4, 0.5]}),
        "anchors": members,
        "communities": members,
        "markers": pd.DataFrame({"archetype": names, "gene": genes, "rank": 1}),
        "stability": pd.DataFrame({"archetype": names, "spread": [0.1, 0.2, 2.0], "recovered": [1.0, 0.9, 0.1]}),
        "tree": json.dumps(tree),
        "matching": pd.DataFrame({"archetype": ["A1", "A2"], "signature": ["first", ""]}),
        "refinement": rounds,
    }
    return full


def test_archetypes_are_drawn_with_what_is_known_of_them(archetypal):
    labels = label_enrichment(
        pd.DataFrame({"A1": np.arange(30) % 3 == 0, "A2": np.arange(30) < 10}, archetypal.obs_names),
        archetypal.obs["region"],
    )
    truth = archetypal.obsm["nnls_proportions"]
    followed = truth_correlation(archetypal.obsm["archetype_weights"], truth, {"A1": "a/b"})
    known = {"label_enrichment": labels, "truth_correlation": followed}
    entries = {entry.name: entry for entry in sample_figures(archetypal, [], {}, **known)}
    parts = "curve weights components communities tree markers stability matching refinement labels truth".split()
    assert {f"archetype_{part}" for part in parts} <= set(entries)
    assert entries["archetype_truth"].stage == "scores"
    tree = entries["archetype_tree"].figure.axes[0]
    assert [text.get_text() for text in tree.texts] == ["0.5: 2 groups"]
    assert any(np.allclose(line.get_xdata(), 2.0) for line in tree.lines)
    refinement = entries["archetype_refinement"].figure.axes[0]
    assert max(bar.get_y() + bar.get_height() for bar in refinement.patches) == 5
    described = describe_sample(
        "s", archetypal, [], {}, pd.DataFrame(columns=["reason", "method"]), {}, {n: known[n] for n in known}
    )
    sections = {section["stage"]: section for section in described["sections"]}
    best = sections["scores"]["tables"][0]["frame"].set_index("archetype")
    assert best.loc["A1", "right"] == ("yes" if best.loc["A1", "cell_type"] == "a/b" else "no")
    assert best.loc["A2", "right"] == ""
    plotting.plt.close("all")


def test_groups_across_samples_are_framed_and_samples_not_compared_left_out():
    consensus = pd.DataFrame(
        {"group": ["C1", "C1", "", ""], "sample": ["a", "b", "b", "c"], "archetype": ["A1", "A2", "A1", "A1"]}
    )
    columns = ["sample", "archetype", "other", "other_archetype", "similarity", "status"]
    compared = [("a", "A1", "b", "A1", -0.2, "rival"), ("a", "A1", "b", "A2", 0.9, "merged")]
    pairs = pd.DataFrame(compared, columns=columns)
    (entry,) = across_samples_figures(consensus, pairs)
    axis = entry.figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["C1 · a A1", "C1 · b A2", "b A1"]
    assert sorted(frame.get_xy() for frame in axis.patches) == [(-0.5, 0.5), (0.5, -0.5)]
    assert list(across_samples_figures(consensus, pairs.iloc[:0])) == []
    plotting.plt.close("all")
