"""Where each texel of a canonical texture lies in the photo, and how well the photo shows it.

A texture covers the canonical picture: texel (i, j) of T x T lies at column (j + 1/2) S / T - 1/2 of the depth map, and
on the surface as its triangles are drawn, flat between the vertices. So mesh, texture and photo agree to a fraction of
a photo pixel, whatever T is.
"""

import dataclasses
import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from gan2shape_jax.geometry import rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.rasterizer import SampleGrid
from gan2shape_jax.results import host
from gan2shape_jax.results.blending import ramp
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import Surface

__all__ = ["Projection", "inner_share", "on_texels", "project_texels"]

_SHADOW_SAMPLES = 1024  # along a side of the depth map seen by the photo's camera, at most
_SHADOW_FINENESS = 8  # such samples per pixel of the depth map
_TOLERANCE = 0.25  # of a pixel's width: texels this far behind what the camera sees first still count as seen
_GRAZING = (0.08, 0.3)  # cosines between which a surface seen at a grazing angle fades out
_RIM = (1.0, 2.5)  # pixels inside the object's outline in the photo, where the background's colours fade out


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """How a texture maps to the photo.

    Attributes:
      place: (T, T, 2) column and row in the S x S input at which texels are seen; pixel centres are integers.
      faced: (T, T) in [0, 1], how well the camera sees them: 0 where something else is in front or the surface is
        turned away.
      seen: (T, T) in [0, 1], how far the photo can be trusted there: also 0 where it shows something else.
    """

    place: np.ndarray
    faced: np.ndarray
    seen: np.ndarray


def on_texels(values: Float[np.ndarray, "s s *c"], size: int, *, smooth: bool = False) -> Float[np.ndarray, "t t *c"]:
    """Resamples values from the pixels of the canonical picture to the texels of a texture over it.

    Args:
      values: at the pixel centres; at the texture's margin the outermost ones are repeated.
      size: of the texture.
      smooth: whether to use cubic interpolation, which may overshoot, instead of linear.
    """
    method = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return cv2.resize(np.asarray(values, np.float32), (size, size), interpolation=method)


def inner_share(inside: Bool[np.ndarray, "s s"], low: float, high: float) -> Float[np.ndarray, "s s"]:
    """Returns 0 up to `low` pixels inside, 1 from `high` on; the object is taken to extend past the picture."""
    if inside.all():
        return np.ones(inside.shape, np.float32)
    return ramp(ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1] - 0.5, low, high)


def project_texels(result: Result, part: Surface, size: int) -> Projection:
    """Projects every texel through the photo's camera.

    Args:
      result: the reconstruction.
      part: the object's surface, which hides what is behind it.
      size: of the texture, T.
    """
    camera = result.camera
    center = np.array([0, 0, camera.rot_center_depth])
    rotation = host.rotations(result.view[:3]).astype(np.float64)
    seen_from = (host.points(part.depth, camera) - center) @ rotation.T + center + result.view[3:]
    points = _on_triangles(seen_from.astype(np.float32), size)
    place = points[..., :2] / points[..., 2:] * np.float32(camera.focal_length) + np.float32(camera.center)
    facing = np.sum((part.normal @ rotation.T) * seen_from, axis=-1) / np.linalg.norm(seen_from, axis=-1)
    cosine = on_texels(facing, size)
    faced = ramp(cosine, *_GRAZING) * (points[..., 2] <= _nearest_depth(seen_from, part, camera, place, cosine))
    return Projection(place, faced, faced * _at(inner_share(result.input_mask >= 0.5, *_RIM), place))


def _on_triangles(points: Float[np.ndarray, "s s 3"], size: int) -> Float[np.ndarray, "t t 3"]:
    """Returns the texels' points on the triangles between vertices, each of which is half a cell.

    Where a cell's corners are not coplanar, its triangles and the bilinear surface differ by the difference between the
    fourth corner's weights in the two, times how far that corner is off the plane of the others.
    """
    side = len(points)
    at = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    cell = np.minimum(at.astype(int), side - 2)
    share = (at - cell).astype(np.float32)
    right, down = share[None, :], share[:, None]
    twist = points[:-1, :-1] + points[1:, 1:] - points[:-1, 1:] - points[1:, :-1]
    fourth = np.maximum(right + down - 1, 0) - right * down
    return on_texels(points, size) + fourth[..., None] * twist[cell][:, cell]


def _nearest_depth(
    points: Float[np.ndarray, "s s 3"],
    part: Surface,
    camera: Camera,
    place: Float[np.ndarray, "t t 2"],
    cosine: Float[np.ndarray, "t t"],
) -> Float[np.ndarray, "t t"]:
    """Returns the depth up to which each texel counts as what the camera sees first at its place.

    That depth is known at samples; between the nearest one and the texel, the surface may recede by its slope.
    """
    count = min(_SHADOW_FINENESS * camera.image_size, _SHADOW_SAMPLES)
    samples = SampleGrid.over(camera, size=count)
    first = np.asarray(_drawn_depth(jnp.asarray(points, jnp.float32), jnp.asarray(part.mask >= 0.5), camera, samples))
    at = (place - np.float32(samples.first)) / np.float32(samples.spacing)
    index = np.clip(np.rint(at), 0, count - 1).astype(np.int32)
    facing = np.maximum(cosine, _GRAZING[0])
    slope = np.sqrt(np.maximum(1 - facing**2, 0)) / facing
    tolerance = (_TOLERANCE + samples.spacing * slope) / camera.focal_length
    return first[index[..., 1], index[..., 0]] + tolerance


@functools.partial(jax.jit, static_argnames=("camera", "samples"))
def _drawn_depth(
    points: Float[jax.Array, "s s 3"], mask: Bool[jax.Array, "s s"], camera: Camera, samples: SampleGrid
) -> Float[jax.Array, "n n"]:
    return rasterizer.rasterize(points, camera, samples=samples, mask=mask).depth


def _at(values: Float[np.ndarray, "s s"], place: Float[np.ndarray, "t t 2"]) -> Float[np.ndarray, "t t"]:
    column, row = (np.ascontiguousarray(place[..., i]) for i in range(2))
    return cv2.remap(values, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
