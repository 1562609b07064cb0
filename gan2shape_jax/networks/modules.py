"""The five networks of the method (GAN2Shape, section 3 and appendix), and their layers with torch's initialisation.

Depth and albedo are `EncoderDecoder`s, view and light `Encoder`s, the latent's network a `ResidualEncoder`; what adds
detail to a lifted model's albedo is a `SkipDecoder`, which the method has not. Images are
`(N, S, S, C)` in [-1, 1], S a power of two; features `(N, H, W, C)`; kernels `(rows, columns, in, out)`, except
`Expand`'s. Parameters take the dtype of the input they are initialised with; afterwards, a layer computes in the dtype
of its parameters, whatever its input's dtype: see `precision`.
"""

import contextvars
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import exported
from gan2shape_jax.networks import convolution

_LEAK = 0.2
_EPSILON = 1e-5  # added to the variance
_CONVOLUTIONS = {
    "same": convolution.convolve,
    "half": convolution.convolve_half,
    "twice": convolution.convolve_twice,
    "upsample": convolution.upsample_convolve,
}
_Initialiser = Callable[[PRNGKeyArray, tuple[int, ...], DTypeLike], jax.Array]


def _drawn(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1, 1)


# What numbers in [-1, 1) layers are initialised with.
_UNIFORM: contextvars.ContextVar[_Initialiser] = contextvars.ContextVar("uniform", default=_drawn)


def _uniform(fan_in: int) -> _Initialiser:
    """Returns torch's default initialiser: Kaiming uniform with a = sqrt 5 has the bounds +-1 / sqrt(fan in)."""

    def init(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return _UNIFORM.get()(key, shape, dtype) / math.sqrt(fan_in)

    return init


class Conv(nn.Module):
    """Convolution without bias.

    `resample` "same" preserves the image's side; "half" has stride 2; "twice" is a transposed convolution of stride 2,
    whose kernel has side 4; "upsample" doubles every pixel before it.
    """

    channels: int  # of the output
    size: int = 3  # side of the kernel
    resample: str = "same"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n H W o"]:
        """Convolves a batch of features."""
        shape = (self.size, self.size, x.shape[-1], self.channels)
        # Torch computes the fan-in of a transposed convolution from its outputs.
        fan_in = self.size**2 * (self.channels if self.resample == "twice" else x.shape[-1])
        kernel = self.param("kernel", _uniform(fan_in), shape, x.dtype)
        return _CONVOLUTIONS[self.resample](x.astype(kernel.dtype), kernel)


class Collapse(nn.Module):
    """Convolution with a kernel as large as the input: a matrix product; no bias."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n k k i"]) -> Float[Array, "n o"]:
        """Returns one vector for each item of the batch."""
        fan_in = math.prod(x.shape[1:])
        kernel = self.param("kernel", _uniform(fan_in), (*x.shape[1:], self.channels), x.dtype)
        return x.astype(kernel.dtype).reshape(x.shape[0], fan_in) @ kernel.reshape(fan_in, self.channels)


class Expand(nn.Module):
    """Transposed 4x4 convolution of a single pixel: a matrix product; no bias.

    The kernel is `(in, 4, 4, out)`, so that the product does not need to copy it.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n 4 4 o"]:
        """Returns 4x4 features for each vector."""
        shape = (x.shape[-1], 4, 4, self.channels)
        kernel = self.param("kernel", _uniform(16 * self.channels), shape, x.dtype)
        return (x.astype(kernel.dtype) @ kernel.reshape(x.shape[-1], -1)).reshape(x.shape[0], *shape[1:])


class Pointwise(nn.Module):
    """1x1 convolution: a product along the channels."""

    channels: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        """Mixes the channels of every pixel or vector."""
        init = _uniform(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.channels), x.dtype)
        out = x.astype(kernel.dtype) @ kernel
        if self.use_bias:
            out += self.param("bias", init, (self.channels,), kernel.dtype)
        return out


