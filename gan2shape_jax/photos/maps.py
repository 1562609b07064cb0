"""Depth, normals and mask of a result in its whole photo, pixel by pixel, as other programs take them.

The object's surface is rasterised in the photo's view, with splines between the depth map's pixels, so that no triangle
shows. Its outline follows the photo's own edges, by a guided filter (K. He et al., Guided Image Filtering, 2013), and
depth and normals go on up to there. What the values mean, docs/how-to/exporting.md says.
"""

import dataclasses
import functools
import math

import jax
import numpy as np
from etils import epy
from jaxtyping import Bool, Float, UInt, UInt8
from PIL import PngImagePlugin
from scipy import ndimage

from gan2shape_jax import program_cache
from gan2shape_jax.detection.detector import LUMA
from gan2shape_jax.geometry import rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, require_crop
from gan2shape_jax.geometry.mesh_rasterizer import interpolate
from gan2shape_jax.photos.texture import filled, ramp
from gan2shape_jax.platforms import default_numerics
from gan2shape_jax.results import pictures, surface
from gan2shape_jax.results.result import MAPS, Result

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import cv2

_DRAWN = 1024  # samples along a side of the crop
_PARTS = 4  # vertices per pixel of the depth map, along a side
_REACH = 0.02  # of the crop's side, within which the outline follows the photo's edges
_EDGE = 0.08  # contrast of an edge that counts, of luma in [0, 1]
_NEAREST = 65535  # of the depth map's greys; the farthest point of the object has 1, what is beside it 0
_TOWARDS_VIEWER = (127.5, 127.5, 255.0)  # beside the object

Plane = Float[np.ndarray, "h w"]


def photo_maps(result: Result, photo: UInt8[np.ndarray, "h w 3"], box: CropBox) -> dict[str, bytes]:
    """Returns the files `MAPS` of a result, contents by name, of the photo's size.

    `photo` is upright, and `box` the crop in its pixels that the result shows. `ArgumentError` as of `require_crop`.
    """
    require_crop(photo, box)
    corners, (height, width) = crop_to_photo(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), box, 1), photo.shape[:2]
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, below = np.minimum(np.ceil(corners.max(0)).astype(int), (width, height))
    here = slice(top, below), slice(left, right)
    moved = dataclasses.replace(box, x=box.x - left, y=box.y - top)
    depth, normal, mask = _seen_in(photo[here], moved, result)
    inside = mask > 0
    near, far = (float(end(depth[inside])) if inside.any() else 0.0 for end in (np.min, np.max))
    grey = 1 + np.rint((_NEAREST - 1) * (far - depth) / max(far - near, 1e-9))
    colours = np.where(inside[..., None], 127.5 * (1 + normal), _TOWARDS_VIEWER)
    depths, masks = np.zeros((height, width), np.uint16), np.zeros((height, width), np.uint8)
    normals = np.full((height, width, 3), np.rint(_TOWARDS_VIEWER), np.uint8)
    depths[here], normals[here], masks[here] = np.where(inside, grey, 0), np.rint(colours), mask
    metres = result.metres
    said = (
        f"linear depth: {_NEAREST} is {near * metres:.4f} m from the camera, 1 is {far * metres:.4f} m, 0 is no object",
        "OpenGL: red to the right, green up, blue towards the viewer; 128, 128, 255 is no object",
        "white is the object of photo_depth.png and photo_normals.png",
    )
    maps: tuple[np.ndarray, ...] = (depths, normals, masks)
    return {name: _png(values, words) for name, values, words in zip(MAPS, maps, said, strict=True)}


def _png(values: UInt[np.ndarray, "h w *c"], description: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", description)
    return pictures.encoded(values, "PNG", pnginfo=info)


def _seen_in(
    photo: UInt8[np.ndarray, "h w 3"], box: CropBox, result: Result
) -> tuple[Plane, Float[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Returns depth (scene units), unit normals (to the right, up, towards the viewer) and mask in a photo."""
    planes, side = _rasterized(result), math.ceil(box.side)
    if side < _DRAWN:  # what is finer than the photo's pixels is averaged
        planes = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in planes]
    origin, along, down = crop_to_photo(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]), box, len(planes[0])) - 0.5
    place = np.column_stack([along - origin, down - origin, origin])
    *values, coverage = (cv2.warpAffine(plane, place, photo.shape[1::-1], flags=cv2.INTER_LINEAR) for plane in planes)
    luma = (photo @ np.array(LUMA, np.float32) / 255).astype(np.float32)
    mask = ramp(_guided(coverage, luma, max(1, round(_REACH * box.side))), 0.25, 0.75)
    known = ramp(coverage, 0.5, 1.0)
    depth, x, y, z = (filled(plane / np.maximum(coverage, 1e-6), known) for plane in values)
    cosine, sine = math.cos(math.radians(box.roll_deg)), math.sin(math.radians(box.roll_deg))
    # Out of the surface, y up, and turned with the crop, whose content is rolled clockwise in the photo.
    normal = np.stack([-(cosine * x - sine * y), sine * x + cosine * y, z], axis=-1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    return depth, normal, np.rint(255 * mask).astype(np.uint8)


def _rasterized(result: Result) -> list[Float[np.ndarray, "n n"]]:
    """Returns depth, normal (x, y, z in the crop's frame, into the surface) and 1 where the crop shows any, else 0."""
    part, camera = surface.surface(result), result.camera
    side = (camera.image_size - 1) * _PARTS + 1
    maps = np.concatenate([part.depth[..., None], part.normal, part.field[..., None]], axis=-1).astype(np.float64)
    finer = np.stack([ndimage.zoom(plane, side / len(plane), mode="nearest") for plane in np.moveaxis(maps, -1, 0)])
    kept = ndimage.zoom(part.mask, side / camera.image_size, order=0) >= 0.5
    rotation, centre = surface.rotations(result.view[:3]).astype(np.float64), np.array([0, 0, camera.rot_center_depth])
    # The same field of view on more pixels, as for `surface.cut_surface`.
    points = surface.points(finer[0].astype(np.float32), dataclasses.replace(camera, image_size=side)) - centre
    seen = points @ rotation.T + centre + result.view[3:]
    values = [seen[..., 2:], np.moveaxis(finer[1:4], 0, -1) @ rotation.T, finer[4, ..., None]]
    drawn = _drawn(seen.astype(np.float32), np.concatenate(values, axis=-1).astype(np.float32), kept, camera)
    *shown, field = np.moveaxis(np.asarray(drawn), -1, 0)
    inside = (field >= surface.OUTLINE).astype(np.float32)
    return [*(plane * inside for plane in shown), inside]


@default_numerics()
@functools.partial(program_cache.jit, static_argnames="camera")
def _drawn(
    points: Float[jax.Array, "v v 3"], values: Float[jax.Array, "v v c"], kept: Bool[jax.Array, "v v"], camera: Camera
) -> Float[jax.Array, "n n c"]:
    samples = rasterizer.SampleGrid.over(camera, size=_DRAWN)
    return interpolate(rasterizer.rasterize(points, camera, samples=samples, mask=kept), values)


def _guided(values: Plane, guide: Plane, reach: int) -> Plane:
    """Returns values in [0, 1] that follow the edges of a guide, in [0, 1], within so many pixels."""
    mean = functools.partial(cv2.blur, ksize=(2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_REFLECT)
    of_guide, of_values = mean(guide), mean(values)
    slope = (mean(guide * values) - of_guide * of_values) / (mean(guide * guide) - of_guide**2 + _EDGE**2)
    offset = of_values - slope * of_guide
    return np.clip(mean(slope) * guide + mean(offset), 0, 1)
