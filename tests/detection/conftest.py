"""What tests of detectors share: that of the bundled cats' GAN, and photos with a cat in them."""

import pathlib

import pytest
from helpers.placed import placed

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.detection import gan_detector, weights


@pytest.fixture(scope="session")
def bundled():
    """Returns the weights of the cats' detector, and the detector."""
    checkpoint = pathlib.Path(load_config("cat").gan.checkpoint)
    gan = stylegan2.load(checkpoint)
    detector_weights = weights.weights_of(checkpoint, *gan, "gan", log=lambda line: pytest.fail(line))
    return detector_weights, weights.detector_by(detector_weights, *gan, batch=gan_detector.CROPS)


@pytest.fixture(scope="session")
def cat_photo():
    """Returns a function that draws a bundled cat of `side` pixels around (x, y) into a landscape of waves."""
    return lambda name="001", **where: placed(f"cat/image/{name}.png", **where)
