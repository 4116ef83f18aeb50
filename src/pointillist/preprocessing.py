"""Preprocessing: quality of spots and genes, normalisation, variable genes, principal components, neighbour graph."""

import logging

import numpy as np
import pandas as pd
from scipy import sparse

log = logging.getLogger(__name__)

_NORMAL_MAD = 1.4826
_MITOCHONDRIAL = r"^(?:mt|MT|Mt)[-.]"


def quality_control(counts, genes, min_counts="auto", min_genes="auto", max_mitochondrial="auto", n_mads=3.0):
    """Quality of every spot and whether it is kept.

    Parameters
    ----------
    counts : CSR, spots × genes
        Raw counts.
    genes : sequence of str
        Symbols; mitochondrial ones begin with ``MT-`` in any case.
    min_counts, min_genes : int, float or "auto"
        Smallest total counts and genes detected; ``auto`` is `n_mads` scaled MADs below the median on the log scale.
    max_mitochondrial : float or "auto"
        Largest mitochondrial share, 0 to 1; ``auto`` is `n_mads` scaled MADs above the median, and at least 0.1.
    n_mads : float

    Returns
    -------
    quality : DataFrame
        Columns ``total_counts, n_genes, mitochondrial, filtered, reason``, one row for each spot.
    thresholds : dict of str to float

    Raises
    ------
    ValueError
        No spot is kept; the message has the thresholds and the medians.
    """
    counts = sparse.csr_matrix(counts)
    mitochondrial = pd.Series(np.asarray(genes, dtype=str)).str.match(_MITOCHONDRIAL).to_numpy()
    total = np.asarray(counts.sum(axis=1), dtype=float).ravel()
    detected = np.asarray((counts > 0).sum(axis=1)).ravel()
    share = np.divide(
        np.asarray(counts[:, mitochondrial].sum(axis=1), dtype=float).ravel(),
        total,
        out=np.zeros_like(total),
        where=total > 0,
    )
    filled = total > 0
    thresholds = {
        "min_counts": _lower_bound(total[filled], n_mads) if min_counts == "auto" else float(min_counts),
        "min_genes": _lower_bound(detected[filled], n_mads) if min_genes == "auto" else float(min_genes),
        "max_mitochondrial": max(_upper_bound(share[filled], n_mads), 0.1)
        if max_mitochondrial == "auto"
        else float(max_mitochondrial),
    }
    reasons = {
        "no counts": ~filled,
        "few counts": total < thresholds["min_counts"],
        "few genes": detected < thresholds["min_genes"],
        "mitochondrial": share > thresholds["max_mitochondrial"],
    }
    reason = np.select(list(reasons.values()), list(reasons), default="")
    quality = pd.DataFrame(
        {
            "total_counts": total,
            "n_genes": detected.astype(int),
            "mitochondrial": share,
            "filtered": reason != "",
            "reason": reason,
        }
    )
    if quality["filtered"].all():
        raise ValueError(
            f"no spot is left: thresholds {thresholds}, while the median spot has {np.median(total):.0f} counts, "
            f"{np.median(detected):.0f} genes and a mitochondrial share of {np.median(share):.3f}"
        )
    return quality, thresholds


def normalise(counts, kept):
    """Counts scaled to the median library size of the spots kept, then log1p.

    Parameters
    ----------
    counts : CSR, spots × genes
    kept : ndarray of bool, spots

    Returns
    -------
    CSR float32, spots × genes
        Spots without counts stay empty.
    """
    total = np.asarray(counts.sum(axis=1), dtype=float).ravel()
    scale = np.divide(np.median(total[kept]), total, out=np.zeros_like(total), where=total > 0)
    scaled = sparse.csr_matrix(sparse.diags_array(scale) @ counts)
    scaled.data = np.log1p(scaled.data)
    return scaled.astype(np.float32)


def variable_genes(counts, n_genes=2000, min_spots=5):
    """Highly variable genes, by the variance of standardised counts (Seurat v3).

    Parameters
    ----------
    counts : CSR, spots × genes
        Raw counts of the spots kept.
    n_genes : int
        Number to choose; all detected genes where there are no more.
    min_spots : int
        Genes found in fewer spots are not candidates.

    Returns
    -------
    ndarray of bool, genes

    References
    ----------
    Stuart et al. (2019), Cell 177:1888.
    """
    import scanpy as sc
    from anndata import AnnData

    detected = np.asarray((counts > 0).sum(axis=0)).ravel() >= min_spots
    chosen = np.zeros(counts.shape[1], dtype=bool)
    if detected.sum() <= n_genes:
        return detected
    candidates = AnnData(sparse.csr_matrix(counts[:, detected], dtype=np.float32))
    sc.pp.highly_variable_genes(candidates, n_top_genes=n_genes, flavor="seurat_v3")
    chosen[np.flatnonzero(detected)[candidates.var["highly_variable"].to_numpy()]] = True
    return chosen


