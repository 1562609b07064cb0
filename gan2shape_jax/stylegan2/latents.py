"""Latents of a generator: drawing, truncating and mixing them, random images, and directions in W.

Directions are found without labels or training. GANSpace (Härkönen et al., NeurIPS 2020): the principal directions of
mapped samples. SeFa (Shen and Zhou, CVPR 2021): the directions in which the style layers' weights stretch W most. A
direction is a unit vector (W,); its sign is arbitrary.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.generator import map_styles, synthesize

_PIXELS = 2048  # total width of a batch: eight images of 256 pixels, two of 1024


def mean_w(key: PRNGKeyArray, gen_params: Params, *, arch: Architecture, samples: int = 4096) -> Float[Array, "1 w"]:
    """Returns the mean latent (1, W): the stored one, or else the mean over `samples` draws of z."""
    if arch.stored_mean:
        stored: Array = gen_params["mean_w"]
        return stored[None]
    z = jax.random.normal(key, (samples, arch.style_dim), gen_params["input"].dtype)
    return map_styles(gen_params, z, arch=arch).mean(axis=0, keepdims=True)


def truncate(
    w: Float[Array, "*batch w"], mean: Float[Array, "*#batch w"], psi: float | Float[Array, ""]
) -> Float[Array, "*batch w"]:
    """Moves latents towards the mean: psi = 1 leaves them unchanged, psi = 0 gives the mean."""
    return mean + psi * (w - mean)


def mix_styles(
    w1: Float[Array, "b w"], w2: Float[Array, "b w"], crossover: int, *, arch: Architecture
) -> Float[Array, "b l w"]:
    """Returns W+ latents: the styles of `w1` before index `crossover` (0 to L), those of `w2` from there on."""
    early = jnp.arange(arch.latents)[None, :, None] < crossover
    return jnp.where(early, w1[:, None], w2[:, None])


def batch_size(arch: Architecture) -> int:
    """Returns how many of a GAN's images are generated at once."""
    return max(1, min(8, _PIXELS // arch.size))


def random_images(*arguments: Any, **options: Any) -> tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n w"]]:
    """Returns all that `random_images_in_parts` yields for the same arguments at once."""
    images, latents = zip(*random_images_in_parts(*arguments, **options))
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
    """Yields random images and their latents, in order and a few at a time, so memory does not grow with the count.

    Image i depends only on the key and i. `truncation` is psi in (0, 1]: lower is more typical, nearer to `mean`, and
    less varied.
    """
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


def sample_w(
    key: PRNGKeyArray, gen_params: Params, *, arch: Architecture, samples: int = 10_000
) -> Float[np.ndarray, "n w"]:
    """Returns the latents in W of `samples` draws of z, on the host."""
    z = jax.random.normal(key, (samples, arch.style_dim), gen_params["input"].dtype)
    return np.asarray(map_styles(gen_params, z, arch=arch))


def ganspace(latents: Float[np.ndarray, "n w"], *, count: int) -> Float[np.ndarray, "k w"]:
    """Returns the first `count` principal directions of many latents in W, in order of decreasing variance."""
    return _leading(np.cov(np.asarray(latents, np.float64), rowvar=False), count)


def sefa(gen_params: Params, *, layers: Sequence[int], count: int) -> Float[np.ndarray, "k w"]:
    """Returns the first `count` eigenvectors of A^T A, where A stacks the style weights of some 3x3 convolutions.

    Each row of A (a channel's weights) is scaled to length one, as in the published code.
    """
    weights = [np.asarray(gen_params["layers"][str(i)]["style_weight"], np.float64) for i in layers]
    columns = np.concatenate(weights, axis=1)  # (W, channels), the transpose of A
    columns = columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12)
    return _leading(columns @ columns.T, count)


def deviations(latents: Float[np.ndarray, "n w"], directions: Float[np.ndarray, "k w"]) -> Float[np.ndarray, "k"]:
    """Returns the standard deviation of latents along each direction: the unit of a step."""
    along = np.asarray(latents, np.float64) @ np.asarray(directions, np.float64).T
    return np.asarray(np.std(along, axis=0))


def shift(
    latent: Float[Array, "1 *layers w"],
    direction: Float[Array, "w"],
    steps: Float[Array, "n"],
    *,
    first: int,
    last: int,
    arch: Architecture,
) -> Float[Array, "n l w"]:
    """Returns W+ latents, one per step, moved along a direction in styles `first` to `last - 1`."""
    start = latent if latent.ndim == 3 else latent[:, None]
    start = jnp.broadcast_to(start, (1, arch.latents, latent.shape[-1]))
    index = jnp.arange(arch.latents)
    moved = ((index >= first) & (index < last)).astype(start.dtype)
    return start + steps[:, None, None] * moved[None, :, None] * direction


def _leading(symmetric: np.ndarray, count: int) -> Float[np.ndarray, "k w"]:
    """Returns eigenvectors as rows, largest eigenvalue first; the largest entry of each is positive."""
    _, vectors = np.linalg.eigh(symmetric)
    rows = vectors[:, ::-1].T[:count]
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    return np.asarray(rows * np.sign(largest), np.float32)
