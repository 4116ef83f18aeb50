"""Variance of counts against dense linear algebra and planted values; means of few cells against their closed form."""

import numpy as np
import pytest
from scipy import sparse

from pointillist.deconvolution import count_regression
from pointillist.deconvolution._count_likelihood import Mixture
from pointillist.deconvolution._covariation import Correlation, choose_variance, correlation_within_types
from pointillist.deconvolution._within_types import within_types


@pytest.fixture(scope="module")
def correlation():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(60, 4)))[0]
    variances = np.array([8.0, 5.0, 3.0, 2.0])
    return Correlation(directions, variances, (60 - variances.sum()) / 56)


def dense(correlation):
    Q = correlation.directions
    return correlation.rest * (np.eye(len(Q)) - Q @ Q.T) + (Q * correlation.variances) @ Q.T


def test_normal_equations_and_lengths_are_those_of_the_dense_inverse(correlation):
    rng = np.random.default_rng(1)
    R, X, roots = rng.random((3, 60)), rng.poisson(3, (5, 60)).astype(float), rng.random((5, 60))
    mixed = correlation.mixed(0.7)
    inverse = np.linalg.inv(0.3 * np.eye(60) + 0.7 * dense(correlation))
    independent = np.einsum("kg,sg,lg->skl", R, roots**2, R)
    gram, cross = mixed.normal_equations(roots, R, X, independent)
    for s in range(5):
        A = roots[s] * R
        np.testing.assert_allclose(gram[s], A @ inverse @ A.T, rtol=1e-9)
        np.testing.assert_allclose(cross[s], A @ inverse @ (roots[s] * X[s]), rtol=1e-9)
    np.testing.assert_allclose(mixed.squared_length(X), np.einsum("sg,gh,sh->s", X, inverse, X), rtol=1e-9)


@pytest.mark.parametrize(("dispersion", "share"), [(0.05, 0.6), (0.3, 0.1), (0.3, 0.9)])
def test_planted_dispersion_and_share_are_found(correlation, dispersion, share):
    rng = np.random.default_rng(2)
    mu = rng.gamma(2, 20, (600, 60))
    root = np.linalg.cholesky(dense(correlation.mixed(share)))
    X = mu + np.sqrt(mu * (1 + dispersion * mu)) * (rng.normal(size=mu.shape) @ root.T)
    found = choose_variance(X, mu, correlation)
    assert found[0] == pytest.approx(dispersion, rel=0.1)
    assert found[1] == pytest.approx(share, abs=0.05)
    assert choose_variance(X, mu, correlation, dispersed=False)[0] == 0


def test_dispersion_of_independent_counts_is_found():
    rng = np.random.default_rng(3)
    mu = rng.gamma(1, 10, (300, 100)) + 0.1
    X = rng.poisson(mu * rng.gamma(1 / 0.25, 0.25, mu.shape)).astype(float)
    assert choose_variance(X, mu) == (pytest.approx(0.25, rel=0.1), 0.0)


def reference(programme, seed=4, n_genes=80, per_type=150):
    """Cells of three types along one programme of genes."""
    rng = np.random.default_rng(seed)
    profile = rng.gamma(1, 1, (3, n_genes)) + 0.2
    codes = np.repeat(np.arange(3), per_type)
    loads = np.where(np.arange(n_genes) < 20, programme, 0.0)
    expected = profile[codes] * np.exp(loads * rng.normal(size=(len(codes), 1)))
    cells = rng.poisson(expected * 20).astype(float)
    member = np.eye(3)[:, codes]
    return cells, codes, member @ cells / (member @ cells.sum(axis=1))[:, None] * 1e4, rng


def test_a_programme_within_types_is_the_leading_direction():
    cells, codes, R, _ = reference(programme=0.5)
    found = correlation_within_types(within_types(sparse.csr_array(cells), codes, R))
    leading = found.directions[:, -1]
    assert (leading[:20] ** 2).sum() > 0.7
    assert (found.variances.sum() + found.rest * (80 - len(found.variances))) / 80 == pytest.approx(1)
    flat, codes, R, _ = reference(programme=0.0)
    assert correlation_within_types(within_types(flat, codes, R)).variances[-1] < 0.5 * found.variances[-1]


