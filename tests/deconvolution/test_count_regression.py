"""Count regression against a general solver, its own optimality conditions, and planted classes and smoothness."""

import numpy as np
import pytest
from scipy import optimize, sparse, stats

from pointillist.deconvolution import count_regression
from pointillist.deconvolution._count_likelihood import Mixture
from pointillist.deconvolution._count_model import BLOCK
from pointillist.deconvolution._spatial_smoothing import smooth


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    R = rng.gamma(0.4, 1, (5, 120)) + 1e-3
    R *= 1e4 / R.sum(axis=1, keepdims=True)
    P = rng.dirichlet(np.full(5, 0.4), 30)
    X = rng.poisson(P @ R * 0.4).astype(float)
    return X, R, P


@pytest.mark.parametrize("dispersion", [0.0, 0.3])
def test_abundance_maximises_the_likelihood(problem, dispersion):
    X, R, P = problem
    mixture = Mixture(R, dispersion)
    found, value = mixture.maximise(X, np.full(P.shape, 0.1))
    if dispersion:
        exact = [stats.nbinom.logpmf(x, 1 / dispersion, 1 / (1 + dispersion * f @ R)).sum() for x, f in zip(X, found)]
    else:
        exact = stats.poisson.logpmf(X, found @ R).sum(axis=1)
    constant = exact - value
    for x, f, mine, c in zip(X[:8], found, value, constant):

        def negative(g, x=x):
            return -mixture.log_likelihood(x[None], g[None])[0]

        theirs = optimize.minimize(negative, np.full(5, 0.1), bounds=[(1e-10, None)] * 5, method="L-BFGS-B")
        assert mine >= -theirs.fun - 1e-5
        np.testing.assert_allclose(f, theirs.x, atol=2e-3)
        # The terms left out do not depend on the abundance.
        assert np.isfinite(c)
    other = mixture.log_likelihood(X, found * 1.1)
    if dispersion:
        moved = [
            stats.nbinom.logpmf(x, 1 / dispersion, 1 / (1 + 1.1 * dispersion * f @ R)).sum() for x, f in zip(X, found)
        ]
    else:
        moved = stats.poisson.logpmf(X, 1.1 * found @ R).sum(axis=1)
    np.testing.assert_allclose(moved - other, constant, atol=1e-6)


def test_score_vanishes_where_a_type_is_present_and_is_negative_elsewhere(problem):
    X, R, P = problem
    found, _ = Mixture(R).maximise(X, np.full(P.shape, 0.1))
    score = (X / (found @ R) - 1) @ R.T / R.sum(axis=1)
    assert np.abs(score[found > 1e-6]).max() < 1e-4
    assert score[found <= 1e-6].max() < 1e-4


def test_intervals_cover_as_often_as_they_claim_where_only_counting_makes_noise(problem):
    _, R, _ = problem
    rng = np.random.default_rng(2)
    P = rng.dirichlet(np.full(5, 0.5), 400)
    X = rng.poisson(P @ R * 0.1).astype(float)
    result = count_regression(X, R, likelihood="poisson", platform_effect="never")
    covered = (P >= result.lower) & (P <= result.upper)
    assert 0.92 < covered[P > 0.02].mean() < 0.985
    assert (result.upper - result.lower).mean() < 0.2


def test_intervals_widen_where_cells_of_a_type_differ():
    """Spots of three cells whose states differ: the counts' noise alone covers far too little."""
    rng = np.random.default_rng(3)
    profile = rng.gamma(2, 1, (4, 200))
    profile /= profile.sum(axis=1, keepdims=True)

    def draw(codes):
        towards = profile[(codes + 1) % 4] / profile[codes]
        varied = profile[codes] * towards ** (0.25 * rng.random(len(codes)))[:, None]
        return rng.poisson(varied / varied.sum(axis=1, keepdims=True) * 2000).astype(float)

    codes = np.repeat(np.arange(4), 60)
    cells = draw(codes)
    member = np.eye(4)[:, codes]
    R = member @ cells / (member @ cells.sum(axis=1))[:, None] * 1e4
    made = rng.integers(0, 4, (300, 3))
    X = sum(draw(made[:, i]) for i in range(3))
    truth = np.stack([(made == k).mean(axis=1) for k in range(4)], axis=1)

    def coverage(**context):
        result = count_regression(X, R, likelihood="poisson", platform_effect="never", **context)
        return ((truth >= result.lower - 1e-9) & (truth <= result.upper + 1e-9))[truth > 0].mean()

    assert coverage() < 0.8
    assert coverage(cells=cells, codes=codes) > 0.9


def test_doublet_mode_tells_one_two_and_more_types_apart(problem):
    _, R, _ = problem
    rng = np.random.default_rng(4)
    one, two, three = (
        np.eye(5)[[0, 1, 2, 3]],
        np.eye(5)[[0, 1, 2]] + np.eye(5)[[3, 4, 4]],
        np.ones((3, 5)) - np.eye(5)[:3],
    )
    P = np.vstack([one, two / 2, three / 4])
    X = rng.poisson(P @ R * 0.5).astype(float)
    result = count_regression(X, R, mode="doublet", likelihood="poisson")
    assert result.fit["spot_class"].tolist() == ["singlet"] * 4 + ["doublet_certain"] * 3 + ["reject"] * 3
    np.testing.assert_allclose(result.proportions[:4], one, atol=1e-9)
    assert ((result.proportions[4:7] > 0) == (two > 0)).all()
    np.testing.assert_allclose(result.proportions, P, atol=0.06)


