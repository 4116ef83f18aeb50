"""Which format an input has, and whether it can be opened at all: damaged files and pickles end here."""

import difflib
import gzip
import re
from contextlib import contextmanager
from pathlib import Path

import h5py

from pointillist.errors import InputError, Problem

FORMATS = ("visium", "visium_hd", "h5ad", "spatialdata", "h5mu", "table")
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
BIN_FOLDER = re.compile(r"^square_(\d{3})um$")

_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
_R_FILES = (".rds", ".rdata", ".rda", ".robj", ".h5seurat")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_EXPECTED = "a Space Ranger outs folder, .h5ad, .h5mu, SpatialData .zarr, or a counts table (.csv, .tsv)"
_FROM_R = (
    "in R: anndataR::write_h5ad(object, 'spots.h5ad'), or Matrix::writeMM(counts, 'matrix.mtx') "
    "with write.csv(coordinates)"
)


def recognise_format(path, *, sample=""):
    """Tell the format of an input from the names of its files.

    Parameters
    ----------
    path : str or Path
    sample : str, optional
        For the messages.

    Returns
    -------
    str
        One of `FORMATS`.

    Raises
    ------
    InputError
        Where nothing is there, the format is refused (pickles, R objects, archives), or not recognised.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(_missing(path, sample))
    if path.is_dir():
        return _recognise_folder(path, sample)
    refuse_unsafe(path, sample=sample)
    name = path.name.lower()
    if name.endswith((".h5ad", ".h5ad.gz")):
        return "h5ad"
    if name.endswith(".h5mu"):
        return "h5mu"
    if name.endswith(TABLE_ENDINGS):
        return "table"
    if name.endswith(".h5"):
        fix = "give the outs folder that holds it (with spatial/ beside it), not the matrix alone"
    else:
        fix = f"convert it to .h5ad, or name its format in the column format: {', '.join(FORMATS)}"
    raise InputError(
        Problem("unrecognised-input", f"a file called {path.name!r}", _EXPECTED, fix, sample, str(path), "path")
    )


def check_format(format, path, *, sample=""):
    """Raise `InputError` unless `format` is known and `path` is there, a file or a folder as the format has it."""
    if format not in FORMATS:
        near = difflib.get_close_matches(str(format), FORMATS, n=1, cutoff=0.4) or ["h5ad"]
        raise InputError(
            Problem(
                "unknown-format",
                f"format {format!r}",
                f"one of {', '.join(FORMATS)}",
                f"write {near[0]}, or leave the column empty",
                sample,
                str(path),
                "format",
            )
        )
    if not path.exists():
        raise InputError(_missing(path, sample))
    wants_folder = format in ("visium", "visium_hd", "spatialdata")
    if path.is_dir() != wants_folder:
        raise InputError(
            Problem(
                "wrong-format",
                f"a {'folder' if path.is_dir() else 'file'} with format {format!r}",
                f"a {'folder' if wants_folder else 'file'}",
                "leave the column format empty, to have it recognised",
                sample,
                str(path),
                "format",
            )
        )


@contextmanager
def open_hdf5(path, *, sample=""):
    """Open an HDF5 file for reading; what HDF5 says of a damaged one becomes an `InputError` that says what to do.

    Reading inside the block is covered as well: bit rot in compressed data shows only there.
    """
    path = Path(path)
    refuse_unsafe(path, sample=sample)
    try:
        # no lock: shared file systems often have none to give, and nothing is written
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise InputError(_damaged(path, error, sample)) from error


def refuse_unsafe(path, *, sample=""):
    """Raise `InputError` for what is not opened: pickles, R objects, archives, empty or gzipped files."""
    path = Path(path)
    name = path.name.lower()
    with open(path, "rb") as file:
        head = file.read(8)
    size = path.stat().st_size
    inner = _gunzipped_head(path) if head[:2] == b"\x1f\x8b" else b""
    if name.endswith(_ARCHIVES):
        found, code = "an archive", "archive"
        fix = f"unpack it (tar -xzf {path.name}) and give the folder"
    elif name.endswith(_R_FILES) or inner[:2] in (b"X\n", b"RD") or head[:2] in (b"X\n", b"RD"):
        found, code, fix = "an R object", "rds-refused", _FROM_R
    elif name.endswith(_PICKLES) or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and size > 1):
        found, code = "a pickle, which can run any program when it is opened", "pickle-refused"
        fix = "where you trust it, open it in Python and write adata.write_h5ad('spots.h5ad')"
    elif not size:
        found, code = "an empty file (0 bytes)", "empty-file"
        fix = "copy or download it again, and compare the checksum with its source"
    elif inner == _HDF5:
        found, code, fix = "a gzipped HDF5 file", "gzipped-h5ad", f"gunzip {path.name}"
    else:
        return
    raise InputError(Problem(code, found, _EXPECTED, fix, sample, str(path), "path"))


def nearest(name, names):
    """Fix that lists the names nearest to `name`, or all of them where none is near."""
    names = [str(other) for other in names]
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"choose one of: {', '.join(names[:20])}" if names else "there is none to choose from"


def _recognise_folder(path, sample):
    names = [entry.name for entry in path.iterdir()]
    if path.suffix == ".zarr" or {".zgroup", "zarr.json"} & set(names):
        return "spatialdata"
    if "binned_outputs" in names or any(map(BIN_FOLDER.match, [*names, path.name])):
        return "visium_hd"
    if "outs" in names:
        return _recognise_folder(path / "outs", sample)
    if any("feature_bc_matrix" in name or "matrix.mtx" in name for name in names):
        return "visium"
    if any(name.startswith("segmented_outputs") for name in names):
        fix = "Visium HD is read by bins: give the outs folder that has binned_outputs"
    elif any(name.lower().endswith(_ARCHIVES) for name in names):
        fix = "unpack the archives in it: tar -xzf *.tar.gz"
    else:
        fix = "give the outs folder itself, with *_feature_bc_matrix.h5 and spatial/ in it"
    listed = ", ".join(sorted(names)[:8]) or "nothing"
    raise InputError(
        Problem("unrecognised-input", f"a folder with {listed}", _EXPECTED, fix, sample, str(path), "path")
    )


def _missing(path, sample):
    parent = next((folder for folder in path.parents if folder.is_dir()), None)
    beside = sorted(entry.name for entry in parent.iterdir()) if parent else []
    wanted = path.relative_to(parent).parts[0] if parent else path.name
    near = difflib.get_close_matches(wanted, beside, n=2, cutoff=0.6)
    fix = f"did you mean {' or '.join(str(parent / name) for name in near)}?" if near else "correct the path"
    return Problem("not-found", "nothing at this path", _EXPECTED, fix, sample, str(path), "path")


def _gunzipped_head(path):
    try:
        with gzip.open(path) as file:
            return file.read(8)
    except (OSError, EOFError):
        return b""


def _damaged(path, error, sample):
    from .files import sha256

    text, size = str(error), path.stat().st_size
    if "truncated" in text:
        code = "truncated-h5ad"
        stored = re.search(r"stored_eof = (\d+)", text)
        found = f"a truncated file: {size} bytes" + (f" of {stored.group(1)}" if stored else "")
    elif "signature not found" in text:
        code, found = "not-hdf5", f"a file that is not HDF5 ({size} bytes)"
    else:
        code, found = "corrupt-h5ad", f"a damaged file of {size} bytes ({text.splitlines()[0]})"
    fix = f"copy or download it again and compare the checksum with its source; here sha256 is {sha256(path)}"
    return Problem(code, found, "a complete HDF5 file", fix, sample, str(path), "path")
