"""What every model of the stage returns: a few numbers per spot, and how the training went."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Embedding:
    """Spots in a latent space.

    Parameters
    ----------
    latent : ndarray, spots × latent dimensions
        In descending order of variance, the entry of largest size in each being positive. NaN for a spot without
        counts.
    losses : DataFrame
        A row per epoch: ``epoch`` (from 1) and, for ``train_`` and ``validation_``, the parts of the loss by name, as
        means per spot.
    converged : bool
        Whether training stopped because the validation loss did, and not because the epochs ran out.
    best_epoch : int
        The epoch whose state is the one returned: that of the lowest validation loss.
    held_out : ndarray of bool, spots
        The spots that training did not see, from which the validation loss is computed.
    dispersion : ndarray, genes
        Inverse dispersion ``θ`` of each gene: the variance of a count is ``μ + μ² / θ``.
    """

    latent: np.ndarray
    losses: pd.DataFrame
    converged: bool
    best_epoch: int
    held_out: np.ndarray
    dispersion: np.ndarray
