"""The surface of a result: its points, normals and light on the host, and the part of it that pictures and meshes show.

The object mask is made of whole pixels, and beyond its border the depth falls away to whatever the
network left there. A surface cut there has steps along its outline and spikes when seen from the
side. So the object's depth is extended past its border, and the outline is the 1/2 contour of the
smoothed mask. All maps are `(S, S)`, canonical frame; depth in scene units.

The functions for NumPy arrays are those of `camera` and `lighting`, each one compiled program: run operation by
operation, they took a third of the time of a feed-forward result.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results.result import Result

__all__ = [
    "MASK_THRESHOLD",
    "Surface",
    "lit",
    "normals",
    "object_mask",
    "points",
    "rotations",
    "shading",
    "surface",
]

# The canonical mask is fractional; the reference cuts its pictures here as well (save_results).
MASK_THRESHOLD = 0.3
_RINGS = 2  # one for the cells across the outline, one more for the normals there

_back_project = jax.jit(cameras.back_project, static_argnums=1)
_normals = jax.jit(lighting.normals, static_argnums=1)
_rotation_matrix = jax.jit(cameras.rotation_matrix)
_shade = jax.jit(lighting.shade)
_apply_shading = jax.jit(lighting.apply_shading)


def points(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Returns the points (..., H, W, 3) that a depth map shows, in the camera frame."""
    return np.asarray(_back_project(jnp.asarray(depth), camera))


def normals(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Returns unit normals (..., H, W, 3) pointing into the surface."""
    return np.asarray(_normals(jnp.asarray(depth), camera))


def rotations(angles: np.ndarray) -> np.ndarray:
    """Returns rotation matrices (..., 3, 3) of angles (..., 3) in radians."""
    return np.asarray(_rotation_matrix(jnp.asarray(angles)))


def shading(normal: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Returns ambient and diffuse light (H, W) on normals (H, W, 3)."""
    return np.asarray(_shade(jnp.asarray(normal), jnp.asarray(light))[0])


def lit(albedo: np.ndarray, shade: np.ndarray) -> np.ndarray:
    """Returns albedo (H, W, 3) in [-1, 1] under shading (H, W); it may exceed 1."""
    return np.asarray(_apply_shading(jnp.asarray(albedo), jnp.asarray(shade)))


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """Depth, normals, and where the object is.

    Attributes:
      depth: (S, S) the object's own, extended a little past its border.
      normal: (S, S, 3) unit, into the surface, of this depth.
      field: (S, S) at least 1/2 on the object, below outside; its 1/2 contour is the outline.
      mask: (S, S) 1 on the object and just across its outline, where `depth` may be drawn.
    """

    depth: np.ndarray
    normal: np.ndarray
    field: np.ndarray
    mask: np.ndarray


def object_mask(result: Result) -> Bool[np.ndarray, "s s"]:
    """Returns where the object is: the largest piece of the canonical mask, holes filled; everywhere if it is empty.

    Where the sheet folds, the input's mask lands on parts of it that the input does not show; this tears holes
    and leaves specks that are not part of the object's outline.
    """
    inside = result.mask >= MASK_THRESHOLD
    if not inside.any():
        return np.ones_like(inside)
    pieces, _ = ndimage.label(inside)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0  # the background
    return np.asarray(ndimage.binary_fill_holes(pieces == np.argmax(sizes)), bool)


def surface(result: Result, *, cut: bool = True) -> Surface:
    """Returns the object's surface, or with `cut=False` the whole sheet as it is."""
    inside = object_mask(result) if cut else np.ones(result.mask.shape, bool)
    field = _blur(inside.astype(np.float32))
    depth, known = result.depth, inside
    for _ in range(_RINGS):
        depth, known = _carried_on(depth, known)
    normal = normals(depth, result.camera)
    # Border normals are frontal by definition; their neighbours' normals look better.
    normal = np.pad(normal[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), mode="edge")
    drawn = _neighbourhood(field >= 0.5) > 0.5
    return Surface(depth=depth, normal=normal, field=field, mask=drawn.astype(np.float32))


def _carried_on(depth: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives unknown pixels next to known ones the mean of those neighbours."""
    count = _neighbourhood(known)
    mean = _neighbourhood(np.where(known, depth, 0)) / np.maximum(count, 1)
    fresh = ~known & (count > 0.5)
    return np.where(fresh, mean, depth).astype(np.float32), known | fresh


def _neighbourhood(values: np.ndarray) -> Float[np.ndarray, "s s"]:
    """Sums over 3 x 3 pixels, with nothing beyond the border."""
    return ndimage.convolve(values.astype(np.float32), np.ones((3, 3)), mode="constant")


def _blur(values: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Smooths with binomial weights of standard deviation one pixel; border values are repeated outwards."""
    weights = np.array([1, 4, 6, 4, 1]) / 16
    return ndimage.convolve1d(ndimage.convolve1d(values, weights, 0, mode="nearest"), weights, 1, mode="nearest")
