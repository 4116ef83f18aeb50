"""What users read who deconvolve unusable inputs: one run of them all, each told by name, with the fix.

The tissue and its reference are the project's own simulator's.
"""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pointillist.data.simulation import simulate_tissue
from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow

# sample, its file, its reference
SHEET = {
    "logged": ("spots_logged.h5ad", ""),
    "with_nan": ("spots_nan.h5ad", ""),
    "other_names": ("spots.h5ad", "identifiers"),
    "known_identifiers": ("spots_identified.h5ad", "identifiers"),
    "other_genes": ("spots.h5ad", "other_genes"),
    "a": ("spots.h5ad", "logged"),
    "b": ("spots.h5ad", "with_nan"),
    "c": ("spots.h5ad", "one_type"),
    "d": ("spots.h5ad", "few_cells"),
    "empty_spots": ("spots_empty.h5ad", "good"),
}
EMPTY, FOREIGN = [3, 7], 11


def with_counts(adata, change):
    changed = adata.copy()
    counts = changed.X.toarray().astype(np.float32)
    change(counts, changed)
    changed.X = sparse.csr_matrix(counts)
    changed.layers.clear()
    return changed


def take_logarithms(counts, _):
    counts[:] = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def put_nan(counts, _):
    counts[5, 9] = np.nan


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Output of a run that goes on with whatever it can, and its folder."""
    folder = tmp_path_factory.mktemp("bad_inputs")
    tissue = simulate_tissue(seed=1, n_spots=120, n_genes=400, n_reference_cells=480, n_proteins=0, n_low_quality=4)
    spots, cells = tissue.spots, tissue.reference

    def empty(counts, adata):
        counts[EMPTY] = 0
        counts[FOREIGN, adata.var_names.isin(cells.var_names)] = 0

    few, one = cells.copy(), cells.copy()
    macrophages = np.flatnonzero(cells.obs["cell_type"] == "Macrophage")
    few = few[np.setdiff1d(np.arange(few.n_obs), macrophages[4:])].copy()
    one.obs["cell_type"] = "T cell"
    identifiers = [f"ENSG{number:011d}" for number in range(cells.n_vars)]
    by_identifier, others = cells.copy(), cells.copy()
    by_identifier.var_names = identifiers
    spots.var["gene_ids"] = pd.Series(identifiers, cells.var_names).reindex(spots.var_names).fillna("none").to_numpy()
    without = spots.copy()
    del without.var["gene_ids"]
    others.var_names = [f"other_{number}" for number in range(cells.n_vars)]
    references = {
        "good": cells,
        "logged": with_counts(cells, take_logarithms),
        "with_nan": with_counts(cells, put_nan),
        "one_type": one,
        "few_cells": few,
        "identifiers": by_identifier,
        "other_genes": others,
    }
    for name, adata in references.items():
        adata.write_h5ad(folder / f"cells_{name}.h5ad")
    without.write_h5ad(folder / "spots.h5ad")
    spots.write_h5ad(folder / "spots_identified.h5ad")
    with_counts(without, take_logarithms).write_h5ad(folder / "spots_logged.h5ad")
    with_counts(without, put_nan).write_h5ad(folder / "spots_nan.h5ad")
    with_counts(without, empty).write_h5ad(folder / "spots_empty.h5ad")

    project = Project(folder)
    config = {
        "samples": "samples.tsv",
        "references": {name: {"path": f"cells_{name}.h5ad", "cell_type": "cell_type"} for name in references},
        "preprocessing": {"min_counts": 1, "min_genes": 1},
        "deconvolution": {"methods": ["nnls"]},
    }
    rows = "".join(f"{sample}\t{file}\t{reference}\n" for sample, (file, reference) in SHEET.items())
    project.write(config, f"sample\tpath\treference\n{rows}")
    code, output = project.run("--cores", 2, "--keep-going", "validate", "deconvolution", check=False)
    assert code != 0
    yield output, folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("start", "found", "fix"),
    [
        ("[log-normalised] sample=logged file=spots_logged.h5ad", "log1p of counts normalised to 10000 a spot", "raw"),
        ("[log-normalised] file=cells_logged.h5ad", "log1p of counts normalised to 10000 a cell", "give raw counts"),
        ("[nan-counts] sample=with_nan file=spots_nan.h5ad", "1 NaN values, first at spot", "remove these spots"),
        ("[nan-counts] file=cells_with_nan.h5ad", "1 NaN values, first at cell", "remove these cells"),
        (
            "[few-shared-genes] sample=other_names file=spots.h5ad",
            "0 of 400 genes of the reference 'identifiers' (0.0%) shared",
            "the reference has Ensembl identifiers and the sample symbols",
        ),
        (
            "[few-shared-genes] sample=known_identifiers file=spots_identified.h5ad",
            "reference has ENSG00000000000",
            "use var['gene_ids'] of the sample as its gene names",
        ),
        (
            "[few-shared-genes] sample=other_genes file=spots.h5ad",
            "sample has Gene0001, Gene0002",
            "check that both are of the same species",
        ),
        (
            "[one-cell-type] file=cells_one_type.h5ad column=cell_type",
            "1 cell types in reference 'one_type' (labels: T cell)",
            "name the column of cell types in references.one_type.cell_type",
        ),
        (
            "[few-cells] file=cells_few_cells.h5ad column=cell_type",
            "fewer than 10 cells (Macrophage: 4)",
            "few_cells: drop",
        ),
    ],
)
def test_it_is_told_in_one_line_where_what_and_how_to_mend_it(run, start, found, fix):
    output, _ = run
    lines = [line for line in output.splitlines() if f"ERROR {start}" in line]
    assert lines
    assert found in lines[0]
    assert fix in lines[0].split("Fix: ")[1]
    assert "Traceback" not in output


def test_empty_spots_are_flagged_and_have_no_proportions(run):
    output, folder = run
    warning = next(line for line in output.splitlines() if "WARNING [zero-count-spots] sample=empty_spots" in line)
    assert "2 of 120 spots without any count" in warning
    deconvolution = folder / "results/samples/empty_spots/deconvolution"
    quality = pd.read_csv(folder / "results/samples/empty_spots/preprocessing/qc.csv")
    assert quality["reason"].eq("no counts").to_numpy().nonzero()[0].tolist() == EMPTY
    assert not quality["filtered"][FOREIGN]
    for file in ("nnls/proportions.parquet", "residuals.parquet"):
        missing = pd.read_parquet(deconvolution / file).isna().all(axis=1).to_numpy()
        assert missing[[*EMPTY, FOREIGN]].all()
        assert not missing[~quality["filtered"].to_numpy() & (np.arange(len(missing)) != FOREIGN)].any()


def test_what_the_reference_cannot_tell_apart_is_told_before_the_run(run):
    output, folder = run
    line = next(line for line in output.splitlines() if "WARNING [few-cells-of-type] sample=empty_spots" in line)
    assert "file=cells_good.h5ad: found Endothelial cell: 16 cells" in line
    assert "Fix: add cells" in line
    findings = pd.read_csv(folder / "results/samples/empty_spots/deconvolution/diagnostics/findings.csv")
    assert "few-cells-of-type" in set(findings["code"])
