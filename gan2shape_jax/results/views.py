"""New views of a result, drawn from its mesh: first what the surface shows, then its light.

A view is drawn once, into `Surfaces` (albedo, normal, depth and coverage of every pixel), and can
then be lit in any number of ways without drawing again. Normals are those of the canonical frame,
in which the light is given too; the light therefore stays with the object when the view turns.
Views are `(n, 6)`: rx, ry, rz in radians, tx, ty, tz in scene units, from the canonical frame.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import pictures
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import points, rotations, surface

__all__ = [
    "SHOWS",
    "Degrees",
    "Surfaces",
    "draw",
    "draw_in_parts",
    "fitting_window",
    "picture",
    "pictures_in_turn",
    "repeated",
    "sweep_views",
]

SHOWS = ("image", "albedo", "normals", "shape", "depth")

# One angle, or one for each view. (NumPy's `ArrayLike` leaves tuples out where types are checked at run time.)
Degrees = float | np.number | Sequence[Any] | np.ndarray

_MARGIN = 0.04  # share of the picture's side that stays free at each border
_CHUNK = 4  # views drawn together: one compiled program serves any number of them
_SHAPE_GREY = 0.74  # albedo of the grey shape
_HEADLIGHT = np.array([0.2, 0.9, 0.0, 0.25], np.float32)  # ambient, diffuse, dx, dy


@dataclasses.dataclass(frozen=True, eq=False)
class Surfaces:
    """What `n` views show at `s` x `s` pixels.

    Attributes:
      albedo: (n, s, s, 3) in [0, 1].
      normal: (n, s, s, 3) unit, canonical frame, into the surface; 0 where there is nothing.
      depth: (n, s, s) along the view's own z, scene units.
      coverage: (n, s, s) in [0, 1], the share of the pixel that the object covers.
      views: (n, 6).
    """

    albedo: np.ndarray
    normal: np.ndarray
    depth: np.ndarray
    coverage: np.ndarray
    views: np.ndarray


def sweep_views(
    *, pitch_deg: Degrees = 0.0, yaw_deg: Degrees = 0.0, roll_deg: Degrees = 0.0
) -> Float[np.ndarray, "n 6"]:
    """Returns views turned by the given degrees from the canonical one; scalars and lists are broadcast."""
    angles = np.broadcast_arrays(*(np.atleast_1d(np.asarray(a, np.float32)) for a in (pitch_deg, yaw_deg, roll_deg)))
    views = np.zeros((len(angles[0]), 6), np.float32)
    views[:, :3] = np.deg2rad(np.stack(angles, axis=-1))
    return views


def draw(
    result: Result,
    views: Float[np.ndarray, "n 6"],
    *,
    size: int,
    cut: bool = True,
    supersample: int = 2,
    window: float = 1.0,
) -> Surfaces:
    """Draws the mesh in the given views.

    Args:
      result: the reconstruction.
      views: radians, scene units.
      size: side of a picture, pixels.
      cut: whether to leave out what lies outside the object mask.
      supersample: samples per pixel along each side.
      window: side of what the picture shows relative to the camera's own picture, see `fitting_window`.
    """
    parts = draw_in_parts(result, views, size=size, cut=cut, supersample=supersample, window=window)
    fields = [vars(part) for part in parts]
    return Surfaces(**{name: np.concatenate([one[name] for one in fields]) for name in fields[0]})


def draw_in_parts(
    result: Result,
    views: Float[np.ndarray, "n 6"],
    *,
    size: int,
    cut: bool = True,
    supersample: int = 2,
    window: float = 1.0,
) -> Iterator[Surfaces]:
    """Yields what `draw` returns, a few views at a time and in order, so that memory stays bounded."""
    part = surface(result, cut=cut)
    attributes = np.concatenate([result.albedo / 2 + 0.5, part.normal, part.field[..., None]], axis=-1)
    for start in range(0, len(views), _CHUNK):
        some = np.asarray(views[start : start + _CHUNK], np.float32)
        padded = np.concatenate([some, np.repeat(some[-1:], _CHUNK - len(some), axis=0)])
        drawn = _draw_chunk(
            part.depth,
            attributes,
            part.mask,
            padded,
            np.float32(window),
            camera=result.camera,
            size=size,
            supersample=supersample,
            exchanged=result.reference,
        )
        yield _surfaces(np.asarray(drawn)[: len(some)], some)


@functools.partial(jax.jit, static_argnames=("camera", "size", "supersample", "exchanged"))
def _draw_chunk(
    depth: Float[jax.Array, "S S"],
    attributes: Float[jax.Array, "S S 7"],
    mask: Float[jax.Array, "S S"],
    views: Float[jax.Array, "n 6"],
    window: Float[jax.Array, ""],
    *,
    camera: Camera,
    size: int,
    supersample: int,
    exchanged: bool,
) -> Float[jax.Array, "n s s 8"]:
    """Draws premultiplied albedo (3), normal (3), depth (1) and coverage (1) of a few views.

    `attributes` (S, S, 7) are albedo, normal and the outline's field. The field decides sample by
    sample, so samples are averaged here, not by the renderer.
    """
    count = len(views)
    points = cameras.back_project(depth, camera)
    repeated = jnp.broadcast_to(points, (count, *points.shape))
    seen = cameras.transform(repeated, views, camera)
    # Scaled down laterally at the same depth, so that the camera's picture shows a window that much wider.
    framed = seen / jnp.stack([window, window, jnp.ones_like(window)])
    lattice = rasterizer.SampleGrid.over(camera, supersample=supersample, size=size)
    kept = jnp.broadcast_to(mask >= 0.5, framed.shape[:-1])
    fragments = rasterizer.rasterize(framed, camera, samples=lattice, mask=kept)
    shared = jnp.broadcast_to(attributes, (count, *attributes.shape))
    samples = rasterizer.interpolate(fragments, jnp.concatenate([shared, seen[..., 2:]], axis=-1), exchanged=exchanged)
    inside = (samples[..., 6:7] >= 0.5).astype(samples.dtype)
    shown = jnp.concatenate([samples[..., :6], samples[..., 7:], jnp.ones_like(inside)], axis=-1)
    shown = shown * inside
    # Added up sample by sample: on CPU, XLA has been seen to get reductions of broadcast products wrong.
    cells = [shown[:, i::supersample, j::supersample] for i in range(supersample) for j in range(supersample)]
    return sum(cells[1:], start=cells[0]) / supersample**2


def _surfaces(drawn: Float[np.ndarray, "n s s 8"], views: Float[np.ndarray, "n 6"]) -> Surfaces:
    coverage = np.clip(drawn[..., 7], 0, 1)
    straight = drawn[..., :7] / np.maximum(coverage, 1e-6)[..., None]
    normal = straight[..., 3:6]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    return Surfaces(
        albedo=np.clip(straight[..., :3], 0, 1),
        normal=normal,
        depth=straight[..., 6],
        coverage=coverage,
        views=np.asarray(views),
    )


def picture(
    surfaces: Surfaces,
    show: str,
    *,
    light: Float[np.ndarray, "*n 4"],
    near: float | None = None,
    far: float | None = None,
) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns pictures on white of what `show` names, one of `SHOWS`.

    `image` is albedo under `light` (ambient, diffuse, dx, dy; one for all views or one for each);
    `shape` is grey under a light that stays with the camera, so that form shows in every view;
    `depth` is coloured from `near` to `far`, by default the range of all these views together.
    """
    if show == "depth":
        if near is None or far is None:
            near, far = pictures.depth_range(surfaces.depth, surfaces.coverage)
        colours = pictures.colour_depth(surfaces.depth, near, far).astype(np.float32) / 127.5 - 1
    elif show == "image":
        colours = surfaces.albedo * _shading(surfaces.normal, light) * 2 - 1
    elif show == "albedo":
        colours = surfaces.albedo * 2 - 1
    elif show == "normals":
        colours = surfaces.normal
    elif show == "shape":
        grey = _SHAPE_GREY * _shading(_turned_normals(surfaces), _HEADLIGHT)
        colours = np.repeat(grey, 3, axis=-1) * 2 - 1
    else:
        raise ValueError(f"{show!r} is none of {', '.join(SHOWS)}")
    return pictures.to_uint8(pictures.on_white(np.clip(colours, -1, 1), surfaces.coverage))


