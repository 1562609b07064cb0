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
from gan2shape_jax.method import models
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.sampling import COLLECT, known_conditions, phase_key
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import collect_batch, reference_code
from gan2shape_jax.results.result import Result
from gan2shape_jax.training.task import one_image

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
    """Pictures (n, S, S, 3), as of the GAN, and the views (n, 6) by which they are turned from the input's view."""

    images: np.ndarray
    views: np.ndarray


def without_holes(
    depth: Float[np.ndarray, "s s"], camera: Camera
) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
    """Returns a depth with holes filled by the nearest surface, and a mask that is 1 where there was a surface."""
    empty = depth >= camera.background_depth
    if empty.all():
        return np.full(depth.shape, camera.max_depth, np.float32), np.zeros(depth.shape, np.float32)
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return np.asarray(depth[tuple(nearest)], np.float32), np.asarray(~empty, np.float32)


def pictures_of(
    shapes: Mapping[str, Float[np.ndarray, "s s"]],
    light: Float[np.ndarray, "4"],
    prepared: PreparedImage,
    frozen: FrozenModels,
    *,
    batches: int,
) -> Pictures:
    """Returns the GAN's versions of renderings of the photo on each shape, using an encoder trained for the photo.

    Shapes are depths in the input's view, by name, all rendered under the same views and lights: `batches` times 4
    pictures of each. The encoder is trained on each shape in turn.
    """
    settings = changed(
        prepared.settings, regularize_offset=True, use_mask=False, learning_rate=_RATE, batch_size=_BATCH
    )
    problem, camera = prepared.problem, settings.camera
    lit, photo = jnp.asarray(light, jnp.float32), problem.image[0]
    turns = []  # the photo on each shape, as factors whose canonical view is the input's
    for depth in shapes.values():
        shape = jnp.asarray(without_holes(depth, camera)[0])
        albedo = _unlit(photo, lighting.shade(lighting.normals(shape, camera), lit)[0])
        turns.append(Factors(shape, albedo, view=jnp.zeros(6), light=lit, mask=jnp.ones(shape.shape)))
    lesson = Phase(_PHASE, 1, STEP2, ENCODER_ITERATIONS, flip=False)
    fresh = models.init_params(jax.random.fold_in(problem.key, _PHASE), settings)
    task = one_image(problem, frozen, settings)
    state = task.begin(task.initial(fresh), lesson)
    for number in range(ENCODER_ITERATIONS):
        state = dataclasses.replace(state, factors=turns[number % len(turns)])
        state, _ = task.advance(state, lesson, number, None, 1)
    code = _code(state.params, problem, frozen, settings=settings)
    key = phase_key(problem.key, _PHASE, COLLECT)
    images, views = [], []
    for one in turns:
        for batch in map(jnp.int32, range(batches)):
            collected = _collected(state.params, one, code, problem, key, batch, frozen, settings=settings)
            images.append(collected.images)
            drawn = _conditions(key, batch, one, frozen, settings=settings)
            views.append(view_from_raw(drawn.views, settings.view_range))
    return Pictures(np.concatenate(images), np.concatenate(views))


_code = jax.jit(reference_code)
_collected = jax.jit(collect_batch)
_conditions = jax.jit(known_conditions)


def _unlit(photo: Float[Array, "s s 3"], shading: Float[Array, "s s"]) -> Float[Array, "s s 3"]:
    """Returns a photo's albedo under this shading, in [-1, 1] where the photo is not too light for it."""
    return (photo / 2 + 0.5) / jnp.maximum(shading, _DARKEST)[..., None] * 2 - 1


def errors_by(shapes: Mapping[str, Float[np.ndarray, "s s"]], pictures: Pictures, result: Result) -> dict[str, float]:
    """Returns the mean absolute error that remains on each shape, in the units of pictures in [-1, 1].

    NaN if no part of the object is visible on all shapes in any picture. Shapes are depths in the input's view, by
    name; photo, mask, light and camera are those of any result of the image.
    """
    whole = {name: without_holes(depth, result.camera) for name, depth in shapes.items()}
    everywhere = result.input_mask * np.prod([shown for _, shown in whole.values()], axis=0)
    inside = np.asarray(ndimage.binary_erosion(everywhere > _OBJECT), np.float32)  # outlines belong to no surface
    draped = [drape(depth, inside, pictures, result, iterations=ITERATIONS) for depth, _ in whole.values()]
    errors = common_errors(draped, pictures.images)
    seen = np.isfinite(errors).any(0)  # pictures of sides that some shape does not show are uninformative
    means = errors[:, seen].mean(1) if seen.any() else np.full(len(shapes), np.nan)
    return dict(zip(shapes, map(float, means), strict=True))


