"""Latents, depths, statistics, pictures and masks as checked arrays: from files, or as callers of Python pass them.

Depths are `(S, S)` in scene units, latents `(1, W)` or `(1, L, W)`, statistics in network units. Files are `.npy`,
`.npz`, `.png` and torch files, and nothing in them is ever executed. Errors name the file or the argument.
"""

import pathlib
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from PIL import Image, ImageOps

from gan2shape_jax.errors import ArgumentError, UserError, io_error
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.files import MIB, open_regular
from gan2shape_jax.io.image_files import LARGEST, READ, crop_and_resize, finished, grey_mask, open_square, shrunk_mask

Map = Float[np.ndarray, "s s"]
Latent = Float[np.ndarray, "..."]
# A picture or a mask as callers pass it.
ImageLike = Image.Image | ArrayLike

_LEAST = 16  # pixels per side, as for files
_KINDS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM")  # file formats, by Pillow's names
# Far beyond what a GAN's mapping gives or views and lights can be; networks overflow not far above it.
_GREATEST = 1e6
_MOST_LAYERS = 64  # of a W+ latent: a GAN of 1024 pixels has 18
_LARGEST_ARCHIVE = MIB  # bytes of an .npz file: a covariance takes 500
_LARGEST = 64 * MIB  # bytes of other files: published latents take 10 KiB, with their pictures a few MiB


