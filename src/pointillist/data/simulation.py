"""A simulated Visium section of an invented, lymph-node-like organ, with everything about it known.

Cells lie one by one in the tissue; a spot holds those within its disc, so that the stained image shows the very
nuclei that the truth counts. With ``n_sk`` cells of type ``k`` in spot ``s``,

    P_sk = n_sk / Σ_k n_sk                                      proportions, the truth
    w_sk = n_sk c_k / Σ_k n_sk c_k                              share of the RNA; c_k is the cell size
    μ_sg = λ_s γ_g Σ_k w_sk R_kg                                expected count of gene g
    x_sg ~ Poisson(μ_sg u_sg),  u_sg ~ Gamma(1/α, α)            so that Var(x) = μ + α μ²

where ``λ`` is the spot's depth (it grows with the square root of the number of cells, as capture saturates, times
log-normal noise), ``γ`` the platform effect of the gene (log-normal) and ``R`` the programmes, whose rows sum to
1. A cell of the reference is drawn likewise from ``R``, its own depth and its donor's effect, but without ``γ``
and with twice the dispersion: cells of a type differ, and spots average over them. ``R_kg`` is a gamma draw per
gene (orders of magnitude apart) times log-normal noise per type, times a fold change where gene ``g`` marks the
type or its lineage: types of one lineage are alike.

>>> simulation = simulate_tissue(seed=0)  # doctest: +SKIP
>>> simulation.spots, simulation.reference, simulation.truth  # doctest: +SKIP
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from pointillist import __version__
from pointillist.data.files import to_json
from pointillist.data.staining import CELL_TYPES, REGIONS, Organ, place_cells, stain_section
from pointillist.seeds import generator

TYPE_WITHOUT_GENE_SET = "Plasma cell"
GENE_SET_WITHOUT_TYPE = "Adipocyte"

_LINEAGES = np.array(["B", "T", "stroma", "myeloid", "B", "B", "T", "stroma"])
_REFERENCE_SHARES = np.array([0.22, 0.22, 0.10, 0.11, 0.08, 0.10, 0.1367, 0.0333])

_PITCH, _DIAMETER = 100.0, 55.0  # of Visium, in micrometres; here also in pixels
_MT_GENES, _MT_SHARE = 10, 0.06


@dataclass(frozen=True)
class Simulation:
    """What `simulate_tissue` made of S spots and K cell types; its universe is the genes of spots and reference.

    Parameters
    ----------
    spots : AnnData, S × genes of the spots
        Counts in ``X``; ``obs`` in_tissue, array_row, array_col, region; ``obsm`` spatial, protein; the image in
        ``uns["spatial"]``.
    reference : AnnData, cells × genes of the reference
        ``X`` counts, ``obs`` cell_type and donor.
    truth : DataFrame, S × K
        Share of each type among the spot's cells; rows sum to 1.
    gene_sets : DataFrame
        Columns set and gene.
    expected : dict
        What an analysis should find: cell_type_without_gene_set, gene_set_without_cell_type, rare_cell_type, and
        low_quality_spots, lists of barcodes under few_counts and mitochondrial.
    cells : DataFrame, S × K
        Number of cells of each type in each spot.
    programmes : DataFrame, K × universe
        Expected share of each gene in a cell's RNA; rows sum to 1.
    protein_programmes : DataFrame, K × proteins
        Expected protein counts of a spot of one type at depth 1, background included.
    cell_sizes : Series, K
        RNA content of a cell of each type, relative to others.
    platform_effect : Series, genes of the spots
        Factor by which the spots' platform captures a gene more than the reference's.
    depth : Series, S
        Expected total count of a spot, over the universe and before the platform effect.
    """

    spots: object
    reference: object
    truth: pd.DataFrame
    gene_sets: pd.DataFrame
    expected: dict
    cells: pd.DataFrame
    programmes: pd.DataFrame
    protein_programmes: pd.DataFrame
    cell_sizes: pd.Series
    platform_effect: pd.Series
    depth: pd.Series


def simulate_tissue(
    seed=0,
    n_spots=1000,
    n_genes=1500,
    n_cell_types=8,
    n_reference_cells=1200,
    n_proteins=30,
    n_unshared_genes=50,
    n_low_quality=12,
    counts_per_spot=5000.0,
    counts_per_cell=2500.0,
    dispersion=0.2,
    platform_sd=0.3,
    cell_size_sd=0.15,
    donor_sd=0.1,
    depth_sd=0.2,
    image_size=1200,
    library_id="demo",
):
    """Simulate spots, single-cell reference, proteins, gene sets and stained image of one tissue section.

    Parameters
    ----------
    seed : int
        Decides every draw: the same seed gives the same bytes.
    n_spots, n_genes : int
        S, at least 100, and genes measured in the spots, at least 300.
    n_cell_types : int
        K, 5 to 8, the first of `CELL_TYPES`.
    n_reference_cells : int
        Cells of the reference, at least 20 per type; with 8 types one in thirty is of the rarest.
    n_proteins : int
        Proteins measured in the same spots, 0 for none.
    n_unshared_genes : int
        Genes of the spots that the reference lacks, and as many that only it has.
    n_low_quality : int
        Spots that quality control should remove, half for few counts and half for mitochondrial share.
    counts_per_spot, counts_per_cell : float
        Typical total counts.
    dispersion : float
        α above, 0 for Poisson counts.
    platform_sd, cell_size_sd, donor_sd, depth_sd : float
        Standard deviation, on the natural log scale, of γ, c, the donor's effect per gene, and the depth.
    image_size : int
        Longer side of the image, in pixels.
    library_id : str
        Key in ``uns["spatial"]``.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError
    """
    parameters = dict(locals())
    _check(parameters)
    types = pd.Index(CELL_TYPES[:n_cell_types], name="cell_type")

    def draws(part):
        return generator(seed, "simulation", part)

    organ, grid, spatial = _lay_out(n_spots, draws("organ"))
    barcodes = pd.Index(_barcodes(n_spots, draws("barcodes")), name="barcode")
    region = organ.regions(spatial)
    positions, kinds, cells = place_cells(organ, spatial, _DIAMETER, n_cell_types, draws("cells"))

    genes, own, programmes = _programmes(n_genes + n_unshared_genes, n_cell_types, draws("programmes"))
    of_spots, of_reference = _panels(genes, own, n_unshared_genes, draws("panels"))
    sizes = draws("cell sizes").lognormal(0, cell_size_sd, n_cell_types)
    platform = draws("platform").lognormal(0, platform_sd, len(of_spots))

    rng = draws("spots")
    depth = counts_per_spot * np.sqrt(cells.sum(axis=1) / np.median(cells.sum(axis=1)))
    depth *= rng.lognormal(0, depth_sd, n_spots)
    low = rng.choice(n_spots, n_low_quality, replace=False)
    few, dying = np.sort(low[: n_low_quality // 2]), np.sort(low[n_low_quality // 2 :])
    depth[few] *= rng.uniform(0.01, 0.03, few.size)
    depth[dying] *= rng.uniform(0.3, 0.5, dying.size)
    profiles = _normalised(cells * sizes) @ programmes
    profiles[dying] = _mitochondrial(profiles[dying], rng.uniform(0.4, 0.6, dying.size))
    counts = _count(depth[:, None] * profiles[:, of_spots] * platform, dispersion, rng)

    truth = pd.DataFrame(_normalised(cells), index=barcodes, columns=types)
    depth_factor = np.sqrt(depth / counts_per_spot)
    protein_programmes, protein = _proteins(truth, n_proteins, depth_factor, dispersion, draws("protein"))
    scale = image_size / max(organ.width, organ.height)
    spots = _annotated(counts, barcodes, genes[of_spots], parameters)
    spots.obs["in_tissue"], spots.obs["array_row"], spots.obs["array_col"] = 1, *grid.T
    spots.obs["region"] = pd.Categorical.from_codes(region, REGIONS).remove_unused_categories()
    spots.obsm["spatial"] = spatial
    if n_proteins:
        spots.obsm["protein"] = protein
    spots.uns["spatial"] = {
        library_id: {
            "images": {"hires": stain_section(organ, positions, kinds, scale, draws("stain"))},
            "scalefactors": {
                "tissue_hires_scalef": scale,
                "spot_diameter_fullres": _DIAMETER,
                "fiducial_diameter_fullres": 1.6 * _DIAMETER,
            },
            "metadata": {"chemistry_description": "simulated"},
        }
    }
    return Simulation(
        spots=spots,
        reference=_reference(genes, of_reference, types, sizes, programmes, parameters, draws("reference")),
        truth=truth,
        gene_sets=_gene_sets(genes, own, programmes, of_spots, types, draws("gene sets")),
        expected={
            "cell_type_without_gene_set": TYPE_WITHOUT_GENE_SET,
            "gene_set_without_cell_type": GENE_SET_WITHOUT_TYPE,
            "rare_cell_type": types[_reference_sizes(n_reference_cells, n_cell_types).argmin()],
            "low_quality_spots": {"few_counts": list(barcodes[few]), "mitochondrial": list(barcodes[dying])},
        },
        cells=pd.DataFrame(cells, index=barcodes, columns=types),
        programmes=pd.DataFrame(programmes, index=types, columns=genes),
        protein_programmes=protein_programmes,
        cell_sizes=pd.Series(sizes, index=types, name="cell_size"),
        platform_effect=pd.Series(platform, index=genes[of_spots], name="platform_effect"),
        depth=pd.Series(depth, index=barcodes, name="depth"),
    )


def _check(parameters):
    k = parameters["n_cell_types"]
    least = {"n_spots": 100, "n_genes": 300, "n_reference_cells": 20 * k, "n_proteins": 0, "image_size": 100}
    least |= {"n_unshared_genes": 0, "n_low_quality": 0, "dispersion": 0, "platform_sd": 0, "cell_size_sd": 0}
    least |= {"donor_sd": 0, "depth_sd": 0, "counts_per_spot": 1, "counts_per_cell": 1, "n_cell_types": 5}
    most = {
        "n_cell_types": len(CELL_TYPES),
        "n_unshared_genes": parameters["n_genes"] // 5,
        "n_low_quality": parameters["n_spots"] // 5,
    }
    for name, value in parameters.items():
        if name in least and not (np.isfinite(value) and least[name] <= value <= most.get(name, np.inf)):
            limit = f" and at most {most[name]}" if name in most else ""
            raise ValueError(f"{name}: found {value!r}, expected at least {least[name]}{limit}")
        if name.startswith(("n_", "image_")) and value != int(value):
            raise ValueError(f"{name}: found {value!r}, expected a whole number")


def _lay_out(n_spots, rng):
    """The organ, and of Visium's grid over it the innermost n_spots: array row and column, pixels x and y."""
    row_height = _PITCH * np.sqrt(3) / 2
    organ = Organ(rng, area=n_spots * _PITCH * row_height, margin=2.6 * _PITCH)
    rows, columns = np.indices((int(organ.height / row_height) + 1, int(2 * organ.width / _PITCH) + 1))
    grid = np.column_stack([rows.ravel(), columns.ravel()])
    grid = grid[grid.sum(axis=1) % 2 == 0]
    spatial = grid[:, ::-1] * [_PITCH / 2, row_height]
    # Space Ranger lists the spots of its grid by row and then by column.
    inner = np.sort(np.argsort(organ.relative_radius(spatial), kind="stable")[:n_spots])
    return organ, grid[inner], spatial[inner]


