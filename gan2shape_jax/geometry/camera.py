"""Cameras: back-projection, rigid views and projection.

The camera's frame is OpenCV's: x right, y down, z away from the camera, in scene units (the method's objects sit one
unit away). Points are in that frame, or in the world's if the camera has extrinsics. Pixel coordinates `(..., 2)` are
(x, y) with pixel centres at integers. Sampling grids are the same coordinates scaled so that -1 and 1 are the centres
of the outer pixels. A view `(..., 6)` is rx, ry, rz in radians and tx, ty, tz in scene units. Depth `(..., H, W)` is
the z coordinate, not the distance along the ray. Leading axes of depths and views broadcast to each other.
"""

import dataclasses
import itertools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gan2shape_jax import platforms
from gan2shape_jax.errors import ArgumentError

_PRECISION = jax.lax.Precision.HIGHEST
_FOV_DEG = 10.0
_ORDERS = ["0 < fov_deg < 180", "-inf < min_depth < max_depth < inf", "0 < near < far", "-inf < rot_center_depth < inf"]
_ORDERS += ["0 < fx < inf", "0 < fy < inf", "-inf < cx < inf", "-inf < cy < inf"]


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole or an orthographic camera and the range of depths it covers, scene units.

    It is a pytree: size and kind are its structure, all else are leaves, Python's numbers or arrays. So one compiled
    program serves all cameras of a size, and derivatives and `jax.vmap` reach the focal length. Cameras are equal if
    their sizes and all values are, whatever the arrays' types; values that are being traced equal only themselves. With
    Python's numbers alone a camera is hashable too, for use as a static argument.

    An `ArgumentError` if values that are known make no camera.
    """

    image_size: Any  # side of a square image, or height and width, in pixels
    fov_deg: Any = None  # field of view between the centres of the outer columns; 10 if neither this nor K is given
    rot_center_depth: Any = 1.0  # of the point (0, 0, z) that views rotate about
    min_depth: Any = 0.9  # nearest canonical depth
    max_depth: Any = 1.1  # farthest canonical depth
    # Triangles of a grid with a vertex at or before this are not drawn; other meshes are cut there. None: a
    # ten-thousandth of the depth of each image's farthest vertex, but of no more than `far`.
    near: Any = None
    far: Any = 100.0  # depth of the empty background; surfaces at or beyond it are not drawn
    K: tuple[Any, Any, Any, Any] | None = (
        None  # (fx, fy, cx, cy): focal lengths and principal point in pixels, in place of fov_deg
    )
    extrinsics: Any = None  # (3, 4) or (4, 4), [R | t] from the world to the camera's frame; None: they are the same
    orthographic: bool = False  # rays are parallel to z, and fx and fy, which must be given, are pixels per scene unit

    def __post_init__(self) -> None:
        fields = vars(self) | {"image_size": _size_of(self.image_size)}
        if self.K is not None and self.fov_deg is not None:
            raise ArgumentError("K and fov_deg exclude each other: use one of them")
        if self.K is None and self.orthographic:
            raise ArgumentError("K is missing: an orthographic camera needs fx and fy, in pixels per scene unit")
        if self.K is None and self.fov_deg is None:
            fields["fov_deg"] = _FOV_DEG
        if self.K is not None:
            four = tuple(self.K) if np.iterable(self.K) else ()
            if len(four) != 4:
                raise ArgumentError(f"K is {self.K}: it must be the four numbers fx, fy, cx, cy")
            fields["K"] = tuple(_number("K", value) for value in four)
        fields |= {name: _number(name, fields[name]) for name in _LEAVES[:6] if fields[name] is not None}
        if self.extrinsics is not None and np.shape(self.extrinsics) not in ((3, 4), (4, 4)):
            raise ArgumentError(f"extrinsics has shape {np.shape(self.extrinsics)}: it must be (3, 4) or (4, 4)")
        numbers = [leaf for leaf in jax.tree.leaves(self.extrinsics) if not isinstance(leaf, jax.core.Tracer)]
        if not all(np.isfinite(number).all() for number in numbers):
            raise ArgumentError("extrinsics has numbers that are not finite")
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        named = fields | dict(zip(("fx", "fy", "cx", "cy"), fields["K"] or 4 * [None]))
        concrete = {name: value for name, value in named.items() if not isinstance(value, jax.core.Tracer | None)}
        for order in _ORDERS:
            terms = [term for term in order.split(" < ") if term in concrete or term not in named]
            values = [np.asarray(concrete[term] if term in concrete else float(term)) for term in terms]
            if not all(np.all(a < b) for a, b in itertools.pairwise(values)):
                passed = ", ".join(f"{term} is {concrete[term]}" for term in terms if term in concrete)
                raise ArgumentError(f"{passed}: a camera needs {order}")

    def tree_flatten_with_keys(self) -> tuple[Iterable[Any], Any]:
        """Returns the leaves with their names, and the structure."""
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in _LEAVES], (
            self.image_size,
            self.orthographic,
        )

    @classmethod
    def tree_unflatten(cls, structure: Any, leaves: Iterable[Any]) -> "Camera":
        """Returns a camera of any leaves, as transformations make them: nothing is checked."""
        camera = object.__new__(cls)
        for name, value in zip(("image_size", "orthographic", *_LEAVES), (*structure, *leaves), strict=True):
            object.__setattr__(camera, name, value)
        return camera

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Camera):
            return NotImplemented
        pairs = ([getattr(camera, field.name) for camera in (self, other)] for field in dataclasses.fields(Camera))
        return all(mine is two or _equal(mine, two) for mine, two in pairs)

    @property
    def height(self) -> int:
        """Rows of an image."""
        return int(self.image_size[0] if isinstance(self.image_size, tuple) else self.image_size)

    @property
    def width(self) -> int:
        """Columns of an image."""
        return int(self.image_size[1] if isinstance(self.image_size, tuple) else self.image_size)

    @property
    def intrinsics(self) -> tuple[Any, Any, Any, Any]:
        """Focal lengths fx, fy and principal point cx, cy, in pixels."""
        if self.K is not None:
            return self.K
        concrete = isinstance(self.fov_deg, float)
        slope: Any = math.tan(math.radians(self.fov_deg) / 2) if concrete else jnp.tan(jnp.deg2rad(self.fov_deg) / 2)
        focal_length = (self.width - 1) / 2 / slope
        return focal_length, focal_length, (self.width - 1) / 2, (self.height - 1) / 2

    @property
    def focal_length(self) -> Any:
        """Focal length along x, in pixels."""
        return self.intrinsics[0]

    @property
    def margin(self) -> Any:
        """How far warped depth may leave the canonical range on either side, scene units."""
        return (self.max_depth - self.min_depth) / 2

    @property
    def background_depth(self) -> Any:
        """The depth of empty pixels in a warped depth map, scene units."""
        return self.max_depth + self.margin

    def record(self) -> dict[str, Any]:
        """Returns what `Camera(**record)` takes to make the same camera again."""
        return {name: value for name, value in vars(self).items() if value is not None and value is not False}


_NEAREST = 1e-4  # of the farthest depth: how near things are drawn by a camera that does not say it


def near_plane(depth: Float[Array, "b *points"], camera: Camera) -> Array:
    """Returns the depth of the near plane, for each image if it follows from the depths of its vertices."""
    if camera.near is not None:
        return jnp.asarray(camera.near, depth.dtype)
    known = jnp.where(jnp.isfinite(depth), depth, 0)
    farthest = jnp.max(known, range(1, depth.ndim), keepdims=True, initial=float(jnp.finfo(depth.dtype).tiny))
    return jax.lax.stop_gradient(_NEAREST * jnp.minimum(farthest, jnp.asarray(camera.far, depth.dtype)))


_LEAVES = [field.name for field in dataclasses.fields(Camera)][1:-1]


def intrinsics(camera: Camera, dtype: DTypeLike = jnp.float32) -> Float[Array, "3 3"]:
    """Returns the matrix that takes a point in a pinhole camera's frame to homogeneous pixel coordinates."""
    if camera.orthographic:
        raise ArgumentError("camera is orthographic: no matrix of points alone gives its pixels; `project` does")
    fx, fy, cx, cy = camera.intrinsics
    return jnp.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype)


