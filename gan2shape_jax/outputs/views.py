"""New views of a result, drawn from its mesh: what a surface shows first, its light afterwards.

A view is drawn once, into `Surfaces` (albedo, normal, depth and coverage of every pixel), and can then be
lit in any number of ways without drawing again. Normals are those of the canonical frame, in which the light
is given too; the light therefore stays with the object when the view turns. Views are `(n, 6)`: rx, ry,
rz in radians, tx, ty, tz in scene units, from the canonical frame.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax import camera as cameras
from gan2shape_jax import lighting, render
from gan2shape_jax.camera import Camera
from gan2shape_jax.outputs import pictures
from gan2shape_jax.outputs.result import Result

__all__ = ["MASK_THRESHOLD", "SHOWS", "Surfaces", "draw", "object_mask", "picture", "sweep_views"]

SHOWS = ("image", "albedo", "normals", "shape", "depth")

# The canonical mask is fractional; the reference cuts its pictures here as well (save_results).
MASK_THRESHOLD = 0.3
_CHUNK = 4  # views drawn together: one compiled program serves any number of them
_SHAPE_GREY = 0.8  # albedo of the grey shape
_HEADLIGHT = np.array([0.2, 0.9, 0.0, 0.25], np.float32)  # ambient, diffuse, dx, dy


@dataclasses.dataclass(frozen=True, eq=False)
class Surfaces:
    """What `n` views show at `s` x `s` pixels.

    Attributes:
      albedo: (n, s, s, 3) in [0, 1].
      normal: (n, s, s, 3) unit, canonical frame, into the surface; 0 where nothing is.
      depth: (n, s, s) along the view's own z, scene units.
      coverage: (n, s, s) in [0, 1], the share of the pixel that the object covers.
      views: (n, 6).
    """

    albedo: np.ndarray
    normal: np.ndarray
    depth: np.ndarray
    coverage: np.ndarray
    views: np.ndarray


def object_mask(result: Result) -> Float[np.ndarray, "s s"]:
    """1 where the canonical mask says object, 0 elsewhere."""
    return (result.mask >= MASK_THRESHOLD).astype(np.float32)


def sweep_views(*, pitch_deg=0.0, yaw_deg=0.0, roll_deg=0.0) -> Float[np.ndarray, "n 6"]:
    """Views turned by the given degrees from the canonical one; scalars and lists are broadcast."""
    angles = np.broadcast_arrays(*(np.atleast_1d(np.asarray(a, np.float32))
                                   for a in (pitch_deg, yaw_deg, roll_deg)))
    views = np.zeros((len(angles[0]), 6), np.float32)
    views[:, :3] = np.deg2rad(np.stack(angles, axis=-1))
    return views


def draw(result: Result, views: Float[np.ndarray, "n 6"], *, size: int, cut: bool = True,
         supersample: int = 2) -> Surfaces:
    """Draws the mesh in the given views; `cut` leaves out what lies outside the object mask."""
    mask = object_mask(result) if cut else np.ones_like(result.mask)
    normal = np.asarray(lighting.normals(result.depth, result.camera))
    attributes = np.concatenate([result.albedo / 2 + 0.5, normal], axis=-1)
    chunks = []
    for start in range(0, len(views), _CHUNK):
        part = views[start:start + _CHUNK]
        padded = np.concatenate([part, np.repeat(part[-1:], _CHUNK - len(part), axis=0)])
        drawn = _draw_chunk(result.depth, attributes, mask, padded, camera=result.camera, size=size,
                            supersample=supersample)
        chunks.append(np.asarray(drawn)[:len(part)])
    return _surfaces(np.concatenate(chunks), views)


@functools.partial(jax.jit, static_argnames=("camera", "size", "supersample"))
def _draw_chunk(depth, attributes, mask, views, *, camera: Camera, size: int, supersample: int):
    """Premultiplied albedo (3), normal (3), depth (1) and coverage (1) of a few views."""
    points = cameras.back_project(depth, camera)
    points = jnp.broadcast_to(points, (*views.shape[:-1], *points.shape))
    seen = cameras.transform(points, views, camera)[..., 2:]
    shared = jnp.broadcast_to(attributes, (*views.shape[:-1], *attributes.shape))
    everything = jnp.concatenate([shared, seen, jnp.ones_like(seen)], axis=-1)
    depths = jnp.broadcast_to(depth, (*views.shape[:-1], *depth.shape))
    masks = jnp.broadcast_to(mask, depths.shape)
    return render.render_mesh(depths, everything, views, camera, background=0.0, size=size,
                              supersample=supersample, mask=masks)


def _surfaces(drawn: Float[np.ndarray, "n s s 8"], views: Float[np.ndarray, "n 6"]) -> Surfaces:
    coverage = np.clip(drawn[..., 7], 0, 1)
    straight = drawn[..., :7] / np.maximum(coverage, 1e-6)[..., None]
    normal = straight[..., 3:6]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    return Surfaces(albedo=np.clip(straight[..., :3], 0, 1), normal=normal, depth=straight[..., 6],
                    coverage=coverage, views=np.asarray(views))


def picture(surfaces: Surfaces, show: str, *, light: Float[np.ndarray, "*n 4"],
            near: float | None = None, far: float | None = None) -> UInt8[np.ndarray, "n s s 3"]:
    """Pictures on white of what `show` names, one of `SHOWS`.

    `image` is albedo under `light` (ambient, diffuse, dx, dy, of one view or of all); `shape` is grey
    under a light that stays with the camera, so that it tells form in every view; `depth` is coloured
    from `near` to `far`, by default the range of all these views together.
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


def _shading(normal: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Ambient plus diffuse, (n, s, s, 1); a plane facing the light has their sum."""
    light = np.asarray(light, np.float32).reshape(-1, 1, 1, 4)
    direction = np.concatenate([light[..., 2:], np.ones_like(light[..., :1])], axis=-1)
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    facing = np.maximum(0, np.sum(normal * direction, axis=-1, keepdims=True))
    return light[..., :1] + light[..., 1:2] * facing


def _turned_normals(surfaces: Surfaces) -> np.ndarray:
    """Normals in the frame of each view's camera."""
    rotation = np.asarray(cameras.rotation_matrix(surfaces.views[:, :3]))
    return np.einsum("nij,nhwj->nhwi", rotation, surfaces.normal)
