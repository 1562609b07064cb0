"""Scene parsers that find the object in a picture: BiSeNet for faces, PSPNet for objects and scenes.

BiSeNet: Yu et al., ECCV 2018, with ResNet-18 and with the features of side 1/8 in place of the spatial path; it takes
squares of a multiple of 32 pixels. PSPNet: Zhao et al., CVPR 2017, with a dilated ResNet-50 that starts with three 3x3
convolutions; squares of one more than a multiple of 8. The published weights were trained at 512 and 473. Both run in
evaluation mode, on XLA's own convolutions: a few times per picture, and they are not trained.

Pictures are `(N, S, S, 3)` in [-1, 1], features `(N, H, W, C)`, labels `(side, side)`, masks `(S, S)` in [0, 1].
Parameters are `NAME/kernel` (rows, columns, in, out) and, if there is one, `NAME/bias` (out,), float32: batch
normalisation is an affine map of each channel here, and folded into the convolution before it. In the original, kernels
are (out, in, rows, columns); a convolution `a` followed by batch normalisation `b` is `a.weight`, `b.weight`, `b.bias`,
`b.running_mean`, `b.running_var`. Sources: GAN2Shape's published implementation; He et al. for ImageNet's statistics.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.geometry import resample

_BINS = (1, 2, 3, 6)  # sides of the grids over which PSPNet averages its features
_STRIDES = ((1, 1), (2, 1), (1, 2), (1, 4))  # stride and dilation of PSPNet's stages: the last two keep their size
# ImageNet's mean and deviation.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Weights = Mapping[str, Array]  # by name


@dataclasses.dataclass(frozen=True)
class ParserArchitecture:
    """What kind of parser a weight file holds."""

    family: Literal["bisenet", "pspnet"]
    classes: int  # number of labels, including the background
    width: int = 64  # channels of the first convolution, 64 in all published weights; the others follow
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks in each of the four stages

    def __post_init__(self) -> None:
        counts = (self.classes, self.width, *self.blocks)
        # Labels are bytes; no parser has more channels or blocks. They determine the size of the shape tables.
        most = (256, 2**12, 40, 40, 40, 40)
        whole = len(counts) == len(most) and all(type(count) is int for count in counts)
        if not whole or self.classes < 2 or not all(1 <= count <= limit for count, limit in zip(counts, most)):
            raise ValueError(f"classes, width and blocks {counts!r:.200}")
        if self.family not in ("bisenet", "pspnet"):
            raise ValueError(f"unknown family {self.family!r:.80}")


class Convolution(NamedTuple):
    """One layer: our name, the original's, that of the batch normalisation after it or "", and its shape."""

    name: str
    torch: str
    norm: str
    inputs: int
    outputs: int
    size: int
    bias: bool = False


