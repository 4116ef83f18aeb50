"""Archetypes across samples: planted programmes (of our own making), a split simulated section, and real neighbours."""

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial import cKDTree

from pointillist.archetypes import (
    archetypal_analysis,
    archetypal_communities,
    community_profiles,
    find_markers,
    match_across_samples,
    truth_correlation,
)
from pointillist.data.simulation import simulate_tissue
from pointillist.seeds import generator

N_PROGRAMMES, N_OWN = 5, 15
GENES = np.array([f"gene_{i:03d}" for i in range(260)])


def planted(seed, programmes, depth):
    """A sample whose communities are given: 40 spots for each programme that it has, in an order of its own."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(99).gamma(2, 1, len(GENES)) * rng.lognormal(0, 0.5, len(GENES)) * depth
    rates = np.tile(base, (40 * len(programmes), 1))
    for place, k in enumerate(programmes):
        rates[place * 40 : (place + 1) * 40, k * N_OWN : (k + 1) * N_OWN] *= 4
    X = sparse.csr_matrix(np.log1p(rng.poisson(rates)))
    names = [f"A{place}" for place in range(1, len(programmes) + 1)]
    barcodes = [f"spot_{i}" for i in range(len(rates))]
    membership = pd.DataFrame(np.repeat(np.eye(len(programmes), dtype=bool), 40, axis=0), barcodes, names)
    return describe(X, GENES, membership), pd.Series(0.1, names)


def describe(X, genes, membership):
    markers = find_markers(X, genes, membership.to_numpy(), list(membership), 50)
    return community_profiles(X, genes, membership), markers


@pytest.fixture(scope="module")
def three():
    """Three samples of unlike depth; each lacks a programme that others have, and ``b`` has one of its own."""
    has = {"a": [0, 1, 2, 3], "b": [3, 2, 0, 4], "c": [1, 0, 2]}
    found = {name: planted(seed, has[name], depth) for seed, (name, depth) in enumerate(zip(has, (2.0, 0.7, 1.2)))}
    profiles, markers, mass = {}, {}, {}
    for name, ((profile, marked), weights) in found.items():
        profiles[name], markers[name], mass[name] = profile, marked, weights
    planted_in = {(name, f"A{place}"): k for name in has for place, k in enumerate(has[name], 1)}
    return profiles, markers, mass, planted_in


def groups(found):
    table = found.consensus[found.consensus["group"] != ""]
    return {frozenset(zip(rows["sample"], rows["archetype"])) for _, rows in table.groupby("group")}


def shuffled(profiles, markers, but=()):
    """Gene names dealt out anew in every sample but some."""
    new_profiles, new_markers = {}, {}
    for name in profiles:
        genes = np.array(profiles[name].columns)
        renamed = dict(zip(genes, genes if name in but else generator(0, "shuffle", name).permutation(genes)))
        new_profiles[name] = profiles[name].rename(columns=renamed)
        new_markers[name] = markers[name].assign(gene=markers[name]["gene"].map(renamed))
    return new_profiles, new_markers


def test_planted_groups_are_found_whole_and_the_single_ones_stay_alone(three):
    profiles, markers, mass, planted_in = three
    found = match_across_samples(profiles, markers, mass)
    expected = {}
    for node, k in planted_in.items():
        expected.setdefault(k, set()).add(node)
    assert groups(found) == {frozenset(nodes) for nodes in expected.values() if len(nodes) > 1}
    alone = found.consensus[found.consensus["group"] == ""]
    assert [tuple(row) for row in alone[["sample", "archetype"]].to_numpy()] == [("b", "A4")]
    sizes = found.consensus.drop_duplicates("group").set_index("group")["n_samples"]
    assert sizes.loc[["C1", "C2", "C3", "C4"]].tolist() == [3, 3, 2, 2]
    own = {k: set(GENES[k * N_OWN : (k + 1) * N_OWN]) for k in range(N_PROGRAMMES)}
    for name, rows in found.markers.groupby("group"):
        member = found.consensus[found.consensus["group"] == name].iloc[0]
        assert len(set(rows["gene"]) & own[planted_in[member["sample"], member["archetype"]]]) >= 0.9 * len(rows) > 0


def test_shuffled_genes_give_no_group(three):
    profiles, markers, mass, _ = three
    found = match_across_samples(*shuffled(profiles, markers, but=("a",)), mass)
    assert groups(found) == set()
    assert not found.pairs["status"].isin(["merged", "paired"]).any()
    assert found.markers.empty


def test_the_order_of_samples_and_archetypes_does_not_matter(three):
    profiles, markers, mass, _ = three
    one = match_across_samples(profiles, markers, mass)
    turned = {name: table.iloc[::-1, ::-1] for name, table in reversed(profiles.items())}
    two = match_across_samples(turned, {name: markers[name].iloc[::-1] for name in turned}, mass)
    assert groups(one) == groups(two)
    pd.testing.assert_frame_equal(one.markers, two.markers)
    by = ["group", "sample", "archetype"]
    left, right = (found.consensus.sort_values(by).reset_index(drop=True) for found in (one, two))
    pd.testing.assert_frame_equal(left, right)


def test_a_group_has_one_archetype_of_a_sample_and_a_lone_link_does_not_join_groups():
    """Two groups of two samples each, and one pair that crosses from one to the other."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 400))

    def near(*parts):
        return sum(weight * part for weight, part in parts) + 0.2 * rng.normal(size=400)

    genes = [f"g{i}" for i in range(400)]
    rows = {
        "a": [near((1, first))],
        "b": [near((1, first), (0.15, second))],
        "c": [near((1, second), (0.75, first))],
        "d": [near((1, second))],
    }
    profiles = {name: pd.DataFrame(values, ["A1"], genes) for name, values in rows.items()}
    markers = {name: pd.DataFrame({"archetype": "A1", "gene": genes, "rank": range(400)}) for name in rows}
    mass = dict.fromkeys(rows, pd.Series({"A1": 0.5}))
    found = match_across_samples(profiles, markers, mass, min_similarity=0.55, min_support=0.6)
    assert found.pairs["status"].eq("paired").any()  # b or a with c: too little to join the groups
    assert groups(found) == {frozenset({("a", "A1"), ("b", "A1")}), frozenset({("c", "A1"), ("d", "A1")})}
    joined = match_across_samples(profiles, markers, mass, min_similarity=0.55, min_support=0.0)
    assert groups(joined) == {frozenset((name, "A1") for name in rows)}


