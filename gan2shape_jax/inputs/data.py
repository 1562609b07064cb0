"""What a run reads about each image: picture, object mask, true depth, latent.

Images are `(S, S, 3)` float32 in [-1, 1], masks `(S, S)` in [0, 1], depths `(S, S)` in scene units,
latents `(1, W)` or `(1, L, W)`. A name of the image list such as `001.png` stands for
`IMAGE_ROOT/001.png`, `MASK_ROOT/001.png` (see `masks`), `DEPTH_ROOT/001.npy` (or `.png`) and `LATENT_ROOT/001.pt`
(or `.npy`). Whatever is wrong with a file is a `UserError` that names it.
"""

import dataclasses
import pathlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.inputs.array_files import load_depth, load_latent, load_mvn
from gan2shape_jax.inputs.image_files import crop_and_resize, open_rgb, warn_of_transparency
from gan2shape_jax.inputs.masks import find_mask, load_mask, needs_masks

__all__ = [
    "Item",
    "find",
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
        name: the name in the image list without its ending.
        image: (S, S, 3) in [-1, 1].
        mask: (S, S) in [0, 1], ones where no mask was asked for.
        depth: true depth (S, S) in scene units with the background at the greatest depth, or None.
        latent: (1, W) or (1, L, W), or None where the GAN has to be inverted.
        original_size: side of the image before cropping, pixels; the shorter one where they differ.
        crop: side of the square that was cut out, pixels, or None.
    """

    name: str
    image: Float[np.ndarray, "s s 3"]
    mask: Float[np.ndarray, "s s"]
    depth: Float[np.ndarray, "s s"] | None
    latent: Float[np.ndarray, "..."] | None
    original_size: int
    crop: int | None


def read_names(path: str | pathlib.Path) -> list[str]:
    """Returns the image names of a list file: the first word of each line that is not blank.

    Raises:
        UserError: the file is missing, unreadable or empty, or names an image twice.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"image list {path} does not exist (config.data.image_list)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"image list {path} cannot be read as text: {error}") from error
    names = [line.split()[0] for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise UserError(f"image list {path} names no image: write one file name a line")
    stems = [pathlib.PurePath(name).with_suffix("").as_posix() for name in names]
    twice = sorted({name for name, stem in zip(names, stems, strict=True) if stems.count(stem) > 1})
    if twice:
        raise UserError(
            f"image list {path} names {', '.join(twice)} more than once: results would overwrite each other"
        )
    outside = [name for name in names if pathlib.PurePath(name).is_absolute() or ".." in pathlib.PurePath(name).parts]
    if outside:
        raise UserError(f"image list {path} names {outside[0]}: names are relative to config.data.image_root")
    return names


def find_latent(root: str, name: str) -> pathlib.Path | None:
    """Returns an image's latent file below `root`, or None."""
    return find(root, name, _LATENT_KINDS)


def find_depth(root: str, name: str) -> pathlib.Path | None:
    """Returns an image's true depth below `root`, or None; that of `01_image.png` may be `01_depth.png`.

    The published rendered faces are named so: https://github.com/XingangPan/GAN2Shape/issues/26.
    """
    renamed = name.replace("image", "depth")
    return find(root, name, _DEPTH_KINDS) or find(root, renamed, _DEPTH_KINDS)


def find(root: str, name: str, kinds: Iterable[str]) -> pathlib.Path | None:
    """Returns the file of an image name below `root`, trying endings in order, or None."""
    base = pathlib.Path(root) / pathlib.PurePath(name).with_suffix("")
    return next((path for kind in kinds if (path := base.with_name(base.name + kind)).is_file()), None)


def open_picture(config: ConfigDict, name: str, *, expected: int | None = None) -> Image.Image:
    """Returns an image of the list as an upright RGB square, not yet cropped.

    Where `config.data.crop` is set, a picture that is not square is cut to its largest centred square.

    Args:
        config: the whole configuration.
        name: a name of the image list, such as `001.png`.
        expected: a smaller side than this gives a warning, pixels.

    Raises:
        UserError: the file is missing or unusable; the message names it.
    """
    cut = config.data.crop is not None
    return open_rgb(pathlib.Path(config.data.image_root) / name, expected=expected, cut=cut)


def load_item(config: ConfigDict, name: str, *, run_parser: bool = True) -> Item:
    """Reads everything about one image of the list.

    Args:
        config: the whole configuration (its data, camera, networks, schedule and size fields are
            read).
        name: a name of the image list, such as `001.png`.
        run_parser: False only looks at the files: a mask that a parser has to find is all ones.

    Raises:
        UserError: a file is missing or unusable; the message names it.
    """
    data, size = config.data, config.image_size
    picture = open_picture(config, name, expected=data.crop or size)
    image = np.asarray(crop_and_resize(picture, data.crop, size), np.float32) / 255 * 2 - 1
    latent = None
    if data.latent_root:
        path = find_latent(data.latent_root, name)
        latent = None if path is None else load_latent(path, config.gan.style_dim)
    depth = None
    if data.depth_root:
        path = find_depth(data.depth_root, name) or _require(data.depth_root, name, _DEPTH_KINDS, "true depth")
        depth = load_depth(path, size, data.crop, config.camera.min_depth, config.camera.max_depth)
    mask = find_mask(config, name, image, picture.size[0], run_parser=run_parser)
    if mask.source != "alpha":
        warn_of_transparency(pathlib.Path(data.image_root) / name)
    return Item(
        name=pathlib.PurePath(name).with_suffix("").as_posix(),
        image=image,
        mask=mask.values,
        depth=depth,
        latent=latent,
        original_size=picture.size[0],
        crop=data.crop,
    )


def _require(root: str, name: str, kinds: Iterable[str], what: str) -> pathlib.Path:
    kinds = tuple(kinds)
    path = find(root, name, kinds)
    if path is None:
        stem = pathlib.PurePath(name).with_suffix("").as_posix()
        raise UserError(f"the {what} of {name} is missing: {pathlib.Path(root) / stem}{' or '.join(kinds)}")
    return path
