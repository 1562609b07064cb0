"""How a StyleGAN2 is trained: settings, state, losses, and the four updates of an iteration.

Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020; Goodfellow et al., 2014 (non-saturating
loss); Mescheder et al., 2018 (R1). Images are (B, s, s, 3) in [-1, 1], logits (B, 1), higher for what looks real.

Each update is a jitted pure function from state to state. A batch is one array over all devices of a mesh; the networks
are replicated on each. What a device lacks (the deviation over a group of images, the sum of gradients) XLA fetches,
and a batch that does not divide XLA pads, so results depend on the number of devices only by rounding.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.train_gan.augmentation import augment
from gan2shape_jax.errors import UserError
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.training import devices

_MAPPING_LAYERS = 8
_SIGNS_EVERY = 4  # iterations between changes of the augmentation probability

Metrics = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """The schedule of Karras et al., 2020 (StyleGAN2, and ADA), in its terms."""

    batch: int = 16  # photos, and as many samples, per iteration
    learning_rate: float = 0.0025  # Adam's, for both networks
    r1_weight: float = 1.0  # gamma of the gradient penalty on photos
    r1_every: int = 16  # iterations from one gradient penalty to the next ("lazy regularisation")
    path_weight: float = 0.0  # of the path-length penalty; 0 leaves it out, which costs little at small sizes
    path_every: int = 4  # iterations from one path-length penalty to the next
    path_shrink: int = 2  # its batch is smaller by this factor
    path_decay: float = 0.01  # share by which the mean path length moves towards a batch's
    mixing: float = 0.9  # probability that a sample's styles come from two latents
    average_images: float = 5000.0  # half-life of the moving average of the generator's weights, in photos shown
    # The half-life is at most this share of the photos shown so far; 0: the full one from the first iteration on.
    average_ramp: float = 0.05
    mirror: bool = True  # whether photos are mirrored with probability 1/2
    augment: str = "ada"  # adaptive augmentation, or "none"
    augment_target: float = 0.6  # of the mean sign of the photos' logits
    augment_images: float = 500_000.0  # photos over which the probability of augmentation may go from 0 to 1
    bfloat16: bool = False  # whether features are bfloat16; weights, sums and the optimiser stay float32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.path_weight and self.batch % self.path_shrink:
            raise UserError(
                f"a batch of {self.batch} does not divide by {self.path_shrink} for path lengths: make it even"
            )


def architecture_for(size: int, *, most: int, base: int, style_dim: int) -> Architecture:
    """Returns a StyleGAN2 whose layers at s pixels have `base / s` channels, but at most `most`.

    NVIDIA's configurations are `most` 512 with `base` 16,384 (up to 256 pixels) or 32,768.
    """
    channels = tuple(max(1, min(most, base // 2**level)) for level in range(2, size.bit_length()))
    return Architecture(size, style_dim, _MAPPING_LAYERS, channels, channels)


class TrainingState(NamedTuple):
    """The state between two iterations."""

    generator: Params
    discriminator: Params
    average: Params  # moving average of the generator's parameters, which is what is used in the end
    generator_moments: optax.OptState  # Adam's
    discriminator_moments: optax.OptState
    path_mean: Float[Array, ""]  # moving average of path lengths
    probability: Float[Array, ""]  # of each augmentation
    signs: Float[Array, ""]  # sum of signs of photos' logits since the probability was last adjusted


def optimizers(settings: TrainingSettings) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Returns the generator's Adam and the discriminator's.

    Where a penalty is a separate step every n iterations, the learning rate and decays are adjusted to n steps in n + 1
    (Karras et al., 2020, section 3.1).
    """

    def adam(every: int) -> optax.GradientTransformation:
        ratio = every / (every + 1) if every else 1.0
        return optax.adam(settings.learning_rate * ratio, b1=0.0, b2=0.99**ratio, eps=1e-8)

    return adam(settings.path_every if settings.path_weight else 0), adam(settings.r1_every)


def fresh_state(arch: Architecture, settings: TrainingSettings, start: Params | None = None) -> TrainingState:
    """Returns the initial state, from {"generator": ..., "discriminator": ...} if given, else from random weights."""
    # Separate arrays for each: an iteration's buffers are donated to the next.
    params = stylegan2.init_params(key_of(run_key(settings.seed), Stream.GAN_WEIGHTS), arch) if start is None else start
    generator, discriminator = params["generator"], params["discriminator"]
    of_generator, of_discriminator = optimizers(settings)
    return TrainingState(
        generator=jax.tree.map(jnp.array, generator),
        discriminator=jax.tree.map(jnp.array, discriminator),
        average=jax.tree.map(jnp.array, generator),
        generator_moments=of_generator.init(generator),
        discriminator_moments=of_discriminator.init(discriminator),
        path_mean=jnp.float32(0),
        probability=jnp.float32(0),
        signs=jnp.float32(0),
    )


