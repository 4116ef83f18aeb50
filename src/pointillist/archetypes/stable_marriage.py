"""Stable marriage of two sides that rank each other (Gale & Shapley 1962).

Each proposer asks the acceptors in the order of its own list; an acceptor keeps the best offer so far by its own list.
The result has no blocking pair, two that would both rather have each other, and of all such results it is the best one
for every proposer. Lists may be incomplete (NaN: would rather stay alone) and the sides unequal; equal scores are told
apart by name, so that the order of the input does not matter.

Examples
--------
>>> import pandas as pd
>>> women = pd.DataFrame([[2.0, 1.0], [2.0, 1.0]], ["a", "b"], ["x", "y"])
>>> men = pd.DataFrame([[1.0, 2.0], [1.0, 2.0]], ["x", "y"], ["a", "b"])
>>> stable_marriage(women, men)
{'a': 'y', 'b': 'x'}
"""

import numpy as np


def stable_marriage(proposer_scores, acceptor_scores):
    """Proposer-optimal stable matching.

    Parameters
    ----------
    proposer_scores : DataFrame, proposers × acceptors
        How much each proposer wants each acceptor; NaN where it would not have it.
    acceptor_scores : DataFrame, acceptors × proposers
        The same of the acceptors.

    Returns
    -------
    dict of str to str
        Acceptor of each matched proposer, in the proposers' alphabetical order.

    Raises
    ------
    ValueError
        The two tables do not name the same proposers and acceptors, or name one twice.

    References
    ----------
    Gale & Shapley (1962), The American Mathematical Monthly 69:9.
    """
    proposer_scores, acceptor_scores = _checked(proposer_scores, acceptor_scores)
    lists = {name: _ranked(proposer_scores.loc[name], acceptor_scores[name]) for name in proposer_scores.index}
    rank = {
        name: {other: place for place, other in enumerate(_ranked(acceptor_scores.loc[name], proposer_scores[name]))}
        for name in acceptor_scores.index
    }
    asked = dict.fromkeys(lists, 0)
    engaged, free = {}, sorted(lists, reverse=True)
    while free:
        proposer = free.pop()
        if asked[proposer] == len(lists[proposer]):
            continue
        acceptor = lists[proposer][asked[proposer]]
        asked[proposer] += 1
        rival = engaged.get(acceptor)
        if rival is None or rank[acceptor][proposer] < rank[acceptor][rival]:
            engaged[acceptor] = proposer
            proposer = rival
        if proposer is not None:
            free.append(proposer)
    return {proposer: acceptor for proposer, acceptor in sorted((p, a) for a, p in engaged.items())}


def blocking_pairs(pairs, proposer_scores, acceptor_scores):
    """Pairs that would both rather have each other than what `pairs` gives them.

    Parameters
    ----------
    pairs : dict of str to str
        Acceptor of each matched proposer.
    proposer_scores, acceptor_scores : DataFrame
        As in `stable_marriage`.

    Returns
    -------
    list of (proposer, acceptor)
    """
    proposer_scores, acceptor_scores = _checked(proposer_scores, acceptor_scores)
    partner = {acceptor: proposer for proposer, acceptor in pairs.items()}
    found = []
    for proposer in proposer_scores.index:
        for acceptor in _ranked(proposer_scores.loc[proposer], acceptor_scores[proposer]):
            if pairs.get(proposer) == acceptor:
                break
            wanted = _ranked(acceptor_scores.loc[acceptor], proposer_scores[acceptor])
            now = partner.get(acceptor)
            if now is None or wanted.index(proposer) < wanted.index(now):
                found.append((proposer, acceptor))
    return found


def _ranked(scores, returned):
    """Names in decreasing order of score, ties by name; only those that accept each other."""
    mutual = scores[(scores.notna() & returned.reindex(scores.index).notna())]
    return [name for _, name in sorted((-score, name) for name, score in mutual.items())]


def _checked(proposer_scores, acceptor_scores):
    for table in (proposer_scores, acceptor_scores):
        if not (table.index.is_unique and table.columns.is_unique):
            raise ValueError("a name stands twice on one side: give each its own")
        if np.isinf(table.to_numpy(dtype=float)).any():
            raise ValueError("scores are infinite: give finite ones, or NaN where a pair is not wanted")
    if set(proposer_scores.index) != set(acceptor_scores.columns) or set(proposer_scores.columns) != set(
        acceptor_scores.index
    ):
        raise ValueError("the two tables do not name the same proposers and acceptors")
    return proposer_scores.sort_index().sort_index(axis=1), acceptor_scores.sort_index().sort_index(axis=1)
