"""What a run reads about each image: picture, mask, true depth, latent; and the view and light statistics.

Images are `(S, S, 3)` float32 in [-1, 1], masks `(S, S)` in [0, 1], depths `(S, S)` in scene units,
latents `(1, W)` or `(1, L, W)`. A name of the image list such as `001.png` stands for
`IMAGE_ROOT/001.png`, `MASK_ROOT/001.png`, `DEPTH_ROOT/001.npy` (or `.png`) and `LATENT_ROOT/001.pt`
(or `.npy`). Whatever is wrong with a file is a `UserError` that names it.
"""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.image_files import crop_and_resize, open_gray, open_rgb

__all__ = [
    "Item",
    "find",
    "load_depth",
    "load_item",
    "load_latent",
    "load_mask",
    "load_mvn",
    "needs_masks",
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
        original_size: side of the image file, pixels, before cropping.
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
    found = [
        line.split()[0]
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise UserError(f"image list {path} names no image: write one file name a line")
    stems = [pathlib.PurePath(name).with_suffix("").as_posix() for name in found]
    twice = sorted({name for name, stem in zip(found, stems, strict=True) if stems.count(stem) > 1})
    if twice:
        raise UserError(
            f"image list {path} names {', '.join(twice)} more than once: results would overwrite "
            "each other"
        )
    outside = [
        name
        for name in found
        if pathlib.PurePath(name).is_absolute() or ".." in pathlib.PurePath(name).parts
    ]
    if outside:
        raise UserError(
            f"image list {path} names {outside[0]}: names are relative to config.data.image_root"
        )
    return found


def find(root: str, name: str, kinds: Iterable[str]) -> pathlib.Path | None:
    """Returns the file below `root` that belongs to an image name, trying the endings in order, or None."""
    base = pathlib.Path(root) / pathlib.PurePath(name).with_suffix("")
    return next(
        (path for kind in kinds if (path := base.with_name(base.name + kind)).is_file()), None
    )


def needs_masks(config: ConfigDict) -> bool:
    """The ellipsoid prior is built from the object mask, and `use_mask` keeps the losses to it."""
    return config.schedule.use_mask or not config.networks.pretrained


def load_item(config: ConfigDict, name: str) -> Item:
    """Reads everything about one image of the list.

    Args:
        config: the whole configuration (its data, camera, networks, schedule and size fields are
            read).
        name: a name of the image list, such as `001.png`.

    Raises:
        UserError: a file is missing or unusable; the message names it.
    """
    data, size = config.data, config.image_size
    picture = open_rgb(pathlib.Path(data.image_root) / name, least=16, expected=data.crop or size)
    image = np.asarray(crop_and_resize(picture, data.crop, size), np.float32) / 255 * 2 - 1
    latent = None
    if data.latent_root:
        path = find(data.latent_root, name, _LATENT_KINDS)
        latent = None if path is None else load_latent(path, config.gan.style_dim)
    depth = None
    if data.depth_root:
        path = _require(data.depth_root, name, _DEPTH_KINDS, "true depth")
        depth = load_depth(path, size, data.crop, config.camera.min_depth, config.camera.max_depth)
    return Item(
        name=pathlib.PurePath(name).with_suffix("").as_posix(),
        image=image,
        mask=_item_mask(config, name, picture.size[0]),
        depth=depth,
        latent=latent,
        original_size=picture.size[0],
        crop=data.crop,
    )


def _item_mask(config: ConfigDict, name: str, original_size: int) -> Float[np.ndarray, "s s"]:
    if config.data.mask_root:
        path = _require(config.data.mask_root, name, (".png",), "object mask")
        return load_mask(path, config.image_size, config.data.crop, original_size)
    if needs_masks(config):
        raise UserError(
            f"{name} has no object mask: put PNG files, white on the object, into a folder and "
            "name it with "
            "--config.data.mask_root=FOLDER"
        )
    return np.ones((config.image_size, config.image_size), np.float32)


def _require(root: str, name: str, kinds: Iterable[str], what: str) -> pathlib.Path:
    kinds = tuple(kinds)
    path = find(root, name, kinds)
    if path is None:
        stem = pathlib.PurePath(name).with_suffix("").as_posix()
        raise UserError(
            f"the {what} of {name} is missing: {pathlib.Path(root) / stem}{' or '.join(kinds)}"
        )
    return path


def load_mask(
    path: pathlib.Path, size: int, crop: int | None = None, image_size: int | None = None
) -> Float[np.ndarray, "s s"]:
    """Returns an object mask file as (size, size) in [0, 1], resized by averaging areas.

    A mask of the image file's own side is cropped as the image was; any other is taken to show the
    cropped square.
    """
    picture = open_gray(path)
    whole = crop if image_size is None or picture.size[0] == image_size else None
    mask = np.asarray(crop_and_resize(picture, whole, size, by_area=True), np.float32) / 255
    if not mask.any():
        raise UserError(f"object mask {path} is empty: no pixel of it is brighter than black")
    return np.clip(mask, 0, 1)


def load_depth(
    path: pathlib.Path, size: int, crop: int | None, min_depth: float, max_depth: float
) -> Float[np.ndarray, "s s"]:
    """Returns a true depth (size, size) in scene units, its background at `max_depth`.

    `.npy` holds scene units with 0 as background; `.png` holds nearness, white at `min_depth` and
    black at `max_depth`.
    """
    if path.suffix == ".png":
        nearness = np.asarray(crop_and_resize(open_gray(path), crop, size), np.float32) / 255
        return max_depth - nearness * (max_depth - min_depth)
    depth = _load_npy(path)
    if depth.shape != (size, size):
        raise UserError(f"true depth {path} has shape {depth.shape}: ({size}, {size}) is wanted")
    depth = _finite(depth, path)
    return np.where((depth <= 0) | (depth > max_depth), np.float32(max_depth), depth)


def load_latent(path: str | pathlib.Path, style_dim: int) -> Float[np.ndarray, "..."]:
    """Returns the latent of a file as (1, W) for W latents or (1, L, W) for W+ latents.

    Args:
        path: a torch file with a tensor, or a dictionary with the entry `latent`; or a `.npy` file.
        style_dim: the width W that the generator wants.

    Raises:
        UserError: the file is unusable, would run code, or holds a latent of another width.
    """
    path = pathlib.Path(path)
    content = _load_npy(path) if path.suffix == ".npy" else _load_torch(path)
    if isinstance(content, dict):
        if "latent" not in content:
            raise UserError(
                f"latent file {path} is a dictionary without the entry 'latent' (it has "
                f"{_keys(content)})"
            )
        content = content["latent"]
    latent = _finite(content, path)
    if latent.ndim == 1:
        latent = latent[None]
    if latent.ndim not in (2, 3) or latent.shape[0] != 1 or latent.shape[-1] != style_dim:
        raise UserError(
            f"latent file {path} has shape {np.shape(content)}: the generator's width is "
            f"{style_dim}, so ({style_dim},), "
            f"(1, {style_dim}) or (1, layers, {style_dim}) is wanted"
        )
    return latent


def load_mvn(path: str | pathlib.Path, dims: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean (N,) and covariance (N, N) of a normal distribution, in network units.

    Args:
        path: a torch file with a dictionary of `mean` and `cov`, or an `.npz` file with these two.
        dims: the N that is wanted, 6 for views and 4 for lights; None accepts either.

    Raises:
        UserError: the file is unusable, or the covariance is no symmetric positive semi-definite
            matrix.
    """
    path = pathlib.Path(path)
    content = _load_npy(path) if path.suffix == ".npz" else _load_torch(path)
    if not isinstance(content, dict) or not {"mean", "cov"} <= content.keys():
        raise UserError(f"statistics file {path} has to hold 'mean' and 'cov'")
    mean, cov = _finite(content["mean"], path), _finite(content["cov"], path)
    wanted = (4, 6) if dims is None else (dims,)
    if mean.ndim != 1 or mean.size not in wanted or cov.shape != (mean.size, mean.size):
        raise UserError(
            f"statistics file {path} has a mean of shape {mean.shape} and a covariance of "
            f"{cov.shape}: a mean of "
            f"length {' or '.join(map(str, wanted))} and its square covariance are wanted"
        )
    if (
        not np.allclose(cov, cov.T, atol=1e-6)
        or np.linalg.eigvalsh((cov + cov.T) / 2).min() < -1e-6
    ):
        raise UserError(
            f"statistics file {path}: its covariance is not symmetric and positive semi-definite"
        )
    return mean, cov


def _load_torch(path: pathlib.Path) -> Any:
    from gan2shape_jax.torch_reader import read_torch  # only where there are such files

    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return read_torch(path)


def _load_npy(path: pathlib.Path) -> Any:
    """Reads .npy as an array and .npz as a dictionary; pickled objects are refused, as they could run code."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except Exception as error:  # numpy lets through whatever zip and header parsing raise
        raise UserError(f"{path} is no usable {path.suffix} file: {error}") from error


def _finite(content: Any, path: pathlib.Path) -> np.ndarray:
    array = np.asarray(content)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path} holds {array.dtype} instead of numbers")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{path} holds numbers that are not finite (NaN or infinity)")
    return array


def _keys(content: dict[Any, Any]) -> str:
    return ", ".join(str(key) for key in list(content)[:5]) or "none"
