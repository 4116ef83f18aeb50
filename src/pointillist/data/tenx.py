"""Feature-barcode matrices as 10x Genomics' software writes them, of every version, and as others name their files."""

import contextlib
import gzip
import logging
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from pointillist.errors import InputError, Problem

from .formats import open_hdf5

logger = logging.getLogger(__name__)


def read_matrix(path, *, sample=""):
    """Read a feature-barcode matrix with scanpy, antibodies apart from genes.

    Parameters
    ----------
    path : Path
        An ``.h5``, or a folder with matrix.mtx, features.tsv (or genes.tsv) and barcodes.tsv, gzipped or not.
    sample : str, optional
        For the messages.

    Returns
    -------
    AnnData
        Genes in ``X``, with ``var["gene_ids"]``; antibodies in ``obsm["protein"]``.

    Raises
    ------
    InputError
    """
    return _split_proteins(_read(path, sample))


def _read(path, sample):
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        try:
            if path.is_dir():
                with _as_version_3(path) as folder:
                    return sc.read_10x_mtx(folder, make_unique=False, gex_only=False)
            with open_hdf5(path, sample=sample):
                pass
            return sc.read_10x_h5(path, gex_only=False)
        except InputError:
            raise
        except Exception as error:
            found = f"a matrix that cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})"
            fix = "copy it from Space Ranger's output again (the .h5 is enough)"
            expected = "Space Ranger's .h5, or its folder of matrix.mtx, features.tsv and barcodes.tsv"
            raise InputError(Problem("unreadable-10x", found, expected, fix, sample, str(path), "matrix")) from error


@contextlib.contextmanager
def _as_version_3(folder):
    """A temporary folder with the three files named and gzipped as scanpy wants them.

    Space Ranger 1 and many exporters leave them plain, and some name plain files ``.gz``.
    """
    with tempfile.TemporaryDirectory() as temporary:
        for names in (("matrix.mtx",), ("features.tsv", "genes.tsv"), ("barcodes.tsv",)):
            wanted = [folder / (name + ending) for name in names for ending in (".gz", "")]
            prefixed = [file for path in wanted for file in sorted(folder.glob(f"*_{path.name}"))]
            files = [file for file in wanted if file.is_file()] or prefixed
            if not files or (len(files) > 1 and files == prefixed):
                raise FileNotFoundError(f"{len(files) or 'no'} files called {names[0]} or {names[0]}.gz")
            target = Path(temporary) / f"{names[0]}.gz"
            with open(files[0], "rb") as source:
                gzipped = source.read(2) == b"\x1f\x8b"
            if gzipped and len(names) == 1:
                target.symlink_to(files[0].resolve())
                continue
            with (gzip.open if gzipped else open)(files[0], "rb") as source:
                with gzip.open(target, "wb", compresslevel=1) as copy:
                    if len(names) > 1:
                        copy.write(_three_columns(source.read()))
                    else:
                        shutil.copyfileobj(source, copy)
        yield Path(temporary)


def _three_columns(features):
    """Features as of version 3; the ``genes.tsv`` of version 2 has no type."""
    lines = features.decode("utf-8-sig").splitlines()
    if lines and lines[0].count("\t") == 1:
        lines = [f"{line}\tGene Expression" for line in lines]
    return ("\n".join(lines) + "\n").encode()


def _split_proteins(adata):
    if "feature_types" not in adata.var:
        return adata
    types = adata.var["feature_types"].astype(str)
    proteins, genes = (types == "Antibody Capture").to_numpy(), (types == "Gene Expression").to_numpy()
    if others := sorted(set(types[~proteins & ~genes])):
        logger.info("features of other types are left out: %s", ", ".join(others))
    if genes.all():
        return adata
    result = adata[:, genes].copy()
    if proteins.any():
        names = adata.var_names[proteins]
        if not names.is_unique:
            names = pd.Index(adata.var["gene_ids"][proteins])
        values = np.asarray(adata.X[:, proteins].toarray(), dtype=np.float32)
        result.obsm["protein"] = pd.DataFrame(values, index=adata.obs_names, columns=names.astype(str))
    return result
