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
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.layers import blur_half, upsample
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


# --- adaptive augmentation ----------------------------------------------------------------------------------------

_SHIFT = 0.125  # of the side: largest whole-pixel shift, and the standard deviation of any other
_SCALE = 0.2  # standard deviation of log2 of scale and of aspect
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0
_MARGIN = 3  # pixels around an image that filters may reach into
_TAPS = 12
# A filter that halves the bandwidth: a sinc with a Kaiser window, symmetric.
_WINDOWED = np.sinc((np.arange(_TAPS) - (_TAPS - 1) / 2) / 2) * np.kaiser(_TAPS, 4.0)
_FILTER = tuple(float(tap) for tap in _WINDOWED / _WINDOWED.sum())


def augment(
    key: PRNGKeyArray, images: Float[Array, "b s s 3"], probability: Float[Array, ""]
) -> Float[Array, "b s s 3"]:
    """Returns randomly augmented images, photos and samples alike; colours may leave [-1, 1].

    Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B: pixel blitting,
    geometry and colour ("bgc"), so that a discriminator cannot memorise a small data set. Only what it sees is
    augmented, never what the generator makes: as long as the probability stays well below 1, the distribution of
    unchanged images can be inferred from the augmented ones. Each kind of change is drawn with this probability for
    each image; one without any stays exactly as it is.
    """
    where, what = jax.random.split(key)
    images = _geometry(where, images, probability)
    return _colours(what, images, probability)


def _chosen(key: PRNGKeyArray, count: int, probability: Array) -> Float[Array, " b"]:
    return (jax.random.uniform(key, (count,)) < probability).astype(jnp.float32)


def _matrix(rows: list[list[Array | float]]) -> Float[Array, "b 3 3"]:
    """Stacks entries, numbers or (b,), into matrices."""
    entries = jnp.broadcast_arrays(*(jnp.asarray(entry, jnp.float32) for row in rows for entry in row))
    return jnp.stack(entries, axis=-1).reshape(-1, 3, 3)


def _scaling(x: Array, y: Array) -> Float[Array, "b 3 3"]:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def _turning(angle: Array) -> Float[Array, "b 3 3"]:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _shifting(x: Array, y: Array) -> Float[Array, "b 3 3"]:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _geometry(key: PRNGKeyArray, images: Array, probability: Array) -> Array:
    count, side = images.shape[:2]
    keys = iter(jax.random.split(key, 24))
    chosen = functools.partial(_chosen, count=count)

    def uniform() -> Array:
        return jax.random.uniform(next(keys), (count,), minval=-1.0, maxval=1.0)

    def normal(*shape: int) -> Array:
        return jax.random.normal(next(keys), (*shape, count))

    mirror = chosen(next(keys), probability=probability / 2)
    quarters = jnp.floor(2 * (uniform() + 1)) * chosen(next(keys), probability=probability)
    whole = chosen(next(keys), probability=probability)
    shift_x, shift_y = (jnp.round(uniform() * _SHIFT * side) * whole for _ in range(2))
    scale = 2 ** (_SCALE * normal() * chosen(next(keys), probability=probability))
    aspect = 2 ** (_SCALE * normal() * chosen(next(keys), probability=probability))
    # Two rotations, before and after the change of aspect, with the same joint probability as the other changes.
    turn = 1 - jnp.sqrt(1 - probability)
    before, after = (math.pi * uniform() * chosen(next(keys), probability=turn) for _ in range(2))
    drift = normal(2) * _SHIFT * side * chosen(next(keys), probability=probability)
    # From positions in the result to positions in the image, so each change is the inverse of what is seen.
    steps = (
        _scaling(1 - 2 * mirror, 1.0 + 0 * mirror),
        _turning(quarters * (math.pi / 2)),
        _shifting(shift_x, shift_y),
        _scaling(scale, scale),
        _turning(before),
        _scaling(aspect, 1 / aspect),
        _turning(after),
        _shifting(*drift),
    )
    places = functools.reduce(jnp.matmul, steps)
    untouched = jnp.all(jnp.abs(places - jnp.eye(3)) < 1e-6, axis=(1, 2))
    return jnp.where(untouched[:, None, None, None], images, _resampled(images, places))


