"""What a dry run says of settings and sample sheets that cannot be used: all at once, and nothing is written."""

import os

import pytest

from tests.workflow.conftest import ROOT


def written(folder):
    kept = {"config.yaml", "samples.tsv"}
    return [p for p in folder.rglob("*") if p.is_file() and p.name not in kept and ".snakemake" not in p.parts]


def test_four_problems_of_a_sheet_are_told_at_once(project, small_config):
    sheet = (
        "sample\tpath\tformat\n"
        "good\tresults/simulation/spots.h5ad\tvisum\n"
        "twin\tresults/simulation/spots.h5ad\t\n"
        "twin\tresults/simulation/spots.h5ad\t\n"
        "lost\tnowhere/spots.h5ad\t\n"
        "../../x\tresults/simulation/spots.h5ad\t\n"
    )
    project.write(small_config, sheet)
    code, output = project.run("-n", "--cores", 1, check=False)
    messages = [line for line in output.splitlines() if line.startswith("ERROR")]
    assert code != 0
    assert len(messages) == 4
    text = "\n".join(messages)
    assert "[unknown-format] sample=good file=samples.tsv column=format: found 'visum'" in text
    assert "Fix: write 'visium'" in text
    assert "[duplicate-sample] sample=twin" in text
    assert "lines 3 and 4" in text
    assert "[missing-file] sample=lost file=samples.tsv column=path: found nothing at 'nowhere/spots.h5ad'" in text
    assert "[bad-sample] sample=../../x" in text
    assert "Traceback" not in output
    assert written(project.folder) == []
    assert not (project.folder.parent / "x").exists()


@pytest.mark.parametrize("column", ["type", "formt", "referense"])
def test_a_misspelt_column_is_told(project, small_config, column):
    project.write(small_config, f"sample\tpath\t{column}\na\tresults/simulation/spots.h5ad\tx\n")
    code, output = project.run("-n", "--cores", 1, check=False)
    assert code != 0
    assert f"[unknown-column] file=samples.tsv column={column}" in output


def test_settings_sheet_and_references_are_told_together(project, small_config):
    config = {**small_config, "sede": 1, "deconvolution": {"methods": ["nlns"]}}
    config["references"] = {"atlas": {"path": "nowhere.h5ad", "cell_type": "type"}}
    project.write(config, "sample\tpath\treference\na\tresults/simulation/spots.h5ad\tatlass\n")
    code, output = project.run("-n", "--cores", 1, check=False)
    assert code != 0
    for part in (
        "column=sede: found unknown key 'sede', expected a known key. Fix: write 'seed'",
        "column=deconvolution.methods.0: found 'nlns'",
        "Fix: write 'nnls'",
        "column=references.atlas.path: found nothing at 'nowhere.h5ad'",
        "[unknown-reference] sample=a file=samples.tsv column=reference: found 'atlass'",
        "Fix: write 'atlas'",
    ):
        assert part in output


def test_columns_and_layers_that_a_file_lacks_are_told(project, small_config, shared_data):
    config = {**small_config}
    path = os.path.relpath(shared_data("starmap/reference.h5ad"), project.folder)
    config["references"] = {"cortex": {"path": path, "cell_type": "celltype", "layer": "raw_counts"}}
    spots = os.path.relpath(shared_data("mob/rep11.h5ad"), project.folder)
    project.write(config, f"sample\tpath\treference\tlabels\na\t{spots}\tcortex\tlayers\n")
    _, output = project.run("-n", "--cores", 1, check=False)
    assert "column=references.cortex.cell_type" in output
    assert "Fix: write 'cell_type'" in output
    assert "column=references.cortex.layer" in output
    assert "column=labels: found obs with columns layer" in output


def test_names_such_as_na_and_001_stay_text(project, small_config):
    rows = "".join(f"{name}\tresults/simulation/spots.h5ad\n" for name in ("NA", "001", "1e5"))
    project.write(small_config, f"sample\tpath\n{rows}")
    _, output = project.run("-n", "--cores", 1, "validate")
    for name in ("NA", "001", "1e5"):
        assert f"results/samples/{name}/ingest/checks.csv" in output


def test_a_sheet_of_commas_and_no_sheet(project, small_config):
    project.write(small_config, "sample,path\na,b.h5ad\n")
    assert "[not-tab-separated] file=samples.tsv" in project.run("-n", "--cores", 1, check=False)[1]
    (project.folder / "samples.tsv").unlink()
    assert "[no-sample-sheet]" in project.run("-n", "--cores", 1, check=False)[1]


def test_the_five_real_samples_are_planned(project, shared_data):
    shared_data("mob/rep11.h5ad")
    config = ROOT / "tests/workflow/config.yaml"
    _, output = project.run("-n", "--cores", 1, "--configfile", config)
    planned = {line.split(": ", 1)[1] for line in output.splitlines() if line.strip().startswith("output:")}
    text = "\n".join(planned)
    assert "results/samples/citeseq/joint_nmf/usage.parquet" in text
    assert "results/samples/mob/joint_nmf" not in text
    assert "results/samples/mob/deconvolution" not in text
    assert "results/samples/lymph/deconvolution/cibersort/proportions.parquet" in text
    assert "results/samples/citeseq/embedding/neighbour_mean_pca" not in text
    assert "results/samples/mob/archetypes/matching.csv" in text
    assert "results/archetypes/consensus.csv" in text
    assert "results/samples/mob/archetypes/label_enrichment.csv" in text
    assert "results/samples/starmap/archetypes/truth_correlation.csv" in text
    assert "results/samples/starmap/archetypes/label_enrichment.csv" not in text
    assert "results/samples/lymph/archetypes/stability.csv" in text


def test_one_sample_is_compared_with_no_other_and_bootstraps_can_be_left_out(project, small_config):
    config = {**small_config, "archetypes": {"n_bootstraps": 0}}
    project.write(config, "sample\tpath\nalone\tresults/simulation/spots.h5ad\n")
    _, output = project.run("-n", "--cores", 1)
    assert "rule find_archetypes" in output
    for rule in ("match_archetypes_across_samples", "archetype_stability", "enrich_labels", "correlate_truth"):
        assert f"rule {rule}" not in output
