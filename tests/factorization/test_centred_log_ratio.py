"""The centred log-ratio by its formula, and what it is for (our simulator)."""

import numpy as np
import pytest
from scipy import sparse

from pointillist.factorization import centred_log_ratio


def test_formula():
    counts = np.random.default_rng(0).poisson(3.0, (20, 8)).astype(float)
    by_hand = np.log1p(counts / np.exp(np.log1p(counts).mean(axis=1, keepdims=True)))
    np.testing.assert_allclose(centred_log_ratio(counts).toarray(), by_hand)
    np.testing.assert_allclose(centred_log_ratio(sparse.csc_matrix(counts)).toarray(), by_hand)


def test_one_loud_antibody_does_not_silence_the_others():
    counts = np.full((2, 30), 50.0)
    counts[1, 0] = 5000.0
    quiet = centred_log_ratio(counts).toarray()[:, 1:]
    by_total = np.log1p(counts / counts.sum(axis=1, keepdims=True) * counts.sum(axis=1).mean())[:, 1:]
    assert abs(np.diff(quiet, axis=0)).max() < 0.1
    assert abs(np.diff(by_total, axis=0)).max() > 1


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="the protein counts with negative values"):
        centred_log_ratio(np.array([[-1.0, 2.0]]))
