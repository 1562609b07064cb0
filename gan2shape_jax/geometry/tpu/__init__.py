"""TPU versions of the rasteriser's and the sampler's gathers and scatters, which are slow there.

The kernels are Pallas programs. Seen from outside they are functions like those they stand in for, which can be mapped
by `jax.vmap` and differentiated backward any number of times; forward mode needs the forms for other platforms.
"""

from __future__ import annotations

import functools

import jax
from jaxtyping import Array, Float, Int

from gan2shape_jax import platforms
from gan2shape_jax.geometry.tpu import pixels, triangles
from gan2shape_jax.geometry.visibility import Screen, join_batch

__all__ = ["corners", "values_at_samples", "visible_triangles"]


def visible_triangles(screen: Screen, *, count: int, far: float) -> tuple[Float[Array, "b n n"], Int[Array, "b n n"]]:
    """Returns what `geometry.visibility.visible_triangles` does. Not differentiable."""
    kernel = functools.partial(triangles.visible_triangles, count=count, far=far, interpret=platforms.interpreted())
    depth, number = join_batch(kernel)(*screen)
    return depth, number


@jax.custom_vjp
def values_at_samples(
    values: Float[Array, "b k 2 r c"], triangle: Int[Array, "b n n"], screen: Screen
) -> Float[Array, "b k n n"]:
    """Returns the values of each sample's triangle, 0 where there is none; up to eight per triangle; linear in them.

    Args:
      values: values of the triangles by kind, row and column of their cell.
      triangle: the triangle each sample sees, from `visible_triangles`.
      screen: the vertices it was found with; constant.
    """
    kernel = functools.partial(triangles.values_at_samples, interpret=platforms.interpreted())
    return join_batch(kernel)(values, triangle, *screen)[0]


@jax.custom_vjp
def _sums_over_samples(
    values: Float[Array, "b k n n"], triangle: Int[Array, "b n n"], screen: Screen
) -> Float[Array, "b k 2 r c"]:
    """Returns, for each triangle, the sums over the samples that see it: the transpose of `values_at_samples`."""
    kernel = functools.partial(triangles.sums_over_samples, interpret=platforms.interpreted())
    return join_batch(kernel)(values, triangle, *screen)[0]


def corners(image: Float[Array, "b c h w"], low: Float[Array, "b 2 p"]) -> Float[Array, "b 4*c p"]:
    """Looks up the four pixels around points; linear in the image, constant in `low`.

    Args:
      image: any range; pixels outside count as zero.
      low: the corner (x, y) that comes first, whole numbers.

    Returns:
      The channels of (x, y), then of (x + 1, y), (x, y + 1) and (x + 1, y + 1).
    """
    height, width = image.shape[-2:]
    return _corners(image, low, (height, width))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _corners(image: Array, low: Array, shape: tuple[int, int]) -> Array:
    return join_batch(functools.partial(pixels.corners, interpret=platforms.interpreted()))(image, low)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _sums_over_corners(values: Array, low: Array, shape: tuple[int, int]) -> Array:
    kernel = functools.partial(pixels.sums_over_corners, shape=shape, interpret=platforms.interpreted())
    return join_batch(kernel)(values, low)[0]


# Each is the transpose of the other.
for _forth, _back in ((values_at_samples, _sums_over_samples), (_sums_over_samples, values_at_samples)):
    _forth.defvjp(
        lambda values, triangle, screen, forth=_forth: (forth(values, triangle, screen), (triangle, screen)),
        lambda saved, cotangent, back=_back: (back(cotangent, *saved), None, None),
    )
for _forth, _back in ((_corners, _sums_over_corners), (_sums_over_corners, _corners)):
    _forth.defvjp(
        lambda values, low, shape, forth=_forth: (forth(values, low, shape), low),
        lambda shape, low, cotangent, back=_back: (back(cotangent, low, shape), None),
    )