def test_an_archetype_without_markers_is_not_matched(three):
    profiles, markers, mass, _ = three
    bare = {**markers, "a": markers["a"][markers["a"]["archetype"] != "A1"]}
    found = match_across_samples(profiles, bare, mass)
    assert not any(("a", "A1") in members for members in groups(found))
    about = found.pairs[(found.pairs["sample"] == "a") & (found.pairs["archetype"] == "A1")]
    assert set(about["status"]) == {"no markers"}


def test_samples_that_share_too_few_genes_are_named_and_not_compared(three, caplog):
    profiles, markers, mass, _ = three
    foreign = dict(zip(GENES, [f"ENSG{i}" for i in range(len(GENES))]))
    profiles = {**profiles, "c": profiles["c"].rename(columns=foreign)}
    markers = {**markers, "c": markers["c"].assign(gene=markers["c"]["gene"].map(foreign))}
    with caplog.at_level(logging.WARNING):
        found = match_across_samples(profiles, markers, mass)
    assert "a and c are not compared: they share 0 genes" in caplog.text
    assert "b and c are not compared" in caplog.text
    assert set(zip(found.pairs["sample"], found.pairs["other"])) == {("a", "b")}
    assert len(found.consensus) == 11
    with pytest.raises(ValueError, match="at least two"):
        match_across_samples({"a": profiles["a"]}, {"a": markers["a"]}, {"a": mass["a"]})


