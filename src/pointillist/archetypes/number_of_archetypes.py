r"""How many archetypes: explained variance against their number, and where its growth slows.

The curve is climbed from below: each number starts from the archetypes of the number before, with new ones at the spots
that are fitted worst, and from starts of its own, so that explained variance never falls. The number is then

- ``dimension``: one more than the dimensions that carry signal (see `signal_dimension`), as D archetypes span D − 1;
  the curve is climbed a little further, to be looked at;
- ``elbow``: the last number that gained at least `CORNER` times as much as the next one, a sharp corner, as there is
  when spots lie in a simplex; where the curve has none, the number whose explained variance lies highest above the
  straight line from the curve's first point to its last (Satopää et al. 2011), which is a matter of the range; or
- ``gain``: the last number before one more step gains less than `gain` (Starfysh's rule, which keeps the number after).

The lower end may be the intrinsic dimension by Fisher separability (Albergante et al. 2019), as in Starfysh: spots are
whitened and projected on the unit sphere, and the share :math:`\bar p_α` of pairs with :math:`⟨x, y⟩ > α` is compared
with that of a uniform distribution on a sphere in ℝⁿ, which gives

.. math:: n = \frac{W\bigl(-\ln(1-α^2) / (2π \bar p_α^2 α^2 (1-α^2))\bigr)}{-\ln(1-α^2)}

where `W` is Lambert's function, read at the α nearest to 0.9 of the largest one that any pair reaches.

>>> curve = choose_n_archetypes(pcs, minimum=2, maximum=20, step=2)
>>> curve.chosen
"""

import logging
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import lambertw

from pointillist.archetypes.archetypal_analysis import archetypal_analysis, checked_spots
from pointillist.seeds import generator

CORNER = 5.0
BEYOND = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchetypeCurve:
    """Explained variance of each number of archetypes that was tried, and the number chosen.

    Parameters
    ----------
    n_archetypes : ndarray of int
    explained_variance : ndarray
    gain : ndarray
        Over the number before; NaN for the first.
    chosen : int
    at_limit : bool
        Whether no number was found at which growth slows, so that a limit was taken.
    generators : ndarray, chosen × spots
        Of the chosen number, to start a longer fit from.
    """

    n_archetypes: np.ndarray
    explained_variance: np.ndarray
    gain: np.ndarray
    chosen: int
    at_limit: bool
    generators: np.ndarray


def choose_n_archetypes(
    X, minimum=2, maximum=20, step=2, gain=1e-3, rule="elbow", n_starts=2, seed=0, dimension=None, **options
):
    """Number of archetypes at which explained variance stops growing fast.

    Parameters
    ----------
    X : ndarray, spots × dimensions
    minimum : int or "intrinsic"
        Smallest number, or the intrinsic dimension (at least 2).
    maximum, step : int
        Largest number and distance between those tried.
    gain : float
        Growth of explained variance in one step under which the step was not worth it; with the rule ``elbow``, no
        corner is seen at such a step.
    rule : {"dimension", "elbow", "gain"}
        ``dimension`` ends `BEYOND` numbers after the one that the dimension gives, ``elbow`` fits every number,
        ``gain`` ends at the first that is not worth it.
    n_starts : int
        Starts of each number besides the one from the number before.
    seed : int
    dimension : int, optional
        Dimensions that carry signal; for the rule ``dimension``.
    **options
        Of `archetypal_analysis`.

    Returns
    -------
    ArchetypeCurve

    Raises
    ------
    ValueError
        When the range is empty or larger than the number of spots.
    """
    X = checked_spots(X)
    if rule not in ("dimension", "elbow", "gain"):
        raise ValueError(f"found rule={rule!r}, expected 'dimension', 'elbow' or 'gain'")
    if (rule == "dimension") != (dimension is not None):
        raise ValueError(f"found rule={rule!r} and dimension={dimension}, expected a dimension with that rule alone")
    if minimum == "intrinsic":
        minimum = max(2, int(intrinsic_dimension(X, seed=seed)))
        logger.info("intrinsic dimension: %d archetypes at least", minimum)
    if not 1 <= minimum <= maximum <= len(X) or step < 1:
        raise ValueError(
            f"found minimum={minimum}, maximum={maximum}, step={step}, "
            f"expected 1 <= minimum <= maximum <= {len(X)} spots and step >= 1"
        )
    numbers = list(range(minimum, maximum + 1, step))
    if rule == "dimension":
        numbers = [number for number in numbers if number <= dimension + 1 + BEYOND]
    explained, fitted = [], []
    for number in numbers:
        previous = fitted[-1].toarray() if fitted else None
        fit = archetypal_analysis(X, number, n_starts=n_starts, seed=seed, start_from=previous, **options)
        explained.append(fit.explained_variance)
        fitted.append(csr_matrix(fit.generators))
        logger.info("%d archetypes: explained variance %.4f", number, fit.explained_variance)
        if rule == "gain" and len(explained) > 1 and explained[-1] - explained[-2] < gain:
            break
    explained = np.array(explained)
    if rule == "dimension":
        index, at_limit = _nearest_number(numbers, dimension + 1)
    else:
        index, at_limit = (_before_small_gain if rule == "gain" else _elbow)(explained, gain)
    if at_limit:
        logger.warning(
            "no number of archetypes from %d to %d meets the rule: %d taken, the limit of the range",
            numbers[0],
            numbers[len(explained) - 1],
            numbers[index],
        )
    return ArchetypeCurve(
        n_archetypes=np.array(numbers[: len(explained)]),
        explained_variance=explained,
        gain=np.append(np.nan, np.diff(explained)),
        chosen=numbers[index],
        at_limit=at_limit,
        generators=fitted[index].toarray(),
    )


