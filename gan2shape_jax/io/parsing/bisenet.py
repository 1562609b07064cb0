"""BiSeNet with ResNet-18 for faces (Yu et al., ECCV 2018), evaluation mode.

Pictures are `(N, H, W, 3)`, square, a multiple of 32 pixels per side; the published weights were
trained at 512.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.io.parsing.architecture import Architecture
from gan2shape_jax.io.parsing.operations import Params, convolve, enlarge, global_mean, max_pool

__all__ = ["bisenet_logits"]


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
