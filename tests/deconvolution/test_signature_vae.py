"""The signature-guided autoencoder: planted mixtures, and tissue of the project's own simulator."""

import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from pointillist.archetypes import score_signatures
from pointillist.data.simulation import GENE_SET_WITHOUT_TYPE, TYPE_WITHOUT_GENE_SET, simulate_tissue
from pointillist.deconvolution import SIGNATURE_METHODS, signature_vae, usable_gene_sets
from pointillist.deconvolution import _signature_inputs as inputs
from pointillist.errors import InputError
from pointillist.metrics import score_proportions
from pointillist.preprocessing import spatial_graph

QUICK = {"n_restarts": 1, "epochs": 15, "max_genes": 120}


class Planted:
    """Mixtures of four profiles, each with markers, on a square of spots."""

    def __init__(self, n_types=4, n_genes=120, n_spots=100, seed=0):
        rng = np.random.default_rng(seed)
        profiles = np.tile(rng.gamma(2, 1, n_genes), (n_types, 1)) * rng.lognormal(0, 0.1, (n_types, n_genes))
        for k in range(n_types):
            profiles[k, 12 * k : 12 * k + 12] *= 8
        profiles /= profiles.sum(axis=1, keepdims=True)
        self.truth = rng.dirichlet(np.full(n_types, 0.5), n_spots)
        self.depths = rng.lognormal(7.5, 0.3, n_spots)
        self.X = sparse.csr_array(rng.poisson(self.depths[:, None] * (self.truth @ profiles)).astype(float))
        self.genes = [f"gene{g}" for g in range(n_genes)]
        self.sets = {f"type{k}": self.genes[12 * k : 12 * k + 8] for k in range(n_types)}
        row, column = np.divmod(np.arange(n_spots), 10)
        apart = np.abs(row[:, None] - row) + np.abs(column[:, None] - column)
        self.graph = sparse.csr_array((apart == 1).astype(float))

    def run(self, **options):
        return signature_vae(self.X, self.genes, self.sets, **{**QUICK, "graph": self.graph, **options})


@pytest.fixture(scope="module")
def planted():
    return Planted()


@pytest.fixture(scope="module")
def result(planted):
    return planted.run(epochs=40)


@pytest.fixture(scope="module")
def tissue():
    simulation = simulate_tissue(
        seed=3, n_spots=300, n_genes=600, n_reference_cells=240, n_proteins=0, n_low_quality=0, image_size=100
    )
    sets = {name: list(genes) for name, genes in simulation.gene_sets.groupby("set")["gene"]}
    graph, _ = spatial_graph(simulation.spots.obsm["spatial"])
    return simulation, sets, graph


def closeness(estimate, truth):
    return np.corrcoef(estimate.ravel(), truth.ravel())[0, 1]


def mean_scores(X, genes, sets):
    """The control: mean z-scored log expression of each set, clipped at zero, as shares."""
    expression = inputs.log_normalised(sparse.csr_array(X, dtype=float)).toarray()
    spread = expression.std(axis=0)
    scaled = (expression - expression.mean(axis=0)) / np.where(spread > 0, spread, 1)
    columns = [scaled[:, pd.Index(genes).get_indexer(members)].mean(axis=1) for members in sets.values()]
    raised = np.clip(np.column_stack(columns), 1e-9, None)
    return raised / raised.sum(axis=1, keepdims=True)


def shared_scores(values, names, truth):
    """Scores over the cell types that have a set, renormalised."""
    shared = [name for name in truth if name in names]
    estimate = pd.DataFrame(values, truth.index, names)[shared] + 1e-9
    known = truth.loc[truth[shared].sum(axis=1) > 0, shared]
    return score_proportions(estimate.div(estimate.sum(axis=1), axis=0), known)


def test_planted_mixtures_come_back_and_not_with_shuffled_sets(planted, result):
    assert closeness(result.proportions, planted.truth) > 0.9
    shuffled = dict(zip(planted.sets, [*list(planted.sets.values())[1:], planted.sets["type0"]]))
    rng = np.random.default_rng(0)
    anywhere = {name: list(rng.choice(planted.genes[48:], 8, replace=False)) for name in planted.sets}
    for wrong in (shuffled, anywhere):
        other = signature_vae(planted.X, planted.genes, wrong, graph=planted.graph, **QUICK)
        assert closeness(other.proportions, planted.truth) < 0.4


