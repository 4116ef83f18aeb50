"""The simulator is what other tests and the demo take for true, so its truth is checked against its own counts."""

import json
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from pointillist.data.files import write_h5ad
from pointillist.data.simulation import simulate_tissue
from pointillist.data.staining import CELL_TYPES

SMALL = {"n_spots": 150, "n_genes": 300, "n_reference_cells": 240, "image_size": 200}


@pytest.fixture(scope="module")
def tissue():
    return simulate_tissue(seed=0)


@pytest.fixture(scope="module")
def good(tissue):
    """Which spots are not of low quality: the closed form below is theirs."""
    low = tissue.expected["low_quality_spots"]
    return ~tissue.spots.obs_names.isin(low["few_counts"] + low["mitochondrial"])


def contents(simulation):
    """Every byte of a simulation that anything may depend on."""
    spots, reference = simulation.spots, simulation.reference
    arrays = [matrix for adata in (spots, reference) for matrix in (adata.X.data, adata.X.indices, adata.X.indptr)]
    arrays += [spots.obsm["spatial"], spots.uns["spatial"]["demo"]["images"]["hires"]]
    frames = [spots.obs, spots.var, spots.obsm["protein"], reference.obs, reference.var, simulation.truth]
    frames += [simulation.gene_sets, simulation.cells, simulation.programmes, simulation.protein_programmes]
    frames += [simulation.cell_sizes, simulation.platform_effect, simulation.depth]
    text = [frame.to_csv(float_format="%.17g") for frame in frames]
    text += [json.dumps(simulation.expected), spots.uns["pointillist"]["simulation"]]
    return [array.tobytes() for array in arrays] + text


def test_same_seed_same_bytes_and_another_seed_another_tissue():
    first, again, other = (contents(simulate_tissue(seed, **SMALL)) for seed in (3, 3, 4))
    assert first == again
    # The genes' names are those of no seed; the rest has to differ.
    assert sum(a != b for a, b in zip(first, other)) >= len(first) - 2


def test_programmes_and_tissue_have_seeds_of_their_own():
    base = simulate_tissue(3, **SMALL)
    wider = simulate_tissue(3, **SMALL | {"n_spots": 160})
    assert wider.programmes.equals(base.programmes)
    assert wider.platform_effect.equals(base.platform_effect)
    assert (wider.reference.X != base.reference.X).nnz == 0


def test_spots_follow_the_contract(tissue, tmp_path):
    spots, truth = tissue.spots, tissue.truth
    assert spots.shape == (1000, 1500)
    assert sparse.issparse(spots.X) and spots.X.format == "csr" and spots.X.dtype == np.float32
    assert (spots.X.data >= 1).all() and (spots.X.data == np.rint(spots.X.data)).all()
    assert spots.obs_names.is_unique and spots.obs_names.str.fullmatch("[ACGT]{16}-1").all()
    assert spots.var_names.is_unique and spots.var_names.str.startswith("mt-").sum() == 10
    assert spots.obs["region"].nunique() == 7 and spots.obs["region"].value_counts().min() >= 30
    assert spots.obsm["spatial"].shape == (1000, 2) and spots.obsm["spatial"].dtype == np.float64
    protein = spots.obsm["protein"]
    assert protein.shape == (1000, 30) and protein.to_numpy().dtype == np.int64
    assert protein.index.equals(spots.obs_names)
    library = spots.uns["spatial"]["demo"]
    assert max(library["images"]["hires"].shape) == 1200 and library["images"]["hires"].dtype == np.uint8
    assert library["scalefactors"]["spot_diameter_fullres"] == 55
    record = json.loads(spots.uns["pointillist"]["simulation"])
    assert record["seed"] == 0 and record["params"]["n_spots"] == 1000

    assert truth.index.name == "barcode" and truth.index.equals(spots.obs_names)
    assert tuple(truth.columns) == CELL_TYPES
    np.testing.assert_allclose(truth.sum(axis=1), 1, atol=1e-12)

    write_h5ad(spots, tmp_path / "spots.h5ad")
    back = anndata.read_h5ad(tmp_path / "spots.h5ad")
    assert (back.X != spots.X).nnz == 0 and back.obs.equals(spots.obs)
    assert back.obsm["protein"].equals(protein)


def test_counts_look_like_visium(tissue):
    totals = np.asarray(tissue.spots.X.sum(axis=1)).ravel()
    assert 3000 < np.median(totals) < 8000
    assert 0.35 < 1 - tissue.spots.X.nnz / tissue.spots.X.shape[0] / tissue.spots.X.shape[1] < 0.8
    numbers = tissue.cells.sum(axis=1)
    assert numbers.min() >= 1 and 15 <= numbers.max() <= 20
    by_region = numbers.groupby(tissue.spots.obs["region"], observed=True).mean()
    assert by_region["Follicle"] > 2 * by_region["Capsule"]


