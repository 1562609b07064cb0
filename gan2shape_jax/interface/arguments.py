"""Converts what a caller passes (NumPy, JAX, Pillow) to checked arrays; errors name the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from PIL import Image

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.io.image_files import LARGEST, READ, alpha_channel, crop_and_resize, on_white, upright

__all__ = ["ImageLike", "alpha_of", "as_array", "latent_of", "mask_of", "picture_of", "true_depth_of"]

# A picture or a mask as callers pass it.
ImageLike = Image.Image | ArrayLike

_LEAST = 16  # pixels per side, as for files
_KINDS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM")  # file formats, by Pillow's names
_GREATEST_LATENT = 1e6  # far beyond what a GAN's mapping gives; networks overflow not far above it


def as_array(value: ArrayLike | Sequence[Any], name: str, *, kinds: str = "fiub") -> np.ndarray:
    """Returns a NumPy array of finite numbers or booleans; `kinds` are the NumPy dtype kinds accepted."""
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the object's own conversion raises
        raise ArgumentError(f"{name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in kinds:
        raise ArgumentError(f"{name} has the type {array.dtype}: an array of numbers is needed")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ArgumentError(f"{name} holds numbers that are not finite (NaN or infinity)")
    return array


def picture_of(image: ImageLike, name: str = "image") -> Image.Image:
    """Returns an upright, square 8-bit RGB picture.

    Args:
      image: a Pillow image; or (H, W, 3), uint8 from 0 to 255 or floats in [0, 1], which are rounded to 8 bits.
      name: the argument's name, for errors.
    """
    if isinstance(image, Image.Image):
        picture = on_white(upright(image, _decoded(image, name)))
    else:
        picture = Image.fromarray(_eight_bits(as_array(image, name), name))
    width, height = picture.size
    if width != height:
        raise ArgumentError(f"{name} is {height} x {width} pixels: cut it to a square around the object first")
    if not _LEAST <= width <= LARGEST:
        raise ArgumentError(f"{name} is {width} pixels wide: from {_LEAST} to {LARGEST} are possible")
    return picture


def alpha_of(image: ImageLike) -> Image.Image | None:
    """Returns a Pillow image's alpha channel if it separates an object from its background, else None."""
    if not isinstance(image, Image.Image) or not image.has_transparency_data:
        return None
    return alpha_channel(upright(image, _decoded(image, "image")))


def mask_of(mask: ImageLike, side: int, size: int, crop: int | None) -> Float[np.ndarray, "s s"]:
    """Returns the object mask (size, size) in [0, 1], cropped and resized like the image.

    Args:
      mask: a Pillow image, white on the object; or (H, W): booleans, floats in [0, 1], or integers, either 0 and 1 or
        0 to 255.
      side: side of the image, pixels; the mask's must be the same.
      size: side of the returned mask, pixels.
      crop: side of the square that is cropped from the image, or None.
    """
    if isinstance(mask, Image.Image):
        mask = np.asarray(upright(mask, _decoded(mask, "mask")).convert("L"))
    values = as_array(mask, "mask")
    if values.shape == (side, side, 1):
        values = values[..., 0]
    if values.shape != (side, side):
        raise ArgumentError(f"mask has the shape {values.shape}: that of the image is needed, ({side}, {side})")
    top = 255 if values.dtype.kind in "iu" and values.max() > 1 else 1
    if values.min() < 0 or values.max() > top:
        raise ArgumentError(
            f"mask has values from {values.min()} to {values.max()}: booleans, floats in [0, 1] or integers from 0 to "
            "255 are possible"
        )
    # Scaled to 255 and resized by area, like mask files: the same mask gives the same bits.
    scaled = values.astype(np.float32)
    scaled *= np.float32(255 / top)
    shrunk = np.asarray(crop_and_resize(Image.fromarray(scaled), crop, size, by_area=True), np.float32) / 255
    if not shrunk.any():
        raise ArgumentError("mask is empty: it has to be 1 (or white) on the object")
    return np.clip(shrunk, 0, 1)


def latent_of(latent: ArrayLike, style_dim: int, layers: int) -> Float[np.ndarray, "..."]:
    """Returns a latent as (1, W), or as (1, L, W) if it holds a style for each of the generator's layers."""
    values = _float32(as_array(latent, "latent", kinds="fiu"), "latent")
    if values.size and np.abs(values).max() > _GREATEST_LATENT:
        raise ArgumentError(f"latent holds {np.abs(values).max():.1e}: numbers up to {_GREATEST_LATENT:g} are sensible")
    if values.shape in ((style_dim,), (1, style_dim)):
        return values.reshape(1, style_dim)
    if values.shape in ((layers, style_dim), (1, layers, style_dim)):
        return values.reshape(1, layers, style_dim)
    raise ArgumentError(
        f"latent has the shape {values.shape}: this GAN takes ({style_dim},) or ({layers}, {style_dim}), with or "
        "without a leading axis of 1"
    )


def true_depth_of(depth: ArrayLike, size: int, max_depth: float) -> Float[np.ndarray, "s s"]:
    """Returns a ground-truth depth (size, size), scene units, with the background at `max_depth`."""
    values = _float32(as_array(depth, "true_depth", kinds="fiu"), "true_depth")
    if values.shape != (size, size):
        raise ArgumentError(f"true_depth has the shape {values.shape}: ({size}, {size}) is needed (config.image_size)")
    if values.min() <= 0:
        raise ArgumentError(
            f"true_depth has values down to {values.min():g}: depths are positive; give the background the greatest "
            f"depth, {max_depth:g} (config.camera.max_depth)"
        )
    if values.min() >= max_depth:
        raise ArgumentError(f"true_depth shows no object: none of it is nearer than {max_depth:g}")
    return np.minimum(values, np.float32(max_depth))


def _float32(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise ArgumentError(f"{name} holds numbers that are too large for 32 bits")
    return single


def _eight_bits(values: np.ndarray, name: str) -> np.ndarray:
    if values.ndim != 3 or values.shape[-1] != 3 or not values.size:
        raise ArgumentError(f"{name} has the shape {values.shape}: (height, width, 3) is needed, red, green and blue")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise ArgumentError(f"{name} has the type {values.dtype}: uint8 from 0 to 255, or floats in [0, 1], are needed")
    if values.min() < 0 or values.max() > 1:
        raise ArgumentError(
            f"{name} has values from {values.min():g} to {values.max():g}: floats have to lie in [0, 1] (divide by "
            "255, or take x / 2 + 0.5 where they lie in [-1, 1])"
        )
    return np.rint(values * 255).astype(np.uint8)


def _decoded(picture: Image.Image, name: str) -> int:
    """Decodes a picture that was opened but not yet read; returns its EXIF orientation, 1 to 8."""
    if max(picture.size) > LARGEST or min(picture.size) < 1:
        raise ArgumentError(
            f"{name} is {picture.height} x {picture.width} pixels: at most {LARGEST} a side are possible"
        )
    if picture.mode.startswith(("I", "F")):
        raise ArgumentError(f"{name} is of Pillow's mode {picture.mode}: convert it to 8 bits a channel first")
    kind = getattr(picture, "format", None)
    if getattr(picture, "tile", None) and kind not in _KINDS:  # decoding may start another program
        raise ArgumentError(f"{name} comes from a {kind} file: {READ} are read; load the picture first")
    try:
        picture.load()
        orientation = picture.getexif().get(0x0112, 1)
    except Exception as error:  # on damaged files, decoders raise OSError, SyntaxError, struct.error and more
        raise ArgumentError(f"{name} is damaged or truncated: {error}") from error
    return orientation if orientation in range(1, 9) else 1
