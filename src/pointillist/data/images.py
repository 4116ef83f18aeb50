"""Tissue images: read, made small, and laid over the spots.

An image that comes without a scale shares its origin with the spots' pixel coordinates and differs from them by one
factor ``s``. It is the one at which the area around the spots, ``F``, and the tissue in the image, ``T``, agree best:

    ŝ = argmax_s |sF ∩ T| / |sF ∪ T|

``F`` is every point within 0.6 of the spots' spacing from a spot, ``T`` what differs in colour from the image's border
(Otsu's threshold), its holes filled. A fit is refused where they overlap by less than 0.6, where more than a tenth of
the spots fall beside the tissue, or where a tenth more or less of ``s`` would do as well: images of other sections,
and the right one mirrored, reached 0.52 with 0.71 to 0.97 of the spots on tissue, the right one 0.69 with all of them.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointillist.errors import InputError, Problem

LARGEST_SIDE = 2000
_MASK_SIDE = 400
_MOST_PIXELS = 10**9  # 3 GB of memory: what is larger is a whole slide

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScaleFit:
    """How an image lies over the spots.

    Parameters
    ----------
    scale : float
        Pixels of the image per pixel of the spots' coordinates.
    overlap : float
        Intersection over union of the tissue and the area around the spots.
    on_tissue : float
        Share of the spots that lie on tissue.
    sharpness : float
        How much overlap a tenth more or less of the scale loses.
    """

    scale: float
    overlap: float
    on_tissue: float
    sharpness: float

    @property
    def convincing(self):
        """Whether the fit can be relied on."""
        return self.overlap >= 0.6 and self.on_tissue >= 0.9 and self.sharpness >= 0.04


def read_image(path, *, sample="", largest_side=LARGEST_SIDE):
    """Read a PNG, JPEG or TIFF, made smaller where it is large.

    Parameters
    ----------
    path : str or Path
    sample : str, optional
        For the messages.
    largest_side : int
        In pixels.

    Returns
    -------
    image : ndarray of uint8, (height, width, 3)
    factor : float
        Pixels of `image` per pixel of the file; at most 1.

    Raises
    ------
    InputError
    """
    from PIL import Image

    path = Path(path)
    allowed, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, _MOST_PIXELS // 2  # it raises at twice that
    try:
        with Image.open(path) as file:
            width = file.size[0]
            _choose_page(file, largest_side)
            file.thumbnail((largest_side, largest_side), Image.Resampling.BOX, reducing_gap=2)
            image = _eight_bit(file)
    except FileNotFoundError as error:
        raise InputError(
            Problem("not-found", "nothing at this path", "an image", "correct the path", sample, str(path), "image")
        ) from error
    except Image.DecompressionBombError as error:
        fix = f"make it smaller: vips thumbnail {path.name} small.png {largest_side}"
        raise InputError(
            Problem(
                "image-too-large", str(error), f"at most {_MOST_PIXELS:.0e} pixels", fix, sample, str(path), "image"
            )
        ) from error
    except Exception as error:
        found = f"an image that cannot be read ({type(error).__name__}: {error})"
        fix = "save it again as PNG, JPEG or TIFF"
        raise InputError(
            Problem("unreadable-image", found, "PNG, JPEG or TIFF", fix, sample, str(path), "image")
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = allowed
    return image, image.shape[1] / width


def attach_image(adata, path, *, sample="", image_scale=None):
    """Put an image into ``uns["spatial"]`` as ``hires``, with its scale fitted to the spots unless it is given.

    Parameters
    ----------
    adata : AnnData
        With ``obsm["spatial"]`` in pixels; changed in place.
    path : str or Path
        PNG, JPEG or TIFF.
    sample : str, optional
        Names the entry where there is none yet.
    image_scale : float, optional
        Pixels of the image file per pixel of the coordinates.

    Raises
    ------
    InputError
        Where there are no coordinates, or the fit is not convincing.
    """
    image, factor = read_image(path, sample=sample)
    if "spatial" not in adata.obsm:
        found, fix = "spots without coordinates", "give coordinates, or leave the image out"
        raise InputError(Problem("no-coordinates", found, "obsm['spatial'] in pixels", fix, sample, str(path), "image"))
    xy = np.asarray(adata.obsm["spatial"], dtype=np.float64)
    if image_scale is None:
        used = xy[adata.obs["in_tissue"].to_numpy().astype(bool)] if "in_tissue" in adata.obs else xy
        scale = _fitted(image, factor, used, path, sample)
    elif np.isfinite(image_scale) and image_scale > 0:
        scale = float(image_scale) * factor
    else:
        raise ValueError(f"image_scale must be above 0, got {image_scale}")
    library = next(iter(adata.uns.get("spatial", {})), library_id(sample))
    entry = adata.uns.setdefault("spatial", {}).setdefault(library, {})
    entry.setdefault("images", {})["hires"] = image
    factors = entry.setdefault("scalefactors", {})
    factors["tissue_hires_scalef"] = scale
    # half the spacing: the spots of Visium cover 55 of 100 µm, of its forerunner 100 of 200 µm
    factors.setdefault("spot_diameter_fullres", 0.5 * spacing(xy))


def fit_scale(image, xy, frame=1.0):
    """Fit the factor between the spots' coordinates and an image that shares their origin.

    Parameters
    ----------
    image : ndarray of uint8, (height, width, 3)
    xy : ndarray, (S, 2)
        Spots on the tissue, x then y.
    frame : float
        The factor if the image is of the very frame of the coordinates, such as 0.1 where it was made ten times
        smaller after it was read. It is taken where it fits as well, to within two per cent.

    Returns
    -------
    ScaleFit
    """
    if len(xy) < 10 or not np.isfinite(xy).all() or (xy < 0).any() or not xy.max(axis=0).all():
        return ScaleFit(float("nan"), 0.0, 0.0, 0.0)
    tissue, shrunk = tissue_mask(image)
    step, points = _footprint(xy)
    most = 1.02 * min(tissue.shape[1] / xy[:, 0].max(), tissue.shape[0] / xy[:, 1].max())
    scales = np.geomspace(most / 20, most, 300)
    overlaps = [_overlap(tissue, points, step, scale) for scale in scales]
    best = scales[int(np.argmax(overlaps))]
    fine = np.clip(best * np.geomspace(0.98, 1.02, 81), None, most)
    best = fine[int(np.argmax([_overlap(tissue, points, step, scale) for scale in fine]))]
    of_frame = frame * shrunk
    if abs(np.log(best / of_frame)) < 0.02:
        loss = _overlap(tissue, points, step, best) - _overlap(tissue, points, step, of_frame)
        best = of_frame if loss < 0.02 else best
    overlap = _overlap(tissue, points, step, best)
    beside = max(_overlap(tissue, points, step, best * by) for by in (0.9, 1.1))
    return ScaleFit(float(best / shrunk), overlap, float(_sample(tissue, xy * best).mean()), overlap - beside)


def tissue_mask(image):
    """Tissue of an image: what differs in colour from its border, without holes.

    Parameters
    ----------
    image : ndarray of uint8, (height, width, 3)

    Returns
    -------
    mask : ndarray of bool
        At most 400 pixels a side.
    factor : float
        Pixels of the mask per pixel of the image.
    """
    from PIL import Image
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    small = Image.fromarray(image)
    small.thumbnail((_MASK_SIDE, _MASK_SIDE), Image.Resampling.BOX)
    colours = np.asarray(small, dtype=np.float64)
    border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    distance = np.linalg.norm(colours - np.median(border, axis=0), axis=2)
    distance = ndimage.gaussian_filter(distance, 1.5)
    if np.ptp(distance) < 1:
        return np.zeros(distance.shape, dtype=bool), colours.shape[1] / image.shape[1]
    mask = ndimage.binary_fill_holes(distance > threshold_otsu(distance))
    return mask, colours.shape[1] / image.shape[1]


def library_id(name):
    """Key of a sample in ``uns["spatial"]``: its name, of letters, digits, dots, dashes and underscores alone."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name) or "spots"


