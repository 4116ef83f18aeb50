"""What every deconvolution method has to keep, whatever its model."""

import copy

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from pointillist.deconvolution import METHODS, per_cell

QUICK = {"cibersort": {"n_permutations": 0}}
VARIANTS = [
    *((name, {}) for name in METHODS),
    ("simplex", {"weights": "inverse_variance"}),
    ("simplex", {"weights": "dampened"}),
    ("gls", {"platform_effect": "always"}),
    ("count_regression", {"likelihood": "poisson"}),
    ("count_regression", {"mode": "multi"}),
    ("count_regression", {"mode": "doublet"}),
    ("count_regression", {"smoothing": "none"}),
]
# Methods whose result does not change when a spot's counts are all multiplied by the same number.
SCALE_FREE = {"nnls", "wnnls", "simplex", "cibersort", "dwls"}


class Problem:
    """Planted mixtures of cells, with all that a method may ask for."""

    def __init__(self, n_types=5, n_genes=150, n_spots=40, seed=0):
        rng = np.random.default_rng(seed)
        profile = rng.gamma(0.4, 1, (n_types, n_genes))
        profile /= profile.sum(axis=1, keepdims=True)
        self.codes = np.repeat(np.arange(n_types), 40)
        depth = rng.lognormal(7.5, 0.2, len(self.codes))
        varied = profile[self.codes] * rng.gamma(8, 1 / 8, (len(self.codes), n_genes))
        self.cells = sparse.csr_array(rng.poisson(varied * depth[:, None]).astype(float))
        self.truth = rng.dirichlet(np.full(n_types, 0.4), n_spots)
        self.X = rng.poisson(self.truth @ profile * 8000).astype(float)
        self.profile = profile
        self.row, self.column = np.divmod(np.arange(n_spots), 8)

    def context(self, codes=None, cells=None):
        codes = self.codes if codes is None else codes
        cells = self.cells if cells is None else cells
        member = np.eye(codes.max() + 1)[:, codes]
        totals = np.asarray(cells.sum(axis=1)).ravel()
        R = np.asarray(member @ cells.toarray()) / (member @ totals)[:, None] * 1e4
        apart = np.abs(self.row[:, None] - self.row) + np.abs(self.column[:, None] - self.column)
        return R, {
            "cells": cells,
            "codes": codes,
            "cell_totals": totals,
            "n_cells": member.sum(axis=1),
            "graph": sparse.csr_array((apart == 1).astype(float)),
            "seed": 3,
        }


@pytest.fixture(scope="module")
def problem():
    return Problem()


def run(variant, X, R, context, **changes):
    name, options = variant
    return METHODS[name].run(X, R, options=QUICK.get(name, {}) | options, **{**context, **changes})


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
def variant(request):
    return request.param


@pytest.fixture
def smoothed(variant):
    return variant == ("count_regression", {}) or variant[1] == {"likelihood": "poisson"}


