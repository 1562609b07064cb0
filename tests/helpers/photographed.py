"""A photo whose mesh, texture, light and camera are known: a bump, drawn pixel by pixel with a texture of its own."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import lighting, mesh_rasterizer, rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo
from gan2shape_jax.photos.texture import PhotoTexture, Seen, texture_from_all
from gan2shape_jax.results import Reconstruction
from helpers.plain_result import plain_result

_SIZE, _PIXELS = 32, 256  # of the result, of its crop as it is drawn; a side


class Photographed(NamedTuple):
    """What is known; the result has the true factors, but a plain grey albedo."""

    result: Reconstruction
    photo: np.ndarray  # (h, w, 3) uint8
    box: CropBox  # where the result's input lies in it
    texture: np.ndarray  # (T, T, 3) in [0, 1], the true albedo over the canonical picture
    shading: np.ndarray  # (T, T)


@functools.cache
def photographed(
    *,
    yaw_deg: float = -18.0,
    box: CropBox | None = None,
    light: tuple[float, float, float, float] = (0.5, 0.45, 0.4, -0.2),
    symmetric: bool = False,
) -> Photographed:
    """Draws the photo: the crop itself, or one of 350 x 400 pixels in which the crop is where `box` says.

    A `symmetric` texture is its own mirror image.
    """
    size, pixels = _SIZE, _PIXELS
    camera = Camera(size)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    height = np.clip(1 - (x / 0.75) ** 2 - (y / 0.85) ** 2, 0, None)
    depth = (1.02 - 0.055 * height).astype(np.float32)
    mask = (height > 0.05).astype(np.float32)
    view = np.array([np.deg2rad(6), np.deg2rad(yaw_deg), np.deg2rad(-3), 0.004, -0.002, 0.003], np.float32)
    texture = _pattern(pixels, symmetric)
    supersample = 2
    samples = rasterizer.SampleGrid.over(camera, size=pixels, supersample=supersample)
    shade, triangle, at = _rendered(depth, mask > 0.5, view, np.asarray(light, np.float32), camera, samples=samples)
    shading = _at(np.asarray(shade), (np.indices((pixels, pixels)) + 0.5) * size / pixels - 0.5)
    at = (np.moveaxis(np.asarray(at), -1, 0) + 0.5) * pixels / size - 0.5
    colours = np.stack([_at(texture[..., i] * shading, at) for i in range(3)], -1)
    drawn = np.asarray(triangle)[..., None] >= 0
    crop = np.where(drawn, colours, (0.2, 0.5, 0.9))
    crop = crop.reshape(pixels, supersample, pixels, supersample, 3).mean((1, 3))
    cell = pixels * supersample // size
    fine = drawn.reshape(size, cell, size, cell).mean((1, 3))
    arrays = {"depth": depth, "mask": mask, "view": view, "light": np.array(light), "input_mask": (fine > 0.5) * 1.0}
    result = plain_result("known", size, **arrays)
    photo = crop if box is None else _placed(crop, box)
    box = box or CropBox(pixels / 2, pixels / 2, pixels)
    return Photographed(result, np.rint(photo * 255).astype(np.uint8), box, texture, shading)


def seen(result: Reconstruction, photo: np.ndarray, box: CropBox) -> Seen:
    """Returns a photo as the one that a result is of."""
    return Seen(photo, box, result.view, 0.0, result.input_mask)


def photo_texture(result: Reconstruction, photo: np.ndarray, box: CropBox, **options) -> PhotoTexture:
    """Makes the textures of a result from its one photo."""
    return texture_from_all(result, [seen(result, photo, box)], **options)


@functools.partial(jax.jit, static_argnames="samples")
def _rendered(depth, mask, view, light, camera, *, samples):
    """The shading, which triangles the samples see, and where on the canonical picture, row and column."""
    shade, _ = lighting.shade(lighting.normals(depth, camera), light)
    points = cameras.transform(cameras.back_project(depth, camera), view, camera)
    observed = rasterizer.rasterize(points, camera, samples=samples, mask=mask)
    where = jnp.moveaxis(jnp.indices(depth.shape, jnp.float32), 0, -1)
    return shade, observed.triangle, mesh_rasterizer.interpolate(observed, where, supersample=1)


def _pattern(pixels: int, symmetric: bool) -> np.ndarray:
    """Soft checks of three colours, about 20 along a side."""
    i, j = (np.indices((pixels, pixels)) + 0.5) / pixels
    j = np.abs(j - 0.5) if symmetric else j
    checks = np.tanh(3 * np.sin(2 * np.pi * 10 * i) * np.sin(2 * np.pi * 10 * j + 0.7))
    waves = np.stack([np.sin(9 * i + 5 * j), np.cos(7 * j - 4 * i), np.sin(11 * i * j + 1)], -1)
    return 0.5 + 0.12 * checks[..., None] * (1, 0.8, -0.9) + 0.15 * waves


def _placed(crop: np.ndarray, box: CropBox) -> np.ndarray:
    """Returns a photo of 350 x 400 pixels in which a crop lies where `box` says."""
    rows, columns = np.indices((350, 400)) + 0.5
    origin, right, below = crop_to_photo(np.array([[0.0, 0], [1, 0], [0, 1]]), box, len(crop))
    at = (np.stack([columns, rows], -1) - origin) @ np.linalg.inv([right - origin, below - origin]) - 0.5
    return np.stack([_at(crop[..., i], np.moveaxis(at[..., ::-1], -1, 0)) for i in range(3)], -1)


def _at(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(values, place, order=1, mode="nearest")
