"""The VAE on simulated groups of spots, with counts that have none as the control; and on starmap's real spots."""

import hashlib
import inspect
import logging
import os
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
import torch
from scipy import optimize, sparse, stats
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from pointillist.embedding import METHODS, fit, spatial_domains, vae
from pointillist.errors import InputError


def neighbours_agree(latent, groups):
    return cross_val_score(KNeighborsClassifier(10), latent, groups, cv=5).mean()


def log_normalised(counts):
    dense = counts.toarray()
    return np.log1p(dense / dense.sum(axis=1, keepdims=True) * np.median(dense.sum(axis=1)))


def test_latent_separates_the_groups_and_does_not_where_there_are_none(grouped, fitted, unrelated):
    counts, groups = grouped
    components = PCA(10, random_state=0).fit_transform(log_normalised(counts))
    assert neighbours_agree(fitted.latent, groups) > 0.95
    assert neighbours_agree(fitted.latent, groups) > neighbours_agree(components, groups) - 0.02
    assert adjusted_rand_score(groups, spatial_domains(fitted.latent, 4)) > 0.9
    control = vae(unrelated)
    assert neighbours_agree(control.latent, groups) < 0.45
    assert adjusted_rand_score(groups, spatial_domains(control.latent, 4)) < 0.1


def test_depth_is_no_part_of_the_latent(grouped, fitted):
    counts, groups = grouped
    depth = np.log(counts.sum(axis=1))
    within = [
        abs(stats.spearmanr(depth[groups == group], fitted.latent[groups == group, 0]).statistic) for group in range(4)
    ]
    assert np.mean(within) < 0.3


def test_spots_of_one_composition_have_one_latent_whatever_their_depth(grouped):
    counts = sparse.csr_array(sparse.vstack([grouped[0], 4 * grouped[0][:3]]))
    latent = vae(counts, epochs=3).latent
    np.testing.assert_allclose(latent[400:], latent[:3], atol=1e-5)
    assert abs(latent[:3] - latent[3:6]).max() > 1e-3


def test_held_out_counts_are_likelier_than_under_the_mean_profile(grouped, fitted, unrelated):
    def gain(counts, embedding):
        """ELBO of the held-out spots less their likelihood under the mean profile with its own best dispersions."""
        dense, unseen = counts.toarray(), embedding.held_out
        profile = (dense[~unseen].sum(axis=0) + 0.5) / (dense[~unseen].sum(axis=0) + 0.5).sum()
        means = dense.sum(axis=1, keepdims=True) * profile

        def likelihood(log_dispersion, gene, rows):
            dispersion = np.exp(log_dispersion)
            chance = dispersion / (dispersion + means[rows, gene])
            return stats.nbinom.logpmf(dense[rows, gene], dispersion, chance).sum()

        total = 0.0
        for gene in range(dense.shape[1]):
            best = optimize.minimize_scalar(
                lambda at, gene=gene: -likelihood(at, gene, ~unseen), bounds=(-4, 8), method="bounded"
            )
            total += likelihood(best.x, gene, unseen)
        return embedding.losses["validation_elbo"].max() - total / unseen.sum()

    assert gain(grouped[0], fitted) > 5
    assert gain(unrelated, vae(unrelated)) < 1


def test_losses_are_reported_by_name_and_the_best_epoch_is_kept(fitted):
    losses = fitted.losses
    parts = [f"{side}_{part}" for side in ("train", "validation") for part in ("reconstruction", "kl", "elbo")]
    assert losses.columns.tolist() == ["epoch", *parts]
    assert losses["epoch"].tolist() == list(range(1, len(losses) + 1))
    for side in ("train", "validation"):
        total = losses[f"{side}_reconstruction"] + losses[f"{side}_kl"]
        np.testing.assert_allclose(losses[f"{side}_elbo"], -total)
        assert (losses[f"{side}_kl"] > 0).all()
    assert losses["epoch"][losses["validation_elbo"].idxmax()] == fitted.best_epoch
    assert fitted.converged and len(losses) == fitted.best_epoch + 30
    assert fitted.held_out.sum() == 40
    assert losses["train_elbo"].iloc[-1] > losses["train_elbo"].iloc[0] + 10


def test_the_state_returned_is_that_of_the_best_epoch(grouped, fitted):
    stopped = vae(grouped[0], epochs=fitted.best_epoch)
    assert not stopped.converged
    assert stopped.latent.tobytes() == fitted.latent.tobytes()


def test_running_out_of_epochs_is_said(grouped, caplog):
    with caplog.at_level(logging.WARNING, logger="pointillist"):
        assert not vae(grouped[0], epochs=2).converged
    assert "still falling after 2 epochs" in caplog.text


def test_dispersion_is_learnt(fitted):
    assert 2 < np.median(fitted.dispersion) < 4.5  # simulated with 3


def test_dimensions_are_ordered_and_sign_fixed(fitted):
    assert (np.diff(fitted.latent.var(axis=0)) <= 0).all()
    largest = np.abs(fitted.latent).argmax(axis=0)
    assert (fitted.latent[largest, np.arange(10)] > 0).all()