def _resampled(images: Array, places: Float[Array, "b 3 3"]) -> Array:
    """Returns images sampled where affine maps send their pixels, mirrored beyond their edges.

    Sampled at twice the side between two low-pass filters, so that rotating and shrinking neither blurs nor aliases.
    """
    side = images.shape[1]
    edges = ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
    fine = upsample(jnp.pad(images, edges, mode="symmetric"), _FILTER)
    fine = fine[:, 2 * _MARGIN : -2 * _MARGIN, 2 * _MARGIN : -2 * _MARGIN]
    along = (jnp.arange(2 * (side + 2 * _MARGIN)) + 0.5) / 2 - _MARGIN - side / 2
    x, y = jnp.meshgrid(along, along)
    points = jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
    led = jnp.einsum("bij,hwj->bhwi", places[:, :2], points, precision="highest")
    drawn = _bilinear(fine, 2 * (led + side / 2) - 0.5)
    return blur_half(drawn, _FILTER)[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _bilinear(images: Float[Array, "b s s 3"], at: Float[Array, "b h w 2"]) -> Float[Array, "b h w 3"]:
    """Samples images at positions in pixels, (column, row); beyond an edge the image continues mirrored."""
    count, side = images.shape[:2]
    # The image and its mirror image repeat with a period of twice the side.
    at = jnp.mod(at + 0.5, 2 * side)
    at = jnp.where(at > side, 2 * side - at, at) - 0.5
    low = jnp.floor(at)
    share = at - low
    first = jnp.clip(low, 0, side - 1).astype(jnp.int32)
    last = jnp.clip(low + 1, 0, side - 1).astype(jnp.int32)
    flat = images.reshape(count * side * side, 3)
    base = (jnp.arange(count) * side * side)[:, None, None]

    def pixels(column: Array, row: Array) -> Array:
        return flat[base + row * side + column]

    right, down = share[..., :1], share[..., 1:]
    upper = pixels(first[..., 0], first[..., 1]) * (1 - right) + pixels(last[..., 0], first[..., 1]) * right
    lower = pixels(first[..., 0], last[..., 1]) * (1 - right) + pixels(last[..., 0], last[..., 1]) * right
    return upper * (1 - down) + lower * down


def _colours(key: PRNGKeyArray, images: Array, probability: Array) -> Array:
    count = images.shape[0]
    keys = iter(jax.random.split(key, 12))
    chosen = functools.partial(_chosen, count=count)

    def normal() -> Array:
        return jax.random.normal(next(keys), (count,)) * chosen(next(keys), probability=probability)

    brightness, contrast = _BRIGHTNESS * normal(), 2 ** (_CONTRAST * normal())
    saturation = 2 ** (_SATURATION * normal())
    inverted = chosen(next(keys), probability=probability / 2)
    hue = jax.random.uniform(next(keys), (count,), minval=-math.pi, maxval=math.pi)
    hue = hue * chosen(next(keys), probability=probability)
    grey = jnp.full((3, 3), 1 / 3)  # the projection onto the grey axis
    coloured = jnp.eye(3) - grey
    crossed = jnp.asarray([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], jnp.float32) / math.sqrt(3)
    # Rotated about the grey axis (Rodrigues), stretched away from it, and mirrored along it.
    turned = (
        (1 - 2 * inverted)[:, None, None] * grey
        + (saturation * jnp.cos(hue))[:, None, None] * coloured
        + (saturation * jnp.sin(hue))[:, None, None] * crossed
    )
    mixed = contrast[:, None, None] * turned
    moved = brightness * contrast * (1 - 2 * inverted)
    return jnp.einsum("bhwi,boi->bhwo", images, mixed, precision="highest") + moved[:, None, None, None]
