"""How well shapes explain unseen pictures of the same object; no true depth is needed.

The GAN turns renderings into plausible pictures, as in step 2 of the method. Here all compared shapes are rendered,
including the ellipsoid and another object's shape, so that none is favoured, and the encoder is trained for this image
alone. The photo on each shape is then turned and relit until it looks like such a picture (`drape`): the
error that remains is the shape's error.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy import ndimage

from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.geometry.camera import Camera, inverse_warped_grid
from gan2shape_jax.method import iteration, models
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.iteration import fresh_optimizer
from gan2shape_jax.method.sampling import COLLECT, known_conditions, phase_key
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings, changed
from gan2shape_jax.method.state import PreparedImage, initial_state
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import collect_batch, reference_code

__all__ = [
    "Draped",
    "ENCODER_ITERATIONS",
    "ITERATIONS",
    "Pictures",
    "common_errors",
    "drape",
    "errors_by",
    "pictures_of",
    "seen_from_the_input",
    "without_holes",
]


ITERATIONS = 150
_DRAPE_RATE = 0.03  # Adam's learning rate, in the units below, decaying to zero
# How far views and lights are expected to be from the start of the search: radians, scene units, strengths, slopes.
_VIEW_UNITS = (0.3, 0.3, 0.3, 0.03, 0.03, 0.0)
_LIGHT_UNITS = (0.2, 0.2, 0.3, 0.3)
_HOLD = 2e-3  # weight of the squared distance from the start, so that no shape is turned out of sight
_DARKEST = 0.1  # lower bound of the shading that a picture is divided by
ENCODER_ITERATIONS = 300
_RATE = 1e-4
_BATCH = 4
_PHASE = (1 << 18) + (1 << 17)  # beyond a schedule's own numbers, so that no random draw is repeated
_OBJECT = 0.5


class Pictures(NamedTuple):
    """The GAN's versions of renderings.

    Attributes:
      images: (n, S, S, 3).
      views: (n, 6) by which the renderings were turned from the input's view.
      shapes: (n,) the name of the shape that was rendered.
    """

    images: np.ndarray
    views: np.ndarray
    shapes: tuple[str, ...]


def seen_from_the_input(
    depth: Float[np.ndarray, "s s"], view: Float[np.ndarray, "6"], camera: Camera
) -> Float[np.ndarray, "s s"]:
    """Returns a canonical depth as seen in the input's view."""
    warped = _warped(jnp.asarray(depth)[None], jnp.asarray(view)[None], camera=camera)
    return np.asarray(warped)[0]


def without_holes(
    depth: Float[np.ndarray, "s s"], camera: Camera
) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
    """Returns a depth with holes filled by the nearest surface, and a mask that is 1 where there was a surface."""
    empty = depth >= camera.background_depth
    if empty.all():
        return np.full(depth.shape, camera.max_depth, np.float32), np.zeros(depth.shape, np.float32)
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return np.asarray(depth[tuple(nearest)], np.float32), np.asarray(~empty, np.float32)


_warped = functools.partial(jax.jit, static_argnames="camera")(render.warp_depth)


def pictures_of(
    shapes: Mapping[str, Float[np.ndarray, "s s"]],
    light: Float[np.ndarray, "4"],
    prepared: PreparedImage,
    frozen: FrozenModels,
    *,
    batches: int,
    iterations: int = ENCODER_ITERATIONS,
) -> Pictures:
    """Returns the GAN's versions of renderings of the photo on each shape, using an encoder trained for the photo.

    Args:
      shapes: depths in the input's view, by name; all are rendered under the same views and lights.
      light: of the photo.
      prepared: the photo and its latent.
      frozen: the GAN.
      batches: number of batches, each of 4 pictures of each shape.
      iterations: for which the encoder is trained, on each shape in turn.
    """
    settings = changed(
        prepared.settings, regularize_offset=True, use_mask=False, learning_rate=_RATE, batch_size=_BATCH
    )
    problem = prepared.problem
    factors = {
        name: _factors(without_holes(depth, settings.camera)[0], light, np.asarray(problem.image[0]), settings)
        for name, depth in shapes.items()
    }
    lesson = Phase(_PHASE, 1, STEP2, iterations, flip=False)
    fresh = models.init_params(jax.random.fold_in(problem.key, _PHASE), settings)
    state = fresh_optimizer(initial_state(fresh, settings), STEP2.networks, settings)
    turns = list(factors.values())
    for number in range(iterations):
        state = dataclasses.replace(state, factors=turns[number % len(turns)])
        state, _ = iteration.advance(state, lesson, number, None, problem, frozen, settings)
    code = _code(state.params, problem, frozen, settings=settings)
    key = phase_key(problem.key, _PHASE, COLLECT)
    images, views, names = [], [], []
    for name, one in factors.items():
        for batch in range(batches):
            given = (jnp.int32(batch), frozen)
            images.append(_collected(state.params, one, code, problem, key, *given, settings=settings).images)
            drawn = _conditions(key, jnp.int32(batch), one, frozen, settings=settings)
            views.append(view_from_raw(drawn.views, settings.view_range))
            names += [name] * _BATCH
    return Pictures(np.concatenate(images), np.concatenate(views), tuple(names))


def errors_by(
    shapes: Mapping[str, Float[np.ndarray, "s s"]],
    pictures: Pictures,
    photo: Float[np.ndarray, "s s 3"],
    mask: Float[np.ndarray, "s s"],
    light: Float[np.ndarray, "4"],
    camera: Camera,
    *,
    iterations: int = ITERATIONS,
) -> dict[str, float]:
    """Returns the mean absolute error that remains on each shape, in the units of pictures in [-1, 1].

    NaN if no part of the object is visible on all shapes in any picture.

    Args:
      shapes: depths in the input's view, by name.
      pictures: of the same object.
      photo: of the object.
      mask: the object in it.
      light: of the photo.
      camera: of all pictures.
      iterations: of the search for views and lights.
    """
    whole = {name: without_holes(depth, camera) for name, depth in shapes.items()}
    everywhere = mask * np.prod([shown for _, shown in whole.values()], axis=0)
    inside = np.asarray(ndimage.binary_erosion(everywhere > _OBJECT), np.float32)  # outlines belong to no surface
    draped = [
        drape(depth, photo, inside, light, pictures.images, pictures.views, camera, iterations=iterations)
        for depth, _ in whole.values()
    ]
    errors = common_errors(draped, pictures.images)
    seen = np.isfinite(errors).any(0)  # pictures of sides that some shape does not show are uninformative
    means = errors[:, seen].mean(1) if seen.any() else np.full(len(shapes), np.nan)
    return dict(zip(shapes, map(float, means), strict=True))


def _factors(depth: np.ndarray, light: np.ndarray, photo: np.ndarray, settings: Settings) -> Factors:
    """Returns a photo on a shape as factors whose canonical view is the input's view."""
    lit = jnp.asarray(light, jnp.float32)
    shape = jnp.asarray(depth, jnp.float32)
    shading, _ = lighting.shade(lighting.normals(shape, settings.camera), lit)
    albedo = (jnp.asarray(photo) / 2 + 0.5) / jnp.maximum(shading, _DARKEST)[..., None] * 2 - 1
    return Factors(depth=shape, albedo=albedo, view=jnp.zeros(6), light=lit, mask=jnp.ones(shape.shape))


_code = jax.jit(reference_code)
_collected = jax.jit(collect_batch)
_conditions = jax.jit(known_conditions)


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
    return optax.adam(optax.cosine_decay_schedule(_DRAPE_RATE, iterations))


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
