"""How firmly the sample fixes each archetype: archetypes of resampled spots against those of all spots."""

import logging

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from pointillist.archetypes.archetypal_analysis import archetypal_analysis, checked_spots
from pointillist.seeds import generator, seed_for

logger = logging.getLogger(__name__)


def bootstrap_stability(X, archetypes, n_bootstraps=20, seed=0, **options):
    """Movement of every archetype when spots are drawn again with replacement.

    Each draw is solved from starts of its own and paired one to one with the given archetypes by least squared
    distance.

    Parameters
    ----------
    X : ndarray, spots × dimensions
    archetypes : ndarray, archetypes × dimensions
    n_bootstraps : int
    seed : int
    **options
        Of `archetypal_analysis`; one start by default.

    Returns
    -------
    DataFrame, one row an archetype
        ``spread``: root mean squared distance to its partners, over the root mean squared distance of spots from
        their mean; ``recovered``: share of draws in which it and its partner were nearest to each other.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap.
    """
    X = checked_spots(X)
    archetypes = np.asarray(archetypes, dtype=float)
    if archetypes.ndim != 2 or archetypes.shape[1] != X.shape[1]:
        raise ValueError(f"found archetypes of shape {archetypes.shape}, expected archetypes × {X.shape[1]}")
    if n_bootstraps < 2:
        raise ValueError(f"found n_bootstraps={n_bootstraps}, expected at least 2")
    scale = np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
    options = {"n_starts": 1, "tolerance": 1e-5, **options}
    squared, recovered = np.zeros(len(archetypes)), np.zeros(len(archetypes))
    for draw in range(n_bootstraps):
        rows = generator(seed, "bootstrap_stability", draw).integers(len(X), size=len(X))
        fit = archetypal_analysis(X[rows], len(archetypes), seed=seed_for(seed, "bootstrap", draw), **options)
        distances = cdist(archetypes, fit.archetypes)
        own, partner = linear_sum_assignment(distances**2)
        squared[own] += distances[own, partner] ** 2
        recovered[own] += (distances[own].argmin(axis=1) == partner) & (distances[:, partner].argmin(axis=0) == own)
        if draw % 10 == 9:
            logger.info("bootstrap %d of %d", draw + 1, n_bootstraps)
    return pd.DataFrame(
        {
            "archetype": archetype_names(len(archetypes)),
            "spread": np.sqrt(squared / n_bootstraps) / scale,
            "recovered": recovered / n_bootstraps,
        }
    )


def archetype_names(n_archetypes):
    """``A1`` to ``A9``, or ``A01`` to ``A12``, so that the order of names is the order of mass."""
    width = len(str(n_archetypes))
    return [f"A{number:0{width}d}" for number in range(1, n_archetypes + 1)]
