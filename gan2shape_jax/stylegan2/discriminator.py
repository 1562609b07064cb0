"""StyleGAN2's discriminator: images (B, H, W, 3) in [-1, 1] to logits, and its features for comparing images.

Karras et al., 2020: the residual discriminator, and the "skip" and "orig" ones of its table 2. Each block halves the
side. Widths belong to blocks, not to sides, so features exist for any power of two of at least 8 pixels.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.networks.convolution import convolve
from gan2shape_jax.stylegan2 import layers
from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.layers import blur_half


def _convolved(layer: Params, x: Array, clamp: float | None) -> Array:
    """Applies a size-preserving convolution, bias and leaky ReLU."""
    x = convolve(x, layers.equalised(layer["weight"]))
    return layers.activate(x + layer["bias"], clamp)


def _block(block: Params, x: Array, arch: Architecture) -> Array:
    clamp, taps = arch.discriminator_clamp, arch.discriminator_taps
    shortcut = None
    if arch.discriminator_kind == "resnet":
        shortcut = convolve(blur_half(x, taps), layers.equalised(block["skip"]["weight"]))
    x = _convolved(block["conv1"], x, clamp)
    x = layers.convolve_half(x, layers.equalised(block["conv2"]["weight"]), taps)
    x = layers.activate(x + block["conv2"]["bias"], clamp)
    return x if shortcut is None else (x + shortcut) / math.sqrt(2)


def _blocks(disc_params: Params, images: Array, arch: Architecture, count: int) -> tuple[tuple[Array, ...], Array]:
    """Returns the outputs of the first `count` blocks, and the images, halved once per block in the "skip" kind."""
    x, features = _convolved(disc_params["from_rgb"], images, arch.discriminator_clamp), []
    for i in range(count):
        block = disc_params["blocks"][str(i)]
        if arch.discriminator_kind == "skip":
            if i:
                x = x + _convolved(block["from_rgb"], images, arch.discriminator_clamp)
            images = blur_half(images, arch.discriminator_taps)
        x = _block(block, x, arch)
        features.append(x)
    return tuple(features), images


def discriminator_features(
    disc_params: Params,
    images: Float[Array, "b h w 3"],
    *,
    arch: Architecture,
    count: int = 4,
) -> tuple[Float[Array, "b ..."], ...]:
    """Returns the outputs of the first `count` blocks, (B, H/2, W/2, C), (B, H/4, W/4, C'), ...

    There are fewer if the discriminator has fewer blocks, or if the images are too small for more. Images are in
    [-1, 1] and of any size: their sides are powers of two, at least 8.
    """
    deepest = len(arch.discriminator_channels) - 1
    features, _ = _blocks(disc_params, images, arch, min(count, deepest, int(math.log2(min(images.shape[1:3])))))
    return features


def _append_deviation(x: Array, arch: Architecture) -> Array:
    """Appends the mean standard deviation over groups of images as channels (Karras et al., 2018)."""
    b, h, w, c = x.shape
    group, channels = min(arch.stddev_group or b, b), arch.stddev_channels
    if not channels:
        return x
    if b % group:
        raise ValueError(f"a batch of {b} images does not divide into groups of {group}")
    # Images i, i + b/group, i + 2 b/group, ... form a group, as when the weights were trained.
    grouped = x.reshape(group, b // group, h, w, channels, c // channels)
    deviation = jnp.sqrt(jnp.var(grouped, axis=0) + 1e-8).mean(axis=(1, 2, 4))
    column = jnp.tile(deviation, (group, 1))[:, None, None, :]
    return jnp.concatenate([x, jnp.broadcast_to(column, (b, h, w, channels))], axis=-1)


def discriminate(
    disc_params: Params,
    images: Float[Array, "b s s 3"],
    *,
    arch: Architecture,
) -> tuple[Float[Array, "b 1"], tuple[Float[Array, "b ..."], ...]]:
    """Returns logits (B, 1), higher for what looks real, and the features of every block.

    Images are in [-1, 1] and of the trained side `arch.discriminator_size`; B is at most `arch.stddev_group`, or a
    multiple of it, or a `ValueError` is raised.
    """
    deepest = len(arch.discriminator_channels) - 1
    features, halved = _blocks(disc_params, images, arch, deepest)
    x = features[-1]
    if arch.discriminator_kind == "skip":
        x = x + _convolved(disc_params["final_rgb"], halved, None)
    x = _convolved(disc_params["final_conv"], _append_deviation(x, arch), arch.discriminator_clamp)
    x = x.reshape(x.shape[0], -1)
    hidden, output = disc_params["final_linear"], disc_params["output"]
    x = layers.leaky_relu(layers.linear(x, hidden["weight"], hidden["bias"]))
    return layers.linear(x, output["weight"], output["bias"]), features