def test_knowing_the_programme_helps_where_spots_are_of_few_cells():
    cells, codes, R, rng = reference(programme=0.6, per_type=300)
    seen, unseen = np.arange(900) % 2 == 0, np.flatnonzero(np.arange(900) % 2)
    member = np.eye(3)[:, codes[seen]]
    R = member @ cells[seen] / (member @ cells[seen].sum(axis=1))[:, None] * 1e4
    drawn = rng.choice(unseen, (300, 3))
    X = sum(cells[drawn[:, i]] for i in range(3))
    amount = sum(np.eye(3)[codes[drawn[:, i]]] * cells[drawn[:, i]].sum(axis=1)[:, None] for i in range(3))
    truth = amount / amount.sum(axis=1, keepdims=True)

    def error(covariation):
        result = count_regression(
            X, R, cells=cells[seen], codes=codes[seen], covariation=covariation, platform_effect="never"
        )
        return np.sqrt(((result.proportions - truth) ** 2).mean())

    assert error("reference") < 0.85 * error("none")


def test_outlying_counts_weigh_less():
    """A tenth of the genes belongs to a type that the reference lacks and one third of the spots holds."""
    rng = np.random.default_rng(5)
    R = rng.gamma(0.5, 1, (4, 200)) + 0.05
    R *= 1e4 / R.sum(axis=1, keepdims=True)
    truth = rng.dirichlet(np.ones(4), 90)
    missing = np.where(np.arange(200) < 20, 600.0, 0.0)
    X = rng.poisson((truth @ R + np.outer(np.arange(90) % 3 == 0, missing)) * 0.3).astype(float)
    options = {"likelihood": "poisson", "platform_effect": "never"}
    plain = count_regression(X, R, outlier_bound=0, **options).proportions - truth
    robust = count_regression(X, R, **options).proportions - truth
    hit = np.arange(90) % 3 == 0
    assert (robust[hit] ** 2).mean() < 0.5 * (plain[hit] ** 2).mean()
    # Where nothing is missing, next to nothing is lost.
    assert (robust[~hit] ** 2).mean() < 1.1 * (plain[~hit] ** 2).mean()


def test_without_covariation_and_bound_the_estimate_is_the_most_likely():
    _, _, R, rng = reference(programme=0.3)
    X = rng.poisson(rng.dirichlet(np.ones(3), 20) @ R * 0.3).astype(float)
    mixture = Mixture(R, 0.2)
    likeliest, _ = mixture.maximise(X, np.full((20, 3), 0.1))
    np.testing.assert_array_equal(mixture.estimate(X, np.full((20, 3), 0.1))[0], likeliest)


def test_means_of_few_cells_are_drawn_together_as_far_as_their_noise_asks():
    cells, codes, _, _ = reference(programme=0.2)
    kept = np.concatenate([np.arange(150), 150 + np.arange(40), 300 + np.arange(5)])
    cells, codes = cells[kept], codes[kept]
    relative = cells / cells.sum(axis=1, keepdims=True) * 1e4
    n = np.array([150, 40, 5])
    R = np.stack([relative[codes == k].mean(axis=0) for k in range(3)])
    found = within_types(cells, codes, R).shrunken_means()
    inflated = (relative - R[codes]) ** 2 * (n / (n - 1))[codes][:, None]
    noise = inflated.mean(axis=0)[None] / n[:, None]
    for g in range(0, 80, 7):
        w = 1 / noise[:, g]
        centre = np.average(R[:, g], weights=w)
        # DerSimonian and Laird's τ².
        between = max(0, ((w * (R[:, g] - centre) ** 2).sum() - 2) / (w.sum() - (w**2).sum() / w.sum()))
        centre = np.average(R[:, g], weights=1 / (between + noise[:, g]))
        part = between / (between + noise[:, g])
        np.testing.assert_allclose(found[:, g], centre + part * (R[:, g] - centre), rtol=1e-9)
    moved = np.abs(found - R).mean(axis=1)
    assert moved[0] < moved[1] < moved[2]


def test_a_gene_that_tells_no_types_apart_loses_its_noise_and_a_marker_keeps_its_height():
    rng = np.random.default_rng(6)
    profile = np.ones((3, 50)) * 10
    profile[0, 0] = 200
    codes = np.repeat(np.arange(3), [60, 60, 6])
    cells = rng.poisson(profile[codes]).astype(float)
    totals = np.full(len(codes), 1e4)
    R = np.stack([cells[codes == k].mean(axis=0) for k in range(3)])
    found = within_types(cells, codes, R, totals).shrunken_means()
    assert found[:, 1:].std(axis=0).mean() < 0.3 * R[:, 1:].std(axis=0).mean()
    assert found[0, 0] == pytest.approx(R[0, 0], rel=0.01)
