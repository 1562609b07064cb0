"""StyleGAN2's discriminator: images (B, H, W, 3) in [-1, 1] to logits, and its features as a
distance's ground.

Karras et al., 2020, the residual discriminator. The images' side fixes how many blocks apply, each
halving it; block widths belong to the blocks, not to sides, so that features exist for any power of
two from 8 pixels on.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.stylegan2 import layers
from gan2shape_jax.stylegan2.architecture import Architecture, Params

__all__ = ["discriminate", "discriminator_features"]


def _block(block: Params, x: Array) -> Array:
    skip = layers.convolve(layers.blur_half(x), layers.equalised(block["skip"]["weight"]))
    for name, operation in (("conv1", layers.convolve), ("conv2", layers.convolve_half)):
        x = operation(x, layers.equalised(block[name]["weight"]))
        x = layers.leaky_relu(x + block[name]["bias"])
    return (x + skip) / math.sqrt(2)


def discriminator_features(disc_params: Params, images: Float[Array, "b h w 3"], *,
                           arch: Architecture, count: int = 4,
                           ) -> tuple[Float[Array, "b ..."], ...]:
    """The outputs of the first `count` blocks, (B, H/2, W/2, C), (B, H/4, W/4, C'), ...

    Fewer where the discriminator has fewer blocks, or the images have no pixels left for more.
    Sides are a power of two, at least 8, whatever size the discriminator was trained for.
    """
    side = min(images.shape[1:3])
    if side < 8 or any(n & (n - 1) for n in images.shape[1:3]):
        raise ValueError(f"images of {images.shape[1:3]} pixels; sides must be a power of two, "
                         "8 at least")
    stem, features = disc_params["from_rgb"], []
    x = layers.convolve(images, layers.equalised(stem["weight"]))
    x = layers.leaky_relu(x + stem["bias"])
    blocks = len(arch.discriminator_channels) - 1
    for i in range(min(count, blocks, int(math.log2(side)))):
        x = _block(disc_params["blocks"][str(i)], x)
        features.append(x)
    return tuple(features)


def _append_deviation(x: Array, group: int) -> Array:
    """Appends the mean deviation over groups of images as a channel (Karras et al., 2018)."""
    b, h, w, c = x.shape
    group = min(group, b)
    if b % group:
        raise ValueError(f"a batch of {b} images does not divide into groups of {group}")
    # Images i, i + b/group, i + 2 b/group, ... form a group, as they do where the weights were
    # trained.
    grouped = x.reshape(group, b // group, h, w, c)
    deviation = jnp.sqrt(jnp.var(grouped, axis=0) + 1e-8).mean(axis=(1, 2, 3))
    column = jnp.tile(deviation, group)[:, None, None, None]
    return jnp.concatenate([x, jnp.broadcast_to(column, (b, h, w, 1))], axis=-1)


def discriminate(disc_params: Params, images: Float[Array, "b s s 3"], *, arch: Architecture,
                 ) -> tuple[Float[Array, "b 1"], tuple[Float[Array, "b ..."], ...]]:
    """Logits (B, 1), higher for what looks real, and the features of every block.

    Images have the trained side, `arch.discriminator_size`; B is at most `arch.stddev_group`, or a
    multiple of it.
    """
    side = arch.discriminator_size
    if images.shape[1:] != (side, side, 3):
        raise ValueError(f"images of shape {images.shape[1:]} for a discriminator of {side} pixels")
    blocks = len(arch.discriminator_channels) - 1
    features = discriminator_features(disc_params, images, arch=arch, count=blocks)
    x = _append_deviation(features[-1], arch.stddev_group)
    final = disc_params["final_conv"]
    x = layers.leaky_relu(layers.convolve(x, layers.equalised(final["weight"])) + final["bias"])
    x = x.reshape(x.shape[0], -1)
    hidden, output = disc_params["final_linear"], disc_params["output"]
    x = layers.leaky_relu(layers.linear(x, hidden["weight"], hidden["bias"]))
    return layers.linear(x, output["weight"], output["bias"]), features