def _programmes(n_genes, n_cell_types, rng):
    """Names of the genes, the own markers of each type, and each type's expected share of every gene."""
    genes = [f"Gene{g:04d}" for g in range(1, n_genes - _MT_GENES + 1)]
    genes = pd.Index(genes + [f"mt-Gene{g:02d}" for g in range(1, _MT_GENES + 1)], name="gene")
    nuclear = n_genes - _MT_GENES
    base = rng.gamma(0.35, size=nuclear)
    share = base * rng.lognormal(0, 0.15, (n_cell_types, nuclear))

    # Markers come from genes of middling expression: a fold change on almost nothing shows in no spot.
    n_own = int(np.clip(nuclear // 50, 12, 30))
    middling = np.flatnonzero((base > np.quantile(base, 0.35)) & (base < np.quantile(base, 0.9)))
    chosen = rng.permutation(middling)
    lineages = list(dict.fromkeys(_LINEAGES[:n_cell_types]))
    own = chosen[: n_cell_types * n_own].reshape(n_cell_types, n_own)
    shared = chosen[n_cell_types * n_own :][: len(lineages) * (n_own // 2)].reshape(len(lineages), -1)
    for lineage, markers in zip(lineages, shared):
        members = np.flatnonzero(_LINEAGES[:n_cell_types] == lineage)
        share[np.ix_(members, markers)] *= np.exp2(rng.uniform(1.5, 4.0, markers.size))
    for k in range(n_cell_types):
        share[k, own[k]] *= np.exp2(rng.uniform(1.0, 3.5, n_own))

    mt = _MT_SHARE * rng.lognormal(0, 0.1, (n_cell_types, 1))
    mt_split = _normalised(rng.gamma(3.0, size=(1, _MT_GENES)))
    return genes, own, np.hstack([_normalised(share) * (1 - mt), mt * mt_split])


def _panels(genes, own, n_unshared, rng):
    """Positions of the genes that spots and reference have; every marker is among the spots'."""
    nuclear = np.arange(len(genes) - _MT_GENES)
    reference_only = rng.choice(np.setdiff1d(nuclear, own), n_unshared, replace=False)
    spots_only = rng.choice(np.setdiff1d(nuclear, reference_only), n_unshared, replace=False)
    every = np.arange(len(genes))
    return np.setdiff1d(every, reference_only), np.setdiff1d(every, spots_only)


def _mitochondrial(profiles, share):
    """Profiles in which mitochondrial genes make up `share` of the RNA, as in a dying cell."""
    nuclear, mt = profiles[:, :-_MT_GENES], profiles[:, -_MT_GENES:]
    return np.hstack([_normalised(nuclear) * (1 - share[:, None]), _normalised(mt) * share[:, None]])


def _proteins(truth, n_proteins, depth_factor, dispersion, rng):
    """Programmes and counts of proteins: two per type, one per lineage, the rest alike in all types."""
    types = truth.columns
    names = pd.Index([f"Protein{p:02d}" for p in range(1, n_proteins + 1)], name="protein")
    background = rng.lognormal(np.log(12), 0.6, n_proteins)
    marks = [types == name for name in types] * 2
    marks += [_LINEAGES[: len(types)] == lineage for lineage in dict.fromkeys(_LINEAGES[: len(types)])]
    programmes = np.tile(background, (len(types), 1))
    for p, members in enumerate(marks[:n_proteins]):
        programmes[members, p] += rng.lognormal(np.log(150), 0.5)
    # Antibodies and RNA share what the tissue let through, but each is caught with its own noise.
    factor = depth_factor * rng.lognormal(0, 0.2, len(truth))
    counts = _count(factor[:, None] * (truth.to_numpy() @ programmes), dispersion, rng).toarray().astype(int)
    programmes = pd.DataFrame(programmes, index=types, columns=names)
    return programmes, pd.DataFrame(counts, index=truth.index, columns=names)


def _reference(genes, of_reference, types, sizes, programmes, parameters, rng):
    n_cells = parameters["n_reference_cells"]
    kind = rng.permutation(np.repeat(np.arange(len(types)), _reference_sizes(n_cells, len(types))))
    donor = (rng.uniform(size=n_cells) < 0.45).astype(int)
    effects = rng.lognormal(0, parameters["donor_sd"], (2, len(of_reference)))
    depth = parameters["counts_per_cell"] * sizes[kind] * rng.lognormal(0, 0.35, n_cells)
    means = depth[:, None] * programmes[np.ix_(kind, of_reference)] * effects[donor]
    names = pd.Index([f"cell{c:05d}" for c in range(1, n_cells + 1)], name="cell")
    counts = _count(means, 2 * parameters["dispersion"], rng)
    reference = _annotated(counts, names, genes[of_reference], parameters)
    reference.obs["cell_type"] = pd.Categorical.from_codes(kind, types)
    reference.obs["donor"] = pd.Categorical.from_codes(donor, ["donor1", "donor2"])
    return reference


def _reference_sizes(n_cells, n_cell_types):
    sizes = np.rint(_normalised(_REFERENCE_SHARES[None, :n_cell_types])[0] * n_cells).astype(int)
    sizes[0] += n_cells - sizes.sum()
    return sizes


def _gene_sets(genes, own, programmes, of_spots, types, rng):
    """For each type but one 10 to 25 genes, up to 3 of which are no markers; and a set of unrelated genes."""
    level, spread = programmes.mean(axis=0), np.log(programmes).std(axis=0)
    neutral = (level > np.quantile(level, 0.35)) & (level < np.quantile(level, 0.9)) & (spread < 0.5)
    neutral[-_MT_GENES:] = False
    neutral = np.setdiff1d(np.intersect1d(of_spots, np.flatnonzero(neutral)), own)
    chosen = {GENE_SET_WITHOUT_TYPE: rng.choice(neutral, 15, replace=False)}
    for name, markers in zip(types, own):
        size, wrong = rng.integers(10, min(25, len(markers)) + 1), rng.integers(0, 4)
        right = rng.choice(markers, size - wrong, replace=False)
        chosen[name] = np.append(right, rng.choice(neutral, wrong, replace=False))
    del chosen[TYPE_WITHOUT_GENE_SET]
    rows = [(name, gene) for name in sorted(chosen) for gene in genes[np.sort(chosen[name])]]
    return pd.DataFrame(rows, columns=["set", "gene"])


def _count(means, dispersion, rng, block=2000):
    """Negative binomial counts of variance μ + α μ², sparse, drawn a block of rows at a time."""
    blocks = []
    for start in range(0, len(means), block):
        rate = means[start : start + block]
        if dispersion > 0:
            rate = rate * rng.gamma(1 / dispersion, dispersion, rate.shape)
        blocks.append(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def _annotated(counts, rows, genes, parameters):
    from anndata import AnnData

    adata = AnnData(counts, obs=pd.DataFrame(index=rows), var=pd.DataFrame(index=genes))
    params = {name: value for name, value in parameters.items() if name != "seed"}
    record = {"params": params, "seed": parameters["seed"], "version": __version__}
    adata.uns["pointillist"] = {"simulation": to_json(record)}
    return adata


def _barcodes(n, rng):
    numbers = rng.choice(4**16, n, replace=False)
    letters = np.array(list("ACGT"))[numbers[:, None] // 4 ** np.arange(16) % 4]
    return ["".join(row) + "-1" for row in letters]


def _normalised(rows):
    return rows / rows.sum(axis=1, keepdims=True)
