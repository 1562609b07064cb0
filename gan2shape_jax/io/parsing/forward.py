"""The scene parsers' layers: from a picture to its labels, and from labels to an object mask.

BiSeNet with ResNet-18 for faces (Yu et al., ECCV 2018) takes squares of a multiple of 32 pixels, PSPNet with a dilated
ResNet (Zhao et al., CVPR 2017) of one more than a multiple of 8; the published weights were trained at 512 and 473.
Both in evaluation mode, on XLA's own convolutions: they run a few times per picture and are not trained.

Pictures are `(N, S, S, 3)` in [-1, 1], features `(N, H, W, C)`, kernels `(rows, columns, in, out)`, labels
`(side, side)`, masks `(S, S)` in [0, 1]. Sources: GAN2Shape's published implementation; He et al. for ImageNet's
statistics.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.geometry import resample
from gan2shape_jax.io.categories import Parser
from gan2shape_jax.io.parsing.architecture import BINS, Architecture

__all__ = ["find_labels", "logits", "mask_of_labels", "prepare"]

Params = Mapping[str, Array]


def convolve(
    params: Params, name: str, x: Float[Array, "n h w i"], *, stride: int = 1, dilation: int = 1
) -> Float[Array, "n _ _ o"]:
    """Applies the named convolution (odd kernel, zero padding), and its bias if it has one."""
    kernel = params[f"{name}/kernel"]
    padding = dilation * (kernel.shape[0] // 2)
    x = lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    bias = params.get(f"{name}/bias")
    return x if bias is None else x + bias


def max_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n _ _ c"]:
    """Returns the maximum of each 3x3 neighbourhood, at every second pixel."""
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)


def global_mean(x: Float[Array, "n h w c"]) -> Float[Array, "n 1 1 c"]:
    """Returns the mean over the picture."""
    return jnp.mean(x, axis=(1, 2), keepdims=True)


def average_grid(x: Float[Array, "n h w c"], side: int) -> Float[Array, "n side side c"]:
    """Returns means over a grid of cells that may overlap by a pixel; at most as fine as the picture."""
    return resample.resize(x, side) if side > 1 else global_mean(x)


def enlarge(x: Float[Array, "n h w c"], side: int) -> Float[Array, "n side side c"]:
    """Enlarges bilinearly with corners aligned: the outer pixels' centres stay where they are."""
    for axis, equation in ((1, "oi,niwc->nowc"), (2, "oi,nhic->nhoc")):
        weights = jnp.asarray(_aligned_weights(x.shape[axis], side), x.dtype)
        x = jnp.einsum(equation, weights, x, precision=jax.lax.Precision.HIGHEST)
    return x


def _aligned_weights(length: int, side: int) -> np.ndarray:
    position = np.linspace(0, length - 1, side) if side > 1 else np.zeros(1)
    low = np.minimum(np.floor(position).astype(int), max(length - 2, 0))
    weights = np.zeros((side, length))
    rows = np.arange(side)
    np.add.at(weights, (rows, low), 1 - (position - low))
    np.add.at(weights, (rows, np.minimum(low + 1, length - 1)), position - low)
    return weights


def bisenet_logits(
    params: Params, images: Float[Array, "n s s 3"], arch: Architecture
) -> Float[Array, "n s s classes"]:
    """Returns the score of each label at each pixel.

    Args:
        params: parameters of the network.
        images: images like those it was trained on, a multiple of 32 pixels per side.
        arch: its sizes.

    Raises:
        ValueError: pictures of another size.
    """
    side = images.shape[1]
    if side % 32 or images.shape[2] != side:
        raise ValueError(f"pictures of {images.shape[1:3]} pixels: a multiple of 32 a side is wanted")
    eighth, sixteenth, last = _residual_features(params, images, arch)
    mean = jax.nn.relu(convolve(params, "mean", global_mean(last)))
    deep = _double(_attend(params, 32, last) + mean)
    deep = jax.nn.relu(convolve(params, "head32", deep))
    middle = _double(_attend(params, 16, sixteenth) + deep)
    middle = jax.nn.relu(convolve(params, "head16", middle))
    fused = _fuse(params, jnp.concatenate([eighth, middle], axis=-1))
    scores = jax.nn.relu(convolve(params, "classify", fused))
    return enlarge(convolve(params, "output", scores), side)


def _residual_features(params: Params, images: jax.Array, arch: Architecture) -> tuple[jax.Array, ...]:
    """Returns ResNet-18's features at 1/8, 1/16 and 1/32 of the side."""
    x = max_pool(jax.nn.relu(convolve(params, "stem", images, stride=2)))
    levels = []
    for stage, count in enumerate(arch.blocks, 1):
        for block in range(count):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _residual_block(params, f"stage{stage}_{block}", x, stride)
        levels.append(x)
    return levels[1], levels[2], levels[3]


def _residual_block(params: Params, name: str, x: jax.Array, stride: int) -> jax.Array:
    inner = jax.nn.relu(convolve(params, f"{name}/conv1", x, stride=stride))
    inner = convolve(params, f"{name}/conv2", inner)
    if f"{name}/shortcut/kernel" in params:
        x = convolve(params, f"{name}/shortcut", x, stride=stride)
    return jax.nn.relu(x + inner)


