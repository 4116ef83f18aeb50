"""Space Ranger's ``outs`` folders, Visium and Visium HD, of every version since 1.0.

A matrix is joined with the positions of its barcodes, and the join must be complete: positions are numbers or an error,
never quietly missing. Folders are described first (`find_layout`), so that a dry run sees what is missing.
"""

import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pointillist.errors import InputError, Problem, raise_errors

from .contents import Contents
from .formats import BIN_FOLDER, open_hdf5
from .images import library_id, read_image
from .positions import check_join, read_positions
from .tenx import read_matrix

logger = logging.getLogger(__name__)

_SCALE_KEYS = {"hires": "tissue_hires_scalef", "lowres": "tissue_lowres_scalef"}


@dataclass(frozen=True)
class Layout:
    """Where the parts of an ``outs`` folder are.

    Parameters
    ----------
    matrix : Path
        An ``.h5`` or a folder of ``.mtx``.
    filtered : bool
        Whether the matrix holds spots under tissue alone.
    positions : tuple of Path
        Every positions file there is; they must agree.
    scalefactors : Path or None
    images : dict of str to Path
        ``hires``, ``lowres``.
    """

    matrix: Path
    filtered: bool
    positions: tuple
    scalefactors: Path | None
    images: dict


def read_visium(path, *, bin_um=None, format="visium", sample=""):
    """Read a Space Ranger ``outs`` folder.

    Parameters
    ----------
    path : str or Path
        ``outs``, a folder that holds it, or for Visium HD also ``binned_outputs`` or one of its bins.
    bin_um : int, optional
        Bin size in µm; needed for Visium HD.
    format : {"visium", "visium_hd"}
    sample : str, optional
        For the messages, and as the key of ``uns["spatial"]``.

    Returns
    -------
    AnnData
        ``X`` as the file has it, ``obs`` in_tissue, array_row and array_col, ``obsm["spatial"]``,
        ``obsm["protein"]`` where antibodies were read, ``uns["spatial"]``. Spots beside the tissue of a raw
        matrix are left out.

    Raises
    ------
    InputError
    """
    layout = find_layout(path, bin_um, format=format, sample=sample)
    positions = _agreeing_positions(layout.positions, sample)
    factors, problems = _scalefactors(layout, sample)
    adata = read_matrix(layout.matrix, sample=sample)
    problems += check_join(adata.obs_names, positions.index, sample=sample, file=layout.matrix)
    raise_errors(problems)
    positions = positions.loc[adata.obs_names]
    adata.obs = positions[["in_tissue", "array_row", "array_col"]].set_axis(adata.obs_names)
    adata.obsm["spatial"] = positions[["x", "y"]].to_numpy(dtype=np.float64)
    images = {}
    for name, file in layout.images.items():
        images[name], factor = read_image(file, sample=sample)
        factors[_SCALE_KEYS[name]] *= factor
    if factors or images:
        adata.uns["spatial"] = {
            library_id(sample or Path(path).resolve().name): {"images": images, "scalefactors": factors}
        }
    if layout.filtered:
        return adata
    in_tissue = adata.obs["in_tissue"].to_numpy() == 1
    logger.info("%s: no filtered matrix; %d of %d spots under tissue", sample or path, in_tissue.sum(), len(in_tissue))
    if not in_tissue.any():
        found, fix = f"none of {len(in_tissue)} spots under tissue", "check in_tissue of the positions file"
        raise InputError(
            Problem("no-tissue", found, "spots with in_tissue 1", fix, sample, str(layout.positions[0]), "in_tissue")
        )
    return adata[in_tissue].copy()


def find_layout(path, bin_um=None, *, format="visium", sample=""):
    """Find the matrix, positions, scale factors and images of an ``outs`` folder.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        With everything that is missing, or there twice.
    """
    outs = Path(path)
    if (outs / "outs").is_dir():
        outs = outs / "outs"
    folder = _bin_folder(outs, bin_um, sample) if format == "visium_hd" else outs
    problem = partial(Problem, sample=sample, file=str(folder))
    problems = []

    def find(where, name):
        found = [where / name] if (where / name).exists() else sorted(where.glob(f"*_{name}"))
        if len(found) > 1:
            names = " and ".join(file.name for file in found[:4])
            problems.append(
                problem("ambiguous-layout", names, f"one {name}", "give each sample a folder of its own", column=name)
            )
        return found[0] if found else None

    matrix, filtered = _find_matrix(folder, find)
    if matrix is None:
        problems.append(
            problem(
                "no-matrix",
                "no filtered_feature_bc_matrix or raw_feature_bc_matrix (.h5 or folder)",
                "a feature-barcode matrix",
                "give the outs folder; unpack downloaded archives (tar -xzf *_feature_bc_matrix.tar.gz)",
            )
        )
    spatial = next(
        (place for place in [folder / "spatial", *sorted(folder.glob("*_spatial"))] if place.is_dir()), folder
    )
    names = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
    positions = [find(spatial, name + ending) for name in names for ending in ("", ".gz")]
    positions = tuple(file for file in positions if file)
    if not positions:
        areas = [entry.name for entry in spatial.iterdir() if entry.is_dir() and list(entry.glob("tissue_positions*"))]
        listed = ", ".join(sorted(entry.name for entry in spatial.iterdir())[:6]) or "nothing"
        problems.append(
            problem(
                "no-positions",
                f"no tissue_positions among {listed}",
                " or ".join(names),
                f"give one area each its own sample: {', '.join(sorted(areas))}"
                if areas
                else "copy spatial/ from Space Ranger's output; a matrix alone has no coordinates",
                column="spatial",
            )
        )
    # a bin's images are links to those of the whole slide, which copies of a bin alone lose
    places = [spatial, folder.parent.parent / "spatial"] if format == "visium_hd" else [spatial]
    images = {}
    for name in _SCALE_KEYS:
        for place in places:
            if name not in images and place.is_dir() and (file := find(place, f"tissue_{name}_image.png")):
                images[name] = file
    scalefactors = find(spatial, "scalefactors_json.json")
    raise_errors(problems)
    return Layout(matrix, filtered, positions, scalefactors, images)


