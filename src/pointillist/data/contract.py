"""The AnnData contract: which key holds what, between steps and at the end.

``layers["counts"]`` raw counts (CSR), ``X`` log-normalised after preprocessing, ``obsm["spatial"]``, results in
``obsm`` and ``varm``, ``obs["filtered"]`` for spots that quality control took out: they keep their row, as NaN, in
every result. ``uns["pointillist"]`` says of each step, as JSON text, with which parameters, seed and version it was
made.
"""

import json
import re

import numpy as np
import pandas as pd
from scipy import sparse

import pointillist
from pointillist.data.files import to_json

_KEY = re.compile(r"^[A-Za-z0-9_.-]+$")


def read_spots_h5ad(path):
    """A sample as the pipeline itself wrote it."""
    import anndata

    return anndata.read_h5ad(path)


def read_genes(path):
    """The genes of a file that the pipeline itself wrote, with what it says of them, without its matrix."""
    import anndata

    return anndata.read_h5ad(path, backed="r").var


def kept_spots(spots):
    """The spots that quality control kept, as an AnnData of their own."""
    return spots[~spots.obs["filtered"].to_numpy(dtype=bool)].copy()


def by_spot(values, spots, columns):
    """Results of the spots kept as a table over all spots: NaN where a spot was filtered.

    Parameters
    ----------
    values : ndarray, kept spots × columns
    spots : AnnData
        All spots.
    columns : sequence of str

    Returns
    -------
    DataFrame, spots × columns, indexed by ``barcode``
    """
    kept = ~spots.obs["filtered"].to_numpy(dtype=bool)
    frame = pd.DataFrame(np.asarray(values), columns=list(columns), index=spots.obs_names[kept])
    return frame.reindex(spots.obs_names).rename_axis("barcode")


def component_names(prefix, n_components):
    """Names such as ``factor_01``, padded so that they sort as they count."""
    width = max(2, len(str(n_components)))
    return [f"{prefix}_{index:0{width}d}" for index in range(1, n_components + 1)]


def check_key(key):
    """Refuse a key of ``obsm``, ``varm`` or ``layers`` that a file could be written with but not read back.

    Raises
    ------
    ValueError
    """
    if not _KEY.match(key):
        raise ValueError(f"the key {key!r} has characters besides letters, digits, '_', '.' and '-'")
    return key


def record_step(spots, step, params, seed, **more):
    """Say in ``uns["pointillist"]`` how a step was made."""
    steps = dict(spots.uns.get("pointillist", {}))
    steps[step] = to_json({"params": params, "seed": seed, "version": pointillist.__version__, **more})
    spots.uns["pointillist"] = steps


def recorded_steps(spots):
    """What `record_step` wrote, by step."""
    return {step: json.loads(text) for step, text in spots.uns.get("pointillist", {}).items()}


def modality_counts(spots, modality):
    """Counts of a modality: ``rna`` from the layer, others from ``obsm``.

    Returns
    -------
    counts : CSR, spots × features
    features : list of str

    Raises
    ------
    KeyError
        The sample has no such modality.
    """
    if modality == "rna":
        return sparse.csr_matrix(spots.layers["counts"]), list(spots.var_names)
    if modality not in spots.obsm:
        raise KeyError(f"no modality {modality!r}: the sample has {['rna', *spots.obsm]}")
    table = spots.obsm[modality]
    features = list(table.columns) if hasattr(table, "columns") else component_names(modality, table.shape[1])
    return sparse.csr_matrix(np.asarray(table, dtype=float)), features


def add_spots_table(spots, key, table, as_array=False):
    """Put a table of spots into ``obsm``; spots that it lacks are NaN.

    Raises
    ------
    ValueError
        The key cannot be read back, or the table has spots that the sample lacks.
    """
    unknown = table.index.difference(spots.obs_names)
    if len(unknown):
        raise ValueError(f"{key} has {len(unknown)} spots that the sample lacks, such as {unknown[0]!r}")
    table = table.reindex(spots.obs_names)
    for name in table.select_dtypes(object):
        # Text beside missing values can be written only as categories.
        table[name] = table[name].astype("category")
    spots.obsm[check_key(key)] = table.to_numpy(dtype=float) if as_array else table


def add_genes_table(spots, key, table):
    """Put a table of genes, one row a gene, into ``varm``; genes that it lacks are NaN."""
    spots.varm[check_key(key)] = table.reindex(spots.var_names)