def generator_loss(fake_logits: Float[Array, "b 1"]) -> Float[Array, ""]:
    """Returns the mean of -log D(G(z)), with D the probability that the logits stand for."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


def discriminator_loss(real_logits: Float[Array, "b 1"], fake_logits: Float[Array, "b 1"]) -> Float[Array, ""]:
    """Returns the mean of -log D(x) - log(1 - D(G(z)))."""
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def gradient_penalty(
    logits_of: Callable[[Float[Array, "b s s 3"]], Float[Array, "b 1"]], photos: Float[Array, "b s s 3"]
) -> Float[Array, ""]:
    """Returns R1: the mean over photos of the squared norm of the gradient of their logits, after augmentation."""
    gradient = jax.grad(lambda images: jnp.sum(logits_of(images)))(photos)
    return jnp.mean(jnp.sum(gradient**2, axis=(1, 2, 3)))


def path_lengths(
    images_of: Callable[[Float[Array, "b l w"]], Float[Array, "b s s 3"]],
    styles: Float[Array, "b l w"],
    directions: Float[Array, "b s s 3"],
) -> Float[Array, " b"]:
    """Returns how far images move in directions y ~ N(0, 1) as styles change: |J^T y|, root mean square over layers."""
    images, pull = jax.vjp(images_of, styles)
    (gradient,) = pull((directions / images.shape[1]).astype(images.dtype))
    return jnp.sqrt(jnp.mean(jnp.sum(gradient**2, axis=2), axis=1))


def path_length_penalty(
    lengths: Float[Array, " b"], mean: Float[Array, ""], *, decay: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the mean squared distance of path lengths from their moving average, and the updated average.

    Gradients flow through this batch's share of the average, `decay`, as in the published code.
    """
    mean = mean + decay * (jnp.mean(lengths) - mean)
    return jnp.mean((lengths - mean) ** 2), mean


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
    """Returns the updates, each compiled at its first call; the mesh's devices share each batch."""
    whole, parts = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(devices.AXIS))
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
    """Runs iteration `number`, from 0: the discriminator, the generator, and the penalties that are due.

    The state is donated; photos are (B, s, s, 3) uint8; all random numbers are a function of the number and the seed.
    Returns the new state, and the iteration's scalars.
    """
    key = run_key(settings.seed)
    due = [(Stream.GAN_DISCRIMINATOR, updates.discriminator)]
    due += [(Stream.GAN_GRADIENT_PENALTY, updates.gradient_penalty)] * (number % settings.r1_every == 0)
    due += [(Stream.GAN_GENERATOR, updates.generator)]
    due += [(Stream.GAN_PATH_LENGTHS, updates.path_lengths)] * (
        settings.path_weight > 0 and number % settings.path_every == 0
    )
    metrics: Metrics = {}
    for stream, update in due:
        state, scalars = update(state, photos, key_of(key, stream, number), jnp.int32(number))
        metrics |= scalars
    return state, metrics


