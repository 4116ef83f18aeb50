"""Platform effect: the factor by which the sample's technique counts a gene more or less often than the reference's.

    γ_g = log (pseudo-bulk of the spots / what the fit expects of it),   with mean zero

as in RCTD. Between techniques genes are off by factors of two and more; within one the ratios mostly say that the cells
differ, and taking them out takes signal with them: ``auto`` corrects where the spread of γ is above 0.5 (a factor of
1.65), which lies between the 0.15 to 0.3 seen within a technique and what is seen between two.

References
----------
Cable et al. (2022), Nature Biotechnology 40:517.
"""

import numpy as np

from pointillist.deconvolution.result import blocks

BOUND = 0.5
CHOICES = ("auto", "always", "never")
OPTION = {
    "type": "string",
    "enum": list(CHOICES),
    "default": "auto",
    "description": "correct each gene by its pseudo-bulk; auto: where genes are off by more than within a technique",
}


def platform_effect(X, R, abundance, choice="auto"):
    """Log ratio of each gene's counts in the sample to those that a fit expects.

    Parameters
    ----------
    X : ndarray or CSR, spots × genes
    R : ndarray, cell types × genes
    abundance : ndarray, spots × cell types
        Of a first fit.
    choice : {"auto", "always", "never"}

    Returns
    -------
    gamma : ndarray, genes
        Zero throughout where no correction is made.
    spread : float
        Standard deviation of the log ratios, weighted by expression, whether or not they are used.
    """
    if choice not in CHOICES:
        raise ValueError(f"platform_effect is {choice!r}, expected one of {list(CHOICES)}")
    expected = abundance.sum(axis=0) @ R
    observed = sum(np.asarray(block.sum(axis=0)).ravel() for _, block in blocks(X))
    if not expected.sum() > 0:
        return np.zeros(len(expected)), 0.0
    # Genes that are hardly expressed say nothing of themselves.
    floor = 0.05 * expected.mean()
    gamma = np.log((observed + floor) / (expected + floor))
    gamma -= np.average(gamma, weights=expected)
    spread = float(np.sqrt(np.average(gamma**2, weights=expected)))
    used = choice == "always" or (choice == "auto" and spread > BOUND)
    return gamma if used else np.zeros_like(gamma), spread
