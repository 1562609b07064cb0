"""StyleGAN2's discriminator: images (B, H, W, 3) in [-1, 1] to logits, and its features for comparing images.

Karras et al., 2020: the residual discriminator, and the "skip" and "orig" ones of its table 2. Each block halves the
side. Widths belong to blocks, not to sides, so features exist for any power of two of at least 8 pixels.
"""

import functools
import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.networks import blocks
from gan2shape_jax.platforms import by_platform
from gan2shape_jax.stylegan2 import layers
from gan2shape_jax.stylegan2.architecture import BINOMIAL, Architecture, Params

__all__ = ["discriminate", "discriminator_features"]

_FEW = 32  # channels, of the 128 that a TPU's register holds
# Folding a filter into a kernel takes four times as many products, and saves two passes over the features.
_FEW_TO_FOLD = 64


def _convolved(layer: Params, x: Array, clamp: float | None) -> Array:
    """Applies a size-preserving convolution, bias and leaky ReLU."""
    x = layers.convolve(x, layers.equalised(layer["weight"]))
    return layers.activate(x + layer["bias"], clamp)


def _block(block: Params, x: Array, arch: Architecture) -> Array:
    if not _folds(block, arch):
        return _block_of_pixels(block, x, arch)
    pixels = functools.partial(_block_of_pixels, arch=arch)
    folded = functools.partial(_folded_block, arch=arch, side=1)
    return by_platform(block, x, cpu=pixels, other=pixels, tpu=folded)


def _block_of_pixels(block: Params, x: Array, arch: Architecture) -> Array:
    clamp, taps = arch.discriminator_clamp, arch.discriminator_taps
    shortcut = None
    if arch.discriminator_kind == "resnet":
        weight = layers.equalised(block["skip"]["weight"])
        shortcut = layers.convolve(layers.blur_half(x, taps), weight)
    x = _convolved(block["conv1"], x, clamp)
    x = layers.convolve_half(x, layers.equalised(block["conv2"]["weight"]), taps)
    x = layers.activate(x + block["conv2"]["bias"], clamp)
    return x if shortcut is None else (x + shortcut) / math.sqrt(2)


def _first_block(disc_params: Params, images: Array, arch: Architecture) -> Array:
    """Applies the layer that sees the images, and the first block."""

    def pixels(from_rgb: Params, block: Params, images: Array) -> Array:
        return _block_of_pixels(block, _convolved(from_rgb, images, arch.discriminator_clamp), arch)

    def in_blocks(from_rgb: Params, block: Params, images: Array) -> Array:
        x = blocks.mix(blocks.to_blocks(images), layers.equalised(from_rgb["weight"]))
        x = layers.activate(x + _tiled(from_rgb["bias"]), arch.discriminator_clamp)
        return _folded_block(block, x, arch, 2)

    from_rgb, block = disc_params["from_rgb"], disc_params["blocks"]["0"]
    if not _folds(block, arch) or block["conv1"]["weight"].shape[-1] > _FEW:
        return _block(block, _convolved(from_rgb, images, arch.discriminator_clamp), arch)
    return by_platform(from_rgb, block, images, cpu=pixels, other=pixels, tpu=in_blocks)


def _folds(block: Params, arch: Architecture) -> bool:
    """Returns whether a TPU folds a block's filters into its kernels: it has few channels, and the usual filter."""
    return block["conv1"]["weight"].shape[-1] <= _FEW_TO_FOLD and arch.discriminator_taps == BINOMIAL


def _folded_block(block: Params, x: Array, arch: Architecture, side: int) -> Array:
    """Does what `_block_of_pixels` does, with each low-pass filter and the convolution after it in one.

    Args:
      block: parameters.
      x: features, kept as blocks of `side` x `side` pixels, 1 or 2.
      arch: the sizes.
      side: of the blocks.
    """
    clamp, taps = arch.discriminator_clamp, arch.discriminator_taps
    shortcut = None
    if arch.discriminator_kind == "resnet":
        shortcut = blocks.filter_half(x, layers.equalised(block["skip"]["weight"]), taps, side)
    if side == 1:
        x = _convolved(block["conv1"], x, clamp)
    else:
        x = blocks.convolve(x, layers.equalised(block["conv1"]["weight"]))
        x = layers.activate(x + _tiled(block["conv1"]["bias"]), clamp)
    x = blocks.filter_half(x, layers.equalised(block["conv2"]["weight"]), taps, side)
    x = layers.activate(x + block["conv2"]["bias"], clamp)
    return x if shortcut is None else (x + shortcut) / math.sqrt(2)


def _tiled(bias: Array) -> Array:
    """Returns the bias of each pixel of a block."""
    return jnp.tile(bias, 4)


def _blocks(
    disc_params: Params,
    images: Array,
    arch: Architecture,
    count: int,
) -> tuple[tuple[Array, ...], Array]:
    """Returns the outputs of the first `count` blocks, and the images, halved once per block in the "skip" kind."""
    if arch.discriminator_kind == "skip":
        return _skip_blocks(disc_params, images, arch, count)
    features: list[Array] = []
    for i in range(count):
        if i:
            features.append(_block(disc_params["blocks"][str(i)], features[-1], arch))
        else:
            features.append(_first_block(disc_params, images, arch))
    return tuple(features), images


def _skip_blocks(disc_params: Params, images: Array, arch: Architecture, count: int) -> tuple[tuple[Array, ...], Array]:
    """Does what `_blocks` does for the "skip" kind, whose blocks see the images too."""
    x, features = _convolved(disc_params["from_rgb"], images, arch.discriminator_clamp), []
    for i in range(count):
        block = disc_params["blocks"][str(i)]
        if i:
            x = x + _convolved(block["from_rgb"], images, arch.discriminator_clamp)
        images = layers.blur_half(images, arch.discriminator_taps)
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

    There are fewer if the discriminator has fewer blocks, or if the images are too small for more.

    Args:
      disc_params: the discriminator's parameters.
      images: in [-1, 1]; sides are powers of two, at least 8, whatever size the discriminator was trained for.
      arch: the sizes.
      count: number of blocks.

    Raises:
      ValueError: the sides of the images are not such powers of two.
    """
    side = min(images.shape[1:3])
    if side < 8 or any(n & (n - 1) for n in images.shape[1:3]):
        raise ValueError(f"images of {images.shape[1:3]} pixels; sides must be a power of two, 8 at least")
    deepest = len(arch.discriminator_channels) - 1
    features, _ = _blocks(disc_params, images, arch, min(count, deepest, int(math.log2(side))))
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

    Args:
      disc_params: the discriminator's parameters.
      images: in [-1, 1], of the trained side `arch.discriminator_size`; B is at most `arch.stddev_group`, or a
        multiple of it.
      arch: the sizes.

    Raises:
      ValueError: the side or the batch size is not as required.
    """
    side = arch.discriminator_size
    if images.shape[1:] != (side, side, 3):
        raise ValueError(f"images of shape {images.shape[1:]} for a discriminator of {side} pixels")
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
