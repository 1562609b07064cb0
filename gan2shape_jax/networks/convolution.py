"""Convolutions with gradients that are fast on a CPU, of any order, for the networks and the GAN.

Features are `(N, H, W, C)`, kernels `(rows, columns, in, out)`. On GPU and TPU the compiler's own convolutions,
including dilated ones, and their derivatives are best. On CPU, XLA has slow paths for three of them: the gradient with
respect to a kernel (a convolution whose window is a whole image), the gradient with respect to the input of a strided
convolution, and transposed 4x4 convolutions (both of the latter dilate their input with zeros). There, the first is
therefore a matrix product over patches, and the other two are one 2x2 convolution with four times as many outputs, one
set for each parity of output row and column, which are interleaved afterwards.

Where an image has few pixels and many channels (the networks' inner levels), the kernel is the largest array, and
reordering it takes longer than the products. There, gradients with respect to inputs are one product with the kernel as
it is laid out in memory, and its results are shifted and added (`_fold`); docs/reports/speed.md.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gan2shape_jax import platforms

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_Operands = tuple[Array, Array]  # a convolution's operands, or their cotangents
# At most this many patch values are built at once; more would fall out of the cache before they are used, so they are
# built for one row of the kernel at a time.
_MOST_PATCHES = 1 << 20


def convolve(x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"]) -> Float[Array, "n h w o"]:
    """Convolves with stride 1 and an odd kernel, zero-padded so that the side stays the same."""
    return _by_platform(x, kernel, 1, kernel.shape[0] // 2)


def convolve_half(
    x: Float[Array, "n H W i"], kernel: Float[Array, "k k i o"], padding: int = 1
) -> Float[Array, "n h w o"]:
    """Convolves with stride 2 and a 3x3 or 4x4 kernel: with one pixel of zero padding, an even side is halved."""
    return _by_platform(x, kernel, 2, padding)


def convolve_twice(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], padding: int = 1
) -> Float[Array, "n H W o"]:
    """Applies a transposed 3x3 or 4x4 convolution of stride 2, cropped by `padding`: 4x4 and one pixel double the side.

    Input pixel i adds `kernel[t] x[i]` to output pixel 2 i + t - padding; the side is 2 (h - 1) + k - 2 padding.
    """
    if platforms.current() == "cpu":
        return _twice_on_cpu(*_varying_alike(x, kernel), padding)
    return _dilated(x, kernel, padding)


def upsample_convolve(x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "n 2*h 2*w o"]:
    """Doubles every pixel along both axes, then convolves with a zero-padded 3x3 kernel.

    Together, the two are one transposed 4x4 convolution; its four phases take fewer than half the products.
    """
    return convolve_twice(x, upsampling(kernel))


def upsampling(kernel: Float[Array | np.ndarray, "3 3 i o"]) -> Float[Array, "4 4 i o"]:
    """Returns the kernel of `upsample_convolve`'s transposed convolution: sums of neighbouring taps of a kernel."""
    taps = jnp.asarray(kernel[::-1, ::-1])
    for axis in (0, 1):
        first, last = [(0, 0)] * 4, [(0, 0)] * 4
        first[axis], last[axis] = (0, 1), (1, 0)
        taps = jnp.pad(taps, first) + jnp.pad(taps, last)
    return taps


def _by_platform(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    if platforms.current() == "cpu":
        return _on_cpu(*_varying_alike(x, kernel), stride, padding)
    return _convolve(x, kernel, stride, padding)


def _varying_alike(*operands: Array) -> Iterator[Array]:
    """Yields operands that vary over the same axes of a `jax.shard_map`, as JAX has its own operations' operands do.

    The gradient to one that is the same on all devices, as a kernel is, is then the sum of theirs.
    """
    axes = [jax.typeof(operand).manual_axis_type.varying for operand in operands]
    for operand, own in zip(operands, axes, strict=True):
        missing = tuple(frozenset().union(*axes) - own)
        yield lax.pcast(operand, missing, to="varying") if missing else operand


def _convolve(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), ((padding,) * 2,) * 2, dimension_numbers=_LAYOUT)


