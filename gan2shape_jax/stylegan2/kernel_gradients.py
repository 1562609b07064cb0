"""StyleGAN2's convolutions with gradients to the kernel that are fast on a CPU; training a GAN needs them.

XLA is fast in the forward pass and in the gradient to the input. What it derives for a kernel is a convolution with a
window as large as the image, which on a CPU takes 2 to 4 times as long as the same sums computed as matrix products,
and 10 to 20 times with strides (measured on one core, batch 16, 8 to 64 pixels). Second derivatives, as in the gradient
penalty, are built from the same functions. On GPU and TPU, kernel gradients are XLA's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gan2shape_jax.platforms import by_platform

__all__ = ["convolve", "grow", "shrink"]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_NARROW = 32  # channels below which matrix products are too thin to be fast


@jax.custom_vjp
def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]) -> Float[Array, "b h w o"]:
    """Convolves with zero padding, keeping the size; k is odd."""
    return _same(x, kernel)


@jax.custom_vjp
def shrink(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b h//2 w//2 o"]:
    """Convolves with stride 2, without padding; h and w are odd."""
    return _strided(x, kernel)


@jax.custom_vjp
def grow(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h+1 2*w+1 o"]:
    """Applies a transposed convolution of stride 2."""
    return _dilated(x, kernel)


def _same(x: Array, kernel: Array) -> Array:
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(x, kernel, (1, 1), ((pad, pad), (pad, pad)), dimension_numbers=_LAYOUT)


def _strided(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), ((0, 0), (0, 0)), dimension_numbers=_LAYOUT)


def _dilated(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=_LAYOUT
    )


def _kept(form: Callable[[Array, Array], Array]) -> Callable[[Array, Array], tuple[Array, tuple[Array, Array]]]:
    return lambda x, kernel: (form(x, kernel), (x, kernel))


def _to_kernel(
    form: Callable[[Array, Array], Array], cpu: Callable[[Array, Array, Array], Array]
) -> Callable[[Array, Array, Array], Array]:
    """Returns the function from input, kernel and cotangent to the kernel's gradient."""

    def derived(x: Array, kernel: Array, cotangent: Array) -> Array:
        _, pull = jax.vjp(functools.partial(form, x), kernel)
        pulled: Array = pull(cotangent)[0]
        return pulled

    def gradient(x: Array, kernel: Array, cotangent: Array) -> Array:
        if kernel.shape[0] != 3 or (form is _same and min(kernel.shape[2:]) < _NARROW):
            return derived(x, kernel, cotangent)
        return by_platform(x, kernel, cotangent, cpu=cpu, other=derived, choice=None)

    return gradient


def _of_same(x: Array, kernel: Array, cotangent: Array) -> Array:
    """Sums inputs times cotangents at nine offsets, as one matrix product over all pixels."""
    (_, height, _, inputs), outputs = x.shape, cotangent.shape[-1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = jnp.concatenate([padded[:, i : i + height] for i in range(3)], axis=-1)
    columns = [jnp.pad(cotangent, ((0, 0), (0, 0), (j, 2 - j), (0, 0))) for j in range(3)]
    sums = rows.reshape(-1, 3 * inputs).T @ jnp.concatenate(columns, axis=-1).reshape(-1, 3 * outputs)
    return sums.reshape(3, inputs, 3, outputs).swapaxes(1, 2)


def _of_grown(x: Array, kernel: Array, cotangent: Array) -> Array:
    return jnp.stack([jnp.stack([_meeting(x, cotangent, i, j) for j in range(3)]) for i in range(3)])


def _of_shrunk(x: Array, kernel: Array, cotangent: Array) -> Array:
    return _of_grown(cotangent, kernel, x).swapaxes(2, 3)


def _meeting(small: Array, large: Array, row: int, column: int) -> Array:
    """Returns, for one kernel position, the sums of `small` pixels times the `large` ones they reach through it."""
    reached = large[:, row : row + 2 * small.shape[1] : 2, column : column + 2 * small.shape[2] : 2]
    return jnp.einsum("bhwi,bhwo->io", small, reached)


def _backwards(
    to_input: Callable[[Array, Array], Array], to_kernel: Callable[[Array, Array, Array], Array]
) -> Callable[[tuple[Array, Array], Array], tuple[Array, Array]]:
    def backwards(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
        x, kernel = kept
        return to_input(cotangent, kernel.swapaxes(2, 3)), to_kernel(x, kernel, cotangent)

    return backwards


convolve.defvjp(
    _kept(convolve), _backwards(lambda g, kernel: convolve(g, kernel[::-1, ::-1]), _to_kernel(_same, _of_same))
)
shrink.defvjp(_kept(shrink), _backwards(grow, _to_kernel(_strided, _of_shrunk)))
grow.defvjp(_kept(grow), _backwards(shrink, _to_kernel(_dilated, _of_grown)))
