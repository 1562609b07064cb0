"""Makes the item of a run (an image with what belongs to it) from what a caller passes."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.interface import arguments
from gan2shape_jax.interface.arguments import ImageLike
from gan2shape_jax.io.data import Item
from gan2shape_jax.io.image_files import crop_and_resize
from gan2shape_jax.io.masks import needs_masks

__all__ = ["item_of"]


def item_of(
    config: ConfigDict, picture: Image.Image, mask: ImageLike | None, true_depth: ArrayLike | None, name: str
) -> Item:
    """Returns what a run would read from files, made from arguments.

    Args:
      config: the reconstruction's complete configuration.
      picture: see `arguments.picture_of`.
      mask: see `arguments.mask_of`; None takes the whole square if nothing needs a mask.
      true_depth: see `arguments.true_depth_of`.
      name: the image's name.

    Raises:
      ArgumentError: an argument of the wrong shape or range, or no mask where one is needed.
    """
    size, crop = config.image_size, config.data.crop
    if mask is None:
        if needs_masks(config):
            raise ArgumentError("mask is not given, and image has no alpha channel that shows an object: give a mask")
        object_mask = np.ones((size, size), np.float32)
    else:
        object_mask = arguments.mask_of(mask, picture.width, size, crop)
    depth = None if true_depth is None else arguments.true_depth_of(true_depth, size, config.camera.max_depth)
    return Item(
        name=name,
        image=np.asarray(crop_and_resize(picture, crop, size), np.float32) / 255 * 2 - 1,
        mask=object_mask,
        depth=depth,
        latent=None,
        original_size=picture.width,
        crop=crop,
    )
