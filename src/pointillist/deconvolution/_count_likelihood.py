"""Maximum likelihood of counts whose mean is a non-negative mixture, for many spots at a time.

    x_sg ~ Poisson(μ_sg)  or  negative binomial with variance μ + α μ²,     μ = f R

Newton's method: around the present fit the likelihood is a least-squares problem, whose K × K Gram matrices (the
information) of all spots are one product of weights with the pairs of rows of R; it is solved exactly under f ≥ 0, and
the step is halved where the likelihood would fall.
"""

from dataclasses import dataclass

import numpy as np

from pointillist.deconvolution._covariation import Correlation
from pointillist.deconvolution._least_squares import nonnegative_least_squares

_HALVINGS = 12
_LEAST_CURVATURE = 0.1


@dataclass(frozen=True)
class Mixture:
    """What stays the same for all spots.

    Parameters
    ----------
    R : ndarray, K × genes
        Expected expression of each cell type, positive.
    dispersion : float
        α; 0 for Poisson.
    correlation : Correlation, optional
        Of the genes.
    outlier_bound : float
        Residuals beyond so many standard deviations weigh less, by Huber's rule; 0 for none.

    Correlation and bound are those of the estimating equations: `log_likelihood` and `maximise` know neither.
    """

    R: np.ndarray
    dispersion: float = 0.0
    correlation: Correlation | None = None
    outlier_bound: float = 0.0

    def log_likelihood(self, X, abundance):
        """Log-likelihood of each spot, without the terms that do not depend on the abundance."""
        mu = abundance @ self.R
        if self.dispersion:
            spread = np.log1p(self.dispersion * mu)
            return (X * (np.log(mu) - spread) - spread / self.dispersion).sum(axis=1)
        return (X * np.log(mu)).sum(axis=1) - mu.sum(axis=1)

    def quadratic(self, X, abundance):
        """Expected information (spots × K × K) and ``R W x`` (spots × K) of the estimating equations at a fit."""
        mu = abundance @ self.R
        weights = self._information(mu)
        if self.outlier_bound:
            size = np.abs(X - mu) * np.sqrt(weights)
            weights = weights * np.minimum(1, self.outlier_bound / np.maximum(size, 1e-300))
        if self.correlation is None:
            return self._grams(weights), (weights * X) @ self.R.T
        return self.correlation.normal_equations(np.sqrt(weights), self.R, X, self._grams(weights))

    def estimate(self, X, start):
        """Abundance by maximum likelihood, then by the estimating equations where they differ from it.

        Returns
        -------
        abundance, cross : ndarray, spots × K
        gram : ndarray, spots × K × K
            The quadratic form of which the abundance is the minimum.
        """
        abundance, _ = self.maximise(X, start)
        gram, cross = self.quadratic(X, abundance)
        if self.correlation is not None or self.outlier_bound:
            # From the most likely abundance the weights settle in two steps.
            abundance = _filled(nonnegative_least_squares(gram, cross), abundance)
            gram, cross = self.quadratic(X, abundance)
            abundance = _filled(nonnegative_least_squares(gram, cross), abundance)
        return abundance, gram, cross

    def misfit(self, X, abundance):
        """Squared length of each spot's residuals in units of their variance: about the number of genes."""
        mu = abundance @ self.R
        scaled = (X - mu) * np.sqrt(self._information(mu))
        return (scaled**2).sum(axis=1) if self.correlation is None else self.correlation.squared_length(scaled)

    def maximise(self, X, start, allowed=None, max_iter=300, tolerance=1e-6):
        """Most likely abundance of each spot.

        Parameters
        ----------
        X : ndarray, spots × genes
        start : ndarray, spots × K
            With a positive sum in every row.
        allowed : ndarray of bool, spots × K, optional
            Types that may be present.

        Returns
        -------
        abundance : ndarray, spots × K
        log_likelihood : ndarray, spots

        Raises
        ------
        RuntimeError
            Some spots have not settled after `max_iter` steps.
        """
        abundance = start.copy()
        value = self.log_likelihood(X, abundance)
        todo = np.arange(len(X))
        for _ in range(max_iter):
            part = None if allowed is None else allowed[todo]
            gram, cross = self._newton(X[todo], abundance[todo])
            direction = nonnegative_least_squares(gram, cross, part) - abundance[todo]
            gain = np.einsum("sk,skl,sl->s", direction, gram, direction)
            step = np.ones(len(todo))
            waiting = np.arange(len(todo))
            for _ in range(_HALVINGS):
                spots = todo[waiting]
                tried = np.clip(abundance[spots] + step[waiting, None] * direction[waiting], 0, None)
                reached = np.full(len(spots), -np.inf)
                filled = tried.sum(axis=1) > 0
                reached[filled] = self.log_likelihood(X[spots[filled]], tried[filled])
                better = reached >= value[spots] - 1e-9 * np.abs(value[spots])
                abundance[spots[better]], value[spots[better]] = tried[better], reached[better]
                waiting = waiting[~better]
                if not len(waiting):
                    break
                step[waiting] /= 2
            # What the step could still gain, in units of log-likelihood: where it is tiny, so is the step in units of
            # the abundance's standard error. Rounding ends some a little earlier.
            stalled = np.zeros(len(todo), dtype=bool)
            stalled[waiting] = True
            todo = todo[gain > np.where(stalled, 100 * tolerance, tolerance)]
            if not len(todo):
                return abundance, value
        raise RuntimeError(f"count regression did not settle in {max_iter} steps for {len(todo)} of {len(X)} spots")

    def _information(self, mu):
        return 1 / (mu * (1 + self.dispersion * mu))

    def _grams(self, weights):
        first, second = np.triu_indices(len(self.R))
        gram = np.empty((len(weights), len(self.R), len(self.R)))
        gram[:, first, second] = gram[:, second, first] = weights @ (self.R[first] * self.R[second]).T
        return gram

    def _newton(self, X, abundance):
        """Gram matrix and right-hand side of Newton's step: observed information, as far as it is positive."""
        mu = abundance @ self.R
        slope = (X - mu) * self._information(mu)
        observed = X / mu**2
        if self.dispersion:
            observed = observed - self.dispersion * (1 + self.dispersion * X) / (1 + self.dispersion * mu) ** 2
        weights = np.maximum(observed, _LEAST_CURVATURE * self._information(mu))
        return self._grams(weights), (weights * mu + slope) @ self.R.T


def _filled(abundance, otherwise):
    return np.where(abundance.sum(axis=1, keepdims=True) > 0, abundance, otherwise)
