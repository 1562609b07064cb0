"""StyleGAN2's generator: latents (B, W) or (B, L, W) to images (B, s, s, 3), about [-1, 1].

Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020: the "skip" generator,
which adds up the colours of every resolution, and the "resnet" and "orig" ones of its table 2. A
latent in W gives every layer the same style; one in W+ holds a style for each of the
`L = arch.latents` inputs.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.networks.convolution import convolve
from gan2shape_jax.stylegan2 import layers
from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.layers import upsample


def map_styles(
    gen_params: Params, x: Float[Array, "*batch w"], *, arch: Architecture, first: int = 0, last: int | None = None
) -> Float[Array, "*batch w"]:
    """Runs modules `first` to `last - 1` of the mapping network.

    Module 0 normalises each vector to mean square one; modules 1 to n are linear layers with leaky ReLU. The whole
    network, the default, maps z to w; running up to module m and then from m on gives the same result.
    """
    for i in range(first, arch.mapping_layers + 1 if last is None else last):
        if i == 0:
            x = x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)
        else:
            module = gen_params["mapping"][str(i)]
            x = layers.leaky_relu(layers.linear(x, module["weight"], module["bias"], scale=arch.mapping_scale))
    return x


def _modulated_layer(layer: Params, x: Array, w: Array, noise: Array, *, grow: bool, arch: Architecture) -> Array:
    """Applies a modulated 3x3 convolution, noise, bias and leaky ReLU; doubles the side if `grow`."""
    kernel = layers.equalised(layer["weight"])
    style = layers.linear(w, layer["style_weight"], layer["style_bias"])
    strength = lax.rsqrt((style**2) @ jnp.sum(kernel**2, axis=(0, 1)) + 1e-8)
    x = x * style[:, None, None, :]
    x = layers.upsample_convolve(x, kernel, arch.taps) if grow else convolve(x, kernel)
    x = x * strength[:, None, None, :]
    x = x + layer["noise_strength"] * noise[..., None] + layer["bias"]
    return layers.activate(x, arch.conv_clamp)


def _to_rgb(layer: Params, x: Array, w: Array, arch: Architecture) -> Array:
    """Applies a modulated 1x1 convolution to colour, without demodulation."""
    style = layers.linear(w, layer["style_weight"], layer["style_bias"])
    kernel = layers.equalised(layer["weight"])[0, 0] * style[:, :, None]
    # Colours of all resolutions add up: in float32 at least, whatever the features' type.
    total = jnp.promote_types(x.dtype, jnp.float32)
    colour = jnp.einsum("bhwi,bio->bhwo", x, kernel, preferred_element_type=total) + layer["bias"]
    return colour if arch.conv_clamp is None else jnp.clip(colour, -arch.conv_clamp, arch.conv_clamp)


def synthesize(
    gen_params: Params,
    w: Float[Array, "b w"] | Float[Array, "b l w"],
    *,
    arch: Architecture,
    noise: Sequence[Float[Array, "..."]] | None = None,
) -> Float[Array, "b s s 3"]:
    """Returns the images of latents, about [-1, 1].

    Args:
      gen_params: the generator's parameters.
      w: latents in W (B, W), or in W+ (B, L, W) with L = arch.latents; an `ArgumentError` if not.
      arch: the sizes.
      noise: a map (h, w) or (B, h, w) per layer; by default the stored ones, so that G is a function of w.
    """
    size, count = arch.style_dim, arch.latents
    if w.shape[1:] not in ((size,), (count, size)):
        shape = str(("n", *w.shape[1:])).replace("'", "")
        raise ArgumentError(f"latents have the shape {shape}: (n, {size}) or (n, {count}, {size}) is needed")
    if w.ndim == 2:
        w = jnp.broadcast_to(w[:, None], (w.shape[0], arch.latents, w.shape[1]))
    if noise is None:
        noise = [gen_params["noise"][str(i)] for i in range(arch.layers)]
    x = shortcut = gen_params["input"][None]
    image: Array | None = None
    for i in range(arch.layers):
        level, grow = (i + 1) // 2, i % 2 == 1
        if grow and arch.generator_kind == "resnet":
            weight = layers.equalised(gen_params["skips"][str(level)]["weight"])
            shortcut = upsample(convolve(x, weight), arch.taps)
        x = _modulated_layer(gen_params["layers"][str(i)], x, w[:, i], noise[i], grow=grow, arch=arch)
        if grow:
            continue
        if level and arch.generator_kind == "resnet":
            x = (x + shortcut) / math.sqrt(2)
        if arch.colours_at(level):
            colour = _to_rgb(gen_params["to_rgb"][str(level)], x, w[:, i + 1], arch)
            image = colour if image is None else colour + upsample(image, arch.taps)
    assert image is not None  # the last level has colours in every kind
    return image


def random_noise(
    key: PRNGKeyArray,
    batch: int,
    *,
    arch: Architecture,
    dtype: DTypeLike = jnp.float32,
) -> tuple[Float[Array, "b h w"], ...]:
    """Draws unit-normal noise maps (batch, h, w), one per layer, for `synthesize`."""
    sides = [4 * 2 ** ((i + 1) // 2) for i in range(arch.layers)]
    return tuple(jax.random.normal(k, (batch, s, s), dtype) for k, s in zip(jax.random.split(key, len(sides)), sides))
