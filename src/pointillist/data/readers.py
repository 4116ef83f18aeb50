"""Samples and single-cell references from files, all in one form whatever they came in."""

import logging
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pointillist.errors import InputError, Problem

from .formats import check_format, nearest, open_hdf5, recognise_format
from .images import attach_image
from .positions import check_join, read_coordinates
from .standard import standardise

logger = logging.getLogger(__name__)


def read_spots(
    path,
    format="",
    coordinates=None,
    bin_um=None,
    image=None,
    sample="",
    *,
    image_scale=None,
    genome_prefix="",
    duplicate_genes="error",
):
    """Read a sample: raw counts, coordinates in pixels, image, and what else its file knows of the spots.

    Parameters
    ----------
    path : str or Path
        Space Ranger ``outs`` folder, ``.h5ad``, ``.h5mu``, SpatialData ``.zarr``, or a counts table.
    format : str, optional
        ``visium``, ``visium_hd``, ``h5ad``, ``h5mu``, ``spatialdata`` or ``table``; recognised when empty.
    coordinates : str or Path, optional
        A table with columns barcode, x and y; needed for counts tables.
    bin_um : int, optional
        Bin size of Visium HD in µm; bins of 2 µm are read only when asked for here.
    image : str or Path, optional
        PNG, JPEG or TIFF of the tissue, where the sample brings none.
    sample : str, optional
        Its name, for the messages and ``uns["spatial"]``.
    image_scale : float, optional
        Pixels of `image` per pixel of the coordinates; fitted where it is not given.
    genome_prefix : str, optional
        Of mixed species, the genome to keep, such as ``GRCh38_``. A prefix that all genes share is always removed.
    duplicate_genes : {"error", "sum"}
        What to do with genes of one name and without identifiers: leave them for `check_spots` to refuse, or add
        their counts up. Genes of one symbol but several identifiers are told apart as ``symbol_identifier``.

    Returns
    -------
    AnnData, spots × genes
        Counts (CSR, float32) in ``X`` and ``layers["counts"]``, ``obsm["spatial"]`` (S × 2, x then y),
        ``uns["spatial"]`` as squidpy has it, second modalities such as ``obsm["protein"]``, symbols in
        ``var_names`` and identifiers in ``var["gene_ids"]``. Where no raw counts are found ``X`` is as the file has
        it, for `check_spots` to explain.

    Raises
    ------
    InputError
        Where the file cannot be read, or positions and matrix do not join.
    """
    path = Path(path)
    format = format or recognise_format(path, sample=sample)
    check_format(format, path, sample=sample)
    with _names_are_checked_later():
        match format:
            case "visium" | "visium_hd":
                from .visium import read_visium

                adata = read_visium(path, bin_um=bin_um, format=format, sample=sample)
            case "h5ad":
                adata = _read_h5ad(path, sample)
            case "h5mu":
                from .containers import read_h5mu

                adata = read_h5mu(path, sample=sample)
            case "spatialdata":
                from .containers import read_spatialdata

                adata = read_spatialdata(path, bin_um=bin_um, sample=sample)
            case "table":
                from .tables import read_counts_table

                adata = read_counts_table(path, coordinates, sample=sample)
        adata = standardise(adata, sample or path.name, genome_prefix, duplicate_genes)
    if coordinates not in (None, "") and format != "table":
        _join_coordinates(adata, coordinates, sample)
    if image not in (None, ""):
        attach_image(adata, image, sample=sample, image_scale=image_scale)
    logger.info("%s: %d spots × %d genes read from %s (%s)", sample or path.name, *adata.shape, path, format)
    return adata


def read_reference(path, cell_type, layer=None, name="", *, genome_prefix="", duplicate_genes="error"):
    """Read a single-cell reference: raw counts and cell types.

    Parameters
    ----------
    path : str or Path
        An ``.h5ad``.
    cell_type : str
        Name of the ``obs`` column of cell types.
    layer : str, optional
        Where the raw counts are: a layer, ``X``, or ``raw``; found when empty.
    name : str, optional
        Of the reference, for the messages.
    genome_prefix, duplicate_genes
        As of `read_spots`.

    Returns
    -------
    AnnData, cells × genes
        Counts (CSR, float32) in ``X`` and ``layers["counts"]``, ``obs[cell_type]`` categorical, of text, without
        unused categories.

    Raises
    ------
    InputError
    """
    path = Path(path)
    format = recognise_format(path)
    if format != "h5ad":
        fix = "write it as .h5ad with the cell types in obs"
        found = f"{format!r} as the reference {name!r}"
        raise InputError(Problem("unknown-format", found, "an .h5ad", fix, file=str(path), column="path"))
    with _names_are_checked_later():
        adata = _read_h5ad(path, "")
        if layer not in (None, "", "X"):
            adata = _with_layer_as_counts(adata, layer, path)
        elif layer == "X":
            adata.layers.pop("counts", None)
            adata.raw = None
        if cell_type not in adata.obs:
            found = f"no column {cell_type!r} in obs of reference {name!r}"
            fix = nearest(cell_type, adata.obs.columns)
            raise InputError(
                Problem("no-cell-types", found, "a column of cell types", fix, file=str(path), column=cell_type)
            )
        adata = standardise(adata, name or path.name, genome_prefix, duplicate_genes)
    labels = adata.obs[cell_type]
    adata.obs[cell_type] = labels.astype(object).map(str, na_action="ignore").astype("category")
    logger.info(
        "%s: %d cells × %d genes of %d types read from %s",
        name or path.name,
        *adata.shape,
        adata.obs[cell_type].nunique(),
        path,
    )
    return adata


def _read_h5ad(path, sample):
    import anndata
    from anndata.io import read_elem

    with open_hdf5(path, sample=sample) as file:
        try:
            # files of AnnData before 0.8 say nothing of themselves at their root
            return read_elem(file) if "encoding-type" in file.attrs else anndata.read_h5ad(path)
        except OSError:
            raise  # HDF5's own, for `open_hdf5` to explain
        except Exception as error:  # of many kinds: what matters is which element cannot be read
            found = f"an element that cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
            fix = "write it again with anndata 0.12 or older; names with '/' in obsm or layers cannot be read back"
            raise InputError(
                Problem("unreadable-h5ad", found, "an AnnData file", fix, sample, str(path), "path")
            ) from error


@contextmanager
def _names_are_checked_later():
    """Without anndata's warnings of duplicate names, which do not say whose they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(Variable|Observation) names are not unique")
        yield


def _with_layer_as_counts(adata, layer, path):
    if layer in ("raw", "raw.X") and adata.raw is not None:
        adata = adata.raw.to_adata()
        adata.layers["counts"] = adata.X
    elif layer in adata.layers:
        adata.layers["counts"] = adata.layers[layer]
    else:
        there = [*adata.layers, "X", *(["raw"] if adata.raw is not None else [])]
        fix = nearest(layer, there)
        raise InputError(Problem("no-layer", f"no layer {layer!r}", "raw counts", fix, file=str(path), column=layer))
    adata.X = adata.layers["counts"]
    adata.raw = None
    return adata


def _join_coordinates(adata, coordinates, sample):
    positions = read_coordinates(coordinates, sample=sample)
    if problems := check_join(adata.obs_names, positions.index, sample=sample, file=coordinates):
        raise InputError(problems)
    positions = positions.loc[adata.obs_names]
    adata.obsm["spatial"] = positions[["x", "y"]].to_numpy(dtype=np.float64)
    for column in positions.columns.difference(["x", "y"], sort=False):
        adata.obs[column] = positions[column].to_numpy()
