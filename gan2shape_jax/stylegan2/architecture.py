"""The architecture of a StyleGAN2: every size that the weights imply, and the shape of every tensor.

Parameters are nested dictionaries of arrays in JAX's layouts: convolutions (kh, kw, in, out),
linear layers (in, out). They are stored as trained, without the "equalised" scale, which is
applied at run time.
"""

import dataclasses
import math
from typing import Any

from gan2shape_jax.io.weights import listed, short
from gan2shape_jax.networks import Params as Params

BINOMIAL = (1.0, 3.0, 3.0, 1.0)  # the low-pass filter of nearly every StyleGAN2
_KINDS = ("skip", "resnet", "orig")
# More than any StyleGAN2 has; they bound the tables of shapes, which are built before any tensor is read.
_WIDEST = 2**14
_MOST_LAYERS = 32
_MOST_TAPS = 64
_SIZES = tuple(2**k for k in range(3, 11))


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Sizes and kinds of a StyleGAN2 (Karras et al., 2020); the defaults are rosinality's."""

    size: int  # side of the image in pixels, a power of two from 8 to 1024
    style_dim: int  # width of z and w
    mapping_layers: int  # linear layers of the mapping network (not counting its pixel norm)
    channels: tuple[int, ...]  # the generator's width at 4, 8, ..., `size` pixels
    # The discriminator's at 4, 8, ..., `discriminator_size` pixels; empty for a generator alone.
    discriminator_channels: tuple[int, ...]
    # Learning-rate multiplier of the mapping network. No shape reveals it; it is 0.01 in all published weights.
    mapping_scale: float = 0.01
    # Images over which the discriminator measures the batch's standard deviation; 0 means the whole batch.
    stddev_group: int = 4
    stddev_channels: int = 1  # channels that hold the deviation; 0 means that it is not measured
    # "skip" (colours of every resolution are added up), "resnet" (blocks have shortcuts) or "orig" (neither); the
    # latter two produce colours at the end only.
    generator_kind: str = "skip"
    discriminator_kind: str = "resnet"  # or "skip" (every block sees the image) or "orig"
    conv_clamp: float | None = None  # the generator's activations and colours are clamped to +-conv_clamp, or not
    discriminator_clamp: float | None = None  # the same for the discriminator's convolutions
    taps: tuple[float, ...] = BINOMIAL  # the generator's low-pass filter along one axis, up to a constant factor
    discriminator_taps: tuple[float, ...] = BINOMIAL
    stored_mean: bool = False  # whether the mean latent is stored (as `mean_w`) rather than estimated from samples

    def __post_init__(self) -> None:
        counts = [self.size, self.style_dim, self.mapping_layers, self.stddev_group, self.stddev_channels]
        counts += [*self.channels, *self.discriminator_channels]
        whole = all(type(n) is int and 0 <= n <= _WIDEST for n in counts)
        if not whole or self.mapping_layers > _MOST_LAYERS or self.size not in _SIZES:
            limits = f"at most {_WIDEST} channels and {_MOST_LAYERS} mapping layers, for a side of {_SIZES} pixels"
            raise ValueError(f"sizes of {listed(map(short, counts))}: they must be whole numbers, {limits}")
        widths, clamps = self.discriminator_channels, (self.conv_clamp, self.discriminator_clamp)
        rules = {
            "number of channels": len(self.channels) == int(math.log2(self.size)) - 1,
            "number of discriminator_channels": not widths or 2 <= len(widths) <= len(_SIZES) + 1,
            "number of stddev_channels": not (widths and self.stddev_channels and widths[0] % self.stddev_channels),
            "kind": all(kind in _KINDS for kind in (self.generator_kind, self.discriminator_kind)),
            "clamp": all(clamp is None or (_is_number(clamp) and clamp > 0) for clamp in clamps),
            "low-pass filter": _is_filter(self.taps) and _is_filter(self.discriminator_taps),
            "mapping_scale": _is_number(self.mapping_scale),
            "stored_mean": isinstance(self.stored_mean, bool),
        }
        if wrong := [name for name, right in rules.items() if not right]:
            raise ValueError(f"no StyleGAN2 has this {', '.join(wrong)}")

    @property
    def layers(self) -> int:
        """Number of 3x3 convolutions of the generator, and so of its noise maps."""
        return 2 * len(self.channels) - 1

    @property
    def latents(self) -> int:
        """Number of styles in a W+ latent."""
        return 2 * len(self.channels)

    @property
    def discriminator_size(self) -> int:
        """Side of the images that the discriminator was trained on; 0 if there is none."""
        return 1 << (len(self.discriminator_channels) + 1) if self.discriminator_channels else 0

    def colours_at(self, level: int) -> bool:
        """Whether the generator produces colours at level 0, 1, ... (4, 8, ... pixels)."""
        return self.generator_kind == "skip" or level == len(self.channels) - 1


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30


