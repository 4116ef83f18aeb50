"""The pipeline itself on a small demo: complete, repeatable, resumed after a kill, usable from elsewhere."""

import json
import os
import signal
import subprocess
import time

import anndata
import pandas as pd
import pytest

from tests.workflow.conftest import ROOT, Project, environment

pytestmark = pytest.mark.workflow

ESTIMATES = ("consensus", "gls", "count_regression", "cibersort", "nnls")


def test_every_result_of_the_contract_is_there(small_run):
    results = small_run.folder / "results"
    for file in ("report.html", "provenance.json", "citations.bib", "methods.md", "tables/scores.csv"):
        assert (results / file).stat().st_size > 0
    spots = anndata.read_h5ad(results / "samples/demo/spots.h5ad")
    filtered = spots.obs["filtered"].to_numpy()
    for method in ESTIMATES:
        proportions = spots.obsm[f"{method}_proportions"]
        assert proportions[filtered].isna().all().all()
        assert proportions[~filtered].sum(axis=1).between(1 - 1e-9, 1 + 1e-9).all()
    for key in ("nmf_usage", "svd_usage", "joint_nmf_usage", "archetype_weights", "X_vae", "spatial", "protein"):
        assert key in spots.obsm
    assert "nmf_loadings" in spots.varm
    assert "spatial_connectivities" in spots.obsp
    assert (spots.layers["counts"].data % 1 == 0).all()
    steps = {name: json.loads(text) for name, text in spots.uns["pointillist"].items()}
    assert set(steps["nnls"]) == {"params", "seed", "version", "input_sha256"}
    assert "simulation" in steps


def test_the_truth_reaches_nothing_but_the_scores(small_run):
    spots = anndata.read_h5ad(small_run.folder / "results/samples/demo/spots.h5ad")
    truth = pd.read_csv(small_run.folder / "results/simulation/truth.csv", index_col=0)
    reached = [key for key, table in spots.obsm.items() if set(getattr(table, "columns", ())) == set(truth.columns)]
    expected = {f"{method}_{kind}" for method in ESTIMATES for kind in ("proportions", "abundance")}
    assert set(reached) <= expected
    assert {f"{method}_proportions" for method in ESTIMATES} <= set(reached)
    assert not any(spots.obsm[key].fillna(0).equals(truth.reindex(spots.obs_names)) for key in reached)
    scores = pd.read_csv(small_run.folder / "results/tables/scores.csv")
    assert set(scores["metric"]) >= {"rmse", "pearson", "jsd", "aupr", "ari"}


def test_the_report_holds_all_that_it_shows(small_run):
    html = (small_run.folder / "results/report.html").read_text(encoding="utf-8")
    assert "Simulated data." in html
    for forbidden in ('src="http', "src='http", 'href="http', "@import", "<link"):
        assert forbidden not in html.split("<script>")[0]
    provenance = json.loads((small_run.folder / "results/provenance.json").read_text())
    assert provenance["versions"]["torch"].startswith("2.13.0")
    assert provenance["inputs"]["results/simulation/spots.h5ad"] in html
    assert str(small_run.folder) not in html


def test_a_second_run_recomputes_nothing(small_run):
    assert "Nothing to be done" in small_run.run("--cores", 1)[1]


def test_two_cores_give_the_same_bytes(small_run, small_config, tmp_path):
    project = Project(tmp_path)
    project.write(small_config, (ROOT / "samples.tsv").read_text())
    project.run("--cores", 2)
    one, two = small_run.tables(), project.tables()
    assert set(one) == set(two)
    assert len(one) > 40
    assert [name for name in one if one[name] != two[name]] == []


def test_a_killed_run_is_resumed(small_run, small_config, tmp_path):
    project = Project(tmp_path)
    project.write(small_config, (ROOT / "samples.tsv").read_text())
    running = subprocess.Popen(
        list(map(str, project.command("--cores", 1, "deconvolution"))),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    waited_for = tmp_path / "results/samples/demo/deconvolution/markers.csv"
    for _ in range(600):
        if waited_for.exists():
            break
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert waited_for.exists()
    project.run("--unlock")
    _, output = project.run("--cores", 1, "--rerun-incomplete", "deconvolution")
    assert "simulate_tissue" not in output
    one, two = small_run.tables(), project.tables()
    assert [name for name in two if one[name] != two[name]] == []


def test_a_change_of_one_option_reruns_only_what_depends_on_it(small_run, small_config):
    config = json.loads(json.dumps(small_config))
    config["deconvolution"]["cibersort"]["n_permutations"] = 21
    small_run.write(config)
    try:
        _, output = small_run.run("-n", "--cores", 1)
    finally:
        small_run.write(small_config)
    planned = {line.split()[1].rstrip(":") for line in output.splitlines() if line.startswith("rule ")}
    assert {"deconvolve", "compare_methods", "gather_results", "render_report"} <= planned
    assert planned.isdisjoint({"simulate_tissue", "preprocess", "build_signature", "factorize", "embed"})


def test_snakemakes_own_report_works_offline(small_run):
    small_run.run("--cores", 1, "--report", "report.zip")
    assert (small_run.folder / "report.zip").stat().st_size > 10_000


def test_it_can_be_a_module_of_another_workflow(project, small_config):
    project.write(small_config, (ROOT / "samples.tsv").read_text())
    (project.folder / "Snakefile").write_text(
        'configfile: "config.yaml"\n\n'
        f'module pointillist:\n    snakefile: "{ROOT}/workflow/Snakefile"\n    config: config\n\n'
        "use rule * from pointillist as pointillist_*\n\n"
        'rule mine:\n    default_target: True\n    input: "results/report.html"\n'
    )
    code = project.command("-n", "--cores", "1")
    code[2] = "Snakefile"
    done = subprocess.run(list(map(str, code)), cwd=project.folder, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert "pointillist_render_report" in done.stdout + done.stderr


def test_log_normalised_counts_are_refused_without_a_traceback(project, small_config, small_run):
    spots = anndata.read_h5ad(small_run.folder / "results/samples/demo/preprocessing/spots.h5ad")
    kept = spots[~spots.obs["filtered"]].copy()
    del kept.layers["counts"]
    kept.write_h5ad(project.folder / "logged.h5ad")
    config = {key: value for key, value in small_config.items() if key not in ("simulation", "references", "gene_sets")}
    project.write(config, "sample\tpath\nlogged\tlogged.h5ad\n")
    code, output = project.run("--cores", 1, "validate", check=False)
    assert code != 0
    assert "ERROR [log-normalised] sample=logged file=logged.h5ad" in output
    assert "Traceback" not in output
    assert not (project.folder / "results/samples/logged/ingest/spots.h5ad").exists()