class GroupNorm(nn.Module):
    """Normalises groups of neighbouring channels over the image (Wu and He, ECCV 2018), then scales and shifts them.

    A group's variance is the mean of its channels' variances plus that of the squared distances of their means from the
    group's: all long sums run over pixels only, and no large squares are subtracted from each other. Computed in
    float32 at least; the result has the dtype of `scale`.
    """

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises, scales and shifts a batch of features."""
        n, _, _, channels = x.shape
        scale = self.param("scale", nn.initializers.ones, (channels,), x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), x.dtype)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axis=(1, 2))
        grouped = mean.reshape(n, self.groups, -1)
        center = jnp.mean(grouped, axis=-1, keepdims=True)
        second_moment = variance.reshape(n, self.groups, -1) + jnp.square(grouped - center)
        inverse = jax.lax.rsqrt(jnp.mean(second_moment, axis=-1, keepdims=True) + _EPSILON)

        def per_channel(of_group: Float[Array, "n g 1"]) -> Float[Array, "n 1 1 c"]:
            return jnp.repeat(of_group[..., 0], channels // self.groups, axis=-1)[:, None, None]

        return ((x - per_channel(center)) * (per_channel(inverse) * scale) + bias).astype(scale.dtype)


def default_width(size: int) -> int:
    """Returns the number of channels at half the image side: the original's choice for side `size`."""
    return max(4096 // size, 16)


def default_group_base(size: int) -> int:
    """Returns the number of normalisation groups at half the image side: the original's choice for side `size`."""
    return 8 if size >= 128 else 16


def _halvings(size: int) -> int:
    """Returns how many times images of side `size` are halved until they are 4 pixels wide."""
    return size.bit_length() - 3


class EncoderDecoder(nn.Module):
    """Repeatedly halves the image down to 4x4, reduces it to a vector, and builds an image from that vector."""

    size: int  # side S of the images, a power of two
    channels_out: int
    width: int  # channels at S/2, doubling at every level
    group_base: int  # groups of the normalisation at S/2, doubling likewise
    zdim: int = 256  # length of the bottleneck vector
    final: str | None = "tanh"  # for values in (-1, 1), None for no activation

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n s s o"]:
        """Returns the output images for a batch of images."""
        width, groups = self.width, self.group_base
        if width % groups:
            raise UserError(f"network width {width} is not a multiple of its {groups} groups")
        deepest = _halvings(self.size) - 1
        for level in range(deepest):
            x = Conv(width << level, 4, "half", name=f"down_{level}")(x)
            x = nn.leaky_relu(GroupNorm(groups << level, name=f"down_norm_{level}")(x), _LEAK)
        x = nn.leaky_relu(Conv(width << deepest, 4, "half", name=f"down_{deepest}")(x), _LEAK)
        x = nn.relu(Collapse(self.zdim, name="bottleneck")(x))
        x = nn.relu(Expand(width << deepest, name="expand")(x))
        x = nn.relu(Conv(width << deepest, name="widest")(x))
        for level in reversed(range(deepest)):
            x = Conv(width << level, 4, "twice", name=f"up_{level}")(x)
            x = nn.relu(GroupNorm(groups << level, name=f"up_norm_{level}")(x))
            x = Conv(width << level, name=f"refine_{level}")(x)
            x = nn.relu(GroupNorm(groups << level, name=f"refine_norm_{level}")(x))
        x = Conv(width, 3, "upsample", name="full")(x)
        x = nn.relu(GroupNorm(groups, name="full_norm")(x))
        x = Conv(width, 5, name="detail")(x)
        x = nn.relu(GroupNorm(groups, name="detail_norm")(x))
        x = Conv(self.channels_out, 5, name="output")(x)
        return jnp.tanh(x) if self.final == "tanh" else x


class Encoder(nn.Module):
    """Repeatedly halves the image down to 4x4 and returns a vector in (-1, 1)."""

    size: int  # side S of the images, a power of two
    channels_out: int  # length of the vector: 6 for views, 4 for lights
    width: int  # channels at S/2, doubling at every level

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n o"]:
        """Returns one vector for each image of a batch."""
        count = _halvings(self.size)
        for level in range(count):
            x = nn.relu(Conv(self.width << level, 4, "half", name=f"down_{level}")(x))
        x = nn.relu(Collapse(self.width << (count - 1), name="collapse")(x))
        return jnp.tanh(Pointwise(self.channels_out, name="output")(x))


class ResidualBlock(nn.Module):
    """Halves the side; the shortcut sees the rectified input, since the original's ReLU works in place."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h//2 w//2 o"]:
        """Returns the features at half the side."""
        x = nn.relu(x)
        main = nn.relu(Conv(self.channels, 3, "half", name="conv1")(x))
        main = Conv(self.channels, name="conv2")(main)
        n, h, w, channels = x.shape
        shortcut = x.reshape(n, h // 2, 2, w // 2, 2, channels).mean(axis=(2, 4))
        return Pointwise(self.channels, use_bias=True, name="shortcut")(shortcut) + main


class ResidualEncoder(nn.Module):
    """Halves the image down to 4x4 with residual blocks and returns an unbounded vector."""

    size: int  # side S of the images, a power of two
    channels_out: int  # length of the vector: the GAN's style width
    width: int = 32  # channels at S/2, doubling with every block

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n o"]:
        """Returns one vector for each image of a batch."""
        count = _halvings(self.size)
        x = Conv(self.width, 4, "half", name="stem")(x)
        for level in range(1, count):
            x = ResidualBlock(self.width << level, name=f"block_{level}")(x)
        x = nn.relu(Collapse(self.width << count, name="collapse")(nn.relu(x)))
        return Pointwise(self.channels_out, name="output")(x)


class SkipDecoder(nn.Module):
    """Halves features down to 8x8 and builds them up again, with skip connections at every side (U-Net).

    Ronneberger et al., 2015. What is at a pixel need not pass a bottleneck; what is around it, it sees.
    """

    size: int  # side S of the features, a power of two
    channels_in: int
    channels_out: int
    width: int = 16  # channels at S, doubling at every level
    group_base: int = 4  # groups of the normalisation at S, doubling likewise

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n s s o"]:
        """Returns unbounded values for every pixel of a batch."""
        width, groups, deepest = self.width, self.group_base, _halvings(self.size) - 1
        kept = []
        x = nn.leaky_relu(Conv(width, name="first")(x), _LEAK)
        for level in range(1, deepest + 1):
            kept.append(x)
            x = Conv(width << level, 4, "half", name=f"down_{level}")(x)
            x = nn.leaky_relu(GroupNorm(groups << level, name=f"down_norm_{level}")(x), _LEAK)
        for level in reversed(range(deepest)):
            x = Conv(width << level, 4, "twice", name=f"up_{level}")(x)
            x = Conv(width << level, name=f"refine_{level}")(jnp.concatenate([x, kept[level]], axis=-1))
            x = nn.relu(GroupNorm(groups << level, name=f"refine_norm_{level}")(x))
        return Conv(self.channels_out, name="output")(x)


Network = EncoderDecoder | Encoder | ResidualEncoder | SkipDecoder


def initial_params(key: PRNGKeyArray, modules: Mapping[str, Network]) -> dict[str, Any]:
    """Returns initial parameters of networks by name, determined by the key and the modules' names and sizes."""
    shapes = {name: param_shapes(module) for name, module in sorted(modules.items())}
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))

    # Drawn at once: XLA compiles the random generator anew for each layer, a minute for five networks on a CPU.
    rest = [jax.random.uniform(key, (count,), jnp.float32, -1, 1)]

    def next_numbers(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
        size = math.prod(shape)
        numbers, rest[0] = rest[0][:size].reshape(shape), rest[0][size:]
        return numbers

    def made() -> dict[str, Any]:
        return {name: modules[name].init(key, _blank(modules[name]))["params"] for name in shapes}

    return _with_numbers(next_numbers, made)


@functools.cache
def param_shapes(module: Network) -> dict[str, Any]:
    """Returns the shape and dtype of every parameter of a network, without computing any."""
    shapes: dict[str, Any] = exported.shapes(_zero_params, module=module)
    return shapes


def _zero_params(module: Network) -> dict[str, Any]:
    """Returns parameters without random numbers: tracing the generator for each layer took most of the time."""

    def made() -> dict[str, Any]:
        params: dict[str, Any] = module.init(jax.random.key(0), _blank(module))["params"]
        return params

    return _with_numbers(lambda key, shape, dtype: jnp.zeros(shape, dtype), made)


def _with_numbers(numbers: _Initialiser, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the parameters that a function makes with these numbers in place of each layer's own random ones."""

    def made() -> dict[str, Any]:
        _UNIFORM.set(numbers)
        return make()

    return contextvars.copy_context().run(made)


def _blank(module: Network) -> jax.Array:
    return jnp.zeros((1, module.size, module.size, getattr(module, "channels_in", 3)), jnp.float32)
