"""The five networks of the method (GAN2Shape, section 3 and appendix), with torch's initialisation.

Depth and albedo are `EncoderDecoder`s, view and light `Encoder`s, the latent's network a `ResidualEncoder`; what adds
detail to a lifted model's albedo is a `SkipDecoder`, which the method has not. `layers` says each one's, in order.
Images are `(N, S, S, C)` in [-1, 1], S a power of two; features `(N, H, W, C)`; kernels `(rows, columns, in, out)`, but
of `expand` `(in, rows, columns, out)`. Parameters take the dtype of the input they are initialised with; afterwards, a
layer computes in the dtype of its parameters, whatever its input's dtype.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from gan2shape_jax.errors import UserError
from gan2shape_jax.networks import convolution
from gan2shape_jax.networks.layers import EPSILON, LEAK, Layer, norm, placed, residual

_RELU, _LEAKY_RELU, _TANH = Layer("relu"), Layer("leaky_relu"), Layer("tanh")
_KEEP, _JOIN = Layer("keep"), Layer("join")
_ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, LEAK),
    "tanh": jnp.tanh,
}
_CONVOLUTIONS = {
    "same": convolution.convolve,
    "half": convolution.convolve_half,
    "twice": convolution.convolve_twice,
    "upsample": convolution.upsample_convolve,
}


class Weighted(nn.Module):
    """A layer that has parameters."""

    layer: Layer

    @nn.compact
    def __call__(self, x: Float[Array, "n *hw i"]) -> Float[Array, "n *HW o"]:
        """Returns the layer's features for a batch of features, or of vectors."""
        layer, inputs = self.layer, x.shape[-1]
        initialisers = _initialisers(layer, inputs)
        own = {
            name: self.param(name, initialisers[name], shape, x.dtype) for name, shape in layer.shapes(inputs).items()
        }
        if layer.kind == "norm":
            return group_norm(x, own["scale"], own["bias"], groups=layer.groups)
        kernel = own["kernel"]
        x = x.astype(kernel.dtype)
        if layer.kind in _CONVOLUTIONS:
            return _CONVOLUTIONS[layer.kind](x, kernel)
        if layer.kind == "collapse":
            return x.reshape(x.shape[0], -1) @ kernel.reshape(-1, layer.channels)
        if layer.kind == "expand":
            return (x @ kernel.reshape(inputs, -1)).reshape(x.shape[0], *kernel.shape[1:])
        return x @ kernel + own["bias"] if layer.bias else x @ kernel


