"""One form for every AnnData, whatever file it came from: counts in their place, keys that can be written."""

import logging
import re

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist.errors import InputError, Problem

from .contents import COORDINATE_COLUMNS
from .counts import find_counts, take_counts
from .genes import ENSEMBL, genome_prefixes, without_version
from .images import library_id

logger = logging.getLogger(__name__)

KEY = re.compile(r"^[A-Za-z0-9_.-]+$")  # of obsm, obsp, layers and uns: what else is written cannot be read back

_ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "ensembl_ids", "feature_id")
_SYMBOL_COLUMNS = (
    "symbol",
    "symbols",
    "gene_symbol",
    "gene_symbols",
    "gene_name",
    "gene_names",
    "feature_name",
    "name",
)


def standardise(adata, name, genome_prefix="", duplicate_genes="error"):
    """Bring an AnnData, as its file has it, into the form that `read_spots` promises.

    Parameters
    ----------
    adata : AnnData
    name : str
        Of the sample or reference, for the messages.
    genome_prefix, duplicate_genes
        As of `read_spots`.

    Returns
    -------
    AnnData
        A new one; where no raw counts are found the other layers stay, for `check_spots` to say where they might be.
    """
    from anndata import AnnData

    if duplicate_genes not in ("error", "sum"):
        raise ValueError(f"duplicate_genes must be 'error' or 'sum', got {duplicate_genes!r}")
    key = find_counts(adata)
    counts = take_counts(adata, key)
    if key:
        logger.info("%s: raw counts found in %s", name, key)
    else:
        logger.warning("%s: no raw counts found", name)
    var = adata.raw.var if key == "raw.X" else adata.var
    result = AnnData(counts, _plain_frame(adata.obs, name), _plain_frame(var, name))
    result.obs_names, result.var_names = adata.obs_names.astype(str), var.index.astype(str)
    result.obs_names.name = result.var_names.name = None
    result.layers["counts"] = counts.copy()
    if not key:  # for check_spots to say where the counts might be
        result.layers.update({layer: adata.layers[layer] for layer in adata.layers if KEY.match(layer)})
        result.layers["counts"] = counts.copy()
    for attribute in ("obsm", "obsp"):
        _keep_safe(getattr(adata, attribute), getattr(result, attribute), attribute, name)
    _keep_safe(adata.uns, result.uns, "uns", name)
    if isinstance(adata.uns.get("spatial"), dict):
        result.uns["spatial"] = {library_id(str(library)): entry for library, entry in adata.uns["spatial"].items()}
    _standardise_coordinates(result, name)
    return _standardise_genes(result, name, genome_prefix, duplicate_genes)


def _plain_frame(frame, name):
    """Columns that can be written and read back: names of text without slash, no mixed types, no unused category."""
    result = pd.DataFrame(index=frame.index.astype(str))
    for column in frame.columns:
        plain = str(column).replace("/", "_")
        plain = plain.strip("_") or "column" if plain == "_index" else plain
        if plain != str(column):
            logger.warning("%s: column %r is called %r from here on", name, column, plain)
        values = frame[column].set_axis(result.index)
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.cat.remove_unused_categories()
        elif values.dtype == object and not values.dropna().map(type).isin([str]).all():
            values = values.map(str, na_action="ignore")
        result[plain] = values
    return result


def _keep_safe(source, target, attribute, name):
    dropped = [key for key in source if not KEY.match(str(key)) or not _is_safe(source[key])]
    for key in source:
        if key not in dropped:
            target[key] = source[key]
    if dropped:
        logger.warning(
            "%s: %s of %s cannot be written back and are dropped", name, ", ".join(map(repr, dropped)), attribute
        )


def _is_safe(value):
    return not isinstance(value, dict) or all(
        isinstance(key, str) and "/" not in key and _is_safe(inner) for key, inner in value.items()
    )


