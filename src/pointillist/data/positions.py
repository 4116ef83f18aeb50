"""Where the spots are: Space Ranger's positions, coordinates tables, and their join with a matrix."""

from pathlib import Path

import numpy as np
import pandas as pd

from pointillist.errors import InputError, Problem

from .contents import COORDINATE_COLUMNS
from .counts import EXAMPLES

POSITION_COLUMNS = (
    "barcode",
    "in_tissue",
    "array_row",
    "array_col",
    "pxl_row_in_fullres",
    "pxl_col_in_fullres",
)
_OTHER_NAMES = {  # as older tools and Seurat write them
    "barcodes": "barcode",
    "tissue": "in_tissue",
    "row": "array_row",
    "col": "array_col",
    "imagerow": "pxl_row_in_fullres",
    "imagecol": "pxl_col_in_fullres",
}
_TISSUE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def read_positions(path, *, sample=""):
    """Read the positions of Space Ranger, whichever version wrote them.

    Parameters
    ----------
    path : str or Path
        ``tissue_positions_list.csv``, ``tissue_positions.csv`` or ``tissue_positions.parquet``; a header is
        recognised by its content, in any of them.
    sample : str, optional
        For the messages.

    Returns
    -------
    DataFrame, indexed by barcode
        in_tissue (0 or 1), array_row, array_col, and x and y in pixels of the full-resolution image.

    Raises
    ------
    InputError
        Naming the first barcodes that have no number, or the columns that are missing.
    """
    path = Path(path)

    def fail(code, found, expected, fix, column="spatial"):
        raise InputError(Problem(code, found, expected, fix, sample, str(path), column))

    again = "copy the file from Space Ranger's output again"
    layout = f"six columns: {', '.join(POSITION_COLUMNS)}"
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    except Exception as error:  # whatever the parser says of a damaged file
        fail("positions-unreadable", f"{type(error).__name__}: {str(error).splitlines()[0]}", layout, again)
    if not len(frame):
        fail("positions-empty", "no spot in it", layout, again)
    if missing := [name for name in POSITION_COLUMNS if name not in frame.columns]:
        fail(
            "positions-columns",
            f"no {', '.join(missing)} among the columns {', '.join(map(str, frame.columns[:8]))}",
            layout,
            again,
            missing[0],
        )
    barcodes = pd.Index(frame["barcode"].astype(str).str.strip(), name=None)
    if not barcodes.is_unique:
        twice = barcodes[barcodes.duplicated()].unique()
        fail(
            "duplicate-barcodes",
            f"{len(twice)} barcodes that occur twice ({_first(twice)})",
            "each barcode once",
            again,
            "barcode",
        )
    tissue = frame["in_tissue"]
    if tissue.dtype.kind not in "biuf":
        tissue = tissue.astype(str).str.strip().str.lower().map(_TISSUE)
    tissue = tissue.to_numpy(dtype=float, na_value=np.nan)
    columns = {"in_tissue": np.where(np.isin(tissue, (0, 1)), tissue, np.nan)}
    for name in POSITION_COLUMNS[2:]:
        columns[name] = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
    for name, values in columns.items():
        if not np.isfinite(values).all():
            bad = ~np.isfinite(values)
            shown = frame[name].to_numpy()[bad][0]
            fail(
                "positions-not-numeric",
                f"{int(bad.sum())} values that are no number, first {shown!r} at {_first(barcodes[bad])}",
                "0 or 1, true or false" if name == "in_tissue" else "a number for each barcode",
                again,
                name,
            )
    return pd.DataFrame(
        {
            "in_tissue": columns["in_tissue"].astype(np.int64),
            "array_row": columns["array_row"].astype(np.int64),
            "array_col": columns["array_col"].astype(np.int64),
            "x": columns["pxl_col_in_fullres"],
            "y": columns["pxl_row_in_fullres"],
        },
        index=barcodes,
    )


