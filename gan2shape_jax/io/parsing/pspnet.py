"""PSPNet with a dilated ResNet (Zhao et al., CVPR 2017), evaluation mode.

Pictures are `(N, H, W, 3)`, square, one more than a multiple of 8 pixels per side; the published weights
were trained at 473.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.io.parsing.architecture import BINS, Architecture
from gan2shape_jax.io.parsing.operations import Params, average_grid, convolve, enlarge, max_pool

__all__ = ["pspnet_logits"]

# Stride and dilation of the four stages: the last two keep their resolution.
_STAGES = ((1, 1), (2, 1), (1, 2), (1, 4))


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
    for stage, (count, (stride, dilation)) in enumerate(zip(arch.blocks, _STAGES, strict=True), 1):
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