def inspect_layout(path, bin_um=None, *, format="visium", sample=""):
    """Tell what an ``outs`` folder holds without reading its matrix; see `pointillist.data.inspect`."""
    layout = find_layout(path, bin_um, format=format, sample=sample)
    shape, proteins = (None, None), False
    if layout.matrix.suffix == ".h5":
        with open_hdf5(layout.matrix, sample=sample) as file:
            if "matrix/shape" in file:
                shape = tuple(int(n) for n in file["matrix/shape"][:])
                types = (
                    file["matrix/features/feature_type"][:] if "matrix/features/feature_type" in file else np.array([])
                )
                proteins = b"Antibody Capture" in types
                shape = (int((types == b"Gene Expression").sum()) if len(types) else shape[0], shape[1])
    return Contents(
        format,
        # spots beside the tissue are dropped from a raw matrix: their number is not in the header
        shape[1] if layout.filtered else None,
        shape[0],
        ("in_tissue", "array_row", "array_col"),
        ("spatial", *(("protein",) if proteins else ())),
        (),
        True,
        bool(layout.images),
        ("rna", "protein") if proteins else ("rna",),
    )


def _bin_folder(outs, bin_um, sample):
    problem = partial(Problem, sample=sample, file=str(outs), column="bin_um")
    named = BIN_FOLDER.match(outs.name)
    if named:
        there = {int(named.group(1)): outs}
    else:
        root = outs / "binned_outputs" if (outs / "binned_outputs").is_dir() else outs
        matches = ((BIN_FOLDER.match(entry.name), entry) for entry in sorted(root.iterdir()))
        there = {int(match.group(1)): entry for match, entry in matches if match}
    sizes = ", ".join(map(str, there)) or "none"
    suggested = min((size for size in there if size >= 8), default=8)
    if bin_um is None and named and int(named.group(1)) > 2:
        bin_um = int(named.group(1))
    if bin_um is None:
        found = f"Visium HD without a bin size (there are bins of {sizes} µm)"
        fix = f"write {suggested} in the column bin_um; bins of 2 µm hold few counts and need much memory, "
        raise InputError(problem("bin-needed", found, "bin_um", fix + "so they are read only when asked for"))
    if int(bin_um) not in there:
        found, fix = f"no bins of {bin_um} µm (there are {sizes})", f"write one of them in the column bin_um: {sizes}"
        raise InputError(problem("bin-missing", found, f"binned_outputs/square_{int(bin_um):03d}um", fix))
    return there[int(bin_um)]


def _find_matrix(folder, find):
    for kind in ("filtered", "raw"):
        for name in (f"{kind}_feature_bc_matrix.h5", f"{kind}_feature_bc_matrix"):
            if found := find(folder, name):
                return found, kind == "filtered"
    # repositories flatten the folder: <id>_matrix.mtx.gz beside <id>_barcodes.tsv.gz
    return (folder, False) if list(folder.glob("*matrix.mtx*")) else (None, False)


def _agreeing_positions(files, sample):
    tables = [read_positions(file, sample=sample) for file in files]
    for file, table in zip(files[1:], tables[1:]):
        first = tables[0]
        same = first.index.symmetric_difference(table.index).empty and np.allclose(
            first.to_numpy(dtype=float), table.loc[first.index].to_numpy(dtype=float)
        )
        if not same:
            raise InputError(
                Problem(
                    "positions-conflict",
                    f"{files[0].name} and {file.name}, which differ",
                    "one positions file, or the same positions in both",
                    f"delete the one that is not of this matrix: rm {file.name}",
                    sample,
                    str(file.parent),
                    "spatial",
                )
            )
    return tables[0]


def _scalefactors(layout, sample):
    """Scale factors that are there, and what is wrong with them."""
    file = layout.scalefactors
    problem = partial(
        Problem,
        "scalefactors",
        sample=sample,
        file=str(file or layout.positions[0].parent / "scalefactors_json.json"),
        column="scalefactors",
        fix="copy scalefactors_json.json from Space Ranger's output again, or remove the images",
    )
    needed = [*(_SCALE_KEYS[name] for name in layout.images), "spot_diameter_fullres"]
    if file is None:
        if layout.images:
            return {}, [problem(found="images without scalefactors_json.json", expected=", ".join(needed))]
        logger.warning("%s: neither images nor scale factors in %s", sample or file, layout.positions[0].parent)
        return {}, []
    try:
        factors = json.loads(file.read_text(encoding="utf-8-sig"))
        if not isinstance(factors, dict):
            raise ValueError("not an object")
    except ValueError as error:
        return {}, [problem(found=f"no JSON object ({error})", expected=f"JSON with {', '.join(needed)}")]
    wrong = [
        name
        for name in needed
        if not isinstance(factors.get(name), int | float) or not 0 < factors[name] < float("inf")
    ]
    if wrong:
        listed = ", ".join(f"{name}={factors.get(name)!r}" for name in wrong)
        return {}, [problem(found=listed, expected="numbers above 0")]
    return {name: float(value) for name, value in factors.items() if isinstance(value, int | float)}, []
