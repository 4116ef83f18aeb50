"""Spatial domains: clusters of spots in an embedding, by a Gaussian mixture; and the baseline embedding.

A mixture with one covariance for all clusters (tied) is fitted for each number of clusters; BIC chooses the number.

Examples
--------
>>> import numpy as np
>>> spatial_domains(np.r_[np.zeros((20, 2)), np.full((30, 2), 9.0)] + np.random.default_rng(0).normal(size=(50, 2)), 2)[[0, 49]]
array([1, 0])
"""

import logging

import numpy as np
from scipy import sparse

from pointillist.seeds import seed_for

log = logging.getLogger(__name__)


def spatial_domains(latent, n_domains=None, max_domains=15, n_starts=3, seed=0):
    """Cluster of each spot in an embedding.

    Parameters
    ----------
    latent : ndarray, spots × dimensions
    n_domains : int, optional
        Chosen by BIC among 2 to `max_domains` when None.
    max_domains, n_starts : int
    seed : int

    Returns
    -------
    ndarray of int, spots
        0 is the largest cluster.

    Raises
    ------
    ValueError
        Values that are not finite, or fewer spots than clusters.

    References
    ----------
    Fraley & Raftery (2002), Journal of the American Statistical Association 97:611, for BIC of mixtures.
    """
    from sklearn.mixture import GaussianMixture

    latent = np.asarray(latent, dtype=float)
    if not np.isfinite(latent).all():
        raise ValueError("the embedding holds values that are not finite")
    if n_domains is not None and not 1 <= n_domains <= len(latent):
        raise ValueError(f"{n_domains} domains for {len(latent)} spots")
    numbers = [n_domains] if n_domains else range(2, min(max_domains, len(latent) - 1) + 1)
    best, lowest = None, np.inf
    for number in numbers:
        state = seed_for(seed, "domains", number)
        model = GaussianMixture(number, covariance_type="tied", n_init=n_starts, random_state=state).fit(latent)
        bic = model.bic(latent)
        if best is None or bic < lowest:
            best, lowest = model, bic
    if n_domains is None and best.n_components == max(numbers):
        log.warning("BIC chose the largest number of domains allowed, %d", best.n_components)
    labels = best.predict(latent)
    sizes = np.bincount(labels, minlength=best.n_components)
    rank = np.empty(best.n_components, dtype=int)
    # Equal sizes are ordered by their centre, not by the mixture's chance order.
    rank[np.lexsort((best.means_[:, 0], -sizes))] = np.arange(best.n_components)
    return rank[labels]


def neighbour_mean(latent, graph):
    """Mean of an embedding over each spot and its neighbours: what a graph network has to beat.

    Parameters
    ----------
    latent : ndarray, spots × dimensions
    graph : CSR of 0/1, spots × spots

    Returns
    -------
    ndarray, spots × dimensions
    """
    with_self = sparse.csr_matrix(graph, dtype=float) + sparse.identity(graph.shape[0], format="csr")
    return (with_self @ np.asarray(latent, dtype=float)) / np.asarray(with_self.sum(axis=1)).reshape(-1, 1)