def spacing(xy):
    """Median distance of the S × 2 spots to their nearest neighbours, in the unit of the coordinates."""
    from scipy.spatial import cKDTree

    return float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1])) if len(xy) > 1 else 0.0


def _fitted(image, factor, xy, path, sample):
    fit = fit_scale(image, xy, frame=factor)
    if not fit.convincing:
        found = (
            f"no convincing fit of the image to the spots (overlap {fit.overlap:.2f}, "
            f"{fit.on_tissue:.0%} of the spots on tissue)"
        )
        raise InputError(
            Problem(
                "image-not-fitted",
                found,
                "an image that shares the origin of the coordinates, which are in pixels; overlap of 0.6 or more, "
                "90% of the spots on tissue",
                "give image_scale (pixels of the image per pixel of the coordinates), or leave the image out",
                sample,
                str(path),
                "image",
            )
        )
    logger.info(
        "%s: %s laid over the spots at %.5g pixels a coordinate (overlap %.2f, %.0f%% of the spots on tissue)",
        sample or path,
        Path(path).name,
        fit.scale,
        fit.overlap,
        100 * fit.on_tissue,
    )
    return fit.scale


def _footprint(xy):
    """Points of a square lattice that are within 0.6 of the spots' spacing from a spot, and the lattice's step."""
    from scipy.spatial import cKDTree

    pitch = spacing(xy)
    # never more than about 200 000 points, whatever the spots' pattern
    step = max(pitch / 4, float(np.sqrt(np.prod(np.ptp(xy, axis=0) + 2 * pitch) / 2e5)))
    low, high = xy.min(axis=0) - pitch, xy.max(axis=0) + pitch
    lattice = np.stack(np.meshgrid(*(np.arange(a, b, step) for a, b in zip(low, high))), axis=-1).reshape(-1, 2)
    near, _ = cKDTree(xy).query(lattice, distance_upper_bound=0.6 * pitch)
    return step, lattice[np.isfinite(near)]


def _overlap(tissue, points, step, scale):
    area = (step * scale) ** 2
    common = _sample(tissue, points * scale).sum() * area
    return float(common / max(len(points) * area + tissue.sum() - common, 1e-12))


def _sample(tissue, xy):
    column, row = np.floor(xy).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < tissue.shape[1]) & (row < tissue.shape[0])
    found = np.zeros(len(xy), dtype=bool)
    found[inside] = tissue[row[inside], column[inside]]
    return found


def _choose_page(file, largest_side):
    """Of a pyramid's pages, the smallest that is still large enough, so that a whole slide is not decoded."""
    width, height = file.size
    chosen, smallest = 0, width
    for page in range(1, min(getattr(file, "n_frames", 1), 20)):
        file.seek(page)
        same_shape = abs(file.size[0] * height - file.size[1] * width) < 0.01 * file.size[0] * height
        if same_shape and largest_side <= max(file.size) and file.size[0] < smallest:
            chosen, smallest = page, file.size[0]
    if getattr(file, "n_frames", 1) > 1:
        file.seek(chosen)


def _eight_bit(file):
    if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info:
        from PIL import Image

        coloured = file.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, coloured).convert("RGB")).copy()
    if file.mode.startswith(("I", "F")):
        values = np.asarray(file, dtype=np.float64)
        low, high = np.percentile(values, [0, 99.9])
        values = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
        return np.repeat(np.rint(255 * values).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.asarray(file.convert("RGB")).copy()
