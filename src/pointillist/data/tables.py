"""Counts tables: CSV or TSV, spots × genes or genes × spots, as spatial transcriptomics had before Space Ranger."""

import csv
import gzip
import logging
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist.errors import InputError, Problem

from .counts import EXAMPLES
from .positions import check_join, read_coordinates, separator

logger = logging.getLogger(__name__)

_ROWS_AT_A_TIME = 1000


def read_counts_table(path, coordinates, *, sample=""):
    """Read a counts table and the coordinates of its spots.

    Which of rows and columns are spots is told by the barcodes of the coordinates.

    Parameters
    ----------
    path : str or Path
        CSV or TSV, gzipped or not; names in the first row and column, the corner filled, empty or absent.
    coordinates : str or Path
        A table with columns barcode, x and y; others go into ``obs``.
    sample : str, optional
        For the messages.

    Returns
    -------
    AnnData
        ``X`` (CSR), ``obsm["spatial"]`` and the other columns of the coordinates in ``obs``.

    Raises
    ------
    InputError
    """
    from anndata import AnnData

    path = Path(path)
    if coordinates in (None, ""):
        found, fix = "a counts table without coordinates", "name a table with columns barcode, x, y in coordinates"
        expected = "a coordinates table"
        raise InputError(Problem("no-coordinates-table", found, expected, fix, sample, str(path), "coordinates"))
    positions = read_coordinates(coordinates, sample=sample)
    matrix, rows, columns = _read_matrix(path, sample)
    if _spots_are_columns(rows, columns, positions.index, path, coordinates, sample):
        matrix, rows, columns = matrix.T, columns, rows
    if problems := check_join(rows, positions.index, sample=sample, file=coordinates):
        raise InputError(problems)
    if unused := len(positions) - len(rows):
        logger.info("%s: %d barcodes of %s are not in the counts", sample or path, unused, coordinates)
    adata = AnnData(sparse.csr_matrix(matrix), pd.DataFrame(index=rows), pd.DataFrame(index=columns))
    if not adata.obs_names.is_unique:
        twice = adata.obs_names[adata.obs_names.duplicated()].unique()
        found = f"{len(twice)} barcodes that occur twice ({', '.join(twice[:EXAMPLES])})"
        fix = "give each spot its own barcode"
        raise InputError(Problem("duplicate-barcodes", found, "each barcode once", fix, sample, str(path), "barcode"))
    adata.obs = positions.loc[adata.obs_names].drop(columns=["x", "y"])
    adata.obsm["spatial"] = positions.loc[adata.obs_names, ["x", "y"]].to_numpy(dtype=np.float64)
    return adata


def _read_matrix(path, sample):
    """Sparse matrix, row names and column names of a table of numbers, read some rows at a time."""

    def fail(code, found, expected, fix, column=None):
        raise InputError(Problem(code, found, expected, fix, sample, str(path), column))

    sep = separator(path)
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=sep)
            header, first = next(lines, []), next(lines, [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        fail("table-unreadable", f"{type(error).__name__}: {error}", "CSV or TSV text", "export the table again")
    # R leaves the corner out
    if len(first) < 2 or len(header) not in (len(first), len(first) - 1):
        fail(
            "table-unreadable",
            f"{len(header)} cells in the first row and {len(first)} in the second",
            "names in the first row and column, counts in the others",
            "separate the cells by commas (.csv) or tabs (.tsv), and name each column",
        )
    header = header[1:] if len(header) == len(first) else header
    names, blocks = [], []
    try:
        # names of our own: pandas would rename columns of one name without saying so
        for block in pd.read_csv(
            path,
            sep=sep,
            header=None,
            skiprows=1,
            names=range(len(first)),
            index_col=0,
            dtype={0: str},
            keep_default_na=False,
            na_values=["", "NA", "NaN", "nan"],
            chunksize=_ROWS_AT_A_TIME,
            encoding="utf-8",
            na_filter=True,
        ):
            names.extend(block.index.astype(str))
            for column in block.select_dtypes(object).columns:
                bad = pd.to_numeric(block[column], errors="coerce").isna() & block[column].notna()
                if bad.any():
                    at = f"row {block.index[bad][0]!r}, column {header[column - 1]!r}"
                    fail(
                        "table-not-numeric",
                        f"{block[column][bad].iloc[0]!r} at {at}",
                        "a number in every cell but the names",
                        "remove columns of text, or move them to the coordinates table",
                        header[column - 1],
                    )
            blocks.append(sparse.csr_matrix(block.to_numpy(dtype=np.float64)))
    except (pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError) as error:
        fail("table-unreadable", f"{type(error).__name__}: {error}", "CSV or TSV text", "export the table again")
    matrix = sparse.vstack(blocks, format="csr")
    return matrix, pd.Index([name.strip() for name in names]), pd.Index([name.strip() for name in header])


def _spots_are_columns(rows, columns, barcodes, path, coordinates, sample):
    in_rows, in_columns = (_matches(names, barcodes) for names in (rows, columns))
    if in_rows or in_columns:
        logger.info("%s: %s are spots in %s", sample or path, "columns" if in_columns > in_rows else "rows", path.name)
        return in_columns > in_rows
    found = (
        f"no barcode of {Path(coordinates).name} ({', '.join(barcodes[:3])}) among the names of the rows "
        f"({', '.join(rows[:3])}) or columns ({', '.join(columns[:3])})"
    )
    fix = "write the same barcodes in both tables"
    raise InputError(Problem("barcode-join", found, "the spots' barcodes", fix, sample, str(path), "barcode"))


def _matches(names, barcodes):
    """Names that are barcodes, a suffix such as -1 aside: whether it is there in both is asked later."""
    return len({name.rsplit("-", 1)[0] for name in names} & {name.rsplit("-", 1)[0] for name in barcodes})
