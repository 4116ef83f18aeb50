"""The sample sheet: one row a sample, every value read as text."""

import re
from pathlib import Path

import pandas as pd

from pointillist.errors import InputError, Problem
from pointillist.schema import nearest

# Columns of obs that the pipeline or its readers write: a sheet's column of that name would be overwritten.
_RESERVED = {
    "array_col",
    "array_row",
    "barcode",
    "filtered",
    "in_tissue",
    "mitochondrial",
    "n_genes",
    "reason",
    "total_counts",
}
_MISNAMED = {"type": "format", "file": "path", "name": "sample", "id": "sample", "coords": "coordinates"}


def read_sample_sheet(path, schema):
    """Read the sample sheet and check each row by itself.

    Parameters
    ----------
    path : str or Path
        UTF-8, tab separated; values such as ``NA`` and ``001`` stay text.
    schema : dict
        JSON Schema of a row: ``properties`` has a ``pattern`` or an ``enum`` for a column, ``required`` the columns
        that must be filled.

    Returns
    -------
    sheet : DataFrame of str
        Known columns are all there, empty where the sheet has none.
    problems : list of Problem
        Of all rows: names that are not allowed or stand twice, missing values, unknown formats, misspelt columns.

    Raises
    ------
    InputError
        There is no such file, or it is no tab-separated table with the columns needed.
    """
    path = Path(path)
    sheet = _read(path)
    known, required = schema["properties"], schema["required"]
    file = str(path)
    missing = [column for column in required if column not in sheet]
    if missing:
        raise InputError(_missing_column(column, sheet, file) for column in missing)
    problems = [*_check_columns(sheet, known, file), *_check_values(sheet, schema, file), *_check_unique(sheet, file)]
    if sheet.empty:
        problems.append(Problem("empty-sheet", "no sample", "a row for each sample", "add one", file=file))
    for column in known:
        if column not in sheet:
            sheet[column] = ""
    return sheet, problems


def carried_columns(sheet, schema):
    """Columns of the sheet that are carried into ``obs`` as text."""
    return [column for column in sheet.columns if column not in schema["properties"]]


def _read(path):
    if not path.is_file():
        raise InputError(
            Problem(
                "no-sample-sheet",
                "no such file",
                "a tab-separated table",
                "set `samples` in the config to the sample sheet",
                file=str(path),
                column="samples",
            )
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            Problem("encoding", "bytes that are not UTF-8", "UTF-8", "save the sheet as UTF-8", file=str(path))
        ) from None
    header = text.split("\n", 1)[0].strip("\r")
    if "\t" not in header and re.search("[,;]", header):
        raise InputError(
            Problem(
                "not-tab-separated",
                f"a first line without a tab: {header[:60]!r}",
                "columns separated by tabs",
                "save the sheet as tab-separated text (.tsv)",
                file=str(path),
            )
        )
    # pandas renames a header that stands twice, silently
    names = header.split("\t")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            Problem("duplicate-column", f"columns {twice} twice", "each column once", "drop one", file=str(path))
        )
    sheet = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    return sheet.apply(lambda column: column.fillna("").str.strip())


def _missing_column(column, sheet, file):
    near = nearest(column, sheet.columns)
    fix = f"rename the column {near!r}" if near else "add it"
    return Problem("missing-column", f"columns {list(sheet.columns)}", f"a column {column!r}", fix, None, file, column)


def _check_columns(sheet, known, file):
    for column in sheet.columns:
        if column in known:
            continue
        # Near misses only: `condition` is a column of its own, not a misspelt `section`.
        near = _MISNAMED.get(column.lower()) or nearest(column, known, cutoff=0.82)
        if near and near not in sheet:
            yield Problem(
                "unknown-column",
                f"a column {column!r}",
                f"{near!r}, or a name that is unlike it",
                f"rename it {near!r}; to carry it into obs as text give it another name",
                None,
                file,
                column,
            )
        elif column in _RESERVED or not re.fullmatch(r"[A-Za-z0-9_.-]+", column):
            yield Problem(
                "column-name",
                f"a column {column!r}",
                "a name of letters, digits, . _ - that the pipeline does not write itself",
                "rename it",
                None,
                file,
                column,
            )


def _check_values(sheet, schema, file):
    for row, values in sheet.iterrows():
        sample = values["sample"] or f"(row {row + 1})"
        for column, rule in schema["properties"].items():
            value = values.get(column, "")
            if not value:
                if column in schema["required"]:
                    yield Problem("missing-value", "nothing", f"a {column}", "fill it in", sample, file, column)
            elif "pattern" in rule and not re.search(rule["pattern"], value):
                yield Problem(
                    f"bad-{column}",
                    repr(value),
                    rule.get("description", f"to match {rule['pattern']}"),
                    rule.get("fix", "change it"),
                    sample,
                    file,
                    column,
                )
            elif "enum" in rule and value not in rule["enum"]:
                near = nearest(value, rule["enum"])
                fix = f"write {near!r}" if near else "leave it empty to have it recognised"
                expected = f"one of: {', '.join(rule['enum'])}"
                yield Problem(f"unknown-{column}", repr(value), expected, fix, sample, file, column)


def _check_unique(sheet, file):
    # Some file systems do not tell cases apart.
    folded = sheet["sample"].str.lower()
    for name in folded[folded.duplicated() & (folded != "")].unique():
        rows = [str(row + 2) for row in sheet.index[folded == name]]
        yield Problem(
            "duplicate-sample",
            f"the same name in lines {' and '.join(rows)}",
            "a name for each sample",
            "rename one",
            sheet["sample"][folded == name].iloc[0],
            file,
            "sample",
        )
