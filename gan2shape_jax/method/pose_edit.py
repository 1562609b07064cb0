"""An object turned and relit by the GAN alone, in place of projected renderings.

A GAN's mirror images lie along axes of its latent space (`stylegan2.flip_subspace`). A lifted model names two of them,
yaw and the light's side, and says how far each offset along them goes: by what V and L see odd under mirroring, so that
no fault of theirs that both sides share counts. Pictures of a latent that is moved along these axes were never
rendered, and do not repeat the faults of a rendered shape.
"""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax.method import models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.streams import Stream, generator_of, key_of
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.stylegan2.flip_subspace import AXES, FlipSubspace
from gan2shape_jax.stylegan2.flip_subspace import find as find_subspace
from gan2shape_jax.stylegan2.latents import sample_w

# Along either axis, in standard deviations; farther, samples become somebody else, or lose their colours.
OFFSETS = np.stack([2 * np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)])
NAMED_BY, WALKED = 512, 64  # samples that the axes are named by, and that are moved along them
# Beyond so many deviations along the axis of yaw V sees too little of a turn, so that it is taught, up to the farthest.
_SURE, _FARTHEST = 1.25, 2.75
_LESSONS, _TOGETHER, _LEARNING_RATE = 400, 16, 1e-4
_BATCH = 8
_LEAST = np.deg2rad(15)  # yaw to either side, below which a GAN is taken not to turn what it draws

_synthesized = jax.jit(projection.synthesize)


@flax.struct.dataclass
class LatentPoseEdit:
    """How a GAN turns and relights what it draws."""

    subspace: FlipSubspace  # with two axes: yaw and the light's side
    values: Float[Array, "2 n"]  # at `OFFSETS`, ascending: yaw (radians), and the light's dx
    farthest: Float[Array, ""]  # the distance from the subspace's centre that three of four samples stay below

    def apply(
        self, latent: Float[Array, "1 *layers w"], own: Float[Array, "2"], target: Float[Array, "n 2"]
    ) -> tuple[Float[Array, "n *layers w"], Float[Array, "n 2"]]:
        """Returns a latent turned and lit as requested, as far as the axes go, and how far that is.

        `own` and `target` are yaw (radians) and the light's dx; `own` is what the picture shows. The latent moves from
        there by at most half an axis, whatever its coordinates, and is drawn in first to where samples lie: those of
        photos lie farther out, where coordinates say little and turned pictures fall apart.
        """
        away = latent - self.subspace.centre
        distance = jnp.linalg.norm(away.reshape(-1, away.shape[-1]).mean(axis=0))
        inside = self.subspace.centre + away * jnp.minimum(1, self.farthest / jnp.maximum(distance, self.farthest))
        shift, reached = [], []
        for axis, (step, value) in enumerate(zip(OFFSETS, self.values, strict=True)):
            at = jnp.interp(own[axis], value, step)
            to = jnp.clip(jnp.interp(target[:, axis], value, step), at - step[-1], at + step[-1])
            shift.append(to - at)
            reached.append(own[axis] + jnp.interp(to, step, value) - jnp.interp(at, step, value))
        along = jnp.stack(shift, axis=1) @ self.subspace.axes
        return inside + along.reshape(len(along), *(1,) * (latent.ndim - 2), -1), jnp.stack(reached, axis=1)


def find(
    key: PRNGKeyArray, params: models.Params, frozen: FrozenModels, settings: Settings, *, samples: int
) -> LatentPoseEdit | None:
    """Returns how the GAN turns what it draws, as a model sees it; None where it turns by less than 15 degrees.

    `key` is the run's; `samples` many give the axes. Raises `UserError`: the GAN has no discriminator.
    """
    arch = settings.architecture
    gan = {"generator": frozen.generator, "discriminator": frozen.discriminator}
    subspace = find_subspace(key_of(key, Stream.FLIPPED_SAMPLES), gan, arch=arch, samples=samples)
    latents = sample_w(key_of(key, Stream.WALKED_SAMPLES), frozen.generator, arch=arch, samples=NAMED_BY)
    subspace = named(subspace, latents, params, frozen, settings)
    values = np.zeros_like(OFFSETS)
    for axis, place in np.ndindex(*OFFSETS.shape):
        there = along(subspace, latents[:WALKED], axis, float(OFFSETS[axis, place]))
        values[axis, place] = predicted_sides(params, there, frozen, settings)[:, axis].mean()
    values = np.maximum.accumulate(values, axis=1)
    if not np.isfinite(values).all() or min(-values[0, 0], values[0, -1]) < _LEAST:  # samples that are all alike, say
        return None
    distances = jnp.linalg.norm(latents - subspace.centre, axis=1)
    as_found = LatentPoseEdit(subspace, jnp.asarray(values), jnp.percentile(distances, 75))
    result: LatentPoseEdit = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), as_found)
    return result


