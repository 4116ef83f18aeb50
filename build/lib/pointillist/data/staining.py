"""The invented organ that the simulator cuts: where its cells lie, and how a stained section of it looks.

The organ is modelled on a lymph node. Its outline is ``ρ(θ)`` in polar coordinates about its centre, so that a
point at ``(r, θ)`` lies ``ρ(θ) - r`` from the edge along its ray. From the outside in lie a capsule, a cortex
with follicles (most with a germinal centre), a T zone, and on the side of the hilum a medulla of cords and
sinuses. Every border wobbles along a smooth random field. Cells are set one by one, at the density and with the
mixture of types of their region.

The stain follows Beer and Lambert: of channel ``c`` the share ``exp(-Σ_d a_d E_dc)`` passes a pixel, where
``a_d`` is the amount of dye ``d`` there and ``E_d`` its absorbance in red, green and blue [1]_. Eosin comes from
the region and its texture, haematoxylin from the nuclei, one ellipse each.

>>> organ = Organ(generator(0, "organ"), area=8e6, margin=250.0)  # doctest: +SKIP
>>> cells, kinds, numbers = place_cells(organ, spots, 55.0, 8, generator(0, "cells"))  # doctest: +SKIP
>>> image = stain_section(organ, cells, kinds, 0.33, generator(0, "stain"))  # doctest: +SKIP

References
----------
.. [1] Macenko et al. (2009). A method for normalizing histology slides for quantitative analysis. IEEE
   International Symposium on Biomedical Imaging, 1107-1110.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

CELL_TYPES = (
    "Naive B cell",
    "CD4 T cell",
    "Fibroblast",
    "Macrophage",
    "Plasma cell",
    "Germinal centre B cell",
    "CD8 T cell",
    "Endothelial cell",
)

# Of each region: cells below a spot, amount of eosin (collagen takes most), relative numbers of CELL_TYPES.
_TISSUE = {
    "Capsule": (4, 0.55, (2, 3, 60, 8, 3, 0, 2, 12)),
    "Cortex": (11, 0.27, (34, 25, 8, 9, 4, 1, 14, 5)),
    "Follicle": (14.5, 0.21, (76, 9, 3, 3, 2, 3, 2, 2)),
    "Germinal centre": (9, 0.22, (8, 12, 2, 9, 2, 65, 1, 1)),
    "T zone": (13, 0.27, (6, 47, 6, 6, 2, 0, 27, 6)),
    "Medullary cord": (9, 0.40, (6, 6, 8, 11, 59, 0, 6, 4)),
    "Medullary sinus": (5, 0.24, (4, 5, 11, 52, 8, 0, 5, 15)),
}
REGIONS = tuple(_TISSUE)
_SITES_PER_SPOT = 15.5  # nuclei keep a distance, so that no more than about this many fit below a spot

# Absorbance of one unit of dye in red, green and blue.
_HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062])
_EOSIN = np.array([0.2159, 0.8012, 0.5581])
_GLASS = np.array([246.0, 245.0, 243.0])

# Nuclei by cell type: longer and shorter radius in micrometres, amount of haematoxylin.
_NUCLEI = {
    "Naive B cell": (3.7, 3.5, 1.15),
    "CD4 T cell": (3.4, 3.2, 1.05),
    "CD8 T cell": (3.4, 3.2, 1.05),
    "Germinal centre B cell": (4.9, 4.4, 0.52),
    "Plasma cell": (3.7, 3.6, 1.10),
    "Macrophage": (5.2, 4.2, 0.55),
    "Fibroblast": (8.0, 1.9, 0.95),
    "Endothelial cell": (6.5, 1.9, 1.00),
}


class Organ:
    """Where the parts of the organ lie; one pixel is one micrometre.

    Parameters
    ----------
    rng : numpy.random.Generator
    area : float
        Of the section, in square pixels.
    margin : float
        Glass left around the section, in pixels.

    Attributes
    ----------
    width, height : float
        Extent of the section with its margin, in pixels.
    """

    def __init__(self, rng, area, margin):
        # A bean with one broad end and a notch at the hilum: no reflection or rotation maps it onto itself.
        self._hilum_angle = 0.62 + rng.uniform(-0.06, 0.06)
        self._theta = np.linspace(-np.pi, np.pi, 4097)
        orders = np.arange(3, 14)
        ripples = np.cos(np.multiply.outer(self._theta, orders) + rng.uniform(0, 2 * np.pi, orders.size))
        notch = np.angle(np.exp(1j * (self._theta - self._hilum_angle)))
        shape = 1 + 0.16 * np.cos(self._theta - 2.6) + 0.15 * np.cos(2 * (self._theta + 0.28))
        shape += ripples @ (rng.normal(0, 0.055, orders.size) / orders**0.8)
        shape = np.maximum(shape - 0.3 * np.exp(-((notch / 0.3) ** 2)), 0.3)
        self._length = np.sqrt(area / np.mean(np.pi * shape[1:] ** 2))
        self._outline = self._length * shape
        outline = self._outline[:, None] * _direction(self._theta)
        self.centre = margin - outline.min(axis=0)
        self.width, self.height = np.ptp(outline, axis=0) + 2 * margin

        self.capsule = max(0.045 * self._length, 65.0)
        self._borders = SmoothField(rng, 0.45 * self._length)
        self._sinuses = SmoothField(rng, 0.26 * self._length)
        self._hilum = self.centre + 0.95 * self._radius(self._hilum_angle) * _direction(self._hilum_angle)
        angles = self._hilum_angle + np.linspace(1.0, 2 * np.pi - 0.95, 8) + rng.uniform(-0.07, 0.07, 8)
        inset = self._radius(angles) - self._length * rng.uniform(0.21, 0.3, 8)
        centres = self.centre + inset[:, None] * _direction(angles)
        self._follicles = centres, self._length * rng.uniform(0.14, 0.2, 8), np.arange(8) % 3 != 1
        angles = self._hilum_angle + rng.uniform(-2.2, 2.2, 7)
        inset = self._radius(angles) * rng.uniform(0.1, 0.65, 7)
        sizes = rng.uniform(14, 34, 7), rng.uniform(1, 2.2, 7), rng.uniform(0, np.pi, 7)
        self._vessels = self.centre + inset[:, None] * _direction(angles), *sizes
        self._creases = SmoothField(rng, 90)

    def edge_distance(self, xy):
        """Pixels from each of the N × 2 points to the outline along its ray; negative outside."""
        radius, outline = self._polar(xy)
        return outline - radius

    def relative_radius(self, xy):
        """Distance from the centre as a share of the outline's; below 1 inside."""
        radius, outline = self._polar(xy)
        return radius / outline

    def regions(self, xy):
        """Index into `REGIONS` of each of the N × 2 points."""
        length, wobble = self._length, self._borders(xy)
        depth = self.edge_distance(xy)
        code = np.full(len(xy), REGIONS.index("T zone"))
        code[depth < (0.3 + 0.05 * wobble) * length] = REGIONS.index("Cortex")
        medulla = np.hypot(*(xy - self._hilum).T) < (0.78 + 0.1 * wobble) * length
        code[medulla] = REGIONS.index("Medullary cord")
        code[medulla & (self._sinuses(xy) > 0.35)] = REGIONS.index("Medullary sinus")
        for centre, radius, germinal in zip(*self._follicles):
            distance = np.hypot(*(xy - centre).T) + 0.15 * radius * wobble
            code[distance < radius] = REGIONS.index("Follicle")
            if germinal:
                code[distance < 0.62 * radius] = REGIONS.index("Germinal centre")
        code[depth < self.capsule * (1 + 0.25 * wobble)] = REGIONS.index("Capsule")
        return code

    def vessel_distance(self, xy):
        """Pixels from each point to the nearest vessel's wall; negative inside its lumen."""
        nearest = np.full(len(xy), np.inf)
        for centre, radius, stretch, angle in zip(*self._vessels):
            u, v = np.stack([_direction(angle), _direction(angle + np.pi / 2)]) @ (xy - centre).T
            nearest = np.minimum(nearest, np.hypot(u / stretch, v) - radius)
        return nearest + 6 * self._creases(xy)

    def tangent(self, xy):
        """Direction of the outline beside each point, in radians: the way that capsule fibres run."""
        return np.arctan2(*(xy - self.centre).T[::-1]) + np.pi / 2

    def _polar(self, xy):
        x, y = (xy - self.centre).T
        return np.hypot(x, y), np.interp(np.arctan2(y, x), self._theta, self._outline)

    def _radius(self, theta):
        return np.interp(np.angle(np.exp(1j * theta)), self._theta, self._outline)