def test_on_a_simulated_tissue_it_is_nearer_the_truth_than_averages_of_scores(tissue):
    simulation, sets, graph = tissue
    names, X, genes = list(sets), simulation.spots.X, list(simulation.spots.var_names)
    assert GENE_SET_WITHOUT_TYPE in names and TYPE_WITHOUT_GENE_SET not in names
    ours = signature_vae(X, genes, sets, graph=graph, n_restarts=1, epochs=60, max_genes=500)
    control = shared_scores(mean_scores(X, genes, sets), names, simulation.truth)
    scores = shared_scores(ours.proportions, names, simulation.truth)
    assert scores["rmse"] < 0.85 * control["rmse"]
    assert scores["pearson"] > control["pearson"] + 0.05
    renamed = dict(zip(genes, np.random.default_rng(1).permutation(genes)))
    shuffled = {name: [renamed[gene] for gene in members] for name, members in sets.items()}
    failed = signature_vae(X, genes, shuffled, graph=graph, n_restarts=1, epochs=10, max_genes=500)
    assert shared_scores(failed.proportions, names, simulation.truth)["pearson"] < 0.5 * scores["pearson"]


def test_the_result_has_the_form_of_every_deconvolution(planted, result):
    assert result.proportions.shape == planted.truth.shape
    np.testing.assert_allclose(result.proportions.sum(axis=1), 1, atol=1e-9)
    assert result.abundance is None
    assert set(result.fit) == {"pearson", "rmse", "elbo"}
    assert all(len(values) == len(planted.truth) and np.isfinite(values).all() for values in result.fit.values())
    assert np.median(result.fit["pearson"]) > 0.8


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(planted):
    import torch

    torch.manual_seed(5)
    first = planted.run(epochs=4)
    state = torch.get_rng_state()
    torch.manual_seed(6)
    again = planted.run(epochs=4)
    torch.manual_seed(5)
    assert first.proportions.tobytes() == again.proportions.tobytes()
    assert first.fit["elbo"].tobytes() == again.fit["elbo"].tobytes()
    assert torch.equal(torch.get_rng_state(), state)  # torch's own draws are left where they were
    assert planted.run(epochs=4, seed=1).proportions.tobytes() != first.proportions.tobytes()


def test_the_restart_with_the_best_held_out_likelihood_is_returned(planted, monkeypatch):
    from pointillist.deconvolution import _signature_training as training

    seen, train = [], training.train

    def recorded(*arguments, restart, **options):
        # The second restart gets time to learn; the others do not.
        epochs = 10 if restart == 1 else 1
        seen.append(train(*arguments, restart=restart, **{**options, "epochs": epochs}))
        return seen[-1]

    used = []
    monkeypatch.setattr(training, "train", recorded)
    monkeypatch.setattr(
        training,
        "posterior_of",
        lambda network, *rest, chosen=training.posterior_of: used.append(network) or chosen(network, *rest),
    )
    planted.run(n_restarts=3)
    best = np.argmax([restart.best_score for restart in seen])
    assert best == 1 and used == [seen[1].network]
    assert len({restart.best_score for restart in seen}) == 3  # restarts are independent


def test_training_stops_early_and_keeps_the_best_state(planted, monkeypatch):
    import torch

    from pointillist.deconvolution import _signature_training as training

    # Better for three epochs, then worse: the third state is the one to keep.
    scores = iter([-3.0, -2.0, -1.0, *[-5.0] * 50])
    states, kept = [], {}

    def scored(network, sample, *_):
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        return torch.full((len(sample),), next(scores), dtype=torch.float64)

    monkeypatch.setattr(training, "held_out_likelihood", scored)
    monkeypatch.setattr(
        training,
        "posterior_of",
        lambda network, *rest, chosen=training.posterior_of: (
            kept.update(network.state_dict()) or chosen(network, *rest)
        ),
    )
    planted.run(epochs=40, patience=4)
    assert len(states) == 3 + 4
    assert all(torch.equal(kept[name], value) for name, value in states[2].items())
    assert not torch.equal(kept["states"], states[-1]["states"])