def repeated(surfaces: Surfaces, count: int) -> Surfaces:
    """Returns one drawn view repeated `count` times, to be lit differently."""
    return Surfaces(**{key: np.repeat(value, count, axis=0) for key, value in vars(surfaces).items()})


def _shading(normal: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Returns ambient plus diffuse light, (n, s, s, 1); a plane facing the light has their sum."""
    light = np.asarray(light, np.float32).reshape(-1, 1, 1, 4)
    direction = np.concatenate([light[..., 2:], np.ones_like(light[..., :1])], axis=-1)
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    facing = np.maximum(0, np.sum(normal * direction, axis=-1, keepdims=True))
    return light[..., :1] + light[..., 1:2] * facing


def _turned_normals(surfaces: Surfaces) -> np.ndarray:
    """Returns normals in the frame of each view's camera."""
    rotation = rotations(surfaces.views[:, :3])
    return np.einsum("nij,nhwj->nhwi", rotation, surfaces.normal)


def pictures_in_turn(
    result: Result,
    turned: Float[np.ndarray, "n 6"],
    lights: Float[np.ndarray, "n 4"],
    *,
    show: str = "image",
    size: int,
    cut: bool = True,
    window: float = 1.0,
) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
    """Yields what `views.picture` shows of each view under its light, with no more than a few views in memory.

    The colours of `depth` span the range over all views. For that, all views are drawn twice.
    """
    drawn = functools.partial(draw_in_parts, result, turned, size=size, cut=cut, window=window)
    near, far = _depth_range(drawn) if show == "depth" else (None, None)
    start = 0
    for part in drawn():
        end = start + len(part.views)
        yield from picture(part, show, light=lights[start:end], near=near, far=far)
        start = end


def _depth_range(drawn: Callable[[], Iterator[Surfaces]]) -> tuple[float, float]:
    """Returns `pictures.depth_range` of all views together, keeping no more of them than the object's depths."""
    depths = [part.depth[part.coverage > 0.5] for part in drawn()]
    if not any(map(len, depths)):  # no view shows the object
        depths = [part.depth.reshape(-1) for part in drawn()]
    seen = np.concatenate(depths)[None]
    return pictures.depth_range(seen, np.ones_like(seen))


def fitting_window(result: Result, views: Float[np.ndarray, "n 6"], *, cut: bool = True) -> float:
    """Returns the side of the smallest picture that holds the mesh in every view, relative to the camera's own.

    The picture stays centred on the principal point, and one window serves all views, so that the mesh neither
    shifts nor changes size while it turns. It is never smaller than the camera's own picture. Results in reference
    mode keep the latter, as the published code does.

    Args:
      result: the reconstruction.
      views: radians, scene units.
      cut: whether the mesh is cut at the object mask or is the whole sheet.

    Returns:
      A factor, 1 or more.
    """
    if result.reference:
        return 1.0
    part = surface(result, cut=cut)
    corners = points(part.depth, result.camera)[part.mask >= 0.5]
    center = np.array([0, 0, result.camera.rot_center_depth])
    rotated = np.einsum("nij,kj->nki", rotations(views[:, :3]), corners - center)
    turned = rotated + center + views[:, None, 3:]
    reach = np.abs(turned[..., :2] / turned[..., 2:]).max() * result.camera.focal_length
    return max(1.0, float(reach / (result.camera.image_size / 2) / (1 - 2 * _MARGIN)))
