"""How well shapes explain unseen pictures of the same object; no true depth is needed.

The GAN turns renderings into plausible pictures, as in step 2 of the method. Here all compared shapes are rendered,
including the ellipsoid and another object's shape, so that none is favoured, and the encoder is trained for this image
alone. The photo on each shape is then turned and relit until it looks like such a picture (`evaluation.draping`): the
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
from jaxtyping import Float
from scipy import ndimage

from gan2shape_jax.apps.evaluate.draping import ITERATIONS, common_errors, drape
from gan2shape_jax.geometry import lighting, render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method import iteration, models
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.optimizer import fresh_optimizer
from gan2shape_jax.method.pseudo_images import known_conditions
from gan2shape_jax.method.sampling import COLLECT, phase_key
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, initial_state
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import collect_batch, reference_code

__all__ = ["ENCODER_ITERATIONS", "Pictures", "errors_by", "pictures_of", "seen_from_the_input", "without_holes"]

ENCODER_ITERATIONS = 300
_RATE = 1e-4
_BATCH = 4
_PHASE = (1 << 18) + (1 << 17)  # beyond a schedule's own numbers, so that no random draw is repeated
_DARKEST = 0.1
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
    settings = dataclasses.replace(
        prepared.settings, regularize_offset=True, use_mask=False, learning_rate=_RATE, batch_size=_BATCH
    )
    problem = prepared.problem
    factors = {
        name: _factors(without_holes(depth, settings.camera)[0], light, np.asarray(problem.image[0]), settings)
        for name, depth in shapes.items()
    }
    lesson = Phase(_PHASE, 1, STEP2.name, iterations, flip=False)
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


_code = jax.jit(reference_code, static_argnames="settings")
_collected = jax.jit(collect_batch, static_argnames="settings")
_conditions = jax.jit(known_conditions, static_argnames="settings")