class Draped(NamedTuple):
    """The photo on a shape (n, S, S, 3), seen and lit as in n pictures; where it shows (n, S, S); its views (n, 6)."""

    pictures: np.ndarray
    coverage: np.ndarray
    views: np.ndarray


def drape(
    depth: Float[np.ndarray, "s s"],
    mask: Float[np.ndarray, "s s"],
    pictures: Pictures,
    result: Result,
    *,
    iterations: int = ITERATIONS,
) -> Draped:
    """Returns a result's photo on a shape, seen and lit as in each picture, as closely as the shape allows.

    `mask` says where the photo counts, in [0, 1]; the search, by Adam, starts from the views of the pictures.
    """
    given = depth, result.image, mask, result.light, pictures.views
    scene = tuple(jnp.asarray(each, jnp.float32) for each in given)
    targets, count = jnp.asarray(pictures.images, jnp.float32), len(pictures.images)
    moved = _Moved(jnp.zeros(4), jnp.zeros((count, 6)), jnp.zeros((count, 4)))
    state, rate = _ADAM.init(moved), optax.cosine_decay_schedule(_DRAPE_RATE, iterations)
    for number in range(iterations):
        moved, state = _improve(moved, state, rate(number), scene, targets, camera=result.camera)
    return Draped(*map(np.asarray, _look(moved, scene, camera=result.camera)))


def common_errors(draped: list[Draped], pictures: Float[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "c n"]:
    """Returns each shape's mean absolute error on each picture over pixels where all show the object; NaN without."""
    both = np.prod([one.coverage for one in draped], axis=0)
    total = both.sum((1, 2))
    errors = [(np.abs(one.pictures - pictures).mean(-1) * both).sum((1, 2)) for one in draped]
    return np.where(total > 1, np.asarray(errors) / np.maximum(total, 1), np.nan)


# Depth (s, s), photo (s, s, 3), mask (s, s) and light (4,), and the views (n, 6) that the search starts from.
_Scene = tuple[jax.Array, ...]


class _Moved(NamedTuple):
    """The search variables, in expected units: light of the photo (4,), views (n, 6), lights (n, 4)."""

    own_light: jax.Array
    views: jax.Array
    lights: jax.Array


_ADAM = optax.scale_by_adam()


def _seen(moved: _Moved, scene: _Scene, camera: Camera) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the draped photo (n, s, s, 3), where it is visible (n, s, s), and the views (n, 6)."""
    depth, photo, mask, light, views = scene
    normal = lighting.normals(depth, camera)
    own, _ = lighting.shade(normal, light + moved.own_light * jnp.asarray(_LIGHT_UNITS))
    theirs, _ = lighting.shade(normal[None], light + moved.lights * jnp.asarray(_LIGHT_UNITS))
    texture = lighting.apply_shading(_unlit(photo, own)[None], theirs)
    turned = views + moved.views * jnp.asarray(_VIEW_UNITS)
    count = len(views)
    warped = render.warp_depth(jnp.broadcast_to(depth, (count, *depth.shape)), turned, camera)
    grid = inverse_warped_grid(warped, turned, camera)
    seen = jnp.clip(resample.grid_sample(texture, grid), -1, 1)
    covered = resample.grid_sample(jnp.broadcast_to(mask[..., None], (count, *mask.shape, 1)), grid)[..., 0]
    return seen, jax.lax.stop_gradient(covered * render.valid_pixels(warped, camera)), turned


_look = jax.jit(_seen, static_argnames="camera")


@functools.partial(jax.jit, static_argnames="camera")
def _improve(
    moved: _Moved, state: optax.OptState, rate: jax.Array, scene: _Scene, pictures: jax.Array, *, camera: Camera
) -> tuple[_Moved, optax.OptState]:
    def loss(given: _Moved) -> Float[Array, ""]:
        seen, covered, _ = _seen(given, scene, camera)
        each = jnp.sum(jnp.abs(seen - pictures).mean(-1) * covered, (1, 2)) / (jnp.sum(covered, (1, 2)) + 1)
        away = jnp.sum(jnp.square(given.views)) + jnp.sum(jnp.square(given.lights))
        return jnp.sum(each) + _HOLD * (away + jnp.sum(jnp.square(given.own_light)) * len(pictures))

    updates, state = _ADAM.update(jax.grad(loss)(moved), state)
    return jax.tree.map(lambda value, step: value - rate * step, moved, updates), state