def convolutions(arch: ParserArchitecture) -> Iterator[Convolution]:
    """Yields the convolutions of a parser, in the original's order."""
    w = arch.width
    if arch.family == "bisenet":
        yield Convolution("stem", "cp.resnet.conv1", "cp.resnet.bn1", 3, w, 7)
        yield from _stages(arch, "cp.resnet.", w, (3, 3), 1)
        for level, width in ((16, 4 * w), (32, 8 * w)):
            arm, head = f"cp.arm{level}", f"cp.conv_head{level}"
            yield Convolution(f"refine{level}", f"{arm}.conv.conv", f"{arm}.conv.bn", width, 2 * w, 3)
            yield Convolution(f"attention{level}", f"{arm}.conv_atten", f"{arm}.bn_atten", 2 * w, 2 * w, 1)
            yield Convolution(f"head{level}", f"{head}.conv", f"{head}.bn", 2 * w, 2 * w, 3)
        yield Convolution("mean", "cp.conv_avg.conv", "cp.conv_avg.bn", 8 * w, 2 * w, 1)
        yield Convolution("fusion", "ffm.convblk.conv", "ffm.convblk.bn", 4 * w, 4 * w, 1)
        yield Convolution("fusion_squeeze", "ffm.conv1", "", 4 * w, w, 1)
        yield Convolution("fusion_excite", "ffm.conv2", "", w, 4 * w, 1)
        yield Convolution("classify", "conv_out.conv.conv", "conv_out.conv.bn", 4 * w, 4 * w, 3)
        yield Convolution("output", "conv_out.conv_out", "", 4 * w, arch.classes, 1)
        return
    for i, (inputs, outputs) in enumerate(((3, w), (w, w), (w, 2 * w))):
        yield Convolution(f"stem{i}", f"layer0.{3 * i}", f"layer0.{3 * i + 1}", inputs, outputs, 3)
    yield from _stages(arch, "", 2 * w, (1, 3, 1), 4)
    last = 32 * w
    for i, side in enumerate(_BINS):
        there = f"ppm.features.{i}"
        yield Convolution(f"pool{side}", f"{there}.1", f"{there}.2", last, last // len(_BINS), 1)
    yield Convolution("classify", "cls.0", "cls.1", 2 * last, 8 * w, 3)
    yield Convolution("output", "cls.4", "", 8 * w, arch.classes, 1, bias=True)


def _stages(
    arch: ParserArchitecture, prefix: str, before: int, sizes: tuple[int, ...], widening: int
) -> Iterator[Convolution]:
    for stage, count in enumerate(arch.blocks, 1):
        inner = arch.width << (stage - 1)
        for block in range(count):
            there, ours, width = f"{prefix}layer{stage}.{block}", f"stage{stage}_{block}", before
            for i, size in enumerate(sizes, 1):
                outputs = widening * inner if i == len(sizes) else inner
                yield Convolution(f"{ours}/conv{i}", f"{there}.conv{i}", f"{there}.bn{i}", width, outputs, size)
                width = outputs
            if block == 0 and (stage > 1 or before != width):
                down = f"{there}.downsample"
                yield Convolution(f"{ours}/shortcut", f"{down}.0", f"{down}.1", before, width, 1)
            before = width


def parameter_shapes(arch: ParserArchitecture) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of all parameters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in convolutions(arch):
        shapes[f"{conv.name}/kernel"] = (conv.size, conv.size, conv.inputs, conv.outputs)
        if conv.norm or conv.bias:
            shapes[f"{conv.name}/bias"] = (conv.outputs,)
    return shapes


def _convolve(params: Weights, name: str, x: Array, *, stride: int = 1, dilation: int = 1) -> Array:
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


def _rectified(params: Weights, name: str, x: Array, *, stride: int = 1) -> Array:
    return jax.nn.relu(_convolve(params, name, x, stride=stride))


# The maximum of each 3x3 neighbourhood, at every second pixel.
_halved = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def _mean(x: Array) -> Array:
    return jnp.mean(x, axis=(1, 2), keepdims=True)


def _double(x: Array) -> Array:
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _enlarge(x: Array, side: int) -> Array:
    """Enlarges bilinearly with corners aligned: the outer pixels' centres stay where they are."""
    for axis, equation in ((1, "oi,niwc->nowc"), (2, "oi,nhic->nhoc")):
        positions = np.linspace(0, x.shape[axis] - 1, side)
        weights = np.maximum(1 - np.abs(positions[:, None] - np.arange(x.shape[axis])), 0)
        x = jnp.einsum(equation, jnp.asarray(weights, x.dtype), x, precision=lax.Precision.HIGHEST)
    return x


def _residual(params: Weights, name: str, x: Array, kernels: int, stride: int, dilation: int = 1) -> Array:
    """Applies a residual block of two or three convolutions, whose second last one of size 3 has the dilation."""
    inner = x
    for i in range(1, kernels + 1):
        strided = i == kernels - 1  # the first of two, the second of three
        step = {"stride": stride, "dilation": dilation} if strided else {}
        inner = _convolve(params, f"{name}/conv{i}", inner, **step)
        inner = jax.nn.relu(inner) if i < kernels else inner
    if f"{name}/shortcut/kernel" in params:
        x = _convolve(params, f"{name}/shortcut", x, stride=stride)
    return jax.nn.relu(x + inner)


def _bisenet(params: Weights, images: Array, arch: ParserArchitecture) -> Array:
    x = _halved(_rectified(params, "stem", images, stride=2))
    levels = []
    for stage, count in enumerate(arch.blocks, 1):
        for block in range(count):
            x = _residual(params, f"stage{stage}_{block}", x, 2, 2 if stage > 1 and block == 0 else 1)
        levels.append(x)
    _, eighth, sixteenth, last = levels

    def attended(level: int, x: Array) -> Array:
        """Refines features, weighting each channel by a value computed from the whole picture."""
        x = _rectified(params, f"refine{level}", x)
        return x * jax.nn.sigmoid(_convolve(params, f"attention{level}", _mean(x)))

    deep = _double(attended(32, last) + _rectified(params, "mean", _mean(last)))
    deep = _rectified(params, "head32", deep)
    middle = _rectified(params, "head16", _double(attended(16, sixteenth) + deep))
    x = _rectified(params, "fusion", jnp.concatenate([eighth, middle], axis=-1))
    weight = _rectified(params, "fusion_squeeze", _mean(x))
    x = x + x * jax.nn.sigmoid(_convolve(params, "fusion_excite", weight))
    return _rectified(params, "classify", x)


def _pspnet(params: Weights, images: Array, arch: ParserArchitecture) -> Array:
    x = images
    for i, stride in enumerate((2, 1, 1)):
        x = _rectified(params, f"stem{i}", x, stride=stride)
    x = _halved(x)
    for stage, (count, (stride, dilation)) in enumerate(zip(arch.blocks, _STRIDES, strict=True), 1):
        for block in range(count):
            x = _residual(params, f"stage{stage}_{block}", x, 3, stride if block == 0 else 1, dilation)
    features = [x]
    for side in _BINS:  # averages over grids from coarse to fine
        pooled = resample.resize(x, side) if side > 1 else _mean(x)
        features.append(_enlarge(_rectified(params, f"pool{side}", pooled), x.shape[1]))
    return _rectified(params, "classify", jnp.concatenate(features, axis=-1))


def logits(params: Weights, images: Float[Array, "n s s 3"], arch: ParserArchitecture) -> Float[Array, "n s s classes"]:
    """Returns the score of each label at each pixel of images from `prepare`.

    Their side is a multiple of 32 pixels for BiSeNet, one more than a multiple of 8 for PSPNet.
    """
    features = (_bisenet if arch.family == "bisenet" else _pspnet)(params, images, arch)
    return _enlarge(_convolve(params, "output", features), images.shape[1])


def prepare(images: Float[Array, "n s s 3"], side: int, *, normalize: bool) -> Float[Array, "n side side 3"]:
    """Returns pictures as a parser takes them: resized, and normalised by ImageNet's statistics if requested."""
    images = resample.resize(images, side)
    if normalize:
        images = (images / 2 + 0.5 - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)
    return images


@functools.partial(jax.jit, static_argnames=("arch", "side", "normalize"))
def _labels(params: Weights, images: jax.Array, *, arch: ParserArchitecture, side: int, normalize: bool) -> jax.Array:
    return jnp.argmax(logits(params, prepare(images, side, normalize=normalize), arch), axis=-1).astype(jnp.uint8)


def find_labels(
    params: Weights, image: Float[Array | np.ndarray, "s s 3"], arch: ParserArchitecture, *, side: int, normalize: bool
) -> UInt8[np.ndarray, "side side"]:
    """Returns the most likely label of each pixel in a picture in [-1, 1], enlarged to `side` pixels; see `logits`."""
    images = jnp.asarray(image, jnp.float32)[None]
    return np.asarray(_labels(params, images, arch=arch, side=side, normalize=normalize)[0])


def mask_of_labels(
    labels: UInt8[np.ndarray, "h h"], values: Mapping[int, float], size: int
) -> Float[np.ndarray, "size size"]:
    """Returns the object mask from labels: each label's value, 0 without one, averaged over areas if it is smaller."""
    table = np.zeros(256, np.float32)
    table[list(values)] = list(values.values())
    mask: np.ndarray = np.asarray(resample.resize(jnp.asarray(table[labels])[..., None], size)[..., 0])
    return mask.clip(0, 1)