class SmoothField:
    """Random function of position with mean 0, variance 1 and features about a `wavelength` across."""

    def __init__(self, rng, wavelength, n_waves=24):
        angle, frequency = rng.uniform(0, 2 * np.pi, n_waves), rng.uniform(0.5, 1.3, n_waves)
        self._waves = 2 * np.pi / wavelength * frequency[:, None] * _direction(angle)
        self._phases = rng.uniform(0, 2 * np.pi, n_waves)

    def __call__(self, xy):
        total = np.zeros(len(xy))
        for wave, phase in zip(self._waves, self._phases):
            total += np.cos(xy @ wave + phase)
        return total * np.sqrt(2 / len(self._phases))


def place_cells(organ, spots, diameter, n_cell_types, rng):
    """Fill the section with cells and count those below each spot.

    Parameters
    ----------
    organ : Organ
    spots : ndarray, shape (S, 2)
        Centres, x then y, in pixels; each is given at least one cell.
    diameter : float
        Of a spot, in pixels.
    n_cell_types : int
        The first K of `CELL_TYPES`.
    rng : numpy.random.Generator

    Returns
    -------
    cells : ndarray, shape (N, 2)
        Position of every cell of the section.
    kinds : ndarray of int, shape (N,)
        Index into `CELL_TYPES`.
    numbers : ndarray of int, shape (S, K)
    """
    step = np.sqrt(np.pi * diameter**2 / 4 / _SITES_PER_SPOT * 2 / np.sqrt(3))
    rows, columns = np.indices((int(organ.height / step * 2 / np.sqrt(3)) + 1, int(organ.width / step) + 1))
    cells = np.column_stack([(columns + rows % 2 / 2).ravel(), rows.ravel() * np.sqrt(3) / 2]) * step
    cells += rng.uniform(-0.42, 0.42, cells.shape) * step
    cells = cells[(organ.edge_distance(cells) > 4) & (organ.vessel_distance(cells) > 3)]

    # A cell strays a little over the border of its region.
    home = organ.regions(cells + rng.normal(0, 14, cells.shape))
    per_spot, _, composition = (np.array(column, dtype=float) for column in zip(*_TISSUE.values()))
    share = per_spot[home] / _SITES_PER_SPOT * np.exp(0.12 * SmoothField(rng, 900)(cells))
    there = rng.uniform(size=len(cells)) < share
    cells, home = cells[there], home[there]
    empty = spots[cKDTree(cells).query(spots)[0] > diameter / 2]
    cells, home = np.vstack([cells, empty]), np.append(home, organ.regions(empty))

    weights = composition[home, :n_cell_types]
    for k in range(n_cell_types):
        weights[:, k] *= np.exp(0.45 * SmoothField(rng, 700)(cells))
    if "Endothelial cell" in CELL_TYPES[:n_cell_types]:  # they line the vessels
        near = np.exp(-np.maximum(organ.vessel_distance(cells), 0) / 30)
        weights[:, CELL_TYPES.index("Endothelial cell")] += weights.sum(axis=1) * near
    cumulative = np.cumsum(weights, axis=1)
    kinds = (cumulative[:, :-1] < cumulative[:, -1:] * rng.uniform(size=(len(cells), 1))).sum(axis=1)

    numbers = np.zeros((len(spots), n_cell_types), dtype=int)
    for spot, members in enumerate(cKDTree(cells).query_ball_point(spots, diameter / 2)):
        numbers[spot] = np.bincount(kinds[members], minlength=n_cell_types)
    return cells, kinds, numbers