def expected_counts(tissue, truth):
    """Depth × RNA shares × programmes × platform effect, by the formula in the module's docstring."""
    rna = truth.to_numpy() * tissue.cell_sizes.to_numpy()
    rna /= rna.sum(axis=1, keepdims=True)
    profile = rna @ tissue.programmes[tissue.spots.var_names].to_numpy()
    return tissue.depth.to_numpy()[:, None] * profile * tissue.platform_effect.to_numpy()


def region_scores(tissue, good, counts, mean, dispersion):
    """z of each column's total in each region, standard normal if the spots have this mean and dispersion."""
    membership = pd.get_dummies(tissue.spots.obs["region"]).to_numpy(dtype=float)[good].T
    excess = membership @ (counts - mean)[good]
    variance = membership @ (mean + dispersion * mean**2)[good]
    return (excess / np.sqrt(variance))[variance > 5]


def test_pooled_counts_have_the_mean_that_the_truth_says(tissue, good):
    counts = tissue.spots.X.toarray()
    z = region_scores(tissue, good, counts, expected_counts(tissue, tissue.truth), 0.2)
    assert z.size > 5000 and abs(z.mean()) < 0.05
    assert 0.9 < z.var() < 1.1 and np.abs(z).max() < 7

    shuffled = expected_counts(tissue, tissue.truth.sample(frac=1, random_state=0))
    assert region_scores(tissue, good, counts, shuffled, 0.2).var() > 3
    without_platform = expected_counts(tissue, tissue.truth) / tissue.platform_effect.to_numpy()
    assert region_scores(tissue, good, counts, without_platform, 0.2).var() > 3


def moment_dispersion(counts, mean):
    return ((counts - mean) ** 2 - mean).sum() / (mean**2).sum()


@pytest.mark.parametrize("dispersion", [0, 0.05, 0.3])
def test_counts_are_overdispersed_as_set(dispersion):
    tissue = simulate_tissue(1, **SMALL, dispersion=dispersion, n_low_quality=0, donor_sd=0)
    found = moment_dispersion(tissue.spots.X.toarray(), expected_counts(tissue, tissue.truth))
    assert found == pytest.approx(dispersion, rel=0.12, abs=0.003)


def test_truth_counts_cells_and_the_counts_their_rna(tissue):
    shares = tissue.cells.div(tissue.cells.sum(axis=1), axis=0)
    np.testing.assert_allclose(tissue.truth, shares)
    assert tissue.cell_sizes.between(0.6, 1.7).all() and tissue.cell_sizes.std() > 0.05

    unequal = simulate_tissue(1, **SMALL, cell_size_sd=0.8, dispersion=0, n_low_quality=0)
    counts = unequal.spots.X.toarray()
    assert abs(moment_dispersion(counts, expected_counts(unequal, unequal.truth))) < 0.002
    ignored = replace(unequal, cell_sizes=unequal.cell_sizes * 0 + 1)
    assert moment_dispersion(counts, expected_counts(ignored, unequal.truth)) > 0.005


def test_reference_cells_express_the_programme_of_their_type(tissue):
    reference = tissue.reference
    counts = reference.X.toarray()
    programmes = tissue.programmes[reference.var_names]
    means = pd.DataFrame(counts / counts.sum(axis=1, keepdims=True)).groupby(
        reference.obs["cell_type"].to_numpy(), observed=True
    )
    correlation = np.corrcoef(np.log(means.mean() + 1e-5), np.log(programmes.loc[means.mean().index] + 1e-5))
    between = correlation[: len(programmes), len(programmes) :]
    assert (between.argmax(axis=1) == np.arange(len(programmes))).all()
    assert np.diag(between).min() > 0.97


def test_reference_is_unequal_and_shares_most_genes(tissue):
    sizes = tissue.reference.obs["cell_type"].value_counts()
    assert sizes.sum() == 1200 and sizes.max() > 5 * sizes.min()
    assert sizes.idxmin() == tissue.expected["rare_cell_type"] and sizes.min() == 40
    spots, reference = set(tissue.spots.var_names), set(tissue.reference.var_names)
    assert (len(spots & reference), len(spots - reference), len(reference - spots)) == (1450, 50, 50)
    assert set(tissue.programmes.columns) == spots | reference