class _Model(NamedTuple):
    """Both networks as training sees them."""

    arch: Architecture
    settings: TrainingSettings
    parts: NamedSharding

    @property
    def _dtype(self) -> Any:
        return jnp.bfloat16 if self.settings.bfloat16 else jnp.float32

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
        state = self._apply_gradient(state, "discriminator", gradient)
        signs = state.signs + jnp.sum(jnp.sign(real))
        state = self._adapt_augmentation(state._replace(signs=signs), number)
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
        return self._apply_gradient(state, "discriminator", gradient), {"gradient_penalty": penalty}

    def generator_update(
        self, state: TrainingState, photos: Array, key: PRNGKeyArray, number: Array
    ) -> tuple[TrainingState, Metrics]:
        """Trains the generator to make samples that pass for photos, and updates its moving average."""
        drawn, changed = jax.random.split(key)

        def loss(params: Params) -> Array:
            fakes = self._samples(params, drawn, self.settings.batch)
            return generator_loss(self._logits(state.discriminator, fakes, changed, state.probability))

        value, gradient = jax.value_and_grad(loss)(state.generator)
        state = self._apply_gradient(state, "generator", gradient)
        half_life: Array | float = self.settings.average_images
        if self.settings.average_ramp:
            shown = (number + 1).astype(jnp.float32) * self.settings.batch
            half_life = jnp.maximum(jnp.minimum(half_life, shown * self.settings.average_ramp), 1e-8)
        decay = 0.5 ** (self.settings.batch / half_life)
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
        state = self._apply_gradient(state, "generator", gradient)
        return state._replace(path_mean=mean), {"path_penalty": penalty, "path_length": mean}

    def _photos(self, photos: Array, key: PRNGKeyArray) -> Array:
        images = self._shard(to_pixels(photos[: self.settings.batch]))
        if not self.settings.mirror:
            return images
        mirrored = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
        return jnp.where(mirrored, images[:, :, ::-1], images)

    def _styles(self, generator: Params, key: PRNGKeyArray, count: int) -> Array:
        """Returns the styles of all layers for new samples, mixed from two latents with the settings' probability.

        Mixing keeps neighbouring layers from relying on each other (Karras et al., 2019, section 3.1).
        """
        latents, whether, where = jax.random.split(key, 3)
        z = jax.random.normal(latents, (2, count, self.arch.style_dim))
        first, second = stylegan2.map_styles(generator, z, arch=self.arch)
        # The second latent takes over at layer 1 at the earliest; beyond the last layer means never.
        crossing = jax.random.randint(where, (count,), 1, self.arch.latents)
        mixed = jax.random.uniform(whether, (count,)) < self.settings.mixing
        late = jnp.arange(self.arch.latents) >= jnp.where(mixed, crossing, self.arch.latents)[:, None]
        return self._shard(jnp.where(late[..., None], second[:, None], first[:, None]))

    def _draw(self, generator: Params, styles: Array, key: PRNGKeyArray) -> Array:
        drawn = stylegan2.random_noise(key, len(styles), arch=self.arch, dtype=self._dtype)
        weights, noise = _as(generator, self._dtype), [self._shard(x) for x in drawn]
        images = stylegan2.synthesize(weights, styles.astype(self._dtype), arch=self.arch, noise=noise)
        return images.astype(jnp.float32)

    def _samples(self, generator: Params, key: PRNGKeyArray, count: int) -> Array:
        drawn, noises = jax.random.split(key)
        return self._draw(generator, self._styles(generator, drawn, count), noises)

    def _logits(self, discriminator: Params, images: Array, key: PRNGKeyArray, probability: Array) -> Array:
        if self.settings.augment == "ada":
            images = augment(key, images, probability)
        images = self._shard(images).astype(self._dtype)
        logits, _ = stylegan2.discriminate(_as(discriminator, self._dtype), images, arch=self.arch)
        return logits.astype(jnp.float32)

    def _shard(self, images: Array) -> Array:
        """Asks for a batch to be shared by the devices; where it does not divide, the compiler pads the last parts."""
        return jax.lax.with_sharding_constraint(images, self.parts)

    def _adapt_augmentation(self, state: TrainingState, number: Array) -> TrainingState:
        """Raises the probability of augmentation where the discriminator has memorised photos, lowers it elsewhere."""
        if self.settings.augment != "ada":
            return state._replace(signs=jnp.zeros_like(state.signs))
        photos = _SIGNS_EVERY * self.settings.batch
        step = jnp.sign(state.signs / photos - self.settings.augment_target) * (photos / self.settings.augment_images)
        moved = jnp.clip(state.probability + step, 0.0, 1.0)
        due = (number + 1) % _SIGNS_EVERY == 0
        probability, signs = jnp.where(due, moved, state.probability), jnp.where(due, 0.0, state.signs)
        return state._replace(probability=probability, signs=signs)

    def _apply_gradient(self, state: TrainingState, network: str, gradient: Params) -> TrainingState:
        adam = optimizers(self.settings)[network == "discriminator"]
        step, moments = adam.update(gradient, getattr(state, f"{network}_moments"))
        params = optax.apply_updates(getattr(state, network), step)
        return state._replace(**{network: params, f"{network}_moments": moments})


def _as(params: Params, dtype: Any) -> Params:
    return jax.tree.map(lambda x: x.astype(dtype), params)


def on_devices(pixels: UInt8[np.ndarray, "n s s 3"], rows: np.ndarray, mesh: Mesh) -> Array:
    """Returns a batch in which each device's part is read by its own host, the last photo repeated to fill all parts.

    Updates leave what is beyond the batch out.
    """
    sharding = NamedSharding(mesh, PartitionSpec(devices.AXIS))
    rows = np.concatenate([rows, np.repeat(rows[-1:], devices.padded(len(rows), mesh) - len(rows))])
    shape = (len(rows), *pixels.shape[1:])
    return jax.make_array_from_callback(
        shape, sharding, lambda index: np.asarray(pixels[rows[(index or (slice(None),))[0]]])
    )
