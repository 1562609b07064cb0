"""A result turned and relit: which angles and lights, pictures by the mesh and by the GAN, strips and films of them.

Turning: nine yaws, then five pitches, from the canonical view (GAN2Shape, appendix; the reference's `save_results`).
Relighting: five directions from side to side, level and from above, at two strengths. The GAN does not see the mesh:
the factors are rendered the way the training does, by sampling the canonical texture at the warped depth, and the
caller's projection turns these rough pictures into the GAN's own (GAN2Shape, section 3.3).

A turntable strip has the yaws in its first row and the pitches in its second; a relighting strip has one row per
strength and height of the light. Angles are in degrees where a name says so; lights are ambient, diffuse, dx, dy; all
tiles of a result have the same size, in pixels.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.render import rough_rendering
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.results import pictures, views
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import lit, normals, shading

__all__ = [
    "AMBIENT_SHARE",
    "GanViews",
    "Projection",
    "draw_gan_views",
    "gan_strips",
    "gan_tiles",
    "light_circle",
    "max_yaw_deg",
    "mesh_strips",
    "relight_rows",
    "relit_frames",
    "rough_views",
    "swing",
    "turn_views",
    "turned_frames",
    "yaws_deg",
]

AMBIENT_SHARE = 0.6  # ambient loses this much of what diffuse gains

_PITCHES_DEG = np.linspace(-20, 20, 5)
_DXS = (-1.5, -0.7, 0.0, 0.7, 1.5)
_LIGHT_ROWS = tuple((strength, dy) for strength in (0.3, 0.6) for dy in (0.0, 0.6))

# Pictures (n, S, S, 3) in [-1, 1] to the GAN's pictures of the same objects (n, s, s, 3).
Projection = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class GanViews:
    """Pictures by the GAN in [-1, 1]: yaws (9, s, s, 3), pitches (5, s, s, 3), lights (4, 5, s, s, 3)."""

    yaws: np.ndarray
    pitches: np.ndarray
    lights: np.ndarray


def max_yaw_deg(category: str) -> float:
    """Returns how far the pictures turn to either side: objects with deep sides less far."""
    return category_of(category).max_yaw_deg


def yaws_deg(category: str, count: int = 9) -> Float[np.ndarray, "n"]:
    """Returns evenly spaced yaws from side to side."""
    return np.linspace(-max_yaw_deg(category), max_yaw_deg(category), count)


def turn_views(category: str) -> Float[np.ndarray, "14 6"]:
    """Returns the views of the nine yaws, then of the five pitches."""
    return np.concatenate([views.sweep_views(yaw_deg=yaws_deg(category)), views.sweep_views(pitch_deg=_PITCHES_DEG)])


def relight_rows(light: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4 5 4"]:
    """Returns lights around an object lit by `light`: one row per strength and height, five directions each."""
    return np.array([[_stronger(light, more, dx, dy) for dx in _DXS] for more, dy in _LIGHT_ROWS], np.float32)


def light_circle(light: Float[np.ndarray, "4"], count: int) -> Float[np.ndarray, "n 4"]:
    """Returns a strong light that travels once round the object's front."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.array([_stronger(light, 0.6, 1.3 * np.sin(a), 0.8 * np.cos(a)) for a in angles], np.float32)


def _stronger(light: Float[np.ndarray, "4"], strength: float, dx: float, dy: float) -> Float[np.ndarray, "4"]:
    return np.array([light[0] - AMBIENT_SHARE * strength, light[1] + strength, dx, dy], np.float32)


def swing(result: Result, steps: int) -> tuple[Float[np.ndarray, "n 6"], float]:
    """Returns views of a turn from side to side, slow at its ends, and the window in which nothing is cut off."""
    share = -np.cos(np.linspace(0, np.pi, steps))
    turns = views.sweep_views(yaw_deg=max_yaw_deg(result.category) * share)
    return turns, views.fitting_window(result, turns)


