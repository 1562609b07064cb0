"""Inverts the GAN: finds the latent in W whose image is nearest to a given one, by optimisation.

Images are (B, s, s, 3) in [-1, 1] at the generator's resolution; latents (B, W). The noise is the
generator's stored noise, as throughout the method. Source: the projector of Karras et al. (2020),
appendix D, with the frozen discriminator's features in place of LPIPS, so that no further weights
are needed.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Architecture, Params


class Inversion(NamedTuple):
    """Latents that reproduce given images, and the mean of |G(w) - image|, with G(w) clamped to [-1, 1]."""

    w: Float[Array, "b w"]
    error: Float[np.ndarray, " b"]


def learning_rate_at(step: int, steps: int, *, peak: float, rampup: float = 0.05, rampdown: float = 0.25) -> float:
    """Returns a rate that rises linearly over the first `rampup` of all steps and decays over the last `rampdown`."""
    t = step / steps
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / rampdown))
    return peak * fall * min(1.0, (t + 1 / steps) / rampup)


# Compiled once per architecture, however many images follow.
_features = jax.jit(stylegan2.discriminator_features, static_argnames="arch")
_draw = jax.jit(stylegan2.synthesize, static_argnames="arch")


@functools.partial(jax.jit, static_argnames="arch")
def _typical(key: PRNGKeyArray, generator: Params, *, arch: Architecture) -> tuple[Array, Array]:
    """Returns the mean (W,) of latents and a single standard deviation for all components."""
    z = jax.random.normal(key, (2048, arch.style_dim), generator["input"].dtype)
    samples = stylegan2.map_styles(generator, z, arch=arch)
    return samples.mean(axis=0), jnp.sqrt(jnp.mean(jnp.var(samples, axis=0)))


@functools.partial(jax.jit, static_argnames=("arch", "weights"), donate_argnums=(0, 1))
def _step(
    w: Array,
    state: Any,
    rate: ArrayLike,
    jitter: ArrayLike,
    key: PRNGKeyArray,
    image: Array,
    target: tuple[Array, ...],
    typical: tuple[Array, Array],
    generator: Params,
    discriminator: Params,
    *,
    arch: Architecture,
    weights: tuple[float, float, float],
) -> tuple[Array, Any]:
    """Takes one Adam step on the latents; returns them and Adam's state."""
    mean, spread = typical
    noise = jitter * spread * jax.random.normal(key, w.shape, w.dtype)

    def loss(w: Array) -> Array:
        def away(a: Array, b: Array) -> Array:
            return jnp.abs(a - b).mean(axis=(1, 2, 3))

        drawn = stylegan2.synthesize(generator, w + noise, arch=arch)
        features = stylegan2.discriminator_features(discriminator, drawn, arch=arch)
        from_mean = jnp.mean(((w - mean) / spread) ** 2, axis=-1)
        unlike = sum(map(away, features, target), jnp.zeros(()))
        return jnp.sum(weights[0] * away(drawn, image) + weights[1] * unlike + weights[2] * from_mean)

    update, state = optax.scale_by_adam().update(jax.grad(loss)(w), state)
    return w - rate * update, state


def invert(
    key: PRNGKeyArray,
    gan_params: Params,
    image: Float[Array, "b s s 3"],
    *,
    arch: Architecture,
    disc_params: Params,
    steps: int = 500,
    learning_rate: float = 0.1,
    pixel_weight: float = 1.0,
    feature_weight: float = 1.0,
    mean_weight: float = 0.02,
    jitter: float = 0.05,
) -> Inversion:
    """Finds latents whose images look like the given ones, each independently of the others.

    Args:
      key: for the mean latent and the jitter.
      gan_params: the generator's parameters.
      image: in [-1, 1], s = arch.size.
      arch: the sizes.
      disc_params: the discriminator's parameters.
      steps: number of Adam steps.
      learning_rate: the peak step size, in W.
      pixel_weight: weight of the mean absolute difference of pixels.
      feature_weight: weight of the mean absolute difference of the discriminator's features.
      mean_weight: weight of the mean squared deviation from the mean latent, in standard deviations of W.
      jitter: noise added to w in the first three quarters of the steps, in standard deviations of W, decaying to zero.

    Raises:
      UserError: the image's size is not the generator's, or the optimisation has diverged.
    """
    if image.shape[1:] != (arch.size, arch.size, 3):
        raise UserError(
            f"an image of shape {image.shape[1:]} to invert with a GAN of {arch.size} pixels; resize it first"
        )
    mean_key, jitter_key = jax.random.split(key)
    mean, spread = _typical(mean_key, gan_params, arch=arch)
    w = jnp.tile(mean, (image.shape[0], 1))
    state = optax.scale_by_adam().init(w)
    target = _features(disc_params, image, arch=arch)
    take = functools.partial(_step, arch=arch, weights=(pixel_weight, feature_weight, mean_weight))
    # A loop of jitted steps: convolutions inside a scan are an order of magnitude slower on a CPU.
    for step in range(steps):
        rate = learning_rate_at(step, steps, peak=learning_rate)
        strength = jitter * max(0.0, 1.0 - step / (0.75 * steps)) ** 2
        noise_key = jax.random.fold_in(jitter_key, step)
        w, state = take(w, state, rate, strength, noise_key, image, target, (mean, spread), gan_params, disc_params)
    drawn = np.clip(np.asarray(_draw(gan_params, w, arch=arch)), -1, 1)
    error = np.abs(drawn - np.asarray(image)).mean(axis=(1, 2, 3))
    if not np.isfinite(error).all():
        raise UserError(f"the inversion of the GAN has diverged: lower its learning rate ({learning_rate})")
    return Inversion(w, error)
