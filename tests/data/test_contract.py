"""The AnnData contract: what is put in comes back, filtered spots as NaN, and no key that could not be read."""

import anndata
import numpy as np
import pandas as pd
import pytest

from pointillist.data import contract
from pointillist.data.files import read_parquet, write_h5ad, write_table
from pointillist.data.truth import read_truth
from pointillist.errors import InputError


@pytest.fixture
def spots():
    adata = anndata.AnnData(np.ones((4, 2), dtype=np.float32))
    adata.obs_names, adata.var_names = list("wxyz"), ["g", "h"]
    adata.obs["filtered"] = [False, True, False, False]
    return adata


def test_filtered_spots_keep_their_row_as_nan(spots):
    table = contract.by_spot([[1, 2], [3, 4], [5, 6]], spots, ["a", "b"])
    assert table.index.tolist() == list("wxyz")
    assert table.loc["x"].isna().all()
    assert table.loc["y"].tolist() == [3, 4]
    assert contract.kept_spots(spots).obs_names.tolist() == ["w", "y", "z"]


def test_tables_and_labels_survive_the_round_trip(spots, tmp_path):
    table = pd.DataFrame({"T/NK cell": [0.1, np.nan, 1, 0], "é (+)": ["a", None, "b", "a"]}, index=list("wxyz"))
    contract.add_spots_table(spots, "nnls_proportions", table)
    contract.add_genes_table(spots, "nmf_loadings", pd.DataFrame({"f": [1.0]}, index=["h"]))
    contract.record_step(spots, "nnls", {"nu": np.float64(0.5)}, 3, input_sha256={"a": "b"})
    write_h5ad(spots, tmp_path / "spots.h5ad")
    back = contract.read_spots_h5ad(tmp_path / "spots.h5ad")
    np.testing.assert_array_equal(back.obsm["nnls_proportions"]["T/NK cell"], table["T/NK cell"])
    assert back.obsm["nnls_proportions"]["é (+)"].isna().tolist() == [False, True, False, False]
    assert back.varm["nmf_loadings"]["f"].isna().tolist() == [True, False]
    assert contract.recorded_steps(back)["nnls"]["params"] == {"nu": 0.5}
    assert contract.read_genes(tmp_path / "spots.h5ad").index.tolist() == ["g", "h"]


@pytest.mark.parametrize("key", ["T/NK", "a b", ""])
def test_keys_that_could_not_be_read_back_are_refused(spots, key):
    with pytest.raises(ValueError, match="the key"):
        contract.add_spots_table(spots, key, pd.DataFrame({"a": [1.0]}, index=["w"]))


def test_spots_that_the_sample_lacks_are_refused(spots):
    with pytest.raises(ValueError, match="'q'"):
        contract.add_spots_table(spots, "a", pd.DataFrame({"a": [1.0]}, index=["q"]))


def test_modalities(spots):
    spots.layers["counts"] = spots.X
    spots.obsm["protein"] = pd.DataFrame({"CD3": [1, 2, 3, 4]}, index=list("wxyz"))
    counts, features = contract.modality_counts(spots, "protein")
    assert (features, counts.toarray().ravel().tolist()) == (["CD3"], [1, 2, 3, 4])
    with pytest.raises(KeyError, match="no modality 'atac'"):
        contract.modality_counts(spots, "atac")


def test_wide_parquet_comes_back(tmp_path):
    table = pd.DataFrame(np.eye(2), index=pd.Index(["a", "b"], name="cell_type"), columns=["g", "h"])
    write_table(table, tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "t.parquet"), table)


@pytest.mark.parametrize(
    "text, found",
    [
        ("b,x,y\ns,1,-1\n", "-1"),
        ("b,x,y\ns,1,abc\n", "'abc'"),
        ("b,x,y\ns,0,0\n", "no cell type"),
        ("b,x\ns,1\ns,1\n", "twice"),
    ],
)
def test_a_truth_that_is_none_is_refused(tmp_path, text, found):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=found):
        read_truth(path, "sample")


def test_a_truth_is_divided_by_its_sums(tmp_path):
    path = tmp_path / "truth.tsv"
    path.write_text("b\tx\ty\n001\t3\t1\n")
    assert read_truth(path).loc["001"].tolist() == [0.75, 0.25]