def test_donors_differ_mildly():
    """Log ratio of the donors' pooled counts has variance 2 sd² above sampling; none without the effect."""
    spread = {}
    for sd in (0, 0.3):
        reference = simulate_tissue(2, **SMALL | {"n_reference_cells": 1600}, donor_sd=sd).reference
        first = (reference.obs["donor"] == "donor1").to_numpy()
        pooled = [np.asarray(reference.X[donor].sum(axis=0)).ravel() for donor in (first, ~first)]
        seen = np.minimum(*pooled) > 400
        spread[sd] = np.log(pooled[0][seen] / pooled[1][seen]).std()
    assert spread[0] < 0.15 and spread[0.3] == pytest.approx(0.3 * np.sqrt(2), rel=0.25)


def neighbour_check(spatial):
    """Largest number of spots at distance 100, and whether none is nearer and no other ring below 173."""
    near = cKDTree(spatial).query_ball_point(spatial, 170)
    distances = [np.linalg.norm(spatial[list(set(j) - {i})] - spatial[i], axis=1) for i, j in enumerate(near)]
    return max(map(len, distances)), np.allclose(np.concatenate(distances), 100)


def test_spots_lie_on_visium_hexagons(tissue):
    spatial, obs = tissue.spots.obsm["spatial"], tissue.spots.obs
    assert neighbour_check(spatial) == (6, True)
    assert ((obs["array_row"] + obs["array_col"]) % 2 == 0).all()
    np.testing.assert_allclose(spatial, obs[["array_col", "array_row"]].to_numpy() * [50, 50 * np.sqrt(3)])
    inner = [len(near) == 7 for near in cKDTree(spatial).query_ball_point(spatial, 101)]
    assert np.mean(inner) > 0.8

    odd_rows_not_shifted = spatial - np.column_stack([obs["array_row"] % 2 * 50, np.zeros(len(obs))])
    assert neighbour_check(odd_rows_not_shifted) != (6, True)


def mean_below_spots(channel, spatial, scale, outside, reach=8):
    """Mean of an image channel within each spot's disc; `outside` where that leaves the image."""
    channel = np.pad(channel, reach, constant_values=outside)
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    offsets = offsets[np.hypot(*offsets.T) <= reach]
    at = np.floor(spatial * scale).astype(int)[:, None, :] + offsets + reach
    return channel[at[..., 1], at[..., 0]].mean(axis=1)


def test_image_lies_under_the_spots(tissue):
    library = tissue.spots.uns["spatial"]["demo"]
    image, scale = library["images"]["hires"], library["scalefactors"]["tissue_hires_scalef"]
    spatial, numbers = tissue.spots.obsm["spatial"], tissue.cells.sum(axis=1)
    glass = np.concatenate([image[:20].ravel(), image[-20:].ravel()])
    assert glass.min() > 225 and (spatial.max(axis=0) * scale < image.shape[1::-1]).all()

    # Haematoxylin by unmixing the optical density with the published absorbances of the two dyes.
    dyes = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
    density = -np.log(np.maximum(image, 1) / 246.0)

    def below(turn):
        brightness = mean_below_spots(turn(image).mean(axis=2), spatial, scale, 245.0)
        nuclei = mean_below_spots((turn(density) @ np.linalg.pinv(dyes))[..., 0], spatial, scale, 0.0)
        return (brightness > 225).sum(), spearmanr(nuclei, numbers).statistic

    off_tissue, agreement = below(lambda picture: picture)
    assert off_tissue == 0 and agreement > 0.85
    for turn in (lambda p: p[:, ::-1], lambda p: p[::-1], lambda p: p[::-1, ::-1]):
        off_tissue, agreement = below(turn)
        assert off_tissue > 20 and agreement < 0.5


def set_scores(tissue, genes_of):
    """Spots × sets: mean over the set of z-scaled log expression."""
    counts = tissue.spots.X.toarray()
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 5000)
    z = pd.DataFrame((logged - logged.mean(axis=0)) / (logged.std(axis=0) + 1e-9), columns=tissue.spots.var_names)
    return pd.DataFrame({name: z[list(genes)].mean(axis=1) for name, genes in genes_of.items()})


