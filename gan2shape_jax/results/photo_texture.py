"""A texture at the photo's own resolution: the photo on the mesh, with its light removed and hidden parts filled in.

Colours come from three sources: the photo, wherever its camera sees the surface; elsewhere the other half of the
object, mirrored, since the canonical frame has the object's plane of symmetry in the middle; and where neither is
available, the model's albedo. Each is matched in colour to the one before where both are known, and fades into it.
Textures cover the canonical picture, as those of the plain mesh do.
"""

import dataclasses
import functools
import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, require_crop, sample_crop
from gan2shape_jax.results import host
from gan2shape_jax.results.blending import feathered, filled, matched, ramp
from gan2shape_jax.results.outline import OUTLINE
from gan2shape_jax.results.photo_projection import inner_share, on_texels, project_texels
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import object_mask, surface

__all__ = ["LARGEST_TEXTURE", "PhotoTexture", "photo_texture", "project_photo"]

LARGEST_TEXTURE = 4096  # texels per side
_LEAST_TIMES = 4  # texels per pixel of the depth map: fewer would show the blending's steps
_AROUND = 1.25  # how much more than the crop is kept of a photo that is shrunk
_SEAM = 1.5  # width of a seam, in pixels of the depth map
# Shares of the brightest shading. Below the first pair, the photo shows too little of a surface to be brightened; up to
# the second, its colour is due more to the lens and the room than to the surface.
_BLACK = (0.08, 0.25)
_DARK = (0.3, 0.6)
_LIGHTEST = 0.9  # the lightest well-lit colour, assumed if nothing is well lit
_SURE = (0.3, 0.8)  # known shares above which a texel's own colour is used, and above which only that is used
_HUES = 16  # cells along a side that take the model's hue where the photo's own cannot be trusted
_RIM = (0.5, 2.5)  # pixels inside the object's outline over which the model's albedo becomes the object's own
_BRIGHT = (0.94, 0.99)  # of what a photo can hold: beyond this, a channel is clipped and tells too little


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoTexture:
    """Textures over the canonical picture, T texels per side.

    Attributes:
      albedo: (T, T, 3) uint8, without light.
      lit: (T, T, 3) uint8, as the photo shows it.
      sources: (T, T, 3) float32, the shares of photo, mirror image and model in the albedo; they sum to 1.
      shares: (3,) their means over the object.
    """

    albedo: np.ndarray
    lit: np.ndarray
    sources: np.ndarray
    shares: np.ndarray


def photo_texture(
    result: Result,
    photo: UInt8[np.ndarray, "h w 3"],
    box: CropBox,
    *,
    largest: int = 2048,
    mirror: bool = True,
) -> PhotoTexture:
    """Makes the textures of a result from the photo that its input was cropped from.

    Args:
      result: the reconstruction.
      photo: RGB, upright, at its own resolution.
      box: where the result's input lies in it.
      largest: texels per side, at most; the photo's own resolution if that is lower.
      mirror: whether the object is symmetric enough to take hidden parts from its other half.

    Returns:
      The textures.

    Raises:
      ArgumentError: the photo is of another kind, the box lies outside it, or `largest` is out of range.
    """
    if not result.camera.image_size <= largest <= LARGEST_TEXTURE:
        raise ArgumentError(f"largest is {largest}: from {result.camera.image_size} to {LARGEST_TEXTURE} are possible")
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ArgumentError(f"photo has the shape {photo.shape} and type {photo.dtype}: (height, width, 3) of uint8")
    require_crop(photo, box, largest)
    size = min(max(math.ceil(box.side), _LEAST_TIMES * result.camera.image_size), largest)
    part = surface(result)
    projection = project_texels(result, part, size)
    shown, within = project_photo(photo, box, projection.place, result.camera.image_size)
    seen = feathered(projection.seen * within, _SEAM * size / result.camera.image_size)
    shading = on_texels(host.shading(part.normal, result.light), size, smooth=True)
    inside = on_texels(part.field, size) >= OUTLINE
    # At the object's border the model's albedo contains background, as it may wherever the photo shows background.
    clean = on_texels(inner_share(object_mask(result), *_RIM), size) * (1 - (projection.faced - projection.seen))
    del projection
    own, lit_well, lit_at_all = _without_light(shown, shading, inside & (seen > 0.5), result.camera.image_size)
    model = np.clip(on_texels(result.albedo / 2 + 0.5, size, smooth=True), 0, 1)
    albedo, sources = _joined(own, seen * lit_at_all, lit_well, model, clean, mirror=mirror)
    del own, lit_well, lit_at_all, model, clean
    again = matched(albedo * shading[..., None], inside.astype(np.float32), shown, seen)
    return PhotoTexture(
        albedo=_eight_bits(albedo),
        lit=_eight_bits(again + (shown - again) * seen[..., None]),
        sources=sources,
        shares=sources[inside].mean(axis=0) if inside.any() else np.array([0.0, 0.0, 1.0]),
    )


