"""The four updates of an iteration, each a jitted pure function from state to state.

A batch is one array over all devices of a mesh; the networks are replicated on each. What a device lacks (the deviation
over a group of images, the sum of gradients) XLA fetches, so results depend on the number of devices only by rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from gan2shape_jax import stylegan2
from gan2shape_jax.stylegan2 import Architecture, Params

from .augmentation import augment, moved_probability
from .losses import discriminator_loss, generator_loss, gradient_penalty, path_length_penalty, path_lengths
from .settings import TrainingSettings
from .state import TrainingState, optimizers
from .styles import mixed_styles

__all__ = ["AXIS", "Updates", "iterate", "make_updates", "to_pixels"]

AXIS = "images"
_SIGNS_EVERY = 4  # iterations between changes of the augmentation probability

Metrics = dict[str, Array]
_Update = Callable[[TrainingState, Array, PRNGKeyArray, Array], tuple[TrainingState, Metrics]]


class Updates(NamedTuple):
    """Functions (state, photos (B, s, s, 3) uint8, key, iteration) -> (state, scalars); states are donated."""

    discriminator: _Update
    gradient_penalty: _Update
    generator: _Update
    path_lengths: _Update


def to_pixels(photos: UInt8[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
    """Returns 8-bit photos as images in [-1, 1]."""
    return photos.astype(jnp.float32) / 127.5 - 1


def make_updates(arch: Architecture, settings: TrainingSettings, mesh: Mesh) -> Updates:
    """Returns the updates, each compiled at its first call.

    Args:
      arch: the architecture of both networks.
      settings: the training settings.
      mesh: the devices that share each batch.
    """
    whole, parts = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
    update = functools.partial(
        jax.jit, in_shardings=(whole, parts, whole, whole), out_shardings=(whole, whole), donate_argnums=0
    )
    model = _Model(arch, settings, parts)
    return Updates(
        discriminator=update(model.discriminator_update),
        gradient_penalty=update(model.gradient_penalty_update),
        generator=update(model.generator_update),
        path_lengths=update(model.path_update),
    )


def iterate(
    updates: Updates, settings: TrainingSettings, state: TrainingState, photos: Array, number: int
) -> tuple[TrainingState, Metrics]:
    """Runs one iteration: the discriminator, the generator, and the penalties that are due.

    Args:
      updates: see `make_updates`.
      settings: the training settings.
      state: the state before the iteration; donated.
      photos: (B, s, s, 3) uint8.
      number: number of the iteration, from 0; all random numbers are a function of it and the seed.

    Returns:
      The new state, and the iteration's scalars.
    """
    key = jax.random.fold_in(jax.random.key(settings.seed), number)
    due = [(0, updates.discriminator)]
    due += [(1, updates.gradient_penalty)] * (number % settings.r1_every == 0)
    due += [(2, updates.generator)]
    due += [(3, updates.path_lengths)] * (settings.path_weight > 0 and number % settings.path_every == 0)
    metrics: Metrics = {}
    for purpose, update in due:
        state, told = update(state, photos, jax.random.fold_in(key, purpose), jnp.int32(number))
        metrics |= told
    return state, metrics


class _Model(NamedTuple):
    """Both networks as training sees them."""

    arch: Architecture
    settings: TrainingSettings
    parts: NamedSharding

    def discriminator_update(
        self, state: TrainingState, photos: Array, key: PRNGKeyArray, number: Array
    ) -> tuple[TrainingState, Metrics]:
        """Trains the discriminator to tell photos from samples, and adjusts the augmentation probability."""
        drawn, mirrored, changed = jax.random.split(key, 3)
        fakes = self._samples(state.generator, drawn, self.settings.batch)
        reals = self._photos(photos, mirrored)

        def loss(params: Params) -> tuple[Array, tuple[Array, Array]]:
            of_reals, of_fakes = jax.random.split(changed)
            real = self._logits(params, reals, of_reals, state.probability)
            fake = self._logits(params, fakes, of_fakes, state.probability)
            return discriminator_loss(real, fake), (real, fake)

        (value, (real, fake)), gradient = jax.value_and_grad(loss, has_aux=True)(state.discriminator)
        state = self._moved_discriminator(state, gradient)
        signs = state.signs + jnp.sum(jnp.sign(real))
        state = self._moved_probability(state._replace(signs=signs), number)
        return state, {
            "discriminator_loss": value,
            "real_logit": jnp.mean(real),
            "fake_logit": jnp.mean(fake),
            "taken_for_real": jnp.mean(jnp.sign(real)),
            "augmentation": state.probability,
        }

    def gradient_penalty_update(
        self, state: TrainingState, photos: Array, key: PRNGKeyArray, number: Array
    ) -> tuple[TrainingState, Metrics]:
        """Trains the discriminator towards small gradients at photos (R1)."""
        mirrored, changed = jax.random.split(key)
        reals = self._photos(photos, mirrored)

        def loss(params: Params) -> tuple[Array, Array]:
            penalty = gradient_penalty(lambda images: self._logits(params, images, changed, state.probability), reals)
            return penalty * (self.settings.r1_weight / 2 * self.settings.r1_every), penalty

        gradient, penalty = jax.grad(loss, has_aux=True)(state.discriminator)
        return self._moved_discriminator(state, gradient), {"gradient_penalty": penalty}

    def generator_update(
        self, state: TrainingState, photos: Array, key: PRNGKeyArray, number: Array
    ) -> tuple[TrainingState, Metrics]:
        """Trains the generator to make samples that pass for photos, and updates its moving average."""
        drawn, changed = jax.random.split(key)

        def loss(params: Params) -> Array:
            fakes = self._samples(params, drawn, self.settings.batch)
            return generator_loss(self._logits(state.discriminator, fakes, changed, state.probability))

        value, gradient = jax.value_and_grad(loss)(state.generator)
        state = self._moved_generator(state, gradient)
        decay = 0.5 ** (self.settings.batch / self._half_life(number))
        average = jax.tree.map(lambda old, new: new + decay * (old - new), state.average, state.generator)
        return state._replace(average=average), {"generator_loss": value}

    def path_update(
        self, state: TrainingState, photos: Array, key: PRNGKeyArray, number: Array
    ) -> tuple[TrainingState, Metrics]:
        """Trains the generator so that equal steps in style move images equally far everywhere."""
        count = self.settings.batch // self.settings.path_shrink
        drawn, noises, towards = jax.random.split(key, 3)
        directions = jax.random.normal(towards, (count, self.arch.size, self.arch.size, 3))

        def loss(params: Params) -> tuple[Array, tuple[Array, Array]]:
            styles = self._styles(params, drawn, count)
            lengths = path_lengths(lambda w: self._draw(params, w, noises), styles, directions)
            penalty, mean = path_length_penalty(lengths, state.path_mean, decay=self.settings.path_decay)
            return penalty * (self.settings.path_weight * self.settings.path_every), (penalty, mean)

        gradient, (penalty, mean) = jax.grad(loss, has_aux=True)(state.generator)
        state = self._moved_generator(state, gradient)
        return state._replace(path_mean=mean), {"path_penalty": penalty, "path_length": mean}

    def _half_life(self, number: Array) -> Array | float:
        """Returns the half-life of the generator's average, in photos."""
        if not self.settings.average_ramp:
            return self.settings.average_images
        shown = (number + 1).astype(jnp.float32) * self.settings.batch
        return jnp.maximum(jnp.minimum(self.settings.average_images, shown * self.settings.average_ramp), 1e-8)

    def _photos(self, photos: Array, key: PRNGKeyArray) -> Array:
        images = to_pixels(photos)
        if not self.settings.mirror:
            return images
        mirrored = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
        return jnp.where(mirrored, images[:, :, ::-1], images)

    def _styles(self, generator: Params, key: PRNGKeyArray, count: int) -> Array:
        styles = mixed_styles(key, generator, arch=self.arch, count=count, mixing=self.settings.mixing)
        return self._spread(styles)

    def _draw(self, generator: Params, styles: Array, key: PRNGKeyArray) -> Array:
        dtype = self._dtype()
        noise = [self._spread(x) for x in stylegan2.random_noise(key, len(styles), arch=self.arch, dtype=dtype)]
        images = stylegan2.synthesize(_as(generator, dtype), styles.astype(dtype), arch=self.arch, noise=noise)
        return images.astype(jnp.float32)

    def _samples(self, generator: Params, key: PRNGKeyArray, count: int) -> Array:
        drawn, noises = jax.random.split(key)
        return self._draw(generator, self._styles(generator, drawn, count), noises)

    def _logits(self, discriminator: Params, images: Array, key: PRNGKeyArray, probability: Array) -> Array:
        if self.settings.augment == "ada":
            images = augment(key, images, probability)
        dtype = self._dtype()
        images = self._spread(images).astype(dtype)
        logits, _ = stylegan2.discriminate(_as(discriminator, dtype), images, arch=self.arch)
        return logits.astype(jnp.float32)

    def _dtype(self) -> Any:
        return jnp.bfloat16 if self.settings.bfloat16 else jnp.float32

    def _spread(self, images: Array) -> Array:
        """Asks for a batch to be shared by the devices, if they can share it."""
        if len(images) % self.parts.mesh.size:
            return images
        return jax.lax.with_sharding_constraint(images, self.parts)

    def _moved_probability(self, state: TrainingState, number: Array) -> TrainingState:
        if self.settings.augment != "ada":
            return state._replace(signs=jnp.zeros_like(state.signs))
        photos = _SIGNS_EVERY * self.settings.batch
        moved = moved_probability(
            state.probability,
            state.signs / photos,
            photos,
            target=self.settings.augment_target,
            images=self.settings.augment_images,
        )
        due = (number + 1) % _SIGNS_EVERY == 0
        return state._replace(
            probability=jnp.where(due, moved, state.probability), signs=jnp.where(due, 0.0, state.signs)
        )

    def _moved_discriminator(self, state: TrainingState, gradient: Params) -> TrainingState:
        _, adam = optimizers(self.settings)
        step, moments = adam.update(gradient, state.discriminator_moments)
        params = optax.apply_updates(state.discriminator, step)
        return state._replace(discriminator=params, discriminator_moments=moments)

    def _moved_generator(self, state: TrainingState, gradient: Params) -> TrainingState:
        adam, _ = optimizers(self.settings)
        step, moments = adam.update(gradient, state.generator_moments)
        params = optax.apply_updates(state.generator, step)
        return state._replace(generator=params, generator_moments=moments)


def _as(params: Params, dtype: Any) -> Params:
    return jax.tree.map(lambda x: x.astype(dtype), params)