def mesh_strips(result: Result, *, size: int) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Returns strips of the turned and relit mesh by file name.

    They are `turntable.png`, `_albedo`, `_normals`, `_shape`, the same with `_full` for the whole sheet with its
    background, and `relight.png` in the input's view.
    """
    strips = {}
    turns = turn_views(result.category)
    for cut, suffix in ((True, ""), (False, "_full")):
        window = views.fitting_window(result, turns, cut=cut)
        tiles: dict[str, list[np.ndarray]] = {show: [] for show in ("image", "albedo", "normals", "shape")}
        for some in views.draw_in_parts(result, turns, size=size, cut=cut, window=window):
            for show, row in tiles.items():
                row += list(views.picture(some, show, light=result.light))
        yaws = len(turns) - len(_PITCHES_DEG)
        for show, row in tiles.items():
            name = "turntable" + ("" if show == "image" else f"_{show}") + suffix
            strips[f"{name}.png"] = pictures.strip([row[:yaws], row[yaws:]])
    still = views.draw(result, result.view[None], size=size)
    rows = [views.picture(views.repeated(still, len(row)), "image", light=row) for row in relight_rows(result.light)]
    return strips | {"relight.png": pictures.strip(rows)}


def turned_frames(result: Result, *, size: int, frames: int) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
    """Yields pictures of the mesh from one side to the other: the first half of a film of that many frames."""
    turns, window = swing(result, max(2, frames // 2 + 1))
    lights = np.broadcast_to(result.light, (len(turns), 4))
    return views.pictures_in_turn(result, turns, lights, size=size, window=window)


def relit_frames(result: Result, *, size: int, frames: int) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
    """Yields pictures of the mesh in the input's view under a light that circles once."""
    still = views.draw(result, result.view[None], size=size)
    return (views.picture(still, "image", light=light)[0] for light in light_circle(result.light, frames))


def gan_strips(drawn: GanViews, *, size: int) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Returns `turntable_gan.png` and `relight_gan.png`."""
    turned = [gan_tiles(row, size) for row in (drawn.yaws, drawn.pitches)]
    relit = [gan_tiles(row, size) for row in drawn.lights]
    return {"turntable_gan.png": pictures.strip(turned), "relight_gan.png": pictures.strip(relit)}


def gan_tiles(drawn: Float[np.ndarray, "n s s 3"], size: int) -> list[UInt8[np.ndarray, "size size 3"]]:
    """Returns the GAN's pictures, in [-1, 1], as tiles of `size` pixels."""
    return [pictures.enlarge(picture, size) for picture in pictures.to_uint8(drawn)]


def draw_gan_views(result: Result, project: Projection, *, batch: int = 8) -> GanViews:
    """Projects the reference's sweeps of views and lights, always `batch` pictures at a time."""
    turns = turn_views(result.category)
    lights = relight_rows(result.light).reshape(-1, 4)
    normal = normals(result.depth, result.camera)
    relit = np.stack([lit(result.albedo, shading(normal, light)) for light in lights])
    textures = np.concatenate([np.repeat(result.canonical[None], len(turns), axis=0), relit])
    seen_from = np.concatenate([turns, np.broadcast_to(result.view, (len(lights), 6))]).astype(np.float32)
    sampling: Literal["centred", "half"] = "half" if result.reference else "centred"

    def drawn() -> Iterator[Any]:
        for start in range(0, len(seen_from), batch):
            chosen = np.minimum(np.arange(start, start + batch), len(seen_from) - 1)
            rough = rough_views(
                result.depth, textures[chosen], seen_from[chosen], camera=result.camera, sampling=sampling
            )
            yield np.asarray(project(np.asarray(rough)))[: len(seen_from) - start]

    shown = np.concatenate(list(drawn()))
    yaws = len(turns) - len(_PITCHES_DEG)
    grid = shown[len(turns) :].reshape(len(_LIGHT_ROWS), -1, *shown.shape[1:])
    return GanViews(yaws=shown[:yaws], pitches=shown[yaws : len(turns)], lights=grid)


@functools.partial(jax.jit, static_argnames=("camera", "sampling"))
def rough_views(
    depth: Float[jax.Array, "s s"],
    textures: Float[jax.Array, "n s s 3"],
    views: Float[jax.Array, "n 6"],
    *,
    camera: Camera,
    sampling: Literal["centred", "half"],
) -> Float[jax.Array, "n s s 3"]:
    """Renders each lit texture in its view by sampling it at the warped depth, as training does."""
    return rough_rendering(textures, depth, jnp.ones_like(depth), views, camera, sampling=sampling)[0]