def _is_filter(taps: tuple[float, ...]) -> bool:
    return 0 < len(taps) <= _MOST_TAPS and all(map(_is_number, taps)) and bool(sum(taps))


def _modulated(kernel: int, inputs: int, outputs: int, style_dim: int) -> Params:
    return {"weight": (kernel, kernel, inputs, outputs), "style_weight": (style_dim, inputs), "style_bias": (inputs,)}


def generator_shapes(arch: Architecture) -> Params:
    """Returns the generator's parameters with shapes in place of arrays.

    They are `mapping/1..n`, `input`, `layers/0..`, `to_rgb/0..` (for the last resolution only, if the generator is not
    of the "skip" kind), `noise/0..` (the stored noise maps, (h, w)), for "resnet" `skips/1..` (the blocks' shortcuts),
    and `mean_w` if it is stored.
    """
    w, channels = arch.style_dim, arch.channels
    layers, rgb, noise = {}, {}, {}
    for i in range(arch.layers):
        level = (i + 1) // 2
        inputs = channels[level - i % 2]
        layers[str(i)] = _modulated(3, inputs, channels[level], w) | {"noise_strength": (), "bias": (channels[level],)}
        noise[str(i)] = (4 * 2**level,) * 2
    for level, width in enumerate(channels):
        if arch.colours_at(level):
            rgb[str(level)] = _modulated(1, width, 3, w) | {"bias": (3,)}
    mapping = {str(i + 1): {"weight": (w, w), "bias": (w,)} for i in range(arch.mapping_layers)}
    shapes: Params = {"mapping": mapping, "input": (4, 4, channels[0]), "layers": layers, "to_rgb": rgb, "noise": noise}
    if arch.generator_kind == "resnet":
        shapes["skips"] = {
            str(level): {"weight": (1, 1, *channels[level - 1 : level + 1])} for level in range(1, len(channels))
        }
    if arch.stored_mean:
        shapes["mean_w"] = (w,)
    return shapes


def discriminator_shapes(arch: Architecture) -> Params:
    """Returns the discriminator's parameters with shapes in place of arrays; block 0 has the highest resolution.

    Images enter through `from_rgb`. In the "skip" kind every further block has its own `from_rgb`, and `final_rgb`
    is the one after the last block.
    """
    widths = arch.discriminator_channels[::-1]
    if not widths:
        return {}
    blocks: Params = {}

    def from_rgb(width: int) -> Params:
        return {"weight": (1, 1, 3, width), "bias": (width,)}

    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:])):
        blocks[str(i)] = {
            "conv1": {"weight": (3, 3, inputs, inputs), "bias": (inputs,)},
            "conv2": {"weight": (3, 3, inputs, outputs), "bias": (outputs,)},
        }
        if arch.discriminator_kind == "resnet":
            blocks[str(i)]["skip"] = {"weight": (1, 1, inputs, outputs)}
        if arch.discriminator_kind == "skip" and i:
            blocks[str(i)]["from_rgb"] = from_rgb(inputs)
    last = widths[-1]
    shapes = {
        "from_rgb": from_rgb(widths[0]),
        "blocks": blocks,
        "final_conv": {"weight": (3, 3, last + arch.stddev_channels, last), "bias": (last,)},
        "final_linear": {"weight": (4 * 4 * last, last), "bias": (last,)},
        "output": {"weight": (last, 1), "bias": (1,)},
    }
    if arch.discriminator_kind == "skip":
        shapes["final_rgb"] = from_rgb(last)
    return shapes