def intrinsic_dimension(X, condition_number=30.0, max_spots=4000, seed=0):
    """Intrinsic dimension of a cloud of spots, by Fisher separability.

    Parameters
    ----------
    X : ndarray, spots × dimensions
    condition_number : float
        Principal components whose variance is below the largest one's by more than this factor are left out.
    max_spots : int
        A random part of this size is used of larger samples, as the cost grows with its square.
    seed : int

    Returns
    -------
    float

    References
    ----------
    Albergante, Bac & Zinovyev (2019), IJCNN. Gorban et al. (2019), Neural Networks 109:185.
    """
    X = checked_spots(X)
    if len(X) > max_spots:
        X = X[np.sort(generator(seed, "intrinsic_dimension").choice(len(X), max_spots, replace=False))]
    left, values, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    if values[0] == 0:
        raise ValueError("found spots that are all the same, expected some variance")
    whitened = left[:, values**2 * condition_number > values[0] ** 2]
    sphere = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
    cosines = sphere @ sphere.T
    np.fill_diagonal(cosines, -1)
    alphas = np.linspace(0.6, 0.98, 20)
    # counts of pairs above every alpha at once
    above = np.histogram(cosines, bins=np.append(alphas, 1.01))[0][::-1].cumsum()[::-1]
    share = above / (len(X) * (len(X) - 1))
    if not share[0]:
        return float(sphere.shape[1])
    alphas, share = alphas[share > 0], share[share > 0]
    rest = 1 - alphas**2
    dimension = np.real(lambertw(-np.log(rest) / (2 * np.pi * share**2 * alphas**2 * rest))) / -np.log(rest)
    return float(dimension[np.argmin(np.abs(alphas - 0.9 * alphas[-1]))])


def _nearest_number(numbers, wanted):
    index = int(np.argmin(np.abs(np.array(numbers) - wanted)))
    return index, not numbers[0] <= wanted <= numbers[-1]


def _before_small_gain(explained, gain):
    if len(explained) > 1 and explained[-1] - explained[-2] < gain:
        return len(explained) - 2, False
    return len(explained) - 1, True


def _elbow(explained, gain):
    gains = np.diff(explained)
    corners = np.flatnonzero((gains[:-1] >= gain) & (gains[:-1] >= CORNER * gains[1:]))
    if len(corners):
        return int(corners[-1]) + 1, False
    height = explained - np.linspace(explained[0], explained[-1], len(explained))
    index = int(np.argmax(height))
    # a straight or a convex curve has no elbow
    if height[index] <= 1e-3 * max(explained[-1] - explained[0], 1e-12):
        return len(explained) - 1, True
    return index, False