def _standardise_coordinates(adata, name):
    if "spatial" in adata.obsm:
        xy = np.asarray(adata.obsm["spatial"])
        if xy.ndim == 2 and xy.shape[1] > 2 and xy.dtype.kind in "iuf":
            logger.info("%s: the third column of the coordinates goes to obs['z']", name)
            if "z" not in adata.obs:
                adata.obs["z"] = xy[:, 2]
            xy = xy[:, :2]
        adata.obsm["spatial"] = xy.astype(np.float64) if xy.dtype.kind in "iuf" else xy
        return
    for x, y in COORDINATE_COLUMNS:
        if x in adata.obs and y in adata.obs:
            logger.info("%s: coordinates from obs[%r] and obs[%r]", name, x, y)
            numbers = adata.obs[[x, y]].apply(pd.to_numeric, errors="coerce")
            adata.obsm["spatial"] = numbers.to_numpy(dtype=np.float64)
            return


def _standardise_genes(adata, name, genome_prefix, duplicate_genes):
    for column in _ID_COLUMNS:
        if column in adata.var and "gene_ids" not in adata.var:
            adata.var["gene_ids"] = adata.var[column].astype(str)
    identifiers = adata.var_names.to_series().astype(str).str.match(ENSEMBL)
    if len(identifiers) and identifiers.mean() > 0.9:
        symbols = next((column for column in _SYMBOL_COLUMNS if column in adata.var), None)
        if symbols:
            ids, named = adata.var_names, adata.var[symbols].astype(object)
            adata.var["gene_ids"] = ids
            # where a gene has no symbol its identifier stays its name
            adata.var_names = pd.Index(np.where(named.notna() & (named != ""), named.astype(str), ids))
            logger.info("%s: symbols from var[%r], identifiers in var['gene_ids']", name, symbols)
    prefixes = genome_prefixes(adata.var_names)
    if not genome_prefix and len(prefixes) == 1 and sum(prefixes.values()) == adata.n_vars:
        genome_prefix = next(iter(prefixes))
    if genome_prefix:
        of_genome = adata.var_names.str.startswith(genome_prefix)
        if not of_genome.any():
            there = ", ".join(prefixes) or "none"
            fix = f"write one of: {there}" if prefixes else "leave genome_prefix empty"
            raise InputError(
                Problem(
                    "genome-prefix",
                    f"no gene name that begins with {genome_prefix!r} (prefixes: {there})",
                    "a prefix of the gene names",
                    fix,
                    sample=name,
                    column="genome_prefix",
                )
            )
        logger.info(
            "%s: %d of %d genes begin with %s, which is removed", name, of_genome.sum(), adata.n_vars, genome_prefix
        )
        adata = adata[:, of_genome].copy()
        adata.var_names = adata.var_names.str[len(genome_prefix) :]
    return _tell_apart(adata, name, duplicate_genes)


def _tell_apart(adata, name, duplicate_genes):
    twice = adata.var_names.duplicated(keep=False)
    if not twice.any():
        return adata
    listed = ", ".join(adata.var_names[twice].unique()[:5])
    if "gene_ids" in adata.var and not (adata.var_names + adata.var["gene_ids"].astype(str)).duplicated().any():
        names = adata.var_names.to_numpy(dtype=object, copy=True)
        identifiers = without_version(adata.var["gene_ids"])[twice]
        names[twice] = [f"{symbol}_{identifier}" for symbol, identifier in zip(names[twice], identifiers)]
        adata.var_names = pd.Index(names)
        logger.info(
            "%s: %d genes that share a symbol are told apart as symbol_identifier (%s)", name, twice.sum(), listed
        )
    elif duplicate_genes == "sum":
        adata = _sum_duplicates(adata)
        logger.info("%s: counts of genes of one name are added up (%s)", name, listed)
    return adata


def _sum_duplicates(adata):
    from anndata import AnnData

    codes, names = pd.factorize(adata.var_names)
    gather = sparse.csr_matrix((np.ones(len(codes), dtype=np.float32), (np.arange(len(codes)), codes)))
    summed = AnnData(
        sparse.csr_matrix(adata.X @ gather), adata.obs, adata.var[~adata.var_names.duplicated()].set_axis(names)
    )
    summed.layers["counts"] = summed.X.copy()
    summed.obsm.update(adata.obsm)
    summed.obsp.update(adata.obsp)
    summed.uns.update(adata.uns)
    return summed
