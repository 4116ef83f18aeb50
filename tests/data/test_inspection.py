"""What is told from headers alone, and files that are refused before anything in them is read."""

import gzip
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from pointillist.data import inspect, recognise_format
from pointillist.data.contents import is_modality
from pointillist.errors import InputError


@pytest.fixture
def h5ad(tmp_path):
    adata = AnnData(np.ones((6, 4), dtype=np.float32))
    adata.obs["layer"], adata.obs["n"] = pd.Categorical(list("aabbcc")), range(6)
    adata.obsm["spatial"] = np.zeros((6, 2))
    adata.obsm["protein"] = pd.DataFrame(np.ones((6, 2)), adata.obs_names, ["CD3", "CD4"])
    adata.obsm["lipidome"] = pd.DataFrame(np.ones((6, 2)), adata.obs_names, ["a", "b"])
    adata.obsm["hto"] = pd.DataFrame(np.ones((6, 2)), adata.obs_names, ["1", "2"])
    adata.obsm["nnls_proportions"] = pd.DataFrame(np.ones((6, 2)), adata.obs_names, ["T", "B"])
    adata.obsm["X_pca"] = np.ones((6, 2))
    adata.layers["counts"] = adata.X
    adata.uns["spatial"] = {
        "S1": {"images": {"hires": np.zeros((4, 4, 3), dtype=np.uint8)}, "scalefactors": {"a": 1.0}}
    }
    adata.write_h5ad(tmp_path / "spots.h5ad", compression="gzip")
    return tmp_path / "spots.h5ad"


def fails(call, code):
    with pytest.raises(InputError) as caught:
        call()
    (problem,) = caught.value.problems
    assert problem.code == code
    return problem


def test_header(h5ad):
    contents = inspect(h5ad)
    assert (contents.format, contents.n_spots, contents.n_genes) == ("h5ad", 6, 4)
    assert contents.obs_columns == ("layer", "n")
    assert set(contents.obsm_keys) == {"spatial", "protein", "lipidome", "hto", "nnls_proportions", "X_pca"}
    assert contents.layers == ("counts",)
    assert contents.has_coordinates and contents.has_image
    assert contents.modalities == ("rna", "lipidome", "protein")


def test_an_empty_image_is_none(h5ad):
    with h5py.File(h5ad, "r+") as file:
        del file["uns/spatial/S1/images/hires"], file["obsm/spatial"]
    contents = inspect(h5ad)
    assert not contents.has_image and not contents.has_coordinates


@pytest.mark.parametrize(
    ("key", "is_frame", "expected"),
    [
        ("protein", False, True),
        ("ADT", False, True),
        ("lipidome", True, True),
        ("lipidome", False, False),
        ("hto", True, False),
        ("spatial", True, False),
        ("X_pca", True, False),
        ("q05_cell_abundance_w_sf", True, False),
        ("rctd_weights", True, False),
        ("tangram_ct_pred", True, False),
        ("score_ulm", True, False),
    ],
)
def test_modalities(key, is_frame, expected):
    assert is_modality(key, is_frame) == expected


def test_matrices_are_not_read(h5ad):
    """Neither the matrix nor the packages that would read it: a dry run asks this of every sample."""
    with h5py.File(h5ad, "r+") as file:
        del file["X"], file["layers/counts"]
        file["layers/counts"], file["X"] = 0, 0
    program = (
        "import sys, pointillist.data as data\n"
        "light = not {'h5py', 'pandas', 'anndata'} & set(sys.modules)\n"
        f"contents = data.inspect({str(h5ad)!r})\n"
        "print(light, contents.n_spots, sorted({'anndata', 'scanpy', 'torch', 'squidpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True 6 []"


# formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["filtered_feature_bc_matrix.h5", "spatial/tissue_positions.csv"], "visium"),
        (["V1_filtered_feature_bc_matrix/matrix.mtx.gz"], "visium"),
        (["GSM1_matrix.mtx.gz"], "visium"),
        (["outs/raw_feature_bc_matrix.h5"], "visium"),
        (["binned_outputs/square_008um/x", "filtered_feature_bc_matrix.h5"], "visium_hd"),
        (["outs/binned_outputs/square_008um/x"], "visium_hd"),
        (["square_016um/x"], "visium_hd"),
        (["zarr.json"], "spatialdata"),
        ([".zgroup"], "spatialdata"),
    ],
)
def test_folders(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert recognise_format(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.h5ad", "h5ad"),
        ("a.H5AD", "h5ad"),
        ("a.h5mu", "h5mu"),
        ("a.csv", "table"),
        ("a.tsv.gz", "table"),
        ("a.txt", "table"),
    ],
)
def test_files(tmp_path, name, expected):
    (tmp_path / name).write_bytes(b"content")
    assert recognise_format(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("names", "fix"),
    [
        (["segmented_outputs/cells.geojson"], "Visium HD is read by bins"),
        (["filtered.tar.gz"], "unpack the archives in it: tar -xzf *.tar.gz"),
        (["readme.md"], "give the outs folder itself"),
        ([], "give the outs folder itself"),
    ],
)
def test_folders_that_are_none(tmp_path, names, fix):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    problem = fails(lambda: inspect(tmp_path, sample="S1"), "unrecognised-input")
    assert (problem.sample, problem.file, problem.column) == ("S1", str(tmp_path), "path")
    assert fix in problem.fix and (names[0].split("/")[0] if names else "nothing") in problem.found


