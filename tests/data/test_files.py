"""Files under a final name are complete."""

import numpy as np
import pandas as pd
import pytest

from pointillist.data.files import atomic, sha256, to_json, write_json, write_table


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_tables_come_back_and_are_the_same_bytes(tmp_path, ending):
    frame = pd.DataFrame({"a/b": [0.1, 1 / 3], "c": [1, 2]}, index=pd.Index(["s1", "s2"], name="barcode"))
    for name in ("one", "two"):
        write_table(frame, tmp_path / f"{name}.{ending}")
    read = {
        "csv": lambda p: pd.read_csv(p, index_col=0),
        "tsv": lambda p: pd.read_csv(p, sep="\t", index_col=0),
        "parquet": pd.read_parquet,
    }[ending]
    pd.testing.assert_frame_equal(read(tmp_path / f"one.{ending}"), frame)
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()


def test_an_unknown_table_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="xlsx"):
        write_table(pd.DataFrame(), tmp_path / "a.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_json_understands_numpy(tmp_path):
    assert to_json({"b": np.float64(0.5), "a": np.arange(2)}) == '{"a": [0, 1], "b": 0.5}'
    with pytest.raises(TypeError):
        write_json({"x": object()}, tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_checksum_of_a_folder_changes_with_names_and_contents(tmp_path):
    folder = tmp_path / "outs"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = sha256(folder)
    (folder / "a").rename(folder / "b")
    assert sha256(folder) != first
