"""Stable marriage: no blocking pair, best for proposers among all stable matchings, independent of order."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointillist.archetypes import blocking_pairs, stable_marriage


@st.composite
def markets(draw, largest=4):
    n, m = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    value = st.one_of(st.integers(0, 3).map(float), st.just(float("nan")))

    def table(rows, columns, row, column):
        cells = draw(st.lists(value, min_size=rows * columns, max_size=rows * columns))
        index, names = [f"{row}{i}" for i in range(rows)], [f"{column}{i}" for i in range(columns)]
        return pd.DataFrame(np.reshape(cells, (rows, columns)), index, names)

    return table(n, m, "p", "a"), table(m, n, "a", "p")


def all_matchings(proposers, acceptors):
    places = [*acceptors, *[None] * len(proposers)]
    for choice in set(permutations(places, len(proposers))):
        yield {p: a for p, a in zip(proposers, choice) if a is not None}


def acceptable(pairs, proposer_scores, acceptor_scores):
    return all(pd.notna(proposer_scores.loc[p, a]) and pd.notna(acceptor_scores.loc[a, p]) for p, a in pairs.items())


@settings(max_examples=200, deadline=None)
@given(markets())
def test_no_pair_blocks_and_everyone_accepts(market):
    pairs = stable_marriage(*market)
    assert acceptable(pairs, *market)
    assert blocking_pairs(pairs, *market) == []
    assert len(set(pairs.values())) == len(pairs)


@settings(max_examples=60, deadline=None)
@given(markets(largest=3))
def test_no_proposer_does_better_in_any_stable_matching(market):
    proposer_scores, acceptor_scores = market
    ours = stable_marriage(*market)

    def rank(proposer, acceptor):
        if acceptor is None:
            return np.inf
        row = proposer_scores.loc[proposer]
        return sorted((-score, name) for name, score in row.dropna().items()).index((-row[acceptor], acceptor))

    for pairs in all_matchings(list(proposer_scores.index), list(acceptor_scores.index)):
        if acceptable(pairs, *market) and not blocking_pairs(pairs, *market):
            assert set(pairs) == set(ours)
            assert all(rank(p, ours.get(p)) <= rank(p, pairs.get(p)) for p in proposer_scores.index)


@settings(max_examples=60, deadline=None)
@given(markets(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(market, random):
    shuffled = []
    for table in market:
        rows, columns = list(table.index), list(table.columns)
        random.shuffle(rows)
        random.shuffle(columns)
        shuffled.append(table.loc[rows, columns])
    assert stable_marriage(*shuffled) == stable_marriage(*market)


def test_a_blocking_pair_is_found():
    women = pd.DataFrame([[2.0, 1.0], [2.0, 1.0]], ["a", "b"], ["x", "y"])
    men = pd.DataFrame([[1.0, 2.0], [1.0, 2.0]], ["x", "y"], ["a", "b"])
    assert blocking_pairs({"a": "x", "b": "y"}, women, men) == [("b", "x")]


def test_refuses_names_that_do_not_match():
    table = pd.DataFrame([[1.0]], ["a"], ["x"])
    with pytest.raises(ValueError, match="same proposers"):
        stable_marriage(table, pd.DataFrame([[1.0]], ["x"], ["b"]))
    with pytest.raises(ValueError, match="infinite"):
        stable_marriage(table * np.inf, table.T)