def stain_section(organ, cells, kinds, scale, rng):
    """Paint the section as haematoxylin and eosin would stain it.

    Parameters
    ----------
    organ : Organ
    cells : ndarray, shape (N, 2)
        Position of each nucleus, x then y, in full-resolution pixels.
    kinds : ndarray of int, shape (N,)
        Index into `CELL_TYPES`.
    scale : float
        Pixels of the image per full-resolution pixel.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Full-resolution point ``(x, y)`` lies at ``(x * scale, y * scale)``.
    """
    shape = round(organ.height * scale), round(organ.width * scale)
    nuclei = _nuclei(organ, cells, kinds, scale, shape, rng)
    # Basophilic cytoplasm around crowded nuclei: the bluish haze seen at low magnification.
    haematoxylin = nuclei + 0.35 * ndimage.gaussian_filter(nuclei, 5.0)
    dye = haematoxylin[..., None] * _HAEMATOXYLIN + _eosin(organ, scale, shape, rng)[..., None] * _EOSIN
    light = ndimage.gaussian_filter(_GLASS * np.exp(-dye), (0.45, 0.45, 0))
    light += rng.normal(0, 1.2, (*shape, 1))
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _eosin(organ, scale, shape, rng):
    """Amount of eosin at each pixel, from the region, fibres, vessels and noise of three grains."""
    xy = _pixel_centres(shape, scale)
    coarse_shape = -(-shape[0] // 4), -(-shape[1] // 4)
    base = np.array([amount for _, amount, _ in _TISSUE.values()])
    coarse = base[organ.regions(_pixel_centres(coarse_shape, scale / 4))].reshape(coarse_shape)
    amount = np.kron(ndimage.gaussian_filter(coarse, 1.5), np.ones((4, 4)))[: shape[0], : shape[1]]
    amount = ndimage.gaussian_filter(amount, 2.0)

    depth = organ.edge_distance(xy).reshape(shape)
    grain, cloud, mottle = (_noise(rng, shape, sigma) for sigma in (0.8, 4.0, 14.0))
    fibres = np.sin(2 * np.pi * (depth + 9 * cloud) / 19)
    collagen = np.clip((amount - 0.4) / 0.2, 0, 1)
    amount = amount * (1 + 0.16 * grain + 0.1 * cloud + 0.1 * mottle + 0.28 * collagen * fibres)

    # Clefts where fluid ran: below the capsule, and in the loose tissue of the medulla.
    cleft = np.exp(-(((depth - 1.25 * organ.capsule - 12 * mottle - 4 * cloud) / 7) ** 2)) * (mottle > -0.4)
    loose = (amount < 0.34) & (cloud > 1.1)
    amount = amount * (1 - 0.75 * cleft) * np.where(loose, 0.55, 1)

    wall = organ.vessel_distance(xy).reshape(shape)
    blood = 0.05 + 0.3 * np.clip(cloud, 0, 1)
    amount = np.where(wall < 0, blood, amount + 0.35 * np.exp(-((np.maximum(wall, 0) / 8) ** 2)))
    return np.maximum(amount, 0) / (1 + np.exp(-np.clip((depth + 3 * cloud) / 3, -50, 50)))


def _nuclei(organ, cells, kinds, scale, shape, rng):
    """Amount of haematoxylin at each pixel: the darkest nucleus that covers it."""
    long, short, amount = np.array([_NUCLEI[name] for name in CELL_TYPES])[kinds].T
    swell = rng.lognormal(0, 0.1, len(cells)) * scale
    amount = amount * rng.uniform(0.8, 1.15, len(cells))
    angle = rng.uniform(0, np.pi, len(cells))
    along = (long > 3 * short) & (organ.edge_distance(cells) < 2.5 * organ.capsule)
    angle[along] = organ.tangent(cells[along]) + rng.normal(0, 0.2, along.sum())

    image = np.zeros(shape)
    reach = int(np.ceil(1.3 * long.max() * scale)) + 1
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    for start in range(0, len(cells), 8192):
        block = slice(start, start + 8192)
        pixel = np.floor(cells[block] * scale).astype(int)
        at = pixel[:, None, :] + offsets
        away = at + 0.5 - (cells[block] * scale)[:, None, :]
        cos, sin = np.cos(angle[block])[:, None], np.sin(angle[block])[:, None]
        a, b = ((radius[block] * swell[block])[:, None] for radius in (long, short))
        u = (away[..., 0] * cos + away[..., 1] * sin) / a
        v = (away[..., 1] * cos - away[..., 0] * sin) / b
        # Signed distance to the rim in pixels, softened over half a pixel as a lens would.
        rim = (1 - np.hypot(u, v)) * np.sqrt(a * b)
        value = amount[block][:, None] / (1 + np.exp(np.clip(-rim / 0.3, -50, 50)))
        inside = ((at >= 0) & (at < shape[::-1])).all(axis=2)
        np.maximum.at(image, (at[..., 1][inside], at[..., 0][inside]), value[inside])
    return image


def _pixel_centres(shape, scale):
    rows, columns = np.indices(shape)
    return (np.column_stack([columns.ravel(), rows.ravel()]) + 0.5) / scale


def _noise(rng, shape, sigma):
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return noise / noise.std()


def _direction(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