def as_array(value: Any, name: str, *, kinds: str = "fiub") -> np.ndarray:
    """Returns a NumPy array of finite numbers or booleans; `kinds` are the NumPy dtype kinds accepted."""
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the object's own conversion raises
        raise ArgumentError(f"{name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in kinds:
        raise ArgumentError(f"{name} has the type {array.dtype}: it must be an array of numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ArgumentError(f"{name} holds numbers that are not finite (NaN or infinity)")
    return array


def _float32(value: Any, name: str, *, greatest: float = np.inf) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = as_array(value, name, kinds="fiu").astype(np.float32)
    if not np.isfinite(single).all():
        raise ArgumentError(f"{name} holds numbers that are too large for 32 bits")
    if single.size and np.abs(single).max() > greatest:
        raise ArgumentError(f"{name} holds {np.abs(single).max():.1e}: at most {greatest:g} is expected")
    return single


def picture_of(image: Any) -> tuple[Image.Image, Image.Image | None]:
    """Returns an upright, square 8-bit RGB picture, over white, and its alpha channel if that separates an object."""
    if isinstance(image, Image.Image):
        picture, alpha, *_ = finished(_upright(image, "image"), "image")
    else:
        picture, alpha = Image.fromarray(_eight_bits(as_array(image, "image"))), None
    width, height = picture.size
    if width != height:
        raise ArgumentError(f"image is {height} x {width} pixels: crop it to a square around the object first")
    if not _LEAST <= width <= LARGEST:
        raise ArgumentError(f"image is {width} pixels wide: it must be {_LEAST} to {LARGEST}")
    return picture, alpha


def _eight_bits(values: np.ndarray) -> np.ndarray:
    if values.ndim != 3 or values.shape[-1] != 3 or not values.size:
        raise ArgumentError(f"image has the shape {values.shape}: it must be (height, width, 3), red, green and blue")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f" or values.min() < 0 or values.max() > 1:
        given = f"has the type {values.dtype} and values from {values.min():g} to {values.max():g}"
        raise ArgumentError(f"image {given}: it must be uint8, or floats in [0, 1] (x / 2 + 0.5 of [-1, 1])")
    return np.rint(values * 255).astype(np.uint8)


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """Returns a copy of a picture, decoded and turned as its EXIF orientation says."""
    if max(picture.size) > LARGEST or min(picture.size) < 1:
        raise ArgumentError(f"{name} is {picture.height} x {picture.width} pixels: it must be 1 to {LARGEST}")
    if picture.mode.startswith(("I", "F")):
        raise ArgumentError(f"{name} is of Pillow's mode {picture.mode}: convert it to 8 bits a channel first")
    kind = getattr(picture, "format", None)
    if getattr(picture, "tile", None) and kind not in _KINDS:  # decoding may start another program
        raise ArgumentError(f"{name} comes from a {kind} file: {READ} are supported; load the picture first")
    try:
        picture.load()
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # on damaged files, decoders raise OSError, SyntaxError, struct.error and more
        raise ArgumentError(f"{name} is damaged or truncated: {error}") from error


def mask_of(mask: Any, side: int, size: int, crop: int | None) -> Map:
    """Returns the object mask (size, size) in [0, 1], cropped and resized like the image, whose side is `side`."""
    if isinstance(mask, Image.Image):
        mask = np.asarray(grey_mask(finished(_upright(mask, "mask"), "mask"), "mask"))
    values = as_array(mask, "mask")
    if values.shape == (side, side, 1):
        values = values[..., 0]
    if values.shape != (side, side):
        raise ArgumentError(f"mask has the shape {values.shape}: it must be the image's, ({side}, {side})")
    top = 255 if values.dtype.kind in "iu" and values.max() > 1 else 1
    if values.min() < 0 or values.max() > top:
        raise ArgumentError(f"mask has values from {values.min()} to {values.max()}: it must be in [0, 1] or 0 to 255")
    # Scaled to 255 like mask files: the same mask gives the same bits.
    shrunk = shrunk_mask(Image.fromarray(values.astype(np.float32) * np.float32(255 / top)), crop, size, "mask")
    if not shrunk.any():
        raise ArgumentError("mask is empty: it must be 1 (or white) on the object")
    return shrunk


def latent_of(latent: Any, style_dim: int, layers: int | None = None, *, name: str = "latent") -> Latent:
    """Returns a latent as (1, W), or as (1, L, W) if it holds a style for each of the generator's layers.

    The leading axis may be missing, of (L, W) only if `layers` is given; `name` is what messages call it.
    """
    values = _float32(latent, name, greatest=_GREATEST)
    if values.shape in ((style_dim,), (1, style_dim)):
        return values.reshape(1, style_dim)
    if layers is None and values.ndim == 3 and 1 <= values.shape[1] <= _MOST_LAYERS:
        layers = values.shape[1]
    if layers is not None and values.shape in ((layers, style_dim), (1, layers, style_dim)):
        return values.reshape(1, layers, style_dim)
    taken = f"({style_dim},) or ({layers or 'layers'}, {style_dim}), with or without a leading axis of 1"
    raise ArgumentError(f"{name} has the shape {values.shape}: this GAN takes {taken}")


def load_latent(path: str | pathlib.Path, style_dim: int) -> Latent:
    """Returns the latent in a file as (1, W), or (1, L, W) for W+ latents, of the generator's width `style_dim`.

    It is a torch file with a tensor, or a dictionary with the entry `latent`; or `.npy`. Raises `UserError` for others.
    """
    content = _content(pathlib.Path(path))
    if isinstance(content, dict) and "latent" not in content:
        raise UserError(f"latent file {path} is a dictionary without 'latent'")
    content = content["latent"] if isinstance(content, dict) else content
    return latent_of(content, style_dim, name=f"latent file {path}")


def true_depth_of(depth: Any, size: int, max_depth: float) -> Map:
    """Returns a ground-truth depth (size, size), scene units, with the background at `max_depth`."""
    values = _float32(depth, "true_depth")
    if values.size and values.min() <= 0:
        background = f"that of the background is the greatest, {max_depth:g} (config.camera.max_depth)"
        raise ArgumentError(f"true_depth has values down to {values.min():g}: depths must be positive; {background}")
    return _depth(values, size, "true_depth", max_depth)


def load_depth(path: pathlib.Path, size: int, crop: int | None, min_depth: float, max_depth: float) -> Map:
    """Returns a ground-truth depth (size, size) in scene units, with the background at `max_depth`.

    `.npy` holds scene units with 0 as background; `.png` nearness, white at `min_depth` and black at `max_depth`.
    Raises `UserError` for others, and where all is background.
    """
    if path.suffix == ".png":
        picture = open_square(path, cut=crop is not None).picture.convert("L")
        nearness = np.asarray(crop_and_resize(picture, crop, size), np.float32) / 255
        values: Any = max_depth - nearness * (max_depth - min_depth)
    else:
        values = _content(path)
    return _depth(values, size, f"true depth {path}", max_depth)


def _depth(values: Any, size: int, name: str, max_depth: float) -> np.ndarray:
    values = _float32(values, name)
    if values.shape != (size, size):
        raise ArgumentError(f"{name} has the shape {values.shape}: ({size}, {size}) is expected (config.image_size)")
    depth = np.where((values <= 0) | (values > max_depth), np.float32(max_depth), values)
    if not (depth < np.float32(max_depth)).any():
        raise ArgumentError(f"{name} shows no object: none of it is nearer than config.camera.max_depth, {max_depth:g}")
    return depth


def load_mvn(path: str | pathlib.Path, dims: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean (N,) and covariance (N, N) of a normal distribution, in network units.

    The file is a torch file with a dictionary of `mean` and `cov`, or `.npz`; `dims` is the expected N, 6 for views and
    4 for lights, None for either. Raises `UserError` for others, and for no positive semi-definite covariance.
    """
    content = _content(pathlib.Path(path))
    if not isinstance(content, dict) or not {"mean", "cov"} <= content.keys():
        raise UserError(f"statistics file {path} must hold 'mean' and 'cov'")
    mean, cov = (_float32(content[name], f"{name} of {path}", greatest=_GREATEST) for name in ("mean", "cov"))
    lengths = (4, 6) if dims is None else (dims,)
    if mean.ndim != 1 or mean.size not in lengths or cov.shape != (mean.size, mean.size):
        needed = f"a mean of length {' or '.join(map(str, lengths))} and its covariance are needed"
        raise UserError(f"statistics file {path} has arrays of shape {mean.shape} and {cov.shape}: {needed}")
    if not np.allclose(cov, cov.T, atol=1e-6) or np.linalg.eigvalsh((cov + cov.T) / 2).min() < -1e-6:
        raise UserError(f"statistics file {path}: its covariance is not symmetric and positive semi-definite")
    return mean, cov


def _content(path: pathlib.Path) -> Any:
    """Returns what a file holds: of `.npy` an array, of `.npz` those of a distribution by name, of others torch's."""
    if path.suffix not in (".npy", ".npz"):
        return read_checkpoint(path)
    try:
        with open_regular(path, limit=_LARGEST_ARCHIVE if path.suffix == ".npz" else _LARGEST) as file:
            if path.suffix == ".npz":
                with np.load(file, allow_pickle=False) as archive:
                    return {name: archive[name] for name in ("mean", "cov") if name in archive}
            # Mapped: what a header announces has to be there, and nothing is allocated for it.
            with np.errstate(over="ignore"):
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError("it is an archive (.npz) under another name")
            return array
    except OSError as error:
        raise io_error(error, f"{path} cannot be read") from error
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile raise many kinds for damaged and unusual files
        raise UserError(f"{path} is not a usable {path.suffix} file: {error}"[:500]) from error
