"""Where the raw counts of an AnnData are, and whether they are raw.

Raw means stored values that are finite, not negative, and whole. What is not raw is recognised where it can be:
``expm1`` of ``log1p`` of normalised counts has rows of one sum, and after genes were dropped its rows still are
whole multiples of one step each, the step that stood for a single count.
"""

import numpy as np
from scipy import sparse

from pointillist.errors import InputError, Problem

EXAMPLES = 5  # as many names as a message lists


def find_counts(adata):
    """Find the matrix of raw counts: ``layers["counts"]``, then ``X``, then ``raw.X``.

    The layer comes first because its name is a statement, and the others may have been processed.

    Parameters
    ----------
    adata : AnnData, spots (or cells) × genes

    Returns
    -------
    str
        ``layers['counts']``, ``X``, ``raw.X``, or the empty text where none of them holds raw counts.
    """
    candidates = [(key, matrix) for key, matrix in _candidates(adata) if _is_raw(matrix)]
    filled = [key for key, matrix in candidates if _values(matrix).any()]
    return (filled or [key for key, _ in candidates] or [""])[0]


def take_counts(adata, key=""):
    """Counts found under `key` (see `find_counts`), or else whatever comes first, as a CSR matrix of float32.

    Raises
    ------
    InputError
        Where there is no matrix at all.
    """
    matrices = dict(_candidates(adata))
    if not matrices:
        fix = "write raw counts to X or layers['counts']"
        raise InputError(
            Problem("no-counts", "neither X nor layers['counts'] nor raw.X", "raw counts", fix, column="X")
        )
    matrix = matrices[key or next(iter(matrices))]
    values = _values(matrix)
    # float32 holds whole numbers exactly up to 2**24
    exact = np.float32 if not values.size or np.nanmax(values) < 2**24 else np.float64
    counts = sparse.csr_matrix(matrix, dtype=exact, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def check_counts(adata, *, problem=Problem, noun="spot", allow_noninteger=False):
    """Collect what is wrong with the counts of ``layers["counts"]``, or of ``X`` where there is no such layer.

    Parameters
    ----------
    adata : AnnData, spots (or cells) × genes
    problem : callable
        `Problem`, or a partial of it that knows the sample and the file.
    noun : str
        What a row is called.
    allow_noninteger : bool
        Accept fractions, as ambient-corrected counts have them; logarithms are refused all the same.

    Returns
    -------
    list of Problem
    """
    key = "layers['counts']" if "counts" in adata.layers else "X"
    matrix = adata.layers["counts"] if "counts" in adata.layers else adata.X
    if matrix is None:
        return [problem("no-counts", f"no matrix in {key}", "raw counts", "put raw counts in X", column=key)]
    matrix = sparse.csr_matrix(matrix)
    if not matrix.shape[0] or not matrix.shape[1]:
        return [
            problem(
                "no-counts",
                f"a matrix of {matrix.shape[0]} {noun}s × {matrix.shape[1]} genes",
                f"at least one {noun} and one gene",
                "check which file was exported",
                column=key,
            )
        ]
    problem = _at(problem, key)
    unusable = _check_values(matrix, adata, problem, noun)
    if unusable:
        return unusable
    whole = matrix.data == np.rint(matrix.data)
    if not whole.all() and (found := _not_raw(matrix, ~whole, adata, problem, noun, allow_noninteger)):
        return [found]
    return _check_empty(matrix, adata, problem, noun)


def _at(problem, key):
    return lambda *args, **options: problem(*args, column=key, **options)


def _check_values(matrix, adata, problem, noun):
    problems = []
    negative = matrix.data < 0
    for code, bad, what in (
        ("nan-counts", np.isnan(matrix.data), "NaN"),
        ("infinite-counts", np.isinf(matrix.data), "infinite"),
        ("negative-counts", negative & np.isfinite(matrix.data), "negative"),
    ):
        if not bad.any():
            continue
        first = int(np.flatnonzero(bad)[0])
        row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
        cell = f"{noun} {adata.obs_names[row]!r}, gene {adata.var_names[matrix.indices[first]]!r}"
        looks = " (scaled values?)" if code == "negative-counts" and _has_fractions(matrix.data) else ""
        problems.append(
            problem(
                code,
                f"{int(bad.sum())} {what} values{looks}, first at {cell}: {matrix.data[first]:g}",
                "raw counts: finite, not negative",
                _where_else(adata) or f"give raw counts, or remove these {noun}s or genes before export",
            )
        )
    return problems


def _has_fractions(values):
    finite = values[np.isfinite(values)]
    return bool((finite != np.rint(finite)).any())


def _not_raw(matrix, fractions, adata, problem, noun, allow_noninteger):
    code, looks = _transformation(matrix, noun)
    if allow_noninteger and code != "log-normalised":
        return None
    return problem(
        code,
        f"{fractions.mean():.1%} of the stored values are not whole{looks}",
        "raw integer counts",
        _where_else(adata)
        or "give raw counts in X or layers['counts']; "
        "for ambient-corrected counts that are meant to have fractions set allow_noninteger: true",
    )


def _transformation(matrix, noun):
    """Code and words for what a matrix of fractions looks like."""
    logged = matrix.data.max() < 40  # exp of more than that is no count
    for base, undo in (("log1p", np.expm1), ("log2(x + 1)", lambda x: np.exp2(x) - 1)) if logged else ():
        plain = matrix.copy()
        plain.data = undo(plain.data.astype(np.float64))
        if target := _constant_total(plain):
            return "log-normalised", f"; they look like {base} of counts normalised to {target:.6g} a {noun}"
        if _is_multiple(plain):
            return (
                "log-normalised",
                f"; they look like {base} of normalised counts, of which genes were dropped",
            )
    plain = matrix.astype(np.float64)
    if target := _constant_total(plain):
        return "normalised", f"; they look like counts normalised to {target:.6g} a {noun}"
    if _is_multiple(plain):
        return "normalised", "; they look like normalised counts, of which genes were dropped"
    return "noninteger-counts", ""


def _constant_total(matrix):
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    return totals.mean() if len(totals) > 2 and totals.std() < 1e-3 * totals.mean() else None


def _is_multiple(matrix, tolerance=1e-3):
    """Whether nearly all values are whole multiples of the least value of their row, and not all are that value."""
    matrix = matrix.copy()
    matrix.eliminate_zeros()
    filled = np.diff(matrix.indptr) > 0
    if not matrix.nnz:
        return False
    least = np.minimum.reduceat(matrix.data, matrix.indptr[:-1][filled])
    ratio = matrix.data / np.repeat(least, np.diff(matrix.indptr)[filled])
    larger = ratio[ratio > 1.5]
    # a ratio of hundreds is near a whole number by chance
    larger = larger[larger < 50]
    return larger.size > 20 and np.mean(np.abs(larger - np.rint(larger)) < tolerance * larger) > 0.95


def _where_else(adata):
    """A fix that names where raw counts were found, or nothing."""
    for name in adata.layers:
        if name != "counts" and _is_raw(adata.layers[name]):
            return f"raw counts are in layers[{name!r}]: adata.layers['counts'] = adata.layers[{name!r}]"
    if "counts" in adata.layers and adata.X is not None and _is_raw(adata.X):
        return "raw counts are in X: adata.layers['counts'] = adata.X"
    if adata.raw is not None and _is_raw(adata.raw.X):
        return "raw counts are in raw.X: adata = adata.raw.to_adata()"
    return ""


def _check_empty(matrix, adata, problem, noun):
    if not matrix.data.any():
        return [
            problem(
                "no-counts",
                f"no count at all in {matrix.shape[0]} {noun}s × {matrix.shape[1]} genes",
                "raw counts above 0",
                "check which matrix was exported (a bin size or a cut-out without tissue has none)",
            )
        ]
    problems = []
    empty = np.asarray(matrix.sum(axis=1)).ravel() == 0
    if empty.any():
        names = ", ".join(map(str, adata.obs_names[empty][:EXAMPLES]))
        problems.append(
            problem(
                "zero-count-spots" if noun == "spot" else f"zero-count-{noun}s",
                f"{int(empty.sum())} of {len(empty)} {noun}s without any count ({names})",
                f"at least one count a {noun}",
                f"none needed: these {noun}s are filtered, with NaN in every result",
                level="warning",
            )
        )
    unseen = int((np.asarray(matrix.sum(axis=0)).ravel() == 0).sum())
    if unseen:
        problems.append(
            problem(
                "zero-genes",
                f"{unseen} of {matrix.shape[1]} genes without any count",
                "",
                "none needed: these genes are left out",
                level="warning",
            )
        )
    return problems


def _candidates(adata):
    if "counts" in adata.layers:
        yield "layers['counts']", adata.layers["counts"]
    if adata.X is not None:
        yield "X", adata.X
    if adata.raw is not None:
        yield "raw.X", adata.raw.X


def _values(matrix):
    return matrix.data if sparse.issparse(matrix) else np.asarray(matrix).ravel()


def _is_raw(matrix):
    values = _values(matrix)
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        return False
    # NaN and infinity: rint(NaN) != NaN, and infinity must be asked for
    return bool(((values >= 0) & (values == np.rint(values)) & np.isfinite(values)).all())