def test_profiles_are_means_in_standard_deviations(three):
    rng = np.random.default_rng(1)
    X = rng.gamma(1, 1, size=(30, 6)) * (rng.random((30, 6)) < 0.6)
    X[:, 2] = 1.5
    membership = pd.DataFrame({"A1": np.arange(30) < 9, "A2": np.arange(30) % 3 == 0}, [f"s{i}" for i in range(30)])
    profile = community_profiles(sparse.csr_matrix(X), list("abcdef"), membership)
    assert list(profile.columns) == list("abdef")
    expected = ((X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1))[membership["A2"]].mean(axis=0)
    np.testing.assert_allclose(profile.loc["A2"], np.delete(expected, 2), atol=1e-12)


def found_in(counts, genes, barcodes, n_archetypes):
    """Archetypes of counts, from normalisation to markers."""
    counts = sparse.csr_matrix(counts, dtype=float)
    X = sparse.csr_matrix(counts.multiply(1e4 / np.asarray(counts.sum(axis=1))))
    X.data = np.log1p(X.data)
    dense = X.toarray() - np.asarray(X.mean(axis=0))
    left, values, _ = np.linalg.svd(dense, full_matrices=False)
    pcs = left[:, :15] * values[:15]
    found = archetypal_analysis(pcs, n_archetypes, 2, 200)
    communities = archetypal_communities(pcs, found.archetypes)
    membership = pd.DataFrame(communities.membership, barcodes, communities.names)
    return *describe(X, genes, membership), pd.DataFrame(found.weights, barcodes, communities.names), membership


def test_halves_of_a_simulated_section_match_by_cell_type():
    tissue = simulate_tissue(
        seed=0, n_spots=900, n_genes=600, n_reference_cells=200, n_proteins=0, image_size=200, n_low_quality=0
    )
    order = generator(0, "halves").permutation(tissue.spots.n_obs)
    profiles, markers, mass, types = {}, {}, {}, {}
    for name, rows in (("left", order[::2]), ("right", order[1::2])):
        barcodes = tissue.spots.obs_names[rows]
        profiles[name], markers[name], weights, _ = found_in(tissue.spots.X[rows], tissue.spots.var_names, barcodes, 5)
        mass[name] = weights.mean()
        followed = truth_correlation(weights, tissue.truth)
        types[name] = followed[followed["rank"] == 1].set_index("archetype")["cell_type"]
    found = match_across_samples(profiles, markers, mass)
    pairs = found.pairs[found.pairs["status"] == "merged"]
    alike = [
        types[row.sample][row.archetype] == types[row.other][row.other_archetype]
        for row in pairs[["sample", "archetype", "other", "other_archetype"]].itertuples(index=False)
    ]
    assert len(alike) >= 4
    assert np.mean(alike) >= 0.75
    assert groups(match_across_samples(*shuffled(profiles, markers), mass)) == set()


def test_groups_of_serial_sections_lie_at_one_place_of_the_tissue(shared_data):
    """Sections of one tumour in one coordinate system, which the matching does not see."""
    tumour = anndata.read_h5ad(shared_data("breast_layers/spots.h5ad"))
    tumour = tumour[:, np.asarray((tumour.X > 0).sum(axis=0)).ravel() >= 50]
    profiles, markers, mass, members, places = {}, {}, {}, {}, {}
    for name, section in tumour.obs.groupby("slice", observed=True):
        name, rows = str(name), tumour.obs_names.get_indexer(section.index)
        profiles[name], markers[name], weights, members[name] = found_in(
            tumour.X[rows], tumour.var_names, section.index, 4
        )
        mass[name], places[name] = weights.mean(), np.asarray(tumour.obsm["spatial"])[rows]
    found = match_across_samples(profiles, markers, mass)
    sizes = found.consensus[found.consensus["group"] != ""].groupby("group").size()
    assert (sizes == 4).sum() >= 2
    shared = []
    for row in found.pairs.to_dict("records"):
        one = members[row["sample"]][row["archetype"]].to_numpy()
        nearest = cKDTree(places[row["other"]]).query(places[row["sample"]][one])[1]
        shared.append(members[row["other"]][row["other_archetype"]].to_numpy()[nearest].mean())
    merged = found.pairs["status"] == "merged"
    shared = np.array(shared)
    assert shared[merged].mean() > 2 * shared[~merged].mean()
    assert groups(match_across_samples(*shuffled(profiles, markers), mass)) == set()
