"""Random images from a GAN with their latents, in batches of one size: one compiled program serves any count."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.generator import map_styles, synthesize
from gan2shape_jax.stylegan2.latents import truncate

__all__ = ["batch_size", "random_images", "random_images_in_parts"]

_PIXELS = 2048  # total width of a batch: eight images of 256 pixels, two of 1024


def batch_size(arch: Architecture) -> int:
    """Returns how many of a GAN's images are generated at once."""
    return max(1, min(8, _PIXELS // arch.size))


def random_images(
    key: PRNGKeyArray,
    gen_params: Params,
    *,
    arch: Architecture,
    count: int,
    truncation: float,
    mean: Float[Array, "1 w"],
) -> tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n w"]]:
    """Generates images (n, s, s, 3), about [-1, 1], and their latents (n, W).

    Image i depends only on the key and i, whatever the count.

    Args:
      key: random key.
      gen_params: the generator's parameters.
      arch: the sizes.
      count: number of images.
      truncation: psi in (0, 1]; lower is more typical and less varied.
      mean: the latent to truncate towards.
    """
    parts = random_images_in_parts(key, gen_params, arch=arch, count=count, truncation=truncation, mean=mean)
    images, latents = zip(*parts)
    return np.concatenate(images), np.concatenate(latents)


def random_images_in_parts(
    key: PRNGKeyArray,
    gen_params: Params,
    *,
    arch: Architecture,
    count: int,
    truncation: float,
    mean: Float[Array, "1 w"],
) -> Iterator[tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n w"]]]:
    """Yields what `random_images` returns, in order and a few at a time, so memory does not grow with the count."""
    batch = batch_size(arch)
    for start in range(0, count, batch):
        drawn, w = _draw(gen_params, key, jnp.arange(start, start + batch), mean, truncation, arch=arch)
        yield np.asarray(drawn)[: count - start], np.asarray(w)[: count - start]


@functools.partial(jax.jit, static_argnames="arch")
def _draw(
    gen_params: Params,
    key: PRNGKeyArray,
    numbers: jax.Array,
    mean: jax.Array,
    truncation: float | jax.Array,
    *,
    arch: Architecture,
) -> tuple[jax.Array, jax.Array]:
    """Returns the images with the given indices and their latents, each drawn with its own key."""
    z = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (arch.style_dim,)))(numbers)
    w = truncate(map_styles(gen_params, z, arch=arch), mean, truncation)
    return synthesize(gen_params, w, arch=arch), w