def taught(
    key: PRNGKeyArray, params: models.Params, edit: LatentPoseEdit, frozen: FrozenModels, settings: Settings
) -> models.Params:
    """Returns networks whose V sees far turns: beyond `_SURE` deviations along the axis, yaw goes on as it does before.

    A GAN draws few objects turned so far, and V, which learns from what it draws, sees them turned too little. All that
    V sees nearer, and all but yaw, stays. `key` is the run's.
    """
    count = _LESSONS * _TOGETHER
    drawn_by = key_of(key, Stream.TURNED_SAMPLES)
    latents = sample_w(drawn_by, frozen.generator, arch=settings.architecture, samples=count)
    places = generator_of(key, Stream.TURNED_PLACES).uniform(-_FARTHEST, _FARTHEST, count)
    near = np.clip(places, -_SURE, _SURE)
    told = _predict_all(params, along(edit.subspace, latents, 0, near), frozen, settings)[:, :6]
    inner, outer = (np.interp([-place, place], OFFSETS[0], edit.values[0]) for place in (_SURE / 2, _SURE))
    told[:, 1] += (places - near) * np.mean((outer - inner) / [-_SURE / 2, _SURE / 2])
    turned = along(edit.subspace, latents, 0, places)

    def batch(some: np.ndarray) -> tuple[Array, np.ndarray]:
        images = _synthesized(turned[some], frozen, settings)
        mirrored = told[some] * np.asarray(models.MIRRORED["view"], np.float32)
        return jnp.concatenate([images, images[:, :, ::-1]]), np.concatenate([told[some], mirrored])

    batches = map(batch, np.split(np.arange(count), _LESSONS))
    rate = optax.cosine_decay_schedule(_LEARNING_RATE, _LESSONS)
    return models.taught_views(params, batches, frozen.view_mean, settings, learning_rate=rate)


def named(
    subspace: FlipSubspace, latents: Float[Any, "n w"], params: models.Params, frozen: FrozenModels, settings: Settings
) -> FlipSubspace:
    """Returns the axes of yaw and the light's side, by what a model sees of samples."""
    values, own = predicted_sides(params, latents, frozen, settings), np.asarray(subspace.coordinates(latents))
    mixing = np.linalg.lstsq(own - own.mean(axis=0), values - values.mean(axis=0), rcond=None)[0]
    return subspace.turned(mixing, latents)


def along(
    subspace: FlipSubspace, latents: Float[Any, "n w"], axis: int, step: float | Float[np.ndarray, "n"]
) -> Float[Any, "n w"]:
    """Returns latents moved along an axis until they have this coordinate, the same or one for each."""
    values = np.full((len(latents), AXES), np.nan)
    values[:, axis] = step
    return np.asarray(subspace.with_coordinates(latents, values))


def predicted_sides(
    params: models.Params, latents: Float[Any, "n w"], frozen: FrozenModels, settings: Settings
) -> Float[Any, "n 2"]:
    """Returns yaw (radians) and the light's dx of latents' images, odd under mirroring."""
    return _predict_all(params, latents, frozen, settings)[:, [1, 8]]


def _predict_all(
    params: models.Params, latents: Any, frozen: FrozenModels, settings: Settings
) -> Float[np.ndarray, "n 10"]:
    values: np.ndarray = in_batches(
        functools.partial(_predict, params, frozen=frozen, settings=settings), latents, size=_BATCH
    )
    return values


@jax.jit
def _predict(
    params: models.Params, latents: Array, *, frozen: FrozenModels, settings: Settings
) -> Float[Array, "n 10"]:
    """Returns views and lights of latents' images, odd under mirroring."""
    images, settings = projection.synthesize(latents, frozen, settings), dataclasses.replace(settings, mirrored=True)
    view = models.views(params, images, frozen.view_mean, settings)
    return jnp.concatenate([view, models.lights(params, images, frozen.light_mean, settings)], axis=1)
