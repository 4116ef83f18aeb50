"""Containers of several tables: MuData ``.h5mu`` and SpatialData ``.zarr``.

One table is the sample. Of a MuData the other modalities become tables in ``obsm``; of a SpatialData the images named
``hires`` and ``lowres``, and where the table has no coordinates the centres of the shapes that it annotates.
"""

import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist.errors import InputError, Problem

from .contents import Contents, inspect_anndata
from .counts import find_counts, take_counts
from .formats import open_hdf5
from .images import LARGEST_SIDE, library_id
from .positions import check_join

logger = logging.getLogger(__name__)

_RNA = ("rna", "gex", "spatial", "visium")


def read_h5mu(path, *, sample=""):
    """Read a MuData file: its RNA, and the other modalities as DataFrames in ``obsm``.

    Parameters
    ----------
    path : str or Path
    sample : str, optional
        For the messages.

    Returns
    -------
    AnnData
        As the file has it. Raw counts of a modality are taken where it has them, its ``X`` otherwise.

    Raises
    ------
    InputError
        Where no modality is RNA, or another lacks some of its spots.
    """
    from anndata.io import read_elem

    with open_hdf5(path, sample=sample) as file:
        rna, others = _modalities(file, path, sample)
        adata = read_elem(file[f"mod/{rna}"])
        if "spatial" not in adata.obsm and "obsm/spatial" in file and file["obsm/spatial"].shape[0] == adata.n_obs:
            adata.obsm["spatial"] = file["obsm/spatial"][:]
        problems = []
        for name in others:
            other = read_elem(file[f"mod/{name}"])
            found = check_join(other.obs_names[:0].append(adata.obs_names), other.obs_names, sample=sample, file=path)
            problems += [_of_modality(problem, name) for problem in found]
            if not found:
                adata.obsm[name] = _as_frame(other).loc[adata.obs_names]
        if problems:
            raise InputError(problems)
    return adata


def inspect_h5mu(path, *, sample=""):
    """Tell what a MuData file holds without loading a matrix; see `pointillist.data.inspect`."""
    with open_hdf5(path, sample=sample) as file:
        rna, others = _modalities(file, path, sample)
        contents = inspect_anndata(file[f"mod/{rna}"], path, sample)
        return Contents(
            "h5mu",
            contents.n_spots,
            contents.n_genes,
            contents.obs_columns,
            (*contents.obsm_keys, *others),
            contents.layers,
            contents.has_coordinates or "obsm/spatial" in file,
            contents.has_image,
            (*contents.modalities, *others),
        )


def read_spatialdata(path, *, bin_um=None, sample=""):
    """Read a table of a SpatialData store, its coordinates and its images.

    Parameters
    ----------
    path : str or Path
    bin_um : int, optional
        Of several tables, the bin size of the one to read.
    sample : str, optional
        For the messages, and as the key of ``uns["spatial"]``.

    Returns
    -------
    AnnData

    Raises
    ------
    InputError
        Where there is no table, or it is not clear which one.
    """
    import spatialdata

    problem = partial(Problem, sample=sample, file=str(path))
    try:
        store = spatialdata.read_zarr(path)
    except Exception as error:  # of many kinds, by the versions that wrote and read it
        fix = "write it again with spatialdata 0.7 or older, or export its table as .h5ad"
        found = f"a store that cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
        raise InputError(problem("unreadable-spatialdata", found, "a SpatialData .zarr", fix)) from error
    name = _choose_table(list(store.tables), bin_um, problem)
    adata = store.tables[name].copy()
    attributes = adata.uns.pop("spatialdata_attrs", {})
    if "spatial" not in adata.obsm and attributes:
        centres = _centres(store, adata, attributes)
        if problems := check_join(centres.index, centres.index[~centres.isna().any(axis=1)], sample=sample, file=path):
            raise InputError(problems)
        adata.obsm["spatial"] = centres.to_numpy(dtype=np.float64)
    images, factors = _images(store)
    if images and "spatial" in adata.obsm:
        from .images import spacing

        factors["spot_diameter_fullres"] = 0.5 * spacing(np.asarray(adata.obsm["spatial"], dtype=float)[:, :2])
        adata.uns["spatial"] = {library_id(sample or Path(path).stem): {"images": images, "scalefactors": factors}}
    return adata


