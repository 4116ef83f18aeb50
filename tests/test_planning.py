"""What each sample runs and why it skips the rest."""

import pytest

from pointillist.data.contents import Contents
from pointillist.data.inputs import Sample
from pointillist.planning import add_baseline, plan_steps
from pointillist.record import Method

STAGES = {
    "deconvolution": {"nnls": Method("nnls", "", "", print, needs=frozenset({"reference"}))},
    "factorization": {"nmf": Method("nmf", "", "", print)},
    "embedding": {"vae": Method("vae", "", "", print)},
}
CONFIG = {
    "deconvolution": {"methods": ["nnls"]},
    "factorization": {"methods": ["nmf"], "n_factors": [5, 9]},
    "joint_nmf": {"modalities": ["rna", "protein"]},
    "archetypes": {},
    "embedding": {"models": ["vae"]},
}
FULL = Sample("full", {"reference": "atlas"}, Contents("h5ad", has_coordinates=True, modalities=("rna", "protein")))
BARE = Sample("bare", {}, Contents("h5ad"))


def test_a_full_sample_runs_everything():
    plan = plan_steps([FULL], CONFIG, STAGES)
    assert plan.skipped == []
    assert plan.of("full", "factorization") == ["nmf_5", "nmf_9"]
    assert plan.of("full", "archetypes") == ["archetypes", "matching"]
    assert plan.of("full", "embedding") == ["pca", "neighbour_mean_pca", "vae"]


def test_a_bare_sample_says_what_it_lacks():
    plan = plan_steps([BARE], CONFIG, STAGES)
    reasons = {step.method: reason for _, step, reason in plan.skipped}
    assert set(reasons) == {"graph", "nnls", "joint_nmf", "matching", "neighbour_mean_pca"}
    assert "reference" in reasons["nnls"]
    assert "'protein'" in reasons["joint_nmf"]
    assert "coordinates" in reasons["graph"]
    assert plan.of("bare", "embedding") == ["pca", "vae"]


@pytest.mark.parametrize(
    "row, ran, reason",
    [
        ({"gene_sets": "sets"}, ["signature_vae"], "no reference"),
        ({"reference": "atlas"}, ["nnls", "signature_vae"], None),
        ({}, [], "neither gene sets nor a reference"),
    ],
)
def test_a_method_of_gene_sets_needs_no_reference(row, ran, reason):
    guided = Method("signature_vae", "", "", print, needs=frozenset({"gene_sets"}))
    stages = {**STAGES, "deconvolution": {**STAGES["deconvolution"], "signature_vae": guided}}
    config = {"deconvolution": {"methods": ["nnls", "signature_vae"]}}
    plan = plan_steps([Sample("s", row, Contents("h5ad"))], config, stages)
    assert plan.of("s", "deconvolution") == ran
    reasons = {step.method: text for _, step, text in plan.skipped if step.stage == "deconvolution"}
    assert set(reasons) == {"nnls", "signature_vae"} - set(ran)
    if reason:
        assert reason in list(reasons.values())[-1]


def test_a_stage_without_section_is_off():
    plan = plan_steps([FULL], {"factorization": CONFIG["factorization"]}, STAGES)
    assert [step for step in plan.steps["full"] if step.stage not in ("factorization", "preprocessing")] == []


@pytest.mark.parametrize(
    "row, needed", [({"gene_sets": "a"}, {"gene_sets"}), ({"reference": "a"}, {"reference", "gene_sets"})]
)
def test_a_reference_stands_in_for_gene_sets(row, needed):
    assert Sample("s", row, Contents("h5ad")).has == needed


def test_the_baseline_is_added_where_deconvolution_is_on():
    settings = {"deconvolution": {"methods": ["cibersort"]}}
    (problem,) = add_baseline(settings, "config.yaml")
    assert settings["deconvolution"]["methods"] == ["cibersort", "nnls"]
    assert str(problem).startswith("WARNING [baseline-added] file=config.yaml column=deconvolution.methods: found")
    assert add_baseline(settings) == []


@pytest.mark.parametrize("settings", [{}, {"deconvolution": None}, {"deconvolution": {"methods": "cibersort"}}])
def test_no_baseline_without_the_stage_or_with_settings_that_are_refused(settings):
    before = repr(settings)
    assert add_baseline(settings) == []
    assert repr(settings) == before