def _dilated(x: Array, kernel: Array, padding: int) -> Array:
    around = ((kernel.shape[0] - 1 - padding,) * 2,) * 2
    kernel = kernel[::-1, ::-1]
    return lax.conv_general_dilated(x, kernel, (1, 1), around, lhs_dilation=(2, 2), dimension_numbers=_LAYOUT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _on_cpu(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return _convolve(x, kernel, stride, padding)


def _gradients(stride: int, padding: int, operands: _Operands, gradient: Array) -> _Operands:
    """Returns a convolution's gradients to its operands, avoiding the convolutions that are slow on CPU."""
    x, kernel = operands
    size, _, channels_in, channels_out = kernel.shape
    kernel_gradient = _kernel_gradient(x, gradient, size, stride, padding)
    if gradient.size // channels_out <= channels_out:
        return _fold(gradient, kernel, (x.shape[1], x.shape[2]), stride, padding), kernel_gradient
    swapped = kernel.swapaxes(2, 3)
    if stride == 2:
        # A transposed convolution undoes the stride; where that leaves a last row out, one more tap of zeros adds it.
        missing = x.shape[1] - (2 * (gradient.shape[1] - 1) + size - 2 * padding)
        taps = jnp.pad(swapped, ((0, missing), (0, missing), (0, 0), (0, 0)))
        return _twice_on_cpu(gradient, taps, padding), kernel_gradient
    back = size - 1 - padding
    x_gradient = _on_cpu(gradient, swapped[::-1, ::-1], 1, back)
    if channels_in <= channels_out:
        return x_gradient, kernel_gradient
    # The same sums from patches of the gradient, which has fewer channels: taps in reverse order.
    reverse = _kernel_gradient(gradient, x, size, 1, back)
    return x_gradient, reverse[::-1, ::-1].swapaxes(2, 3)


_on_cpu.defvjp(lambda x, kernel, stride, padding: (_convolve(x, kernel, stride, padding), (x, kernel)), _gradients)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _twice_on_cpu(x: Array, kernel: Array, padding: int) -> Array:
    """Computes `convolve_twice`: each output pixel sees a 2x2 window of x; its parities select the taps."""
    n, h, w, _ = x.shape
    size, _, channels_in, channels_out = kernel.shape
    if size == 3:  # for so few taps XLA's own is faster
        return _dilated(x, kernel, padding)
    # (window, parity) of tap t = 2 (1 - window) + parity, along rows and along columns.
    phases = kernel.reshape(2, 2, 2, 2, channels_in, channels_out)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels_in, 4 * channels_out)
    out = _convolve(x, phases, 1, 1).reshape(n, h + 1, w + 1, 2, 2, channels_out)
    out = out.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, channels_out)
    return out[:, padding : 2 * h + 2 - padding, padding : 2 * w + 2 - padding]


def _twice_gradients(padding: int, operands: _Operands, gradient: Array) -> _Operands:
    """Returns the gradients of `convolve_twice` to its operands, likewise avoiding slow convolutions."""
    x, kernel = operands
    kernel_gradient = _kernel_gradient(gradient, x, kernel.shape[0], 2, padding).swapaxes(2, 3)
    return _on_cpu(gradient, kernel.swapaxes(2, 3), 2, padding), kernel_gradient


_twice_on_cpu.defvjp(lambda x, kernel, padding: (_twice_on_cpu(x, kernel, padding), (x, kernel)), _twice_gradients)


def _fold(
    coarse: Float[Array, "n h w o"], kernel: Float[Array, "k k i o"], sides: tuple[int, int], stride: int, padding: int
) -> Float[Array, "n H W i"]:
    """Spreads every coarse pixel over the pixels that its kernel saw: the transpose of a convolution.

    Tap t of coarse pixel p lands on pixel stride p + t - padding; what lands outside is dropped.
    """
    n, h, w, channels_out = coarse.shape
    size, _, channels, _ = kernel.shape
    unfolded = coarse.reshape(-1, channels_out) @ kernel.reshape(-1, channels_out).T
    unfolded = unfolded.reshape(n, h, w, size, size, channels)
    for axis, count, side in ((1, h, sides[0]), (2, w, sides[1])):
        total = jnp.zeros((), coarse.dtype)
        for tap in range(size):
            part = lax.index_in_dim(unfolded, tap, 3, keepdims=False)
            first = tap - padding
            last = side - 1 - (stride * (count - 1) + first)
            config = [(0, 0, 0)] * part.ndim
            config[axis] = (first, last, stride - 1)
            total = total + lax.pad(part, jnp.zeros((), coarse.dtype), config)
        unfolded = total
    return unfolded


def _kernel_gradient(
    fine: Float[Array, "n H W i"], coarse: Float[Array, "n h w o"], size: int, stride: int, padding: int
) -> Float[Array, "k k i o"]:
    """Returns `sum over pixels p of fine[stride p + tap - padding] coarse[p]` for every tap."""
    n, h, w, channels = coarse.shape
    pixels = n * h * w
    last_row, last_column = (h - 1) * stride + 1, (w - 1) * stride + 1
    fine = jnp.pad(fine, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    columns = jnp.concatenate([fine[:, :, j : j + last_column : stride] for j in range(size)], axis=-1)
    rows = [columns[:, i : i + last_row : stride] for i in range(size)]
    if size**2 * fine.shape[-1] * pixels <= _MOST_PATCHES:
        rows = [jnp.concatenate(rows, axis=-1)]
    coarse = coarse.reshape(pixels, channels)
    products = [_product(row.reshape(pixels, -1), coarse) for row in rows]
    return jnp.concatenate(products).reshape(size, size, fine.shape[-1], channels)


def _product(patches: Float[Array, "p i"], coarse: Float[Array, "p o"]) -> Float[Array, "i o"]:
    """Returns `patches^T coarse`; XLA copies the left factor to transpose it, so that is not the larger one."""
    (pixels, taps), channels = patches.shape, coarse.shape[1]
    if pixels * taps <= pixels * channels + taps * channels:
        return patches.T @ coarse
    # A reshape in between keeps the compiler from swapping the factors back.
    turned = (coarse.T @ patches).reshape(channels, -1, 1)
    return turned.transpose(1, 2, 0).reshape(taps, channels)