def test_a_loss_that_is_not_finite_names_the_epoch_and_the_spots(planted, monkeypatch):
    import torch

    from pointillist.deconvolution import _signature_networks as networks

    compute, calls = networks.SignatureNetwork.loss, []

    def broken(self, batch, *rest):
        calls.append(1)
        loss = compute(self, batch, *rest)
        if len(calls) > 8:  # eight steps an epoch
            loss.kl_state[torch.isclose(batch.log_totals[:, 0], totals[3])] = torch.nan
        return loss

    from pointillist.seeds import generator

    names = [f"spot{s}" for s in range(len(planted.truth))]
    kept, _ = inputs.thinned(planted.X.copy(), 0.1, generator(0, "signature_vae", "held out"))
    totals = torch.tensor(np.log(kept.sum(axis=1)), dtype=torch.float32)
    monkeypatch.setattr(networks.SignatureNetwork, "loss", broken)
    with pytest.raises(InputError, match=r"(?s)kl_state.*epoch 2.*spot3\b"):
        planted.run(spots=names)


def test_library_sizes_are_smoothed_over_neighbours(planted):
    logs = np.log(planted.depths)
    smoothed = inputs.smoothed_library(logs, planted.graph)
    neighbours = planted.graph[[55]].indices
    np.testing.assert_allclose(smoothed[55], logs[[55, *neighbours]].mean())
    assert len(neighbours) == 4
    np.testing.assert_allclose(inputs.smoothed_library(logs, None), logs.mean())


def test_divergences_are_those_of_the_distributions():
    import torch

    from pointillist.deconvolution._signature_networks import kl_dirichlet, kl_normal

    rng = torch.Generator().manual_seed(0)
    q, p = (torch.rand((4, 3), generator=rng, dtype=torch.float64) * 5 + 0.1 for _ in range(2))
    D, N = torch.distributions.Dirichlet, torch.distributions.Normal
    torch.testing.assert_close(kl_dirichlet(q, p), torch.distributions.kl_divergence(D(q), D(p)))
    expected = torch.distributions.kl_divergence(N(p, q.sqrt()), N(q, p.sqrt())).sum(dim=1)
    torch.testing.assert_close(kl_normal(p, q, q, p), expected)


