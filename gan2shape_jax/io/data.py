"""What a run reads for each image: picture, object mask, ground-truth depth, latent.

Images are `(S, S, 3)` float32 in [-1, 1], masks `(S, S)` in [0, 1], depths `(S, S)` in scene units,
latents `(1, W)` or `(1, L, W)`. A name in the image list such as `001.png` stands for
`IMAGE_ROOT/001.png`, `MASK_ROOT/001.png` (see `masks`), `DEPTH_ROOT/001.npy` (or `.png`) and `LATENT_ROOT/001.pt`
(or `.npy`). Any problem with a file is a `UserError` that names it.
"""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.arrays import load_depth, load_latent, load_mvn
from gan2shape_jax.io.image_files import Picture, crop_and_resize, open_square
from gan2shape_jax.io.image_lists import read_names, stem_of
from gan2shape_jax.io.masks import find_mask, load_mask, needs_masks

__all__ = [
    "Item",
    "find",
    "find_by_stem",
    "find_depth",
    "find_latent",
    "load_depth",
    "load_item",
    "load_latent",
    "load_mask",
    "load_mvn",
    "needs_masks",
    "open_picture",
    "read_names",
]

_LATENT_KINDS = (".pt", ".pth", ".npy")
_DEPTH_KINDS = (".npy", ".png")


@dataclasses.dataclass(frozen=True)
class Item:
    """One image with what is known about it.

    Attributes:
        name: the name in the image list without its ending (`image_lists.stem_of`).
        image: (S, S, 3) in [-1, 1].
        mask: (S, S) in [0, 1], ones if no mask was requested.
        depth: ground-truth depth (S, S) in scene units with the background at the greatest depth, or None.
        latent: (1, W) or (1, L, W), or None if the GAN has to be inverted.
        original_size: side of the image before cropping, pixels; the shorter one if they differ.
        crop: side of the square that was cropped, pixels, or None.
    """

    name: str
    image: Float[np.ndarray, "s s 3"]
    mask: Float[np.ndarray, "s s"]
    depth: Float[np.ndarray, "s s"] | None
    latent: Float[np.ndarray, "..."] | None
    original_size: int
    crop: int | None


def find_latent(root: str, name: str) -> pathlib.Path | None:
    """Returns an image's latent file below `root`, or None."""
    return find(root, name, _LATENT_KINDS)


def find_depth(root: str, name: str) -> pathlib.Path | None:
    """Returns an image's ground-truth depth file below `root`, or None; for `01_image.png` also `01_depth.png`.

    The published rendered faces are named like this: https://github.com/XingangPan/GAN2Shape/issues/26.
    """
    renamed = name.replace("image", "depth")
    return find(root, name, _DEPTH_KINDS) or find(root, renamed, _DEPTH_KINDS)


def find(root: str, name: str, kinds: Iterable[str]) -> pathlib.Path | None:
    """Returns the file for an image name below `root`, trying endings in order, or None."""
    return find_by_stem(root, stem_of(name), kinds)


def find_by_stem(root: str, stem: str, kinds: Iterable[str]) -> pathlib.Path | None:
    """Returns the file for an image name without its ending below `root`, trying endings in order, or None."""
    paths = (os.path.join(root, stem + kind) for kind in kinds)
    return next((pathlib.Path(path) for path in paths if os.path.isfile(path)), None)


def open_picture(config: ConfigDict, name: str, *, expected: int | None = None) -> Picture:
    """Returns an image from the list as an upright square, not yet cropped to `config.data.crop`.

    If there is such a crop, a picture that is not square is cropped to its largest centred square. Warns of a side
    below `expected` pixels; raises `UserError` for a file that is missing or unusable.
    """
    cut = config.data.crop is not None
    return open_square(pathlib.Path(config.data.image_root) / name, expected=expected, cut=cut)


def load_item(config: ConfigDict, name: str, *, run_parser: bool = True) -> Item:
    """Reads everything for one image in the list; raises `UserError` for a file that is missing or unusable.

    Without `run_parser`, files are only checked: a mask that a parser would have to find is all ones.
    """
    data, size = config.data, config.image_size
    square = open_picture(config, name, expected=data.crop or size)
    image = np.asarray(crop_and_resize(square.picture, data.crop, size), np.float32) / 255 * 2 - 1
    latent = depth = None
    if data.latent_root and (path := find_latent(data.latent_root, name)):
        latent = load_latent(path, config.gan.style_dim)
    if data.depth_root:
        path = find_depth(data.depth_root, name)
        if path is None:
            missing = f"{pathlib.Path(data.depth_root) / stem_of(name)}{' or '.join(_DEPTH_KINDS)}"
            raise UserError(f"the true depth of {name} is missing: {missing}")
        depth = load_depth(path, size, data.crop, config.camera.min_depth, config.camera.max_depth)
    mask, source = find_mask(config, name, square, image, run_parser=run_parser)
    if square.transparent and source != "alpha":
        path = pathlib.Path(data.image_root) / name
        warnings.warn(f"{path} is partly transparent and was laid over white", stacklevel=2)
    return Item(stem_of(name), image, mask, depth, latent, square.picture.width, data.crop)
