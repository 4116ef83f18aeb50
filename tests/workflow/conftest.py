"""Running the pipeline from a folder of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


class Project:
    """A working folder with a config and a sample sheet, in which Snakemake is run on this checkout."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, config=None, sheet=None):
        if config is not None:
            (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        if sheet is not None:
            (self.folder / "samples.tsv").write_text(sheet)

    def command(self, *arguments):
        binary = Path(sys.executable).parent / "snakemake"
        return [binary, "--snakefile", ROOT / "Snakefile", "--workflow-profile", "none", *arguments]

    def run(self, *arguments, check=True, timeout=900):
        done = subprocess.run(
            list(map(str, self.command(*arguments))),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(),
        )
        output = done.stdout + done.stderr
        if check:
            assert done.returncode == 0, output[-6000:]
        return done.returncode, output

    def tables(self):
        """Bytes of every table that a run wrote, by path."""
        files = sorted(file for ending in ("parquet", "csv") for file in self.folder.glob(f"results/**/*.{ending}"))
        return {file.relative_to(self.folder).as_posix(): file.read_bytes() for file in files}


def environment():
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(ROOT / ".snakemake" / "cache")}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="session")
def small_config():
    """The demo's config, made small."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["simulation"] = {"n_spots": 150, "n_genes": 500, "n_reference_cells": 600, "n_proteins": 12}
    config["preprocessing"]["n_variable_genes"] = 300
    config["deconvolution"]["cibersort"]["n_permutations"] = 20
    config["deconvolution"]["signature_vae"] = {"n_restarts": 1, "epochs": 5}
    config["factorization"]["n_factors"] = [5]
    config["joint_nmf"]["n_factors"] = 5
    config["archetypes"] = {"n_archetypes": 6, "n_starts": 2}
    config["embedding"]["vae"] = {"epochs": 12}
    return config


@pytest.fixture(scope="session")
def small_run(tmp_path_factory, small_config):
    """The small demo, run once on one core."""
    project = Project(tmp_path_factory.mktemp("one_core"))
    project.write(small_config, (ROOT / "samples.tsv").read_text())
    project.run("--cores", 1)
    yield project
    shutil.rmtree(project.folder, ignore_errors=True)