def inspect_spatialdata(path, *, sample=""):
    """Tell what a SpatialData store holds without loading a matrix; see `pointillist.data.inspect`."""
    path = Path(path)

    def names(*parts):
        folder = path.joinpath(*parts)
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    tables = names("tables") or names("table")
    if not tables:
        _choose_table(tables, None, partial(Problem, sample=sample, file=str(path)))
    where = ("tables" if names("tables") else "table", tables[0])
    obsm = names(*where, "obsm")
    return Contents(
        "spatialdata",
        obs_columns=_zarr_columns(path.joinpath(*where, "obs")),
        obsm_keys=tuple(obsm),
        layers=tuple(names(*where, "layers")),
        has_coordinates="spatial" in obsm or bool(names("shapes")),
        has_image=any(size in name for name in names("images") for size in ("hires", "lowres")),
    )


def _zarr_columns(folder):
    """Columns of a stored frame: from its attributes, in zarr of version 3 or 2."""
    for name in ("zarr.json", ".zattrs"):
        if (folder / name).is_file():
            stored = json.loads((folder / name).read_text(encoding="utf-8"))
            return tuple(stored.get("attributes", stored).get("column-order", ()))
    return ()


def _modalities(file, path, sample):
    names = list(file["mod"]) if "mod" in file else []
    rna = next((name for name in names if name.lower() in _RNA), names[0] if len(names) == 1 else None)
    if rna is None:
        found = f"modalities {', '.join(names) or 'none'}"
        fix = "call the modality of gene expression rna"
        raise InputError(Problem("no-rna", found, "one called rna", fix, sample, str(path), "mod"))
    return rna, [name for name in names if name != rna and not name.lower().startswith(("hto", "hashtag"))]


def _of_modality(problem, name):
    found = problem.found.replace("barcodes with a position", f"spots that modality {name!r} has")
    fix = f"keep the spots that all modalities have, or remove {name!r}"
    return Problem(
        "modality-join", found, "every spot in each modality", fix, problem.sample, problem.file, f"mod/{name}"
    )


def _as_frame(adata):
    key = find_counts(adata) or "X"
    values = take_counts(adata, key) if key != "X" else adata.X
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return pd.DataFrame(values, adata.obs_names, adata.raw.var_names if key == "raw.X" else adata.var_names)


def _choose_table(names, bin_um, problem):
    wanted = [name for name in names if bin_um and f"{int(bin_um):03d}um" in name]
    if len(wanted or names) == 1:
        return (wanted or names)[0]
    if not names:
        fix = "write the counts as a table of the store, or give an .h5ad"
        raise InputError(problem("no-table", "no table in the store", "a table of spots × genes", fix))
    fix = "name the bin size in bin_um, or export the one table as .h5ad"
    raise InputError(problem("ambiguous-layout", f"tables {', '.join(names)}", "one table", fix, column="bin_um"))


def _centres(store, adata, attributes):
    """Centres of the shapes that each spot annotates, x and y."""
    import spatialdata

    regions = attributes["region"] if isinstance(attributes["region"], list) else [attributes["region"]]
    shapes = [store.shapes[region] for region in regions if region in store.shapes]
    frames = [spatialdata.get_centroids(shape).compute()[["x", "y"]].set_axis(shape.index) for shape in shapes]
    instances = adata.obs[attributes["instance_key"]]
    together = pd.concat(frames) if frames else pd.DataFrame(columns=["x", "y"])
    return together.reindex(instances.to_numpy()).set_axis(adata.obs_names)


def _images(store):
    """Images called hires and lowres, and their scale factors."""
    from spatialdata.transformations import get_transformation

    images, factors = {}, {}
    for size in ("hires", "lowres"):
        name = next((name for name in store.images if size in name), None)
        if name is None:
            continue
        image = store.images[name]
        if not hasattr(image, "transpose"):  # a pyramid: its largest level
            image = image["scale0"]["image"]
        transformation = next(iter(get_transformation(image, get_all=True).values()))
        matrix = transformation.to_affine_matrix(input_axes=("x", "y"), output_axes=("x", "y"))
        pixels = image.transpose("y", "x", "c").to_numpy()[:, :, :3]
        step = -(-max(pixels.shape[:2]) // LARGEST_SIDE)
        if pixels.dtype != np.uint8:
            pixels = np.rint(255 * (pixels / max(pixels.max(), 1e-12))).astype(np.uint8)
        images[size] = np.ascontiguousarray(pixels[::step, ::step])
        factors[f"tissue_{size}_scalef"] = float(1 / (matrix[0, 0] * step))
    return images, factors
