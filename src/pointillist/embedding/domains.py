"""Spatial domains: spots of one kind of tissue, as the components of a Gaussian mixture in an embedding.

::

    z_s ~ Σ_j w_j N(m_j, C)

with one covariance ``C`` for all domains: a few hundred spots do not suffice for a covariance each, and on annotated
sections those agreed less with the annotation at the true number of domains. The number of domains is the one with the
lowest Bayesian information criterion, ``-2 log L + n_parameters · log S`` (Schwarz 1978), unless it is given.

The baseline that a network has to beat is `neighbour_mean` of the principal components: no training, and the tissue's
smoothness put in by hand.
"""

import logging
from numbers import Integral

import numpy as np
from scipy import sparse

from pointillist.seeds import seed_for

logger = logging.getLogger(__name__)

MOST_DOMAINS = 15
N_STARTS = 5


def spatial_domains(Z, n_domains=None, seed=0):
    """Gaussian mixture clusters of the spots in an embedding.

    Parameters
    ----------
    Z : ndarray, spots × dimensions
    n_domains : int, optional
        Chosen from 2 to 15 by the Bayesian information criterion when not given.
    seed : int

    Returns
    -------
    ndarray of int, spots
        Domain of each spot, from 0, in descending order of size.

    Raises
    ------
    ValueError
        NaN or infinite values, or more domains than distinct spots.

    References
    ----------
    Schwarz (1978). Estimating the dimension of a model. Annals of Statistics 6:461.
    """
    from threadpoolctl import threadpool_limits

    Z = _checked(Z)
    n_distinct = len(np.unique(Z, axis=0))
    if n_domains is not None and not (isinstance(n_domains, Integral) and 1 <= n_domains <= n_distinct):
        raise ValueError(f"n_domains is {n_domains!r}; expected a whole number from 1 to {n_distinct} distinct spots")
    candidates = range(2, min(MOST_DOMAINS, n_distinct - 1) + 1) if n_domains is None else [n_domains]
    if not len(candidates):
        raise ValueError(f"found {n_distinct} distinct spots; choosing a number of domains needs at least 3")
    with threadpool_limits(1):  # k-means, from which the mixture starts, sums in an order that depends on threads
        fits = [_mixture(Z, number, seed) for number in candidates]
        scores = [fit.bic(Z) for fit in fits] if n_domains is None else [0.0]
        labels = fits[int(np.argmin(scores))].predict(Z)
    if n_domains is None:
        found = candidates[int(np.argmin(scores))]
        logger.info("%d domains by BIC, of %d to %d tried", found, candidates[0], candidates[-1])
        if found == MOST_DOMAINS:
            logger.warning("BIC was still falling at %d domains, the most that are tried; set n_domains", found)
    _, first, codes, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[codes]


def neighbour_mean(Z, A):
    """Mean of an embedding over each spot and its neighbours in the spatial graph.

    Parameters
    ----------
    Z : ndarray, spots × dimensions
    A : sparse matrix, spots × spots
        Spatial neighbours; any entry other than zero is an edge, and the diagonal is ignored.

    Returns
    -------
    ndarray, spots × dimensions
        A spot without neighbours keeps its own value.

    Raises
    ------
    ValueError
        A graph over another number of spots, or NaN or infinite values.
    """
    Z = _checked(Z)
    A = sparse.csr_array(A)
    if A.shape != (len(Z), len(Z)):
        raise ValueError(f"the graph is {A.shape[0]} × {A.shape[1]} but the embedding has {len(Z)} spots")
    edges = sparse.csr_array(A != 0, dtype=np.float64)
    edges = edges - sparse.diags_array(edges.diagonal()) + sparse.eye_array(len(Z))
    return (edges @ Z) / edges.sum(axis=1)[:, None]


def _mixture(Z, n_domains, seed):
    from sklearn.mixture import GaussianMixture

    scale = Z.std()
    return GaussianMixture(
        n_domains,
        covariance_type="tied",
        n_init=N_STARTS,
        max_iter=500,
        reg_covar=1e-6 * (scale**2 if scale > 0 else 1.0),
        random_state=seed_for(seed, "domains", n_domains),
    ).fit(Z)


def _checked(Z):
    Z = np.asarray(Z, dtype=np.float64)
    if Z.ndim != 2:
        raise ValueError(f"the embedding has {Z.ndim} dimensions; expected a matrix of spots × dimensions")
    bad = ~np.isfinite(Z).all(axis=1)
    if bad.any():
        raise ValueError(
            f"the embedding has NaN or infinite values in {bad.sum()} spots, the first in row {np.argmax(bad)}; leave"
            " out spots without an embedding"
        )
    return Z
