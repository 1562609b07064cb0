"""A category, as a module like those of `configs/`: coins, whose prior is a disc with a raised rim."""

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category

VARIANTS = ("flat",)


def _rimmed(mask: np.ndarray, config: ConfigDict) -> np.ndarray:
    """Returns the depth of a disc over the mask's object, in scene units: near at its rim, and farther inside."""
    rows, columns = np.nonzero(mask >= 0.7)
    if not len(rows):
        return np.full(mask.shape, config.prior.far)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    distance = np.hypot(y - rows.mean(), x - columns.mean()) / np.sqrt(len(rows) / np.pi)
    near, far = config.prior.near, config.prior.far
    return np.where(distance > 1, far, np.where(distance > 0.9, near, (near + far) / 2))


CATEGORY = Category("coin", prior=_rimmed, max_yaw_deg=30.0)


def get_config(variant: str = "") -> ConfigDict:
    """Returns the configuration for coins."""
    config = load_config("own").unlock()
    config.update(workdir="results/coin", category="coin")
    config.prior.shape = "flat" if variant == "flat" else "category"
    config.networks.depth = "local"
    config.loss.update(perceptual="edges", lam_flatness=0.1)
    config.data.update(image_list="data/coin/list.txt", image_root="data/coin")
    config.gan.checkpoint = "data/coin/gan.safetensors"
    return config
