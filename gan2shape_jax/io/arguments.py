"""What callers of the Python interface pass (NumPy, JAX, Pillow) as checked arrays; errors name the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from PIL import Image, ImageOps

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.io.image_files import LARGEST, READ, alpha_channel, crop_and_resize, on_white

__all__ = ["ImageLike", "alpha_of", "as_array", "latent_of", "mask_of", "picture_of", "true_depth_of"]

# A picture or a mask as callers pass it.
ImageLike = Image.Image | ArrayLike

_LEAST = 16  # pixels per side, as for files
_KINDS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM")  # file formats, by Pillow's names
_GREATEST_LATENT = 1e6  # far beyond what a GAN's mapping gives; networks overflow not far above it


def as_array(value: Any, name: str, *, kinds: str = "fiub") -> np.ndarray:
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


def _float32(value: Any, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = as_array(value, name, kinds="fiu").astype(np.float32)
    if not np.isfinite(single).all():
        raise ArgumentError(f"{name} holds numbers that are too large for 32 bits")
    return single


def picture_of(image: Any) -> Image.Image:
    """Returns an upright, square 8-bit RGB picture; transparent areas are composited over white."""
    if isinstance(image, Image.Image):
        picture = on_white(_upright(image, "image"))
    else:
        picture = Image.fromarray(_eight_bits(as_array(image, "image")))
    width, height = picture.size
    if width != height:
        raise ArgumentError(f"image is {height} x {width} pixels: cut it to a square around the object first")
    if not _LEAST <= width <= LARGEST:
        raise ArgumentError(f"image is {width} pixels wide: from {_LEAST} to {LARGEST} are possible")
    return picture


def _eight_bits(values: np.ndarray) -> np.ndarray:
    if values.ndim != 3 or values.shape[-1] != 3 or not values.size:
        raise ArgumentError(f"image has the shape {values.shape}: (height, width, 3) is needed, red, green and blue")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise ArgumentError(f"image has the type {values.dtype}: uint8 from 0 to 255, or floats in [0, 1], are needed")
    if values.min() < 0 or values.max() > 1:
        raise ArgumentError(
            f"image has values from {values.min():g} to {values.max():g}: floats have to lie in [0, 1] (divide by "
            "255, or take x / 2 + 0.5 where they lie in [-1, 1])"
        )
    return np.rint(values * 255).astype(np.uint8)


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """Returns a copy of a picture, decoded and turned as its EXIF orientation says."""
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
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # on damaged files, decoders raise OSError, SyntaxError, struct.error and more
        raise ArgumentError(f"{name} is damaged or truncated: {error}") from error


def alpha_of(image: Any) -> Image.Image | None:
    """Returns a Pillow image's alpha channel if it separates an object from its background, else None."""
    return alpha_channel(_upright(image, "image")) if isinstance(image, Image.Image) else None


def mask_of(mask: Any, side: int, size: int, crop: int | None) -> Float[np.ndarray, "s s"]:
    """Returns the object mask (size, size) in [0, 1], cropped and resized like the image, whose side is `side`."""
    if isinstance(mask, Image.Image):
        mask = np.asarray(_upright(mask, "mask").convert("L"))
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
    scaled = Image.fromarray(values.astype(np.float32) * np.float32(255 / top))
    shrunk = np.asarray(crop_and_resize(scaled, crop, size, by_area=True), np.float32) / 255
    if not shrunk.any():
        raise ArgumentError("mask is empty: it has to be 1 (or white) on the object")
    return np.clip(shrunk, 0, 1)


def latent_of(latent: Any, style_dim: int, layers: int) -> Float[np.ndarray, "..."]:
    """Returns a latent as (1, W), or as (1, L, W) if it holds a style for each of the generator's layers."""
    values = _float32(latent, "latent")
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


def true_depth_of(depth: Any, size: int, max_depth: float) -> Float[np.ndarray, "s s"]:
    """Returns a ground-truth depth (size, size), scene units, with the background at `max_depth`."""
    values = _float32(depth, "true_depth")
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
