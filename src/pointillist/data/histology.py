"""Histology around each spot: how much haematoxylin and eosin, and how unevenly.

The image's colours are separated into stains (Ruifrok & Johnston 2001, scikit-image); nuclei are what holds more
haematoxylin than Otsu's threshold over the tissue. Means and standard deviations are of a square window around the
spot, as wide as the spot.

References
----------
Ruifrok & Johnston (2001), Analytical and Quantitative Cytology and Histology 23:291.
"""

import numpy as np
import pandas as pd

from pointillist.data.images import spacing

_SIZES = ("hires", "lowres")
# Of the spacing of the spots, where nothing says how wide they are: that of Visium, 55 of 100 µm.
_WIDTH = 0.55


def tissue_image(spots):
    """The largest tissue image of a sample.

    Parameters
    ----------
    spots : AnnData
        With ``uns["spatial"]`` as scanpy keeps it.

    Returns
    -------
    tuple or None
        The image, rows × columns × 3; its pixels per pixel of the spots' coordinates; and the spots' diameter in these
        coordinates, None where it is not known. None without an image.
    """
    for library in spots.uns.get("spatial", {}).values():
        for size in _SIZES:
            if size in library.get("images", {}):
                factors = library["scalefactors"]
                diameter = factors.get("spot_diameter_fullres")
                return (
                    library["images"][size],
                    float(factors[f"tissue_{size}_scalef"]),
                    None if diameter is None else float(diameter),
                )
    return None


def histology_features(image, xy, diameter=None):
    """Stains around each spot.

    Parameters
    ----------
    image : ndarray, rows × columns × 3
        Bright field, haematoxylin and eosin; 8 bits or shares.
    xy : ndarray, spots × 2
        Column and row of each spot, in pixels of the image.
    diameter : float, optional
        Of a spot, in pixels of the image; by default 0.55 of the spots' spacing.

    Returns
    -------
    DataFrame, spots × features

    Raises
    ------
    ValueError
        An image that is not of three colours, or spots that lie beside it.
    """
    from scipy.ndimage import sobel, uniform_filter
    from skimage.color import rgb2hed
    from skimage.filters import threshold_otsu

    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] < 3:
        raise ValueError(f"the tissue image has shape {image.shape}, expected rows × columns × 3 colours")
    image = image[:, :, :3]
    brightness = image.mean(axis=2) / (255 if image.dtype.kind in "ui" else 1)
    stains = rgb2hed(image)
    haematoxylin, eosin = stains[:, :, 0], stains[:, :, 1]
    column, row = np.asarray(xy, dtype=float).round().astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < image.shape[1]) & (row < image.shape[0])
    if not inside.all():
        raise ValueError(f"{(~inside).sum()} of {len(inside)} spots lie beside the tissue image: check its scale")
    width = max(3, round(_WIDTH * spacing(xy) if diameter is None else diameter))

    def around(channel):
        return uniform_filter(channel.astype(float), width, mode="nearest")[row, column]

    def spread(channel, mean):
        return np.sqrt(np.clip(around(channel.astype(float) ** 2) - mean**2, 0, None))

    values = {}
    for name, channel in (("haematoxylin", haematoxylin), ("eosin", eosin), ("brightness", brightness)):
        values[f"{name}_mean"] = around(channel)
        values[f"{name}_sd"] = spread(channel, values[f"{name}_mean"])
    tissue = uniform_filter(haematoxylin, width, mode="nearest")
    on_tissue = haematoxylin[tissue > np.quantile(values["haematoxylin_mean"], 0.05)]
    nuclei = haematoxylin > threshold_otsu(on_tissue if np.ptp(on_tissue) > 0 else haematoxylin)
    values["nuclei"] = around(nuclei)
    values["nuclear_edges"] = around(np.hypot(sobel(nuclei.astype(float), 0), sobel(nuclei.astype(float), 1)))
    return pd.DataFrame(values)
