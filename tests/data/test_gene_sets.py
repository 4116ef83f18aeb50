"""Gene sets in every shape they come in, and their overlap with a sample."""

import gzip

import pandas as pd
import pytest

from pointillist.data import check_gene_sets, read_gene_sets
from pointillist.errors import InputError

EXPECTED = {"T cells": ["CD3E", "CD2"], "B/plasma": ["MS4A1", "CD79A", "CD2"]}

LONG = "set,gene\nT cells,CD3E\nB/plasma,MS4A1\nT cells,CD2\nB/plasma,CD79A\nB/plasma,CD2\n"
MATRIX = "gene,T cells,B/plasma\nCD3E,1,0\nMS4A1,0,1\nCD79A,0,1\nCD2,1,1\n"
FORMS = {
    "long.csv": LONG,
    "long with more columns.tsv": "source\tGene\tSet\na\tCD3E\tT cells\na\tCD2\tT cells\n"
    "b\tMS4A1\tB/plasma\nb\tCD79A\tB/plasma\nb\tCD2\tB/plasma\n",
    "twice.csv": LONG + "T cells,CD2\n",
    "matrix.csv": MATRIX,
    "matrix.tsv": MATRIX.replace(",", "\t").replace("gene", ""),
    "matrix of R.tsv": MATRIX.replace(",", "\t").removeprefix("gene\t"),
    "matrix of floats.csv": MATRIX.replace("CD3E,1,0", "CD3E,1.0,0.0"),
    "columns.csv": "T cells,B/plasma\nCD3E,MS4A1\nCD2,CD79A\n,CD2\n",
    "columns without commas.csv": "T cells,B/plasma\nCD3E,MS4A1\nCD2,CD79A\n,CD2\n\n",
    "sets.gmt": "T cells\thttp://x\tCD3E\tCD2\nB/plasma\t\tMS4A1\tCD79A\tCD2\n",
}


def members(frame):
    assert list(frame.columns) == ["set", "gene"]
    return {name: sorted(genes) for name, genes in frame.groupby("set")["gene"]}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_forms(tmp_path, name, mark):
    (tmp_path / name).write_text(mark + FORMS[name], encoding="utf-8")
    frame = read_gene_sets(tmp_path / name)
    assert members(frame) == {name: sorted(genes) for name, genes in EXPECTED.items()}
    assert not frame.duplicated().any()


def test_gzipped(tmp_path):
    (tmp_path / "sets.csv.gz").write_bytes(gzip.compress(LONG.encode()))
    assert members(read_gene_sets(tmp_path / "sets.csv.gz")).keys() == EXPECTED.keys()


@pytest.mark.parametrize(
    ("name", "text", "code", "found"),
    [
        ("weights.csv", "gene,a,b\nx,0.4,2\ny,1,3\n", "gene-sets-format", "numbers other than 0 and 1 (0.4)"),
        ("gaps.csv", "gene,a,b\nx,1,0\ny,1,\n", "gene-sets-format", "a table of numbers with gaps"),
        ("unnamed.csv", "a,,b\nx,y,z\n", "gene-sets-format", "a column of genes without a name"),
        ("short.gmt", "a\tx\n", "gene-sets-format", "line 1 with 2 fields"),
        ("header.csv", "set,gene\n", "no-gene-sets", "no gene in it"),
        ("empty.csv", "", "no-gene-sets", "no gene in it"),
        ("ragged.csv", 'set,gene\n"a,b\n', "gene-sets-format", "ParserError"),
    ],
)
def test_what_is_none(tmp_path, name, text, code, found):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_gene_sets(tmp_path / name)
    (problem,) = caught.value.problems
    assert (problem.code, problem.file, problem.column) == (code, str(tmp_path / name), "gene_sets")
    assert found in problem.found and "columns set and gene" in problem.expected and problem.fix


def test_not_there(tmp_path):
    with pytest.raises(InputError, match=r"\[not-found\]"):
        read_gene_sets(tmp_path / "sets.csv")


def test_dates_of_a_spreadsheet(tmp_path, caplog):
    (tmp_path / "sets.csv").write_text("set,gene\na,2-Mar\na,Sep-07\na,MARCHF1\na,DEC1\n")
    read_gene_sets(tmp_path / "sets.csv")
    assert "spreadsheet-dates" in caplog.text and "2 gene names" in caplog.text and "2-Mar, Sep-07" in caplog.text


# overlap with a sample -------------------------------------------------------------------------------------------


@pytest.fixture
def sets():
    pairs = (
        [("full", gene) for gene in "ABCDE"] + [("half", gene) for gene in "ABXYZ"] + [("none", gene) for gene in "XYZ"]
    )
    return pd.DataFrame(pairs, columns=["set", "gene"])


def test_sets_with_enough_genes_are_kept(sets):
    kept, problems = check_gene_sets(sets, list("ABCDEFG"), "S1", 3)
    assert members(kept) == {"full": list("ABCDE")}
    assert [(problem.code, problem.level, problem.sample) for problem in problems] == [
        ("small-gene-set", "warning", "S1")
    ] * 2
    assert "2 of 5 genes of the set 'half'" in problems[0].found and "0 of 3" in problems[1].found
    kept, problems = check_gene_sets(sets, list("ABCDEFG"), "S1", 1)
    assert members(kept) == {"full": list("ABCDE"), "half": ["A", "B"]} and len(problems) == 1


def test_none_left_is_an_error_that_tells_the_case(sets):
    kept, problems = check_gene_sets(sets, list("abcdefg"), "S1", 3)
    (error,) = [problem for problem in problems if problem.level == "error"]
    assert not len(kept) and error.code == "no-gene-sets" and (error.sample, error.column) == ("S1", "gene_sets")
    assert "none of 3 gene sets" in error.found and "a, b, c, d, e" in error.found
    assert "7 would match in upper case" in error.fix


def test_min_genes_is_checked(sets):
    with pytest.raises(ValueError, match="min_genes"):
        check_gene_sets(sets, ["A"], "S1", 0)


# real sets -------------------------------------------------------------------------------------------------------


def test_real_matrix(shared_data):
    file = shared_data("mob/signature_matrix.tsv")
    frame, matrix = read_gene_sets(file), pd.read_csv(file, sep="\t", index_col=0)
    assert frame.groupby("set").size().to_dict() == matrix.sum().to_dict()
    assert set(frame["gene"]) == set(matrix.index[matrix.any(axis=1)])


def test_real_columns(shared_data, caplog):
    file = shared_data("pdac/markers.csv")
    frame, table = read_gene_sets(file), pd.read_csv(file)
    assert frame.groupby("set").size().to_dict() == table.nunique().to_dict()
    assert "T_cells_&_NK_cells" in set(frame["set"])
    assert "spreadsheet-dates" in caplog.text  # 2-Sep, 9-Mar, 8-Sep
