"""Turned and relit pictures through the GAN.

The GAN does not see the mesh: the factors are rendered the way the training does, by sampling the
canonical texture at the warped depth, and the caller's projection turns these rough pictures into
the GAN's own (GAN2Shape, section 3.3). Pictures are `(n, s, s, 3)` in [-1, 1].
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.rough_rendering import rough_rendering
from gan2shape_jax.results import host, sweeps
from gan2shape_jax.results.result import Result

__all__ = ["GanViews", "Projection", "draw_gan_views", "rough_views"]

# Pictures (n, S, S, 3) in [-1, 1] to the GAN's pictures of the same objects (n, s, s, 3).
Projection = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class GanViews:
    """Pictures by the GAN: yaws (9, ...), pitches (5, ...), lights (4, 5, ...) as in `sweeps`."""

    yaws: np.ndarray
    pitches: np.ndarray
    lights: np.ndarray


def draw_gan_views(result: Result, project: Projection, *, batch: int = 8) -> GanViews:
    """Projects the reference's sweeps of views and lights, always `batch` pictures at a time."""
    turns = sweeps.turn_views(result.category)
    lights = sweeps.relight_rows(result.light).reshape(-1, 4)
    own_view = np.broadcast_to(result.view, (len(lights), 6))
    normal = host.normals(result.depth, result.camera)
    relit = _textures(result.albedo, normal, lights)
    textures = np.concatenate([np.repeat(result.canonical[None], len(turns), axis=0), relit])
    views = np.concatenate([turns, own_view]).astype(np.float32)
    drawn = []
    for start in range(0, len(views), batch):
        count = min(batch, len(views) - start)
        chosen = np.minimum(np.arange(start, start + batch), len(views) - 1)
        inputs = rough_views(
            result.depth,
            textures[chosen],
            views[chosen],
            camera=result.camera,
            sampling="half" if result.reference else "centred",
        )
        drawn.append(np.asarray(project(np.asarray(inputs)))[:count])
    pictures = np.concatenate(drawn)
    yaws = len(turns) - len(sweeps.PITCHES_DEG)
    grid = pictures[len(turns) :].reshape(len(sweeps.LIGHT_ROWS), -1, *pictures.shape[1:])
    return GanViews(yaws=pictures[:yaws], pitches=pictures[yaws : len(turns)], lights=grid)


def _textures(albedo: np.ndarray, normal: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """Returns the albedo (S, S, 3) under each light (n, 4), as (n, S, S, 3)."""
    return np.stack([host.lit(albedo, host.shading(normal, light)) for light in lights])


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
