"""Files under their final name are complete: written beside it, flushed to disk, then renamed."""

import json
import os
import tempfile
from contextlib import contextmanager
from hashlib import sha256 as _sha256
from pathlib import Path

import numpy as np
import pandas as pd


@contextmanager
def atomic(path):
    """Yield a temporary path beside `path` that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path : str or Path
        Its folder is made when absent.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(frame, path):
    """Write a DataFrame as ``.csv``, ``.tsv`` or ``.parquet``, by the ending of `path`.

    Floats in text are written with as many digits as bring the same number back.
    """
    with atomic(path) as temporary:
        match Path(path).suffix:
            case ".parquet":
                frame.to_parquet(temporary)
            case ".csv":
                frame.to_csv(temporary, index=frame.index.name is not None, lineterminator="\n")
            case ".tsv":
                frame.to_csv(temporary, sep="\t", index=frame.index.name is not None, lineterminator="\n")
            case ending:
                raise ValueError(f"no table format is known for {ending!r}")


def read_parquet(path):
    """A table that `write_table` wrote as ``.parquet``.

    Read in one piece: pandas' own way, by a data set, takes ten times as long for tens of thousands of columns.
    """
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path).read(use_threads=False).to_pandas()


def write_text(text, path):
    """Write a string as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(value, path):
    """Write JSON with sorted keys; numpy scalars and arrays are understood."""
    write_text(to_json(value, indent=2) + "\n", path)


def write_h5ad(adata, path):
    """Write an AnnData as gzip-compressed ``.h5ad``: a flipped bit is then an error, not another number."""
    with atomic(path) as temporary:
        adata.write_h5ad(temporary, compression="gzip")


def to_json(value, **options):
    """JSON text with sorted keys; numpy scalars and arrays are understood."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain, **options)


def sha256(path):
    """Checksum of a file, or of the files of a folder with their names, as hexadecimal text."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = (f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files)
        return _sha256("".join(lines).encode()).hexdigest()
    with open(path, "rb") as file:
        digest = _sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, pd.Series | pd.Index):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
