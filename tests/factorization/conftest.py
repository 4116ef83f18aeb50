"""Planted factors, from our own simulator of a few lines."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment


@pytest.fixture(scope="session")
def planted():
    """Poisson counts of 400 spots × 150 genes from 4 programmes of mostly own genes; usage, loadings, counts."""
    draws = np.random.default_rng(7)
    loadings = draws.gamma(0.4, 1.0, (4, 150)) * (draws.random((4, 150)) < 0.3)
    loadings /= loadings.sum(axis=1, keepdims=True)
    usage = draws.gamma(0.5, 600.0, (400, 4))
    return usage, loadings, sparse.csr_matrix(draws.poisson(usage @ loadings).astype(float))


@pytest.fixture(scope="session")
def shuffled(planted):
    """The same counts, the spots of every gene shuffled on their own: no programme is left."""
    draws = np.random.default_rng(8)
    return sparse.csr_matrix(draws.permuted(planted[2].toarray(), axis=0))


@pytest.fixture(scope="session")
def matched_correlation():
    """Lowest correlation between rows of two matrices, after the best pairing of rows."""

    def lowest(found, truth):
        correlation = np.corrcoef(found, truth)[: len(found), len(found) :]
        correlation = np.nan_to_num(correlation)
        rows, columns = linear_sum_assignment(-correlation)
        return correlation[rows, columns].min()

    return lowest