def read_coordinates(path, *, sample=""):
    """Read a coordinates table: ``barcode, x, y``, or Space Ranger's positions.

    Parameters
    ----------
    path : str or Path
        CSV or TSV, gzipped or not, or parquet.
    sample : str, optional
        For the messages.

    Returns
    -------
    DataFrame, indexed by barcode
        x and y, then whatever other columns there are.

    Raises
    ------
    InputError
    """
    path = Path(path)

    def fail(code, found, expected, fix, column="coordinates"):
        raise InputError(Problem(code, found, expected, fix, sample, str(path), column))

    if not path.is_file():
        fail("not-found", "no file at this path", "a table with columns barcode, x, y", "correct the path")
    if path.name.split(".")[0].endswith(("tissue_positions", "tissue_positions_list")):
        return read_positions(path, sample=sample)[["x", "y", "in_tissue", "array_row", "array_col"]]
    try:
        frame = pd.read_parquet(path).reset_index() if path.suffix == ".parquet" else _read_cells(path)
    except Exception as error:  # whatever the parser says of a damaged file
        fail(
            "table-unreadable", f"{type(error).__name__}: {str(error).splitlines()[0]}", "CSV or TSV", "export it again"
        )
    if path.suffix != ".parquet":
        frame = frame.iloc[1:].set_axis(frame.iloc[0].str.strip(), axis=1)
    names = {str(name).lower(): name for name in frame.columns}
    pairs = [(names[x], names[y]) for x, y in COORDINATE_COLUMNS if x in names and y in names]
    if not pairs:
        found = f"columns {', '.join(map(repr, map(str, frame.columns[:8])))}"
        fail("coordinates-columns", found, "barcode, x, y", "name the columns barcode, x, y")
    x, y = pairs[0]
    known = [names[name] for name in ("barcode", "barcodes", "spot", "spot_id", "cell", "index", "") if name in names]
    barcode = known[0] if known else frame.columns[0]
    barcodes = pd.Index(frame[barcode].astype(str).str.strip(), name=None)
    if not barcodes.is_unique:
        twice = barcodes[barcodes.duplicated()].unique()
        found = f"{len(twice)} barcodes that occur twice ({_first(twice)})"
        fail("duplicate-barcodes", found, "each barcode once", "remove the rows that are there twice", str(barcode))
    result = pd.DataFrame(index=barcodes)
    for name, column in (("x", x), ("y", y)):
        result[name] = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)
        bad = ~np.isfinite(result[name].to_numpy())
        if bad.any():
            found = f"{int(bad.sum())} values that are no number, at {_first(barcodes[bad])}"
            fail("coordinates-not-numeric", found, "a number for each barcode", "correct or remove these rows", column)
    for name in frame.columns.difference([x, y, barcode], sort=False):
        values = frame[name]
        numbers = pd.to_numeric(values, errors="coerce")
        result[str(name)] = (values if numbers.isna().any() else numbers).to_numpy()
    return result


def check_join(barcodes, positions, *, sample="", file="", column="barcode"):
    """Compare the barcodes of a matrix with those that have a position.

    Parameters
    ----------
    barcodes : sequence of str
        Of the matrix.
    positions : sequence of str
        Of the positions or the coordinates table; more than the matrix has are fine.

    Returns
    -------
    list of Problem
        One error, unless every barcode has a position; it says whether a suffix such as ``-1`` is the reason.
    """
    barcodes, positions = pd.Index(barcodes).astype(str), pd.Index(positions).astype(str)
    lost = ~barcodes.isin(positions)
    if not lost.any():
        return []
    bare = barcodes.str.replace(r"-\d+$", "", regex=True)
    bare_positions = positions.str.replace(r"-\d+$", "", regex=True)
    with_suffix, fix = int(bare.isin(bare_positions).sum()), "take matrix and positions from the same run"
    if with_suffix > len(barcodes) - int(lost.sum()):
        suffixed = "positions" if bare.equals(barcodes) else "matrix"
        example = barcodes[lost][0]
        fix = (
            f"the suffix -1 is in the {suffixed} alone ({example!r} against {positions[0]!r}): "
            f"write both with it, or both without; then {with_suffix} of {len(barcodes)} match"
        )
    return [
        Problem(
            "barcode-join",
            f"{len(barcodes) - int(lost.sum())} of {len(barcodes)} barcodes with a position "
            f"({1 - lost.mean():.1%}); without: {_first(barcodes[lost])}",
            "a position for every barcode of the matrix",
            fix,
            sample,
            str(file),
            column,
        )
    ]


def _read_text(path):
    cells = _read_cells(path)
    first = cells.iloc[0].str.strip()
    numbers = pd.to_numeric(first.iloc[1:].replace({"true": "1", "false": "0"}), errors="coerce")
    lowered = first.str.lower().replace(_OTHER_NAMES)
    if set(lowered) & set(POSITION_COLUMNS) or numbers.isna().all():
        return cells.iloc[1:].set_axis(lowered, axis=1)
    if cells.shape[1] != len(POSITION_COLUMNS):
        raise ValueError(f"{cells.shape[1]} columns and no header")
    return cells.set_axis(list(POSITION_COLUMNS), axis=1)


def _read_cells(path):
    """Cells of a CSV or TSV as text, the header among them."""
    cells = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=separator(path))
    return cells.fillna("")


def separator(path):
    """Tab where the first line of a text file has more tabs than commas, comma otherwise."""
    import gzip

    opened = gzip.open if Path(path).suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        line = file.readline()
    tabs, commas, semicolons = (line.count(mark) for mark in "\t,;")
    if tabs > commas:
        return "\t"
    return ";" if semicolons > commas else ","


def _first(names):
    return ", ".join(map(str, list(names)[:EXAMPLES]))