def test_a_pair_that_another_could_replace_is_uncertain(problem):
    _, R, _ = problem
    rng = np.random.default_rng(5)
    # Two types that hardly differ: which of them is in the doublet cannot be told.
    twin = np.vstack([R, R[1] * rng.uniform(0.9, 1.1, R.shape[1])])
    X = rng.poisson((R[0] + R[1])[None].repeat(5, axis=0) * 0.03).astype(float)
    assert set(count_regression(X, twin, mode="doublet", likelihood="poisson").fit["spot_class"]) == {
        "doublet_uncertain"
    }


def test_multi_mode_finds_the_types_that_are_there(problem):
    _, R, _ = problem
    P = np.array([[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0.4, 0, 0.3, 0.3, 0]])
    X = np.random.default_rng(6).poisson(P @ R * 0.5).astype(float)
    result = count_regression(X, R, mode="multi", likelihood="poisson")
    assert ((result.proportions > 0) == (P > 0)).all()
    assert ((count_regression(X, R, mode="multi", max_types=2).proportions > 0).sum(axis=1) <= 2).all()


class TestSmoothing:
    @pytest.fixture(scope="class")
    def grid(self):
        row, column = np.divmod(np.arange(225), 15)
        apart = np.abs(row[:, None] - row) + np.abs(column[:, None] - column)
        return row, sparse.csr_array((apart == 1).astype(float))

    def problem(self, P, scale, seed=0):
        rng = np.random.default_rng(seed)
        R = rng.gamma(0.4, 1, (3, 100)) + 1e-3
        R *= 1e4 / R.sum(axis=1, keepdims=True)
        return rng.poisson(P @ R * scale).astype(float), R

    def test_helps_on_smooth_tissue_with_few_counts(self, grid):
        row, graph = grid
        first = row / 14
        P = np.column_stack([first, 1 - first, np.zeros(225)]) * 0.9 + np.array([0, 0, 0.1])
        X, R = self.problem(P, 0.003)

        def error(**options):
            estimate = count_regression(X, R, graph=graph, likelihood="poisson", **options).proportions
            return np.sqrt(np.nanmean((estimate - P) ** 2))

        assert error(smoothing="auto") < 0.7 * error(smoothing="none")

    def test_is_not_chosen_where_neighbours_have_nothing_in_common(self, grid):
        _, graph = grid
        P = np.eye(3)[np.random.default_rng(1).integers(0, 3, 225)]
        X, R = self.problem(P, 0.02)
        plain = count_regression(X, R, likelihood="poisson")
        smoothed = count_regression(X, R, graph=graph, likelihood="poisson")
        np.testing.assert_array_equal(smoothed.proportions, plain.proportions)

    def test_minimises_the_penalised_form(self, grid):
        """Against a general solver, on a chain of four spots."""
        rng = np.random.default_rng(2)
        A = rng.normal(size=(4, 6, 3))
        gram, cross = np.einsum("sij,sik->sjk", A, A), np.abs(rng.normal(size=(4, 3)))
        start = np.abs(rng.normal(size=(4, 3))) + 0.1
        graph = sparse.csr_array(np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1))
        ours = smooth(gram, cross, start, graph, 0.7)
        total = start.sum(axis=1)
        information = np.trace(gram, axis1=1, axis2=2) / 3 * total**2
        weight = 0.7 * np.median(information) / 1.5

        def objective(flat):
            f = flat.reshape(4, 3)
            shares = f / total[:, None]
            fit = 0.5 * np.einsum("sk,skl,sl->", f, gram, f) - (cross * f).sum()
            return fit + 0.5 * weight * ((shares[1:] - shares[:-1]) ** 2).sum()

        theirs = optimize.minimize(
            objective, start.ravel(), bounds=[(0, None)] * 12, options={"maxiter": 5000, "ftol": 1e-14}
        )
        assert objective(ours.ravel()) <= theirs.fun + 1e-6 * abs(theirs.fun)


def test_refuses_options_that_do_not_go_together(problem):
    X, R, _ = problem
    for options, words in (
        ({"likelihood": "gaussian"}, "likelihood"),
        ({"mode": "triplet"}, "mode"),
        ({"smoothing": "much"}, "smoothing"),
        ({"max_types": 0}, "max_types"),
        ({"covariation": "all"}, "covariation"),
        ({"outlier_bound": -1}, "outlier_bound"),
    ):
        with pytest.raises(ValueError, match=words):
            count_regression(X, R, **options)


@pytest.mark.parametrize("mode", ["full", "multi", "doublet"])
def test_a_whole_part_of_empty_spots_has_no_estimate_and_harms_no_other(problem, mode):
    _, R, P = problem
    X = np.random.default_rng(7).poisson(np.repeat(P, 40, axis=0) @ R * 0.1).astype(float)
    X[: BLOCK + 10] = 0
    found = count_regression(sparse.csr_array(X), R, mode=mode).proportions
    assert np.isnan(found[: BLOCK + 10]).all() and np.isfinite(found[BLOCK + 10 :]).all()
    with_others = count_regression(X[BLOCK + 10 :], R, mode=mode).proportions
    np.testing.assert_allclose(found[BLOCK + 10 :], with_others, atol=1e-6)