def _attend(params: Params, level: int, x: jax.Array) -> jax.Array:
    """Refines features, weighting each channel by a value computed from the whole picture."""
    x = jax.nn.relu(convolve(params, f"refine{level}", x))
    return x * jax.nn.sigmoid(convolve(params, f"attention{level}", global_mean(x)))


def _fuse(params: Params, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(convolve(params, "fusion", x))
    weight = jax.nn.relu(convolve(params, "fusion_squeeze", global_mean(x)))
    return x + x * jax.nn.sigmoid(convolve(params, "fusion_excite", weight))


def _double(x: jax.Array) -> jax.Array:
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


# Stride and dilation of the four stages: the last two keep their resolution.
_PSPNET_STAGES = ((1, 1), (2, 1), (1, 2), (1, 4))


def pspnet_logits(params: Params, images: Float[Array, "n s s 3"], arch: Architecture) -> Float[Array, "n s s classes"]:
    """Returns the score of each label at each pixel.

    Args:
        params: parameters of the network.
        images: images like those it was trained on, one more than a multiple of 8 pixels per side.
        arch: its sizes.

    Raises:
        ValueError: pictures of another size.
    """
    side = images.shape[1]
    if side % 8 != 1 or images.shape[2] != side:
        raise ValueError(f"pictures of {images.shape[1:3]} pixels: 1 more than a multiple of 8 is wanted")
    x = images
    for i, stride in enumerate((2, 1, 1)):
        x = jax.nn.relu(convolve(params, f"stem{i}", x, stride=stride))
    x = max_pool(x)
    for stage, (count, (stride, dilation)) in enumerate(zip(arch.blocks, _PSPNET_STAGES, strict=True), 1):
        for block in range(count):
            x = _bottleneck(params, f"stage{stage}_{block}", x, stride if block == 0 else 1, dilation)
    x = _with_context(params, x)
    x = jax.nn.relu(convolve(params, "classify", x))
    return enlarge(convolve(params, "output", x), side)


def _bottleneck(params: Params, name: str, x: jax.Array, stride: int, dilation: int) -> jax.Array:
    inner = jax.nn.relu(convolve(params, f"{name}/conv1", x))
    inner = jax.nn.relu(convolve(params, f"{name}/conv2", inner, stride=stride, dilation=dilation))
    inner = convolve(params, f"{name}/conv3", inner)
    if f"{name}/shortcut/kernel" in params:
        x = convolve(params, f"{name}/shortcut", x, stride=stride)
    return jax.nn.relu(x + inner)


def _with_context(params: Params, x: jax.Array) -> jax.Array:
    """Appends averages over grids from coarse to fine to the features."""
    features = [x]
    for side in BINS:
        pooled = jax.nn.relu(convolve(params, f"pool{side}", average_grid(x, side)))
        features.append(enlarge(pooled, x.shape[1]))
    return jnp.concatenate(features, axis=-1)


_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def logits(params: Params, images: Float[Array, "n s s 3"], arch: Architecture) -> Float[Array, "n s s classes"]:
    """Returns the score of each label at each pixel of pictures made by `prepare`."""
    network = bisenet_logits if arch.family == "bisenet" else pspnet_logits
    return network(params, images, arch)


def prepare(images: Float[Array, "n s s 3"], side: int, *, normalize: bool) -> Float[Array, "n side side 3"]:
    """Returns pictures as a parser takes them: resized, and normalised by ImageNet's statistics if requested."""
    images = resample.resize(images, side)
    if normalize:
        images = (images / 2 + 0.5 - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)
    return images


@functools.partial(jax.jit, static_argnames=("arch", "side", "normalize"))
def _labels(params: Params, images: jax.Array, *, arch: Architecture, side: int, normalize: bool) -> jax.Array:
    scores = logits(params, prepare(images, side, normalize=normalize), arch)
    return jnp.argmax(scores, axis=-1).astype(jnp.uint8)


def find_labels(
    params: Params,
    image: Float[Array | np.ndarray, "s s 3"],
    arch: Architecture,
    *,
    side: int,
    normalize: bool,
) -> UInt8[np.ndarray, "side side"]:
    """Returns the most likely label of each pixel in a picture enlarged to `side` pixels.

    Args:
        params: from `load_parser`.
        image: the picture, in [-1, 1].
        arch: the parser's architecture.
        side: pixels; a multiple of 32 for BiSeNet, one more than a multiple of 8 for PSPNet.
        normalize: see `Parser`.
    """
    images = jnp.asarray(image, jnp.float32)[None]
    return np.asarray(_labels(params, images, arch=arch, side=side, normalize=normalize)[0])


def mask_of_labels(labels: UInt8[np.ndarray, "h h"], parser: Parser, size: int) -> Float[np.ndarray, "size size"]:
    """Returns the object mask from labels: each label's value, averaged over areas if the mask is smaller."""
    values = parser.table()[labels]
    mask = resample.resize(jnp.asarray(values)[..., None], size)[..., 0]
    return np.clip(np.asarray(mask), 0, 1)
