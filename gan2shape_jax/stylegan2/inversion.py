"""Inverts the GAN: finds the latent in W whose image is nearest to a given one, by optimisation.

Images are (B, s, s, 3) in [-1, 1] at the generator's resolution; latents (B, W). The noise is the
generator's stored noise, as throughout the method. Source: the projector of Karras et al. (2020),
appendix D, with the frozen discriminator's features in place of LPIPS, so that no further weights
are needed.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Architecture, Params

# Weight of the latents' mean squared distance from the mean latent, in standard deviations of W; that of the mean
# absolute differences of pixels and of features is 1.
_MEAN_WEIGHT = 0.02
_JITTER = 0.05  # noise added to w in the first three quarters of the steps, likewise, decaying to zero


_features = jax.jit(stylegan2.discriminator_features, static_argnames="arch")


@functools.partial(jax.jit, static_argnames="arch")
def _typical(key: PRNGKeyArray, generator: Params, *, arch: Architecture) -> tuple[Array, Array]:
    """Returns the mean (W,) of latents and a single standard deviation for all components."""
    z = jax.random.normal(key, (2048, arch.style_dim), generator["input"].dtype)
    samples = stylegan2.map_styles(generator, z, arch=arch)
    return samples.mean(axis=0), jnp.sqrt(jnp.mean(jnp.var(samples, axis=0)))


@functools.partial(jax.jit, static_argnames="arch", donate_argnums=(0, 1))
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
) -> tuple[Array, Any]:
    """Takes one Adam step on the latents; returns them and Adam's state."""
    mean, deviation = typical
    noise = jitter * deviation * jax.random.normal(key, w.shape, w.dtype)

    def loss(w: Array) -> Array:
        def away(a: Array, b: Array) -> Array:
            return jnp.abs(a - b).mean(axis=(1, 2, 3))

        drawn = stylegan2.synthesize(generator, w + noise, arch=arch)
        features = stylegan2.discriminator_features(discriminator, drawn, arch=arch) if discriminator else ()
        from_mean = jnp.mean(((w - mean) / deviation) ** 2, axis=-1)
        unlike = sum(map(away, features, target), jnp.zeros(()))
        return jnp.sum(away(drawn, image) + unlike + _MEAN_WEIGHT * from_mean)

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
) -> Float[Array, "b w"]:
    """Finds latents whose images look like the given ones, each independently of the others.

    Args:
      key: for the mean latent and the jitter.
      gan_params: the generator's parameters.
      image: in [-1, 1].
      arch: the sizes.
      disc_params: the discriminator's parameters; without any, {}, only pixels are compared.
      steps: number of Adam steps.
      learning_rate: the peak step size, in W.

    Raises:
      UserError: the optimisation has diverged.
    """
    mean_key, jitter_key = jax.random.split(key)
    mean, deviation = _typical(mean_key, gan_params, arch=arch)
    w = jnp.tile(mean, (image.shape[0], 1))
    state = optax.scale_by_adam().init(w)
    target = _features(disc_params, image, arch=arch) if disc_params else ()
    # A loop of jitted steps: convolutions inside a scan are an order of magnitude slower on a CPU.
    for step in range(steps):
        done = step / steps  # the rate rises over the first twentieth and falls over the last quarter
        fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - done) / 0.25))
        rate = learning_rate * fall * min(1.0, (done + 1 / steps) / 0.05)
        strength = _JITTER * max(0.0, 1.0 - step / (0.75 * steps)) ** 2
        noise_key = jax.random.fold_in(jitter_key, step)
        fixed = image, target, (mean, deviation), gan_params, disc_params
        w, state = _step(w, state, rate, strength, noise_key, *fixed, arch=arch)
    if not np.isfinite(w).all():
        raise UserError(f"the inversion of the GAN has diverged: lower its learning rate ({learning_rate})")
    return w
