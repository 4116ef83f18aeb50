"""Sets with known composition on which deconvolution is measured.

``load(name, folder)`` reads one set. What is measured always holds all spots with a known composition: the pipeline's
quality control would drop a few, and figures would no longer compare with published ones.
"""

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Spots, the reference that a method may see, and the truth that it may not.

    Attributes
    ----------
    name : str
    X : CSR, spots × genes
        Raw counts (as given) over the genes that sample and reference share and that some spot holds.
    genes, spots : ndarray of str
    reference : CSR, cells × reference_genes
        Raw counts over all genes of the reference; None where a signature is given instead.
    reference_genes : ndarray of str
    cell_types : ndarray of str, cells
    truth : DataFrame, spots × cell types
        None where only regions are known.
    coordinates : ndarray, spots × 2
        None where spots have no place.
    signature : DataFrame, cell types × genes
        Where it is given and not built from cells.
    regions : Series, spots
        Annotation of the tissue.
    """

    name: str
    X: sparse.csr_matrix
    genes: np.ndarray
    spots: np.ndarray
    reference: sparse.csr_matrix | None
    reference_genes: np.ndarray
    cell_types: np.ndarray | None
    truth: pd.DataFrame | None
    coordinates: np.ndarray | None = None
    signature: pd.DataFrame | None = None
    regions: pd.Series | None = field(default=None, repr=False)

    @cached_property
    def graph(self):
        """Neighbour graph of the spots as the pipeline makes it; None without coordinates."""
        from pointillist.preprocessing import spatial_graph

        return None if self.coordinates is None else spatial_graph(self.coordinates)[0]

    @cached_property
    def shared_reference(self):
        """The reference over the genes of `X`, cells × genes."""
        return sparse.csr_matrix(self.reference[:, pd.Index(self.reference_genes).get_indexer(self.genes)])


def load(name, folder):
    """One set by its name; `folder` holds a subfolder for each source."""
    if name not in SETS:
        raise ValueError(f"no set {name!r}: there are {', '.join(SETS)}")
    return SETS[name](Path(folder), name)


def _starmap(folder, name):
    """Spots that hold the mean relative expression of their cells; all cells are the reference, so it is circular."""
    reference = _read(folder / "starmap/reference.h5ad")
    if name == "starmap_dat2":
        reference = reference[reference.obs["replicate"] == "Dat2"]
    return _dataset(name, _read(folder / "starmap/spots.h5ad"), reference, _truth(folder / "starmap/truth.csv"))


def _starmap_counts(folder, name):
    """Spots that hold true sums of the counts of replicate Dat2; the cells of Dat1 are the reference."""
    reference = _read(folder / "starmap/reference.h5ad")
    reference = reference[reference.obs["replicate"] == "Dat1"]
    truth = _truth(folder / "starmap_counts/truth.csv")
    return _dataset(name, _read(folder / "starmap_counts/spots.h5ad"), reference, truth)


def _seqfishplus(folder, name):
    """a: spots of fields 0 and 1, cells of fields 2 to 4; b: the other way round, so that oligodendrocytes are missing.

    Every field has its own origin: they are set far apart, so that spots of two fields are no neighbours.
    """
    spots, cells = _read(folder / "seqfishplus/spots.h5ad"), _read(folder / "seqfishplus/cells.h5ad")
    first, second = ["0", "1"], ["2", "3", "4"]
    of_spots, of_cells = (first, second) if name.endswith("_a") else (second, first)
    spots = spots[spots.obs["fov"].astype(str).isin(of_spots)].copy()
    cells = cells[cells.obs["fov"].astype(str).isin(of_cells)]
    spots.obsm["spatial"] = spots.obsm["spatial"] + spots.obs["fov"].astype(float).to_numpy()[:, None] * [1e5, 0]
    return _dataset(name, spots, cells, _truth(folder / "seqfishplus/truth.csv"))


def _demo(folder, name):
    """The simulated tissue of the project's own demo, made in memory."""
    import yaml

    from pointillist.data.simulation import simulate_tissue

    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    tissue = simulate_tissue(seed=0, **config["simulation"])
    return _dataset(name, tissue.spots, tissue.reference, tissue.truth)


def _abis(folder, name):
    """Bulk RNA-seq of twelve PBMC samples and a signature; S0 has the finest types, S3 the coarsest.

    The truth, by flow cytometry, has a column for each type of each signature, sums of finer types included.
    """
    signature = pd.read_csv(folder / f"abis/sigMatrix_ABIS_{name.removeprefix('abis_')}.tsv", sep="\t", index_col=0).T
    bulk = pd.read_csv(folder / "abis/bulkRNAseq_ABIS.tsv", sep="\t", index_col=0).T
    truth = pd.read_csv(folder / "abis/groundTruth_ABIS.tsv", sep="\t", index_col=0)
    missing = signature.index.difference(truth.columns)
    if len(missing):
        raise ValueError(f"{name}: types {list(missing)} of the signature are absent from the truth")
    genes = signature.columns[signature.columns.isin(bulk.columns)]
    signature = signature[genes].sort_index()
    return Dataset(
        name,
        sparse.csr_matrix(bulk[genes].to_numpy(dtype=float)),
        genes.to_numpy(dtype=str),
        bulk.index.to_numpy(dtype=str),
        None,
        genes.to_numpy(dtype=str),
        None,
        truth[signature.index],
        signature=signature,
    )


def _her2st(folder, name):
    """HER2-positive breast tumour with a pathologist's regions, and single cells of another breast tumour."""
    spots, reference = _read(folder / "her2st/A1.h5ad"), _read(folder / "her2st/reference.h5ad")
    reference.obs["cell_type"] = reference.obs["celltype_major"]
    return _dataset(name, spots, reference, None, spots.obs["label"].astype(str))


def _dataset(name, spots, reference, truth, regions=None):
    if truth is not None:
        spots = spots[spots.obs_names.isin(truth.index)]
        truth = truth.loc[spots.obs_names]
    counts = sparse.csr_matrix(spots.X)
    found = spots.var_names[np.asarray(counts.sum(axis=0)).ravel() > 0]
    genes = reference.var_names[reference.var_names.isin(found)]
    return Dataset(
        name,
        sparse.csr_matrix(counts[:, spots.var_names.get_indexer(genes)]),
        genes.to_numpy(dtype=str),
        spots.obs_names.to_numpy(dtype=str),
        sparse.csr_matrix(reference.X),
        reference.var_names.to_numpy(dtype=str),
        reference.obs["cell_type"].to_numpy(dtype=str),
        truth,
        np.asarray(spots.obsm["spatial"], dtype=float),
        regions=regions,
    )


def _read(path):
    import anndata

    if not path.exists():
        raise FileNotFoundError(f"{path} is absent: give the folder of the sets with --data")
    return anndata.read_h5ad(path)


def _truth(path):
    truth = pd.read_csv(path, index_col=0)
    truth.index = truth.index.astype(str)
    return truth


SETS = {
    "starmap": _starmap,
    "starmap_dat2": _starmap,
    "starmap_counts": _starmap_counts,
    "seqfishplus_a": _seqfishplus,
    "seqfishplus_b": _seqfishplus,
    "demo": _demo,
    "abis_S0": _abis,
    "abis_S1": _abis,
    "abis_S2": _abis,
    "abis_S3": _abis,
    "her2st": _her2st,
}
