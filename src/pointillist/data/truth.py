"""Known proportions, which are scored against and which no method sees."""

import numpy as np
import pandas as pd

from pointillist.errors import InputError, Problem


def read_truth(path, sample=""):
    """A table of known proportions, spots × cell types, divided by its rows' sums.

    Parameters
    ----------
    path : str
        CSV or TSV; the first column holds the barcodes.
    sample : str, optional
        For the messages.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        Values that are no proportions: text, negative, NaN, or a spot without any.
    """
    separator = "\t" if str(path).endswith((".tsv", ".tsv.gz", ".txt")) else ","
    table = pd.read_csv(path, sep=separator, index_col=0, dtype={0: str})
    table.index = table.index.astype(str)
    numeric = table.apply(pd.to_numeric, errors="coerce")
    wrong = ~(numeric >= 0).to_numpy()
    found = None
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        found = f"{table.iloc[row, column]!r} for spot {table.index[row]!r} and {table.columns[column]!r}"
    elif (numeric.sum(axis=1) == 0).any():
        found = f"no cell type in spot {numeric.index[numeric.sum(axis=1) == 0][0]!r}"
    elif not table.index.is_unique:
        found = f"spot {table.index[table.index.duplicated()][0]!r} twice"
    if found:
        fix = "give one row a spot and one column a cell type, 0 where there is none"
        raise InputError(Problem("bad-truth", found, "proportions, 0 or more", fix, sample, str(path), "truth"))
    return numeric.div(numeric.sum(axis=1), axis=0)