def test_the_likelihood_is_the_negative_binomial_s():
    import torch

    from pointillist.deconvolution._signature_networks import Sample, SignatureNetwork

    rng = np.random.default_rng(0)
    X = rng.poisson(2.0, (6, 5))
    table = sparse.csr_array(X.astype(float))
    sample = Sample(table, table, np.full((6, 2), 0.5), np.zeros(6), np.empty((6, 0)), range(6))
    theta = rng.gamma(2, 1, 5)
    single = [torch.tensor(v, dtype=torch.float32) for v in (np.zeros((2, 5)), np.log(theta), np.zeros(5), np.ones(5))]
    options = {"concentration": 1.0, "library_variance": 1.0, "n_image": 0, "n_hidden": 4}
    network = SignatureNetwork(*single, **options, generator=torch.Generator().manual_seed(0))
    rows, mean = [4, 0, 5], rng.gamma(2, 1, (3, 5))
    batch = sample.take(np.array(rows))
    with torch.no_grad():
        found = network.log_likelihood(batch, network.count_terms(sample), torch.tensor(np.log(mean)).float())
    expected = stats.nbinom.logpmf(X[rows], theta, theta / (theta + mean)).sum(axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_the_prior_follows_the_scores_and_is_sharper_at_anchors():
    scores = np.random.default_rng(0).normal(size=(60, 3))
    prior, anchors = inputs.prior_of(scores, 5, 2.0)
    plain, _ = inputs.prior_of(scores, 5, 1.0)
    np.testing.assert_allclose(prior.sum(axis=1), 1)
    assert prior.min() > 0
    assert anchors.shape == (3, 5) and set(anchors[0]) == set(np.argsort(-scores[:, 0])[:5])
    others = np.setdiff1d(np.arange(60), anchors)
    np.testing.assert_allclose(prior[others], plain[others])
    assert (prior[np.unique(anchors)].max(axis=1) >= plain[np.unique(anchors)].max(axis=1) - 1e-12).all()


def test_thinned_counts_add_up(planted):
    kept, unseen = inputs.thinned(planted.X, 0.1, np.random.default_rng(0))
    assert abs(kept + unseen - planted.X).max() == 0
    assert 0.08 < unseen.sum() / planted.X.sum() < 0.12


def test_a_set_of_too_few_genes_is_left_out_with_a_warning(planted, caplog):
    sets = {"tiny": ["gene1", "unknown"], **planted.sets}
    with caplog.at_level(logging.WARNING, "pointillist"):
        found = signature_vae(planted.X, planted.genes, sets, **{**QUICK, "epochs": 1})
    assert found.proportions.shape[1] == 4
    assert "gene set tiny is left out" in caplog.text
    assert list(usable_gene_sets(planted.X, planted.genes, sets)) == list(planted.sets)


def test_an_empty_spot_has_no_estimate(planted):
    X = planted.X.tolil()
    X[7] = 0
    found = signature_vae(X.tocsr(), planted.genes, planted.sets, graph=planted.graph, **{**QUICK, "epochs": 2})
    for table in (found.proportions, *found.fit.values()):
        missing = np.isnan(table).reshape(len(table), -1)
        assert missing[7].all() and not np.delete(missing, 7, axis=0).any()


def test_genes_are_bounded_and_every_set_is_heard(planted):
    expression, names = inputs.log_normalised(planted.X), pd.Index(planted.genes)
    own = {gene for members in planted.sets.values() for gene in members}
    chosen = names[inputs.choose_genes(expression, names, planted.sets, 60)]
    assert len(chosen) == 60 and own <= set(chosen)
    few = set(names[inputs.choose_genes(expression, names, planted.sets, 12)])
    assert len(few) == 12 and all(few & set(members) for members in planted.sets.values())


def test_scores_given_and_computed_are_the_same(planted):
    scores = score_signatures(inputs.log_normalised(planted.X), planted.genes, planted.sets, seed=0)
    given = planted.run(epochs=2, scores=scores.assign(other=0.0)[["other", *reversed(list(planted.sets))]])
    assert given.proportions.tobytes() == planted.run(epochs=2).proportions.tobytes()


def test_histology_helps_where_counts_are_few(planted):
    thin, _ = inputs.thinned(planted.X, 0.98, np.random.default_rng(0))
    image = planted.truth @ np.random.default_rng(1).normal(size=(4, 6))
    without, seen, shuffled = (
        signature_vae(thin, planted.genes, planted.sets, **histology, **{**QUICK, "epochs": 40})
        for histology in (
            {},
            {"histology": "image", "image_features": image},
            {"histology": "image", "image_features": image[::-1]},
        )
    )
    ours = closeness(seen.proportions, planted.truth)
    assert ours > closeness(without.proportions, planted.truth)
    assert ours > closeness(shuffled.proportions, planted.truth) + 0.05


def test_storage_does_not_matter_and_inputs_are_left_alone(planted):
    before = planted.X.copy()
    expected = planted.run(epochs=2).proportions
    for stored in (planted.X.toarray(), sparse.csc_matrix(planted.X), planted.X.astype(np.int32)):
        found = signature_vae(stored, planted.genes, planted.sets, graph=planted.graph, **{**QUICK, "epochs": 2})
        assert found.proportions.tobytes() == expected.tobytes()
    assert abs(planted.X - before).max() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": -1.0}, "negative"),
        ({"X": np.nan}, "NaN"),
        ({"X": 0.5}, "whole numbers"),
        ({"genes": ["gene1"]}, "names of genes"),
        ({"genes": ["gene1"] * 120}, "stands twice"),
        ({"gene_sets": {"a": ["gene1", "gene2", "gene3"]}}, "at least two"),
        ({"graph": sparse.eye_array(5)}, "graph has the shape"),
        ({"image_features": np.full((100, 2), np.nan), "histology": "image"}, "image_features holds NaN"),
        ({"histology": "image"}, "there is no tissue image"),
        ({"histology": "slide"}, "histology"),
        ({"scores": pd.DataFrame({"type0": np.zeros(100)})}, "no column for"),
        ({"n_restarts": 0}, "n_restarts"),
        ({"held_out": 0.7}, "held_out"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_refuses_what_it_cannot_use(planted, change, message):
    arguments = {"X": planted.X, "genes": planted.genes, "gene_sets": planted.sets, **QUICK, **change}
    if isinstance(arguments["X"], float):
        X = planted.X.toarray()
        X[3, 4] = arguments["X"]
        arguments["X"] = X
    with pytest.raises(ValueError, match=message):
        signature_vae(**arguments)


def test_the_record_is_read_without_torch():
    code = "import sys, pointillist.deconvolution as d; assert 'torch' not in sys.modules; print(*d.SIGNATURE_METHODS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "signature_vae"
    record = SIGNATURE_METHODS["signature_vae"]
    assert record.needs == {"gene_sets"} and record.gives == "signature_vae_proportions"