def test_same_bytes_in_this_process_and_in_others_whatever_the_threads(grouped, tmp_path):
    options = {"epochs": 3, "n_latent": 4, "n_layers": 2}

    def digest(embedding):
        return hashlib.sha256(embedding.latent.tobytes() + embedding.losses.to_csv().encode()).hexdigest()

    expected = digest(vae(grouped[0], **options))
    torch.manual_seed(5)  # the global state is not read
    assert digest(vae(grouped[0], **options)) == expected
    assert digest(vae(grouped[0], seed=1, **options)) != expected
    sparse.save_npz(tmp_path / "counts.npz", grouped[0])
    code = (
        "import hashlib, sys, torch; from scipy import sparse; from pointillist.embedding import vae\n"
        "torch.set_num_threads(int(sys.argv[1]))\n"
        f"e = vae(sparse.load_npz({str(tmp_path / 'counts.npz')!r}), **{options!r})\n"
        "print(hashlib.sha256(e.latent.tobytes() + e.losses.to_csv().encode()).hexdigest(), torch.get_num_threads())"
    )
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        done = subprocess.run([sys.executable, "-c", code, threads], capture_output=True, text=True, env=environment)
        assert done.stdout.split() == [expected, threads], done.stderr


def test_torch_is_left_as_it_was(grouped):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    vae(grouped[0], epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_loss_that_is_not_finite_stops_with_epoch_and_spots(grouped):
    names = [f"spot-{number}" for number in range(400)]
    with pytest.raises(InputError, match=r"\[non-finite-loss\].*in epoch \d+, in \d+ of \d+ spots: spot-\d+") as caught:
        vae(grouped[0], learning_rate=1e8, spots=names)
    assert "lower learning_rate (now 1e+08)" in str(caught.value)


def test_spots_without_counts_have_no_latent_and_change_no_other(grouped, caplog):
    counts = sparse.csr_array(sparse.vstack([grouped[0], sparse.csr_array((2, 200))]))
    with caplog.at_level(logging.WARNING, logger="pointillist"):
        embedding = vae(counts, epochs=2)
    assert "2 spots have no counts" in caplog.text
    assert np.isnan(embedding.latent[400:]).all() and not embedding.held_out[400:].any()
    np.testing.assert_array_equal(embedding.latent[:400], vae(grouped[0], epochs=2).latent)


def test_batch_effect_is_taken_out(grouped):
    counts, groups = grouped
    draws = np.random.default_rng(3)
    batch = np.where(draws.random(400) < 0.5, "left", "right")
    effect = np.where(batch[:, None] == "left", 1.0, np.exp(draws.normal(0, 1, 200)))
    shifted = sparse.csr_array(draws.poisson(counts.toarray() * effect).astype(float))
    told, untold = vae(shifted, batch=batch), vae(shifted)
    assert neighbours_agree(untold.latent, batch) > 0.95
    assert neighbours_agree(told.latent, batch) < 0.75
    assert neighbours_agree(told.latent, groups) > 0.9


def test_storage_does_not_matter_and_input_is_left_alone(grouped):
    counts = grouped[0].astype(np.int32)
    before = counts.copy()
    expected = vae(counts, epochs=1).latent
    assert (counts != before).nnz == 0
    for stored in (counts.toarray(), counts.tocsc(), counts.astype(np.float32)):
        np.testing.assert_array_equal(vae(stored, epochs=1).latent, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.log1p(), "are not whole numbers"),
        (lambda X: -X, "negative values, the first in row 0"),
        (lambda X: X * np.nan, "NaN or infinite"),
        (lambda X: X[:5], "found 5 spots with counts"),
    ],
)
def test_what_is_not_raw_counts_is_refused(grouped, change, message):
    with pytest.raises(ValueError, match=message):
        vae(change(grouped[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_latent": 0}, "n_latent is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"validation_share": 0.9}, "validation_share is 0.9"),
        ({"batch": ["a"]}, "batch has 1 entries; expected one for each of the 400 spots"),
        ({"batch": ["a"] * 399 + [None]}, "missing for 1 spots, the first in row 399"),
    ],
)
def test_unfit_options_are_refused(grouped, options, message):
    with pytest.raises(ValueError, match=message):
        vae(grouped[0], **options)


def test_real_spots_against_their_mean_profile(shared_data):
    import anndata

    counts = anndata.read_h5ad(shared_data("starmap_counts/spots.h5ad")).X
    embedding = vae(counts, n_hidden=64, learning_rate=3e-3)
    first, best = embedding.losses["validation_elbo"].iloc[0], embedding.losses["validation_elbo"].max()
    assert embedding.converged and best > first + 5


def test_models_are_found_by_name(grouped):
    np.testing.assert_array_equal(fit(grouped[0], model="vae", epochs=1).latent, vae(grouped[0], epochs=1).latent)
    with pytest.raises(ValueError, match=r"model is 'vea'; expected one of vae.*Did you mean 'vae'"):
        fit(grouped[0], model="vea")


@pytest.mark.parametrize("record", METHODS.values(), ids=lambda record: record.name)
def test_options_are_the_function_s_own(record):
    parameters = inspect.signature(record.function).parameters
    for name, schema in record.options.items():
        assert schema["default"] == parameters[name].default and schema["description"]
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(schema["default"], schema)
    assert set(parameters) - set(record.options) == {"counts", "batch", "spots", "seed"}


def test_listing_models_loads_nothing_heavy():
    code = "import sys, pointillist.embedding; print({'torch', 'sklearn', 'scanpy', 'squidpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
