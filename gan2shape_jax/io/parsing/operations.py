"""Building blocks of both parsers: convolutions with stride and dilation, pooling, enlarging.

Features are `(N, H, W, C)`, kernels `(rows, columns, in, out)`. Parsers run a few times per picture and are
not trained: XLA's own convolutions are fast enough on every machine.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gan2shape_jax.geometry import resample

__all__ = ["Params", "average_grid", "convolve", "enlarge", "global_mean", "max_pool"]

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