@platforms.arrays
def rotation_matrix(angles: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """Returns Rz Ry Rx for angles about the x, y and z axes, in radians.

    Examples:
      >>> quarter = rotation_matrix(jnp.array([0, jnp.pi / 2, 0]))  # about y, which points down
      >>> [round(float(number)) for number in quarter @ jnp.array([1.0, 0, 0])]
      [0, 0, -1]
    """
    (sx, sy, sz), (cx, cy, cz) = ((f(angles[..., 0]), f(angles[..., 1]), f(angles[..., 2])) for f in (jnp.sin, jnp.cos))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


@platforms.arrays
def back_project(depth: Float[Array, "*batch h w"], camera: Camera) -> Float[Array, "*batch h w 3"]:
    """Returns the point seen by each pixel of a depth map; `ArgumentError` if its size is not that of the camera."""
    if depth.shape[-2:] != (camera.height, camera.width):
        raise ArgumentError(f"depth has shape {depth.shape}: the camera has {camera.height} x {camera.width} pixels")
    fx, fy, cx, cy = camera.intrinsics
    slope_x = (jnp.arange(camera.width, dtype=depth.dtype) - cx) / fx
    slope_y = (jnp.arange(camera.height, dtype=depth.dtype) - cy) / fy
    reach = jnp.ones_like(depth) if camera.orthographic else depth
    points = jnp.stack([reach * slope_x, reach * slope_y[:, None], depth], -1)
    if camera.extrinsics is None:
        return points
    matrix = jnp.asarray(camera.extrinsics, points.dtype)
    return jnp.einsum("ji,...j->...i", matrix[:3, :3], points - matrix[:3, 3], precision=_PRECISION)


@platforms.arrays
def to_camera(points: Float[Array, "*batch 3"], camera: Camera) -> Float[Array, "*batch 3"]:
    """Returns points of the world in the camera's frame."""
    if camera.extrinsics is None:
        return points
    matrix = jnp.asarray(camera.extrinsics, points.dtype)
    return jnp.einsum("ij,...j->...i", matrix[:3, :3], points, precision=_PRECISION) + matrix[:3, 3]


@platforms.arrays
def project(points: Float[Array, "*batch 3"], camera: Camera) -> Float[Array, "*batch 2"]:
    """Returns the pixel coordinates of points; they are meaningful only in front of the camera.

    Examples:
      >>> camera = Camera(image_size=5)
      >>> corner = back_project(jnp.ones((5, 5)), camera)[0, 4]
      >>> [round(float(number)) for number in project(corner, camera)]
      [4, 0]
    """
    points = to_camera(points, camera)
    fx, fy, cx, cy = camera.intrinsics
    flat = points[..., :2] if camera.orthographic else points[..., :2] / points[..., 2:]
    return flat * _pair(fx, fy, points.dtype) + _pair(cx, cy, points.dtype)


@platforms.arrays
def transform(points: Float[Array, "*any 3"], view: Float[Array, "*batch 6"], camera: Camera) -> Float[Array, "*all 3"]:
    """Moves points into a view: rotates about the rotation centre, then translates.

    The leading axes of `view` are the first of `points`, or either's have length 1 there: one view for a mesh (V, 3),
    a view each for meshes (B, V, 3), many views (B,) of one mesh (1, V, 3). Otherwise an `ArgumentError`.
    """
    rotation, shift, center, axes = _motion(points, view, camera)
    rotated = jnp.einsum(f"...ij,{axes}", rotation, points - center, precision=_PRECISION)
    return rotated + center + shift


@platforms.arrays
def inverse_transform(
    points: Float[Array, "*any 3"], view: Float[Array, "*batch 6"], camera: Camera
) -> Float[Array, "*all 3"]:
    """Moves points seen in a view back into the canonical frame; undoes `transform`."""
    rotation, shift, center, axes = _motion(points, view, camera)
    return jnp.einsum(f"...ji,{axes}", rotation, points - shift - center, precision=_PRECISION) + center


@platforms.arrays
def to_grid(pixels: Float[Array, "*batch 2"], camera: Camera) -> Float[Array, "*batch 2"]:
    """Scales pixel coordinates to a sampling grid: -1 and 1 are the centres of the outer pixels."""
    return pixels * _pair(2 / (camera.width - 1), 2 / (camera.height - 1), pixels.dtype) - 1


@platforms.arrays
def warped_grid(
    depth: Float[Array, "*#batch h w"], view: Float[Array, "*#batch 6"], camera: Camera
) -> Float[Array, "*batch h w 2"]:
    """Returns where each canonical pixel lands in the image seen from the view."""
    return to_grid(project(moved_points(depth, view, camera), camera), camera)


@platforms.arrays
def inverse_warped_grid(
    warped_depth: Float[Array, "*#batch h w"], view: Float[Array, "*#batch 6"], camera: Camera
) -> Float[Array, "*batch h w 2"]:
    """Returns where in the canonical image each pixel of the view comes from."""
    return to_grid(project(moved_points(warped_depth, view, camera, inverse_transform), camera), camera)


@platforms.arrays
def moved_points(
    depth: Float[Array, "*#batch h w"],
    view: Float[Array, "*#batch 6"],
    camera: Camera,
    move: Callable[..., Array] = transform,
) -> Float[Array, "*batch h w 3"]:
    """Returns the points of depth maps moved by `transform` or `inverse_transform`; leading axes broadcast."""
    missing = depth.ndim - 1 - view.ndim
    depth, view = (jnp.expand_dims(x, tuple(range(n))) for x, n in ((depth, max(-missing, 0)), (view, max(missing, 0))))
    return move(back_project(depth, camera), view, camera)


def _motion(points: Array, view: Array, camera: Camera) -> tuple[Array, Array, Array, str]:
    """Returns a view's rotation, its translation with axes as of the points, its centre, and rotations' subscripts."""
    leading, last = view.ndim - 1, points.ndim - 1
    try:
        np.broadcast_shapes(points.shape[:leading], view.shape[:-1])
    except ValueError:
        leading = last + 1
    if leading > last or view.shape[-1:] != (6,) or points.shape[-1:] != (3,):
        raise ArgumentError(f"points has shape {points.shape}, view {view.shape}: the first axes must be the same")
    others = "klmnopqrstuvwxyz"[: last - leading]
    shift = jnp.expand_dims(view[..., 3:], tuple(range(leading, last)))
    center = jnp.array([0, 0, camera.rot_center_depth], points.dtype)
    return rotation_matrix(view[..., :3]), shift, center, f"...{others}j->...{others}i"


def _pair(x: Any, y: Any, dtype: DTypeLike) -> Array | float:
    """Returns values along x and y, as one number where they are the same number: it compiles to less."""
    return x if isinstance(x, float) and x == y else jnp.stack([jnp.asarray(x, dtype), jnp.asarray(y, dtype)])


def _equal(first: Any, two: Any) -> bool:
    """Returns whether two values of a field are the same numbers."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((first, two))):
        return False
    return (first is None) == (two is None) and np.array_equal(first, two)


def _size_of(size: Any) -> int | tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in (size if isinstance(size, tuple | list) else (size, size)))
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 2:
        raise ArgumentError(f"image_size is {size!r}: it must be at least 2 pixels, a side or (height, width)")
    return height if height == width else (height, width)


def _number(name: str, value: Any) -> Any:
    """Returns Python's and NumPy's numbers as a float, arrays as they are."""
    if isinstance(value, jax.Array) or (isinstance(value, np.ndarray) and value.ndim):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} is {value!r}: it must be a number") from None
