"""Gene scores against scipy's entropy, and markers of planted factors."""

import numpy as np
import pytest
from scipy.stats import entropy

from pointillist.factorization import gene_scores, nmf, top_genes


def test_score_is_one_minus_the_entropy_over_factors():
    loadings = np.random.default_rng(0).gamma(0.5, size=(5, 30))
    scores = gene_scores(loadings, [f"g{i}" for i in range(30)])
    np.testing.assert_allclose(scores["score"], 1 - entropy(loadings, base=5, axis=0), atol=1e-12)
    assert scores["factor"].tolist() == loadings.argmax(axis=0).tolist()
    np.testing.assert_array_equal(scores["loading"], loadings.max(axis=0))


def test_ends_of_the_scale():
    scores = gene_scores(np.array([[1.0, 2.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 0.0]]), ["own", "shared", "none"])
    assert scores.loc["own", "score"] == 1 and scores.loc["shared", "score"] == 0
    assert np.isnan(scores.loc["none", "score"]) and scores.loc["none", "factor"] == -1
    assert not scores.loc["none", "specific"]


def test_specific_genes_are_those_of_one_programme():
    draws = np.random.default_rng(3)
    loadings = draws.gamma(20.0, size=(4, 200))
    loadings[2, :5] = 3000
    scores = gene_scores(loadings, np.arange(200).astype(str))
    assert scores["specific"].iloc[:5].all() and (scores["factor"].iloc[:5] == 2).all()
    assert scores["specific"].iloc[5:].mean() < 0.1


def test_top_genes_of_planted_factors(planted, shuffled):
    _, loadings, X = planted
    genes = [f"g{i}" for i in range(loadings.shape[1])]

    def found(matrix):
        table = top_genes(nmf(matrix, 4, max_iter=300).loadings, genes, n_genes=5)
        true = [set(np.array(genes)[np.argsort(-row)[:5]]) for row in loadings]
        return sum(max(len(set(group) & own) for own in true) for _, group in table.groupby("factor")["gene"])

    assert found(X) >= 16
    assert found(shuffled) < 16


def test_rows_are_ranked_by_size_and_empty_loadings_left_out():
    table = top_genes(np.array([[0.1, -0.9, 0.0], [0.5, 0.5, 0.2]]), ["a", "b", "c"], n_genes=3)
    assert table["gene"].tolist() == ["b", "a", "a", "b", "c"]
    assert table["rank"].tolist() == [1, 2, 1, 2, 3]
    assert table["loading"].tolist() == [-0.9, 0.1, 0.5, 0.5, 0.2]
    assert top_genes(np.array([[0.1, 0.9]]), ["a", "b"])["score"].isna().all()


@pytest.mark.parametrize(
    ("loadings", "genes", "message"),
    [
        (np.ones((2, 3)), ["a", "b"], "3 genes but 2 names"),
        (np.ones((1, 2)), ["a", "b"], "found one factor"),
        (np.array([[1.0, np.nan], [1.0, 1.0]]), ["a", "b"], "NaN"),
        (np.ones(2), ["a", "b"], "1 dimensions"),
    ],
)
def test_unfit_loadings_are_refused(loadings, genes, message):
    with pytest.raises(ValueError, match=message):
        gene_scores(loadings, genes)