def test_gene_sets_score_highest_with_their_type_and_the_orphan_with_none(tissue, good):
    sets = tissue.gene_sets.groupby("set")["gene"].agg(list)
    orphan, unset = (
        tissue.expected["gene_set_without_cell_type"],
        tissue.expected["cell_type_without_gene_set"],
    )
    assert set(sets.index) - {orphan} == set(CELL_TYPES) - {unset}
    assert sets.map(len).between(10, 25).all() and not tissue.gene_sets.duplicated().any()
    assert tissue.gene_sets["gene"].isin(tissue.spots.var_names).all()

    fold = np.log2(tissue.programmes / tissue.programmes.mean())
    mean_fold = pd.DataFrame({name: fold[genes].mean(axis=1) for name, genes in sets.items()})
    assert mean_fold[orphan].abs().max() < 0.3
    assert all(mean_fold[name].idxmax() == name for name in sets.index.drop(orphan))
    unmarked = [(fold.loc[name, genes] < 0.5).sum() for name, genes in sets.drop(orphan).items()]
    assert 1 <= max(unmarked) and sum(unmarked) < 20

    def correlations(genes_of):
        scores = set_scores(tissue, genes_of).to_numpy()[good]
        both = np.corrcoef(scores.T, tissue.truth.to_numpy()[good].T)
        return pd.DataFrame(both[: len(sets), len(sets) :], index=sets.index, columns=tissue.truth.columns)

    found = correlations(sets)
    for name in sets.index.drop(orphan):
        assert found.loc[name].idxmax() == name and found.loc[name, name] > 0.4
    assert found.loc[orphan].abs().max() < 0.3
    rng = np.random.default_rng(0)
    random = sets.map(lambda genes: rng.choice(tissue.spots.var_names, len(genes), replace=False))
    control = correlations(random)
    assert not all(control.loc[name, name] > 0.4 for name in sets.index.drop(orphan))


def test_quality_control_finds_the_low_quality_spots(tissue, good):
    counts = tissue.spots.X
    totals = np.asarray(counts.sum(axis=1)).ravel()
    mt = np.asarray(counts[:, tissue.spots.var_names.str.startswith("mt-")].sum(axis=1)).ravel() / totals

    def deviations(values):
        away = values - np.median(values[good])
        return away / (1.4826 * np.median(np.abs(away[good])))

    low = tissue.expected["low_quality_spots"]
    few, dying = (tissue.spots.obs_names.isin(low[name]) for name in ("few_counts", "mitochondrial"))
    assert few.sum() == dying.sum() == 6
    assert (deviations(np.log(totals))[few] < -3).all() and (deviations(mt)[dying] > 5).all()
    assert (np.abs(deviations(np.log(totals)))[good] > 3).mean() < 0.05
    assert (deviations(mt)[good] > 5).mean() < 0.02


def test_proteins_follow_the_truth_above_a_background(tissue, good):
    protein, programmes = tissue.spots.obsm["protein"].to_numpy(), tissue.protein_programmes
    factor = np.sqrt(tissue.depth.to_numpy() / 5000)[:, None]

    def variance_of_scores(truth):
        # Log-normal noise of sd .2 multiplies each spot: its mean and variance join those of the counts.
        mean = factor * np.exp(0.2**2 / 2) * (truth.to_numpy() @ programmes.to_numpy())
        z = region_scores(tissue, good, protein, mean, 1.2 * np.exp(0.2**2) - 1)
        return (z**2).mean()

    assert variance_of_scores(tissue.truth) < 1.8
    assert variance_of_scores(tissue.truth.sample(frac=1, random_state=0)) > 5

    assert (programmes > 0).all(axis=None)
    specific = (programmes > 1.01 * programmes.min()).sum()
    assert (specific == 1).sum() >= 16 and (specific == 0).sum() >= 10
    for k, name in enumerate(CELL_TYPES):
        assert np.corrcoef(protein[good, k], tissue.truth[name][good])[0, 1] > 0.4


@pytest.mark.parametrize(
    "options",
    [
        {"n_cell_types": 5},
        {"n_proteins": 0},
        {"n_unshared_genes": 0},
        {"n_low_quality": 0},
        {"library_id": "slide7"},
    ],
    ids=str,
)
def test_options_give_what_they_say(options):
    tissue = simulate_tissue(5, **SMALL | options)
    assert tissue.truth.shape == (150, options.get("n_cell_types", 8))
    np.testing.assert_allclose(tissue.truth.sum(axis=1), 1)
    assert ("protein" in tissue.spots.obsm) == (options.get("n_proteins", 30) > 0)
    shared = tissue.spots.var_names.intersection(tissue.reference.var_names)
    assert len(shared) == 300 - options.get("n_unshared_genes", 50)
    assert list(tissue.spots.uns["spatial"]) == [options.get("library_id", "demo")]
    assert sum(map(len, tissue.expected["low_quality_spots"].values())) == options.get("n_low_quality", 12)


@pytest.mark.parametrize(
    "options",
    [
        {"n_spots": 10},
        {"n_spots": 150.5},
        {"n_genes": 100},
        {"n_cell_types": 9},
        {"n_cell_types": 2},
        {"n_reference_cells": 30},
        {"n_unshared_genes": 200},
        {"dispersion": -0.1},
        {"platform_sd": np.nan},
        {"counts_per_spot": 0},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        simulate_tissue(0, **SMALL | options)
