"""What an input holds, and how that is told from an open AnnData group."""

import re
from dataclasses import dataclass

import h5py

from pointillist.errors import InputError, Problem

# columns of obs, or of a coordinates table, that are read as x and y
COORDINATE_COLUMNS = (("pxl_col_in_fullres", "pxl_row_in_fullres"), ("imagecol", "imagerow"), ("x", "y"))

_MODALITIES = {
    "protein",
    "proteins",
    "prot",
    "adt",
    "antibody",
    "atac",
    "peaks",
    "metabolites",
    "lipids",
    "mirna",
}
# results that others left in obsm as tables
_RESULTS = re.compile(
    r"^(x_|score_|padj_|spatial)|(_proportions|_abundance\w*|_weights|_pred|_usage)$|^hto|^hashtag|deconv",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Contents:
    """What an input holds.

    Parameters
    ----------
    format : str
        One of `FORMATS`.
    n_spots, n_genes : int or None
        None where only the matrix itself would tell.
    obs_columns, obsm_keys, layers : tuple of str
    has_coordinates, has_image : bool
    modalities : tuple of str
        ``rna`` first, then tables such as ``protein``.
    """

    format: str
    n_spots: int | None = None
    n_genes: int | None = None
    obs_columns: tuple = ()
    obsm_keys: tuple = ()
    layers: tuple = ()
    has_coordinates: bool = False
    has_image: bool = False
    modalities: tuple = ("rna",)


def is_modality(key, is_frame):
    """Whether an entry of obsm is a second modality, by its name or by being a table that is no result."""
    return key.lower() in _MODALITIES or (is_frame and not _RESULTS.search(key))


def inspect_anndata(file, path, sample):
    """Contents of an open AnnData group; see `inspect`."""
    if "obs" not in file or "var" not in file:
        raise InputError(
            Problem(
                "not-anndata",
                f"HDF5 with {', '.join(list(file)[:6]) or 'nothing'} in it",
                "an AnnData file with obs and var",
                "give the outs folder of a Space Ranger matrix" if "matrix" in file else "write it with AnnData",
                sample,
                str(path),
                "path",
            )
        )
    obsm, columns = file.get("obsm", {}), _columns(file["obs"])
    keys = tuple(sorted(obsm))
    libraries = file["uns/spatial"].values() if isinstance(file.get("uns/spatial"), h5py.Group) else ()
    return Contents(
        "h5ad",
        _length(file["obs"]),
        _length(file["var"]),
        columns,
        keys,
        tuple(sorted(file.get("layers", {}))),
        "spatial" in keys or any(x in columns and y in columns for x, y in COORDINATE_COLUMNS),
        any(isinstance(library, h5py.Group) and len(library.get("images", ())) > 0 for library in libraries),
        ("rna", *(key for key in keys if is_modality(key, _is_frame(obsm[key])))),
    )


def _columns(frame):
    if isinstance(frame, h5py.Dataset):  # written before AnnData 0.7
        return tuple(name for name in frame.dtype.names if name != "index")
    index = _text(frame.attrs.get("_index", "_index"))
    order = frame.attrs.get("column-order")
    names = [_text(name) for name in order] if order is not None else sorted(frame)
    return tuple(name for name in names if name not in (index, "__categories"))


def _length(frame):
    if isinstance(frame, h5py.Dataset):
        return frame.shape[0]
    index = frame[_text(frame.attrs.get("_index", "_index"))]
    return int((index if isinstance(index, h5py.Dataset) else index["values"]).shape[0])


def _is_frame(entry):
    return _text(entry.attrs.get("encoding-type", "")) == "dataframe"


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