def project_photo(
    photo: UInt8[np.ndarray, "h w 3"], box: CropBox, place: Float[np.ndarray, "t t 2"], size: int
) -> tuple[Float[np.ndarray, "t t 3"], Float[np.ndarray, "t t"]]:
    """Returns the photo's colours at points of its crop, and whether the points lie in the photo at all.

    Args:
      photo: RGB.
      box: the crop's place.
      place: column and row in a crop of `size` pixels, whose centres are integers.
      size: of the crop.

    Returns:
      Colours in [0, 1]; and 1 inside the photo, 0 outside.
    """
    texels = len(place)
    height, width = photo.shape[:2]
    at = cv2.transform(place, _affine(box, size))
    x, y = cv2.split(at)
    within = ((x > 0) & (x < width) & (y > 0) & (y < height)).astype(np.float32)
    if box.side > texels:  # finer than the texture: shrunk first to avoid aliasing
        wide = dataclasses.replace(box, side=box.side * _AROUND)
        photo = sample_crop(photo, wide, math.ceil(texels * _AROUND))
        inner = len(photo) / _AROUND
        at = cv2.transform(place, _affine(CropBox(len(photo) / 2, len(photo) / 2, inner), size))
    column, row = cv2.split(at - np.float32(0.5))
    shown = cv2.remap(photo, column, row, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return shown.astype(np.float32) / 255, within


def _affine(box: CropBox, size: int) -> Float[np.ndarray, "2 3"]:
    """Returns the matrix from a crop's pixels, whose centres are integers, to the photo's coordinates."""
    origin, right, below = crop_to_photo(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]), box, size)
    return np.stack([right - origin, below - origin, origin], axis=-1)


def _without_light(
    shown: Float[np.ndarray, "t t 3"], shading: Float[np.ndarray, "t t"], where: Bool[np.ndarray, "t t"], cells: int
) -> tuple[Float[np.ndarray, "t t 3"], Float[np.ndarray, "t t"], Float[np.ndarray, "t t"]]:
    """Divides the photo's colours by the estimated shading.

    The shading is a guess. It is bounded from below, so that dark sides do not blow up, and so that nothing comes out
    lighter than nearly all well-lit parts; clipped channels tell too little.

    Args:
      shown: the photo's colours.
      shading: estimated.
      where: the texels that count.
      cells: cells along a side, in which shading is corrected.

    Returns:
      The colours without light; how well they are lit, 0 to 1; and whether they are lit at all.
    """
    brightest = max(float(np.percentile(shading[where], 95)) if where.any() else 1.0, 1e-3)
    largest = functools.reduce(np.maximum, cv2.split(shown))
    lit_well = ramp(shading / brightest, *_DARK) * (1 - ramp(largest, *_BRIGHT))
    bounded = np.maximum(shading, _BLACK[1] * brightest)
    mean = _mean_over_cells(largest, cells)
    sample = (mean / bounded)[where & (lit_well > 0.9)]
    lightest = min(float(np.percentile(sample, 98)), 1.0) if sample.size else _LIGHTEST
    bounded = np.maximum(bounded, mean / max(lightest, 1e-3))
    return shown / bounded[..., None], lit_well, ramp(shading / brightest, *_BLACK)


def _joined(
    own: Float[np.ndarray, "t t 3"],
    told: Float[np.ndarray, "t t"],
    lit_well: Float[np.ndarray, "t t"],
    model: Float[np.ndarray, "t t 3"],
    clean: Float[np.ndarray, "t t"],
    *,
    mirror: bool,
) -> tuple[Float[np.ndarray, "t t 3"], Float[np.ndarray, "t t 3"]]:
    """Joins the photo's colours without light, their mirror image and the model's.

    Args:
      own: the photo's.
      told: where and how much they count.
      lit_well: where their own hue is used; elsewhere the model's is.
      model: the model's albedo.
      clean: where that is the object's own.
      mirror: whether the mirror image counts.

    Returns:
      The albedo, and the shares of the three in it.
    """
    target = matched(model, lit_well, own, told)
    target = own + (target - own) * (1 - lit_well)[..., None]
    own = matched(own, told, target, np.ones_like(told), cells=_HUES)
    del target
    other = told[:, ::-1] * (1 - told) if mirror else np.zeros_like(told)
    colours = own * told[..., None]
    if mirror:
        colours += matched(own[:, ::-1], told[:, ::-1], own, told) * other[..., None]
    known = told + other
    rest = matched(model, clean, colours / np.maximum(known, 1e-6)[..., None], known)
    colours += rest * (clean * (1 - known))[..., None]
    whole = known + clean * (1 - known)
    albedo = filled(colours / np.maximum(whole, 1e-6)[..., None], ramp(whole, *_SURE))
    return albedo, np.stack([told, other, 1 - known], axis=-1)


def _mean_over_cells(values: Float[np.ndarray, "t t"], cells: int) -> Float[np.ndarray, "t t"]:
    """Returns means over `cells` cells per side, interpolated smoothly."""
    return on_texels(cv2.resize(values, (cells, cells), interpolation=cv2.INTER_AREA), len(values))


def _eight_bits(colours: Float[np.ndarray, "t t 3"]) -> UInt8[np.ndarray, "t t 3"]:
    return cv2.convertScaleAbs(np.maximum(colours, 0), alpha=255)  # rounded, 255 at most
