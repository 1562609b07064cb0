"""A photo draped over a shape, turned and relit until it looks like another picture of the same object.

The better the shape, the better it explains how the object looks from other sides. Only the view and light of each
picture are optimised, so any shape can be evaluated, including a plane or another object's.

Everything is in the input's own view: depths (S, S) in scene units, pictures (n, S, S, 3) in [-1, 1], views (n, 6) from
the input's to a picture's in radians and scene units, lights as in `method.factors`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.geometry.camera import Camera, inverse_warped_grid

__all__ = ["ITERATIONS", "Draped", "common_errors", "drape"]

ITERATIONS = 150
_RATE = 0.03  # Adam's learning rate, in the units below, decaying to zero
# How far views and lights are expected to be from the start of the search: radians, scene units, strengths, slopes.
_VIEW_UNITS = (0.3, 0.3, 0.3, 0.03, 0.03, 0.0)
_LIGHT_UNITS = (0.2, 0.2, 0.3, 0.3)
_HOLD = 2e-3  # weight of the squared distance from the start, so that no shape is turned out of sight
_DARKEST = 0.1  # lower bound of the shading that a picture is divided by


class Draped(NamedTuple):
    """How a shape reproduces pictures.

    Attributes:
      pictures: (n, S, S, 3) the photo on the shape, seen and lit as in each picture.
      coverage: (n, S, S) where the object is visible there, in [0, 1].
      views: (n, 6).
    """

    pictures: np.ndarray
    coverage: np.ndarray
    views: np.ndarray


def drape(
    depth: Float[np.ndarray, "s s"],
    photo: Float[np.ndarray, "s s 3"],
    mask: Float[np.ndarray, "s s"],
    light: Float[np.ndarray, "4"],
    pictures: Float[np.ndarray, "n s s 3"],
    views: Float[np.ndarray, "n 6"],
    camera: Camera,
    *,
    iterations: int = ITERATIONS,
) -> Draped:
    """Returns a photo on a shape, seen and lit as in each picture, as closely as the shape allows.

    Args:
      depth: of the shape.
      photo: of the object.
      mask: the object in it, in [0, 1].
      light: of the photo.
      pictures: of the same object.
      views: where the search for each picture's view starts.
      camera: of all pictures.
      iterations: of Adam.
    """
    given = [jnp.asarray(each, jnp.float32) for each in (depth, photo, mask, light, pictures, views)]
    tried = _nothing(len(pictures))
    state = _optimizer(iterations).init(tried)
    for _ in range(iterations):
        tried, state = _improve(tried, state, *given, camera=camera, iterations=iterations)
    seen, coverage, found = _look(tried, *given[:4], given[5], camera=camera)
    return Draped(np.asarray(seen), np.asarray(coverage), np.asarray(found))


def common_errors(draped: list[Draped], pictures: Float[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "c n"]:
    """Returns each shape's mean absolute error on each picture, over pixels where all shapes show the object.

    NaN where there are no such pixels.
    """
    both = np.prod([one.coverage for one in draped], axis=0)
    total = both.sum((1, 2))
    errors = [(np.abs(one.pictures - pictures).mean(-1) * both).sum((1, 2)) for one in draped]
    return np.where(total > 1, np.asarray(errors) / np.maximum(total, 1), np.nan)


class _Tried(NamedTuple):
    """The search variables, in expected units: light of the photo (4,), views (n, 6), lights (n, 4)."""

    own_light: jax.Array
    views: jax.Array
    lights: jax.Array


def _nothing(count: int) -> _Tried:
    return _Tried(jnp.zeros(4), jnp.zeros((count, 6)), jnp.zeros((count, 4)))


def _optimizer(iterations: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(_RATE, iterations))


def _seen(
    tried: _Tried,
    depth: Float[Array, "s s"],
    photo: Float[Array, "s s 3"],
    mask: Float[Array, "s s"],
    light: Float[Array, "4"],
    views: Float[Array, "n 6"],
    camera: Camera,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"], Float[Array, "n 6"]]:
    """Returns the draped photo in each view and light, where it is visible, and the views."""
    normal = lighting.normals(depth, camera)
    own, _ = lighting.shade(normal, light + tried.own_light * jnp.asarray(_LIGHT_UNITS))
    lights = light + tried.lights * jnp.asarray(_LIGHT_UNITS)
    theirs, _ = lighting.shade(normal[None], lights)
    albedo = (photo / 2 + 0.5) / jnp.maximum(own, _DARKEST)[..., None] * 2 - 1
    texture = lighting.apply_shading(albedo[None], theirs)
    turned = views + tried.views * jnp.asarray(_VIEW_UNITS)
    count = len(views)
    warped = render.warp_depth(jnp.broadcast_to(depth, (count, *depth.shape)), turned, camera)
    grid = inverse_warped_grid(warped, turned, camera)
    seen = jnp.clip(resample.grid_sample(texture, grid), -1, 1)
    covered = resample.grid_sample(jnp.broadcast_to(mask[..., None], (count, *mask.shape, 1)), grid)[..., 0]
    return seen, jax.lax.stop_gradient(covered * render.valid_pixels(warped, camera)), turned


_look = functools.partial(jax.jit, static_argnames="camera")(_seen)


@functools.partial(jax.jit, static_argnames=("camera", "iterations"))
def _improve(
    tried: _Tried,
    state: optax.OptState,
    depth: Float[Array, "s s"],
    photo: Float[Array, "s s 3"],
    mask: Float[Array, "s s"],
    light: Float[Array, "4"],
    pictures: Float[Array, "n s s 3"],
    views: Float[Array, "n 6"],
    *,
    camera: Camera,
    iterations: int,
) -> tuple[_Tried, optax.OptState]:
    def loss(given: _Tried) -> Float[Array, ""]:
        seen, covered, _ = _seen(given, depth, photo, mask, light, views, camera)
        each = jnp.sum(jnp.abs(seen - pictures).mean(-1) * covered, (1, 2)) / (jnp.sum(covered, (1, 2)) + 1)
        away = jnp.sum(jnp.square(given.views)) + jnp.sum(jnp.square(given.lights))
        return jnp.sum(each) + _HOLD * (away + jnp.sum(jnp.square(given.own_light)) * len(views))

    updates, state = _optimizer(iterations).update(jax.grad(loss)(tried), state)
    return optax.apply_updates(tried, updates), state
