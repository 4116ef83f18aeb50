"""Simulated tissue with groups of spots, from our own simulator of a few lines."""

import numpy as np
import pytest
from scipy import sparse


@pytest.fixture(scope="session")
def grouped():
    """Negative binomial counts of 400 spots × 200 genes in 4 groups, depths varying tenfold; counts and groups."""
    draws = np.random.default_rng(11)
    base = draws.gamma(0.5, 1.0, 200) + 0.01
    profiles = base * np.exp(draws.normal(0, 0.5, (4, 200)))
    profiles /= profiles.sum(axis=1, keepdims=True)
    groups = draws.integers(0, 4, 400)
    means = 300 * np.exp(draws.normal(0, 0.6, 400))[:, None] * profiles[groups]
    return sparse.csr_array(draws.poisson(draws.gamma(3.0, means / 3.0)).astype(float)), groups


@pytest.fixture(scope="session")
def fitted(grouped):
    """The VAE at its defaults on the grouped spots."""
    from pointillist.embedding import vae

    return vae(grouped[0])


@pytest.fixture(scope="session")
def unrelated(grouped):
    """The same counts, the spots of every gene shuffled on their own: no group is left."""
    return sparse.csr_array(np.random.default_rng(12).permuted(grouped[0].toarray(), axis=0))