def _initialisers(layer: Layer, inputs: int) -> dict[str, Callable[..., jax.Array]]:
    """Returns the initialiser of each parameter that a layer may have: see `initial_params`."""
    if layer.kind == "norm":
        return {"scale": nn.initializers.ones, "bias": nn.initializers.zeros}

    def uniform(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(layer.fan_in(inputs))

    return {"kernel": uniform, "bias": uniform}


def group_norm(
    x: Float[Array, "n h w c"], scale: Float[Array, " c"], bias: Float[Array, " c"], *, groups: int
) -> Float[Array, "n h w c"]:
    """Normalises groups of neighbouring channels over the image (Wu and He, ECCV 2018), then scales and shifts them.

    A group's variance is the mean of its channels' variances plus that of the squared distances of their means from the
    group's: all long sums run over pixels only, and no large squares are subtracted from each other. Computed in
    float32 at least; the result has the dtype of `scale`.
    """
    n, _, _, channels = x.shape
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(1, 2))
    grouped = mean.reshape(n, groups, -1)
    center = jnp.mean(grouped, axis=-1, keepdims=True)
    second_moment = variance.reshape(n, groups, -1) + jnp.square(grouped - center)
    inverse = jax.lax.rsqrt(jnp.mean(second_moment, axis=-1, keepdims=True) + EPSILON)

    def per_channel(of_group: Float[Array, "n g 1"]) -> Float[Array, "n 1 1 c"]:
        return jnp.repeat(of_group[..., 0], channels // groups, axis=-1)[:, None, None]

    return ((x - per_channel(center)) * (per_channel(inverse) * scale) + bias).astype(scale.dtype)


class ResidualBlock(nn.Module):
    """Halves the side; the shortcut sees the rectified input, since the original's ReLU works in place."""

    layer: Layer

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h//2 w//2 o"]:
        """Returns the features at half the side."""
        first, second, shortcut = (Weighted(part, name=part.name) for part in self.layer.parts)
        x = nn.relu(x)
        main = second(nn.relu(first(x)))
        n, h, w, channels = x.shape
        return shortcut(x.reshape(n, h // 2, 2, w // 2, 2, channels).mean(axis=(2, 4))) + main


def default_width(size: int) -> int:
    """Returns the number of channels at half the image side: the original's choice for side `size`."""
    return max(4096 // size, 16)


def default_group_base(size: int) -> int:
    """Returns the number of normalisation groups at half the image side: the original's choice for side `size`."""
    return 8 if size >= 128 else 16


def _halvings(size: int) -> int:
    """Returns how many times images of side `size` are halved until they are 4 pixels wide."""
    return size.bit_length() - 3


class Network(nn.Module):
    """What its layers make of images."""

    size: int  # side S of the images, a power of two

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """Returns the layers in order."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n *ss o"]:
        """Returns what the last layer makes of a batch of images: images, or one vector for each."""
        kept = []
        for layer in self.layers():
            if layer.kind in _ACTIVATIONS:
                x = _ACTIVATIONS[layer.kind](x)
            elif layer.kind == "keep":
                kept.append(x)
            elif layer.kind == "join":
                x = jnp.concatenate([x, kept.pop()], axis=-1)
            elif layer.kind == "residual":
                x = ResidualBlock(layer, name=layer.name)(x)
            else:
                x = Weighted(layer, name=layer.name)(x)
        return x


class EncoderDecoder(Network):
    """Repeatedly halves the image down to 4x4, reduces it to a vector, and builds an image from that vector."""

    channels_out: int
    width: int  # channels at S/2, doubling at every level
    group_base: int  # groups of the normalisation at S/2, doubling likewise
    zdim: int = 256  # length of the bottleneck vector
    final: str | None = "tanh"  # for values in (-1, 1), None for no activation

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """See `Network`."""
        width, groups = self.width, self.group_base
        if width % groups:
            raise UserError(f"network width {width} is not a multiple of its {groups} groups")
        deepest = _halvings(self.size) - 1
        layers = list[Layer]()
        for level in range(deepest):
            layers += [Layer("half", f"down_{level}", width << level, 4), norm(f"down_norm_{level}", groups << level)]
            layers += [_LEAKY_RELU]
        layers += [Layer("half", f"down_{deepest}", width << deepest, 4), _LEAKY_RELU]
        layers += [Layer("collapse", "bottleneck", self.zdim, 4), _RELU]
        layers += [Layer("expand", "expand", width << deepest, 4), _RELU]
        layers += [Layer("same", "widest", width << deepest, 3), _RELU]
        for level in reversed(range(deepest)):
            layers += [
                Layer("twice", f"up_{level}", width << level, 4),
                norm(f"up_norm_{level}", groups << level),
                _RELU,
            ]
            layers += [Layer("same", f"refine_{level}", width << level, 3)]
            layers += [norm(f"refine_norm_{level}", groups << level), _RELU]
        layers += [Layer("upsample", "full", width, 3), norm("full_norm", groups), _RELU]
        layers += [Layer("same", "detail", width, 5), norm("detail_norm", groups), _RELU]
        layers += [Layer("same", "output", self.channels_out, 5)]
        return (*layers, _TANH) if self.final == "tanh" else tuple(layers)


class Encoder(Network):
    """Repeatedly halves the image down to 4x4 and returns a vector in (-1, 1)."""

    channels_out: int  # length of the vector: 6 for views, 4 for lights
    width: int  # channels at S/2, doubling at every level

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """See `Network`."""
        count = _halvings(self.size)
        layers = list[Layer]()
        for level in range(count):
            layers += [Layer("half", f"down_{level}", self.width << level, 4), _RELU]
        layers += [Layer("collapse", "collapse", self.width << (count - 1), 4), _RELU]
        return (*layers, Layer("pointwise", "output", self.channels_out), _TANH)


class ResidualEncoder(Network):
    """Halves the image down to 4x4 with residual blocks and returns an unbounded vector."""

    channels_out: int  # length of the vector: the GAN's style width
    width: int = 32  # channels at S/2, doubling with every block

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """See `Network`."""
        count = _halvings(self.size)
        blocks = (residual(f"block_{level}", self.width << level) for level in range(1, count))
        collapse = Layer("collapse", "collapse", self.width << count, 4)
        output = Layer("pointwise", "output", self.channels_out)
        return (Layer("half", "stem", self.width, 4), *blocks, _RELU, collapse, _RELU, output)


class SkipDecoder(Network):
    """Halves features down to 8x8 and builds them up again, with skip connections at every side (U-Net).

    Ronneberger et al., 2015. What is at a pixel need not pass a bottleneck; what is around it, it sees.
    """

    channels_in: int
    channels_out: int
    width: int = 16  # channels at S, doubling at every level
    group_base: int = 4  # groups of the normalisation at S, doubling likewise

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """See `Network`; what the last returns is unbounded."""
        width, groups, deepest = self.width, self.group_base, _halvings(self.size) - 1
        layers = [Layer("same", "first", width, 3), _LEAKY_RELU]
        for level in range(1, deepest + 1):
            layers += [_KEEP, Layer("half", f"down_{level}", width << level, 4)]
            layers += [norm(f"down_norm_{level}", groups << level), _LEAKY_RELU]
        for level in reversed(range(deepest)):
            layers += [Layer("twice", f"up_{level}", width << level, 4), _JOIN]
            layers += [Layer("same", f"refine_{level}", width << level, 3)]
            layers += [norm(f"refine_norm_{level}", groups << level), _RELU]
        return (*layers, Layer("same", "output", self.channels_out, 3))


def channels_of(module: Network) -> int:
    """Returns how many channels a network takes."""
    return int(getattr(module, "channels_in", 3))


def initial_params(key: PRNGKeyArray, modules: Mapping[str, Network]) -> dict[str, Any]:
    """Returns initial parameters of networks by name, determined by the key and the modules' names and sizes.

    Torch's default: Kaiming uniform with a = sqrt 5 has the bounds +-1 / sqrt(fan in).
    """
    shapes = {name: param_shapes(module) for name, module in modules.items()}
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # Drawn at once: XLA compiles the random generator anew for each layer, a minute for five networks on a CPU.
    numbers = jax.random.uniform(key, (count,), jnp.float32, -1, 1)
    params, used = {}, 0
    for network, module in sorted(modules.items()):
        for path, layer, inputs in placed(module.layers(), channels_of(module)):
            for name, shape in layer.shapes(inputs).items():
                if layer.kind == "norm":
                    params[(network, *path, name)] = jnp.full(shape, float(name == "scale"), jnp.float32)
                    continue
                start, used = used, used + math.prod(shape)
                params[(network, *path, name)] = numbers[start:used].reshape(shape) / math.sqrt(layer.fan_in(inputs))
    return dict(unflatten_dict(params))


def param_shapes(module: Network) -> dict[str, Any]:
    """Returns the shape and dtype of every parameter of a network, without computing any."""
    shapes = {
        (*path, name): jax.ShapeDtypeStruct(shape, jnp.float32)
        for path, layer, inputs in placed(module.layers(), channels_of(module))
        for name, shape in layer.shapes(inputs).items()
    }
    return dict(unflatten_dict(shapes))