def principal_components(logged, n_components=30):
    """Leading principal components, signs fixed so that each one's largest loading is positive.

    Parameters
    ----------
    logged : CSR, spots × genes
        Log-normalised expression of the variable genes.
    n_components : int
        At most one less than spots and genes.

    Returns
    -------
    scores : ndarray float64, spots × components
    explained : ndarray
        Share of the variance that each one explains.
    """
    from sklearn.decomposition import PCA

    n_components = min(n_components, min(logged.shape) - 1)
    # The covariance form is exact and deterministic; arpack would depend on its start vector.
    dense = logged.toarray().astype(float)
    solver = "covariance_eigh" if logged.shape[1] <= logged.shape[0] * 2 else "full"
    model = PCA(n_components=n_components, svd_solver=solver).fit(dense)
    signs = np.sign(model.components_[np.arange(n_components), np.abs(model.components_).argmax(axis=1)])
    return (dense - model.mean_) @ (model.components_ * signs[:, None]).T, model.explained_variance_ratio_


def spatial_graph(coordinates, kind="auto", n_rings=1, n_neighbours=6):
    """Neighbour graph of spots.

    Parameters
    ----------
    coordinates : ndarray, spots × 2
    kind : {"auto", "hexagonal", "square", "delaunay", "nearest"}
        ``auto`` looks at how many spots lie at about the smallest distance: 6 on hexagons, 4 on squares; else Delaunay.
    n_rings : int
        Rings of neighbours on a grid.
    n_neighbours : int
        For ``nearest``.

    Returns
    -------
    connectivities : CSR of 0/1, spots × spots
        Symmetric, with an empty diagonal.
    kind : str
        The kind used.

    Raises
    ------
    ValueError
        Coordinates that are not finite, or fewer than four spots.

    References
    ----------
    Palla et al. (2022), Nature Methods 19:171 (squidpy, which builds the graph).
    """
    import squidpy as sq
    from anndata import AnnData

    if not np.isfinite(coordinates).all():
        raise ValueError(f"{(~np.isfinite(coordinates)).any(axis=1).sum()} spots have no finite coordinates")
    if len(coordinates) < 4:
        raise ValueError(f"a neighbour graph needs at least 4 spots, found {len(coordinates)}")
    if kind == "auto":
        kind = recognise_grid(coordinates)
    frame = AnnData(np.zeros((len(coordinates), 1), dtype=np.float32), obsm={"spatial": np.asarray(coordinates)})
    options = {
        "hexagonal": {"coord_type": "grid", "n_neighs": 6, "n_rings": n_rings},
        "square": {"coord_type": "grid", "n_neighs": 4, "n_rings": n_rings},
        "delaunay": {"coord_type": "generic", "delaunay": True},
        "nearest": {"coord_type": "generic", "n_neighs": n_neighbours},
    }[kind]
    sq.gr.spatial_neighbors(frame, **options)
    graph = frame.obsp["spatial_connectivities"]
    graph = sparse.csr_matrix(((graph + graph.T) > 0).astype(np.float32))
    graph.setdiag(0)
    graph.eliminate_zeros()
    return graph, kind


def recognise_grid(coordinates, tolerance=0.2):
    """Whether spots lie on a hexagonal or square grid, by the neighbours at about the smallest distance.

    Returns
    -------
    {"hexagonal", "square", "delaunay"}
    """
    from scipy.spatial import cKDTree

    distances = cKDTree(coordinates).query(coordinates, k=min(7, len(coordinates)))[0][:, 1:]
    nearest = distances[:, 0]
    pitch = np.median(nearest)
    if pitch == 0 or np.quantile(np.abs(nearest / pitch - 1), 0.9) > tolerance:
        return "delaunay"
    # Inner spots have all their neighbours: the upper quartile passes over the rim and the holes.
    typical = np.quantile((distances < pitch * (1 + tolerance)).sum(axis=1), 0.75)
    return {6: "hexagonal", 5: "hexagonal", 4: "square", 3: "square"}.get(round(typical), "delaunay")


def _lower_bound(values, n_mads):
    logged = np.log1p(values)
    centre = np.median(logged)
    return float(np.expm1(max(centre - n_mads * _NORMAL_MAD * np.median(np.abs(logged - centre)), 0)))


def _upper_bound(values, n_mads):
    centre = np.median(values)
    return float(centre + n_mads * _NORMAL_MAD * np.median(np.abs(values - centre)))


def expand_graph(graph, kept):
    """The graph over all spots from that over the spots kept: the others have no neighbour."""
    position = sparse.csr_matrix(
        (np.ones(kept.sum(), dtype=graph.dtype), (np.flatnonzero(kept), np.arange(kept.sum()))),
        shape=(len(kept), int(kept.sum())),
    )
    return sparse.csr_matrix(position @ graph @ position.T)
