"""Histology features on a painted image whose stains are known."""

import numpy as np
import pytest
from anndata import AnnData
from skimage.color import hed2rgb

from pointillist.data.histology import histology_features, tissue_image


@pytest.fixture
def painted():
    """Left half eosin alone, right half with small nuclei; spots on a grid."""
    stains = np.zeros((80, 160, 3))
    stains[:, :80, 1] = 0.12
    stains[::8, 80::8, 0] = stains[1::8, 80::8, 0] = 0.3
    image = (hed2rgb(stains) * 255).round().astype(np.uint8)
    xy = np.array([(x, y) for y in (20, 40, 60) for x in (20, 40, 60, 100, 120, 140)], dtype=float)
    return image, xy, xy[:, 0] < 80


def test_stains_and_nuclei_are_where_they_were_painted(painted):
    image, xy, left = painted
    found = histology_features(image, xy, 16)
    assert len(found) == len(xy) and np.isfinite(found.to_numpy()).all()
    assert found.loc[left, "eosin_mean"].min() > found.loc[~left, "eosin_mean"].max() + 0.05
    assert found.loc[~left, "haematoxylin_sd"].min() > 5 * found.loc[left, "haematoxylin_sd"].max()
    # Two pixels of every 64.
    np.testing.assert_allclose(found.loc[~left, "nuclei"], 2 / 64, atol=1e-9)
    assert (found.loc[left, "nuclei"] == 0).all()


def test_means_are_of_the_window_of_the_spot(painted):
    image, xy, _ = painted
    brightness = image.mean(axis=2) / 255
    found = histology_features(image, xy, 5)
    x, y = xy[4].astype(int)
    window = brightness[y - 2 : y + 3, x - 2 : x + 3]
    assert found.loc[4, "brightness_mean"] == pytest.approx(window.mean(), abs=1e-6)
    assert found.loc[4, "brightness_sd"] == pytest.approx(window.std(), abs=1e-6)


def test_refuses_spots_beside_the_image_and_images_without_colour(painted):
    image, xy, _ = painted
    with pytest.raises(ValueError, match="6 of 18 spots lie beside"):
        histology_features(image[:50], xy, 16)
    with pytest.raises(ValueError, match="3 colours"):
        histology_features(image[:, :, 0], xy, 16)


def test_the_largest_image_is_found_with_its_scale():
    spots = AnnData(np.ones((2, 1)))
    assert tissue_image(spots) is None
    image = np.zeros((4, 4, 3))
    factors = {"tissue_lowres_scalef": 0.1, "tissue_hires_scalef": 0.3, "spot_diameter_fullres": 55}
    spots.uns["spatial"] = {"a": {"images": {"lowres": image, "hires": image + 1}, "scalefactors": factors}}
    found, scale, diameter = tissue_image(spots)
    assert found[0, 0, 0] == 1 and scale == 0.3 and diameter == 55
    del factors["spot_diameter_fullres"]
    assert tissue_image(spots)[2] is None