class TestEveryMethod:
    def test_rows_are_proportions_near_the_truth_and_not_with_a_shuffled_signature(self, variant, problem):
        R, context = problem.context()
        result = run(variant, problem.X, R, context)
        assert result.proportions.shape == problem.truth.shape
        assert result.proportions.min() >= 0
        np.testing.assert_allclose(result.proportions.sum(axis=1), 1, atol=1e-9)
        assert {"pearson", "rmse"} <= set(result.fit)
        assert all(len(values) == len(problem.X) for values in result.fit.values())

        def closeness(estimate):
            return np.nanmean([np.corrcoef(a, b)[0, 1] for a, b in zip(estimate, problem.truth)])

        assert closeness(result.proportions) > (0.85 if "mode" in variant[1] else 0.95)
        genes = np.random.default_rng(0).permutation(R.shape[1])
        shuffled = run(variant, problem.X[:, genes], R, context)
        assert closeness(shuffled.proportions) < 0.4

    def test_permuting_spots_genes_and_types_permutes_the_result(self, variant, problem, smoothed):
        R, context = problem.context()
        rng = np.random.default_rng(1)
        spots, genes, types = (rng.permutation(n) for n in (*problem.X.shape, len(R)))
        expected = run(variant, problem.X, R, context).proportions[spots][:, types]
        place = np.argsort(types)
        moved = context | {
            "cells": problem.cells[:, genes],
            "codes": place[problem.codes],
            "n_cells": context["n_cells"][types],
            "graph": context["graph"][spots][:, spots],
        }
        ours = run(variant, problem.X[spots][:, genes], R[types][:, genes], moved).proportions
        if smoothed:
            # Other counts are held out, so that another strength may be chosen: the tissue must still look the same.
            assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > 0.95
        else:
            # DWLS draws halves of the genes, and stops at a hundredth of a spot.
            np.testing.assert_allclose(ours, expected, atol=0.05 if "dwls" in variant[0] else 1e-4)

    def test_duplicate_spots_have_the_same_row(self, variant, problem, smoothed):
        if smoothed:
            pytest.skip("a smoothed spot depends on its neighbours")
        R, context = problem.context()
        proportions = run(variant, np.vstack([problem.X, problem.X[:3]]), R, context).proportions
        np.testing.assert_allclose(proportions[:3], proportions[-3:], atol=1e-6)

    def test_an_empty_spot_is_nan_and_harms_no_other(self, variant, problem, smoothed):
        R, context = problem.context()
        X = problem.X.copy()
        X[7] = 0
        result = run(variant, X, R, context)
        assert np.isnan(result.proportions[7]).all()
        others = np.arange(len(X)) != 7
        assert not np.isnan(result.proportions[others]).any()
        if not smoothed:
            expected = run(variant, problem.X, R, context).proportions[others]
            np.testing.assert_allclose(result.proportions[others], expected, atol=0.02)

    def test_a_pure_spot_is_of_its_type(self, variant, problem, smoothed):
        if smoothed:
            pytest.skip("a smoothed spot depends on its neighbours")
        R, context = problem.context()
        pure = np.random.default_rng(2).poisson(problem.profile * 20_000).astype(float)
        # Beside the mixtures, so that the sample as a whole is as usual.
        proportions = run(variant, np.vstack([problem.X, pure]), R, context).proportions[-len(R) :]
        assert np.diag(proportions).min() > 0.9

    def test_storage_does_not_matter(self, variant, problem):
        R, context = problem.context()
        dense = run(variant, problem.X, R, context).proportions
        for stored in (
            sparse.csr_array(problem.X),
            sparse.csc_array(problem.X),
            sparse.csr_matrix(problem.X.astype(np.float32)),
            problem.X.astype(np.int64),
        ):
            np.testing.assert_allclose(run(variant, stored, R, context).proportions, dense, atol=1e-6)

    def test_inputs_are_left_as_they_were(self, variant, problem):
        R, context = problem.context()
        X = sparse.csr_array(problem.X)
        before = copy.deepcopy((X, R, context))
        run(variant, X, R, context)
        assert (X != before[0]).nnz == 0 and np.array_equal(R, before[1])
        for name, value in context.items():
            same = (
                (value != before[2][name]).nnz == 0
                if sparse.issparse(value)
                else np.array_equal(value, before[2][name])
            )
            assert same, name

    def test_the_same_seed_gives_the_same_bytes_and_threads_the_same_numbers(self, variant, problem):
        R, context = problem.context()
        with threadpool_limits(1):
            first = run(variant, problem.X, R, context)
            again = run(variant, problem.X, R, context)
        with threadpool_limits(2):
            parallel = run(variant, problem.X, R, context)
        assert first.proportions.tobytes() == again.proportions.tobytes()
        np.testing.assert_allclose(parallel.proportions, first.proportions, atol=1e-6)

    def test_library_size_does_not_matter_where_that_is_claimed(self, variant, problem):
        if variant[0] not in SCALE_FREE:
            pytest.skip("its noise depends on the number of counts")
        R, context = problem.context()
        expected = run(variant, problem.X, R, context).proportions
        np.testing.assert_allclose(run(variant, problem.X * 3.0, R, context).proportions, expected, atol=1e-6)

    def test_a_type_that_no_spot_holds_gets_almost_nothing(self, variant):
        problem = Problem(seed=4)
        rng = np.random.default_rng(4)
        shares = np.column_stack([rng.dirichlet(np.full(4, 0.5), 40), np.zeros(40)])
        R, context = problem.context()
        X = rng.poisson(shares @ problem.profile * 8000).astype(float)
        assert run(variant, X, R, context).proportions[:, 4].mean() < 0.03

    def test_two_types_are_enough(self, variant):
        problem = Problem(n_types=2, seed=5)
        R, context = problem.context()
        estimate = run(variant, problem.X, R, context).proportions
        assert np.corrcoef(estimate[:, 0], problem.truth[:, 0])[0, 1] > 0.95

    def test_bounds_enclose_the_estimate(self, variant, problem):
        R, context = problem.context()
        result = run(variant, problem.X, R, context)
        for given in (result, per_cell(result, 1 + np.arange(len(R)))):
            if given.lower is not None:
                assert (given.lower <= given.proportions + 1e-9).all() and (given.lower >= 0).all()
                assert (given.upper >= given.proportions - 1e-9).all() and (given.upper <= 1).all()

    def test_refuses_what_it_cannot_solve(self, variant, problem):
        R, context = problem.context()
        with pytest.raises(ValueError, match="NaN"):
            run(variant, np.where(problem.X > 100, np.nan, problem.X), R, context)
        with pytest.raises(ValueError, match="negative"):
            run(variant, -problem.X, R, context)
        with pytest.raises(ValueError, match="same genes"):
            run(variant, problem.X[:, 1:], R, context)
        with pytest.raises(ValueError, match="at least two"):
            run(variant, problem.X, R[:1], context)


def test_per_cell_divides_by_the_cells_size():
    from pointillist.deconvolution import Deconvolution

    shares = np.array([[0.5, 0.5], [1.0, 0.0], [np.nan, np.nan]])
    result = Deconvolution(shares, {}, shares * 3, shares * 0.5, np.minimum(shares * 1.5, 1))
    ours = per_cell(result, [1000, 3000])
    np.testing.assert_allclose(ours.proportions[:2], [[0.75, 0.25], [1, 0]])
    assert np.isnan(ours.proportions[2]).all()
    # A quarter of the RNA of the first type, three of the second's: 1/4 : 3/4 / 3.
    np.testing.assert_allclose(ours.lower[0, 0], 0.5)
    np.testing.assert_allclose(ours.upper[0, 0], 0.9)
    with pytest.raises(ValueError, match="positive"):
        per_cell(result, [1000, 0])