def test_a_matrix_alone(tmp_path):
    file = tmp_path / "filtered_feature_bc_matrix.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    problem = fails(lambda: inspect(file, sample="S1"), "unrecognised-input")
    assert "give the outs folder that holds it" in problem.fix


# files that cannot be opened -------------------------------------------------------------------------------------


def damage(file, how):
    content = file.read_bytes()
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "gzipped":
        file.write_bytes(gzip.compress(content))
    elif how == "page":
        file.write_bytes(b"<html>404 not found</html>")
    elif how == "r":
        file.write_bytes(gzip.compress(b"X\n\0\0\0\x03"))


@pytest.mark.parametrize(
    ("how", "code", "found", "fix"),
    [
        ("truncated", "truncated-h5ad", "a truncated file: ", "download it again and compare the checksum"),
        ("empty", "empty-file", "0 bytes", "download it again"),
        ("gzipped", "gzipped-h5ad", "gzipped", "gunzip spots.h5ad"),
        ("page", "not-hdf5", "26 bytes", "here sha256 is "),
        ("r", "rds-refused", "an R object", "anndataR::write_h5ad"),
    ],
)
def test_damaged(h5ad, how, code, found, fix):
    damage(h5ad, how)
    problem = fails(lambda: inspect(h5ad, sample="S1"), code)
    assert (problem.sample, problem.file, problem.column) == ("S1", str(h5ad), "path")
    assert found in problem.found and fix in problem.fix


def test_truncated_tells_both_sizes(h5ad):
    size = h5ad.stat().st_size
    damage(h5ad, "truncated")
    problem = fails(lambda: inspect(h5ad), "truncated-h5ad")
    assert f"{size // 2} bytes of {size}" in problem.found


@pytest.mark.parametrize(
    ("name", "code", "fix"),
    [
        ("spots.rds", "rds-refused", "in R: anndataR::write_h5ad"),
        ("spots.RData", "rds-refused", "Matrix::writeMM"),
        ("spots.pkl", "pickle-refused", "adata.write_h5ad"),
        ("model.joblib", "pickle-refused", "adata.write_h5ad"),
        ("outs.tar.gz", "archive", "tar -xzf outs.tar.gz"),
        ("spots.xlsx", "unrecognised-input", "convert it to .h5ad"),
    ],
)
def test_refused_by_name(tmp_path, name, code, fix):
    (tmp_path / name).write_bytes(b"whatever it holds")
    problem = fails(lambda: inspect(tmp_path / name, sample="S1"), code)
    assert (problem.sample, problem.file) == ("S1", str(tmp_path / name)) and fix in problem.fix


def test_hdf5_of_another_kind(tmp_path):
    with h5py.File(tmp_path / "spots.h5ad", "w") as file:
        file["matrix/data"] = [1]
    problem = fails(lambda: inspect(tmp_path / "spots.h5ad", sample="S1"), "not-anndata")
    assert "matrix" in problem.found and "outs folder" in problem.fix


def test_not_found_suggests_what_is_there(h5ad):
    problem = fails(lambda: inspect(h5ad.with_name("spot.h5ad"), sample="S1"), "not-found")
    assert (problem.sample, problem.file) == ("S1", str(h5ad.with_name("spot.h5ad")))
    assert problem.fix == f"did you mean {h5ad}?"


def test_written_before_version_0_7(tmp_path):
    """Frames were structured arrays then."""
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["obs"] = np.array([(b"a", 1), (b"b", 2)], dtype=[("index", "S1"), ("n_counts", "i8")])
        file["var"] = np.array([(b"g",)], dtype=[("index", "S1")])
        file["X"] = np.ones((2, 1))
    contents = inspect(tmp_path / "old.h5ad")
    assert (contents.n_spots, contents.n_genes, contents.obs_columns) == (2, 1, ("n_counts",))
