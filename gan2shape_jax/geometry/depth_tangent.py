"""How the visible depth of a grid mesh changes with its vertices, while each sample sees the triangle that it sees.

Screen vertices and triangle numbers are those of `visibility`. The tangent is a plain function, linear in the change
of the vertices: JAX derives from it forward mode, second derivatives, and, as its transpose, the backward pass.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry import visibility

__all__ = ["corner_indices", "depth_tangent", "screen_weights"]


def depth_tangent(
    screen: visibility.Screen,
    depth: Float[Array, "b n n"],
    triangle: Int[Array, "b n n"],
    change: visibility.Screen,
) -> Float[Array, "b n n"]:
    """Returns how visible depth changes with x, y and 1/z of the vertices on screen; linear in `change`.

    With q = 1/z linear on screen, dq = sum of w_k (dq_k - slope_x dx_k - slope_y dy_k) over the
    corners. The bracket is a triangle's, arithmetic on the regular grid; a sample gathers three
    numbers. So the transpose, which is the backward pass, scatters three numbers a sample.
    """
    batch, side, _ = screen[0].shape
    seen = triangle >= 0
    start = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * (2 * (side - 1) ** 2)
    source = jnp.where(seen, start + triangle, jnp.iinfo(jnp.int32).max)
    slope_x, slope_y = _slopes(screen)
    total = jnp.zeros((), depth.dtype)
    for weight, dx, dy, dq in zip(screen_weights(screen, triangle), *map(_corners, change)):
        along = dq - dx * slope_x - dy * slope_y
        total = total + weight * along.reshape(-1).at[source].get(mode="fill", fill_value=0)
    return jnp.where(seen, -(total * depth * depth), 0)


def corner_indices(
    triangle: Int[Array, "b n n"], side: int
) -> tuple[Int[Array, "b n n"], Int[Array, "b n n"], Int[Array, "b n n"]]:
    """Returns where the corners of visible triangles lie in a flat (B S S) array; of triangle 0 where there is none."""
    image = jnp.arange(triangle.shape[0], dtype=jnp.int32)[:, None, None]
    return visibility.corner_indices(jnp.maximum(triangle, 0), image, side)


def screen_weights(screen: visibility.Screen, triangle: Int[Array, "b n n"]) -> list[Float[Array, "b n n"]]:
    """Returns the weights, linear on screen, of the corners of each sample's triangle, (B, n, n) each."""
    side, count = screen[0].shape[-1], triangle.shape[-1]
    planes = [plane.reshape(-1) for plane in screen[:2]]
    lattice = jnp.arange(count, dtype=screen[0].dtype)
    x, y = [], []
    for index in corner_indices(triangle, side):
        x.append(planes[0].at[index].get(mode="promise_in_bounds") - lattice)
        y.append(planes[1].at[index].get(mode="promise_in_bounds") - lattice[:, None])
    parts = [x[a] * y[b] - y[a] * x[b] for a, b in ((1, 2), (2, 0), (0, 1))]
    area = parts[0] + parts[1] + parts[2]
    parts = [jnp.where(area < 0, -part, part) for part in parts]
    # No `maximum`, whose derivative is one half on the edges themselves.
    parts = [jnp.where(part >= 0, part, 0) for part in parts]
    total = parts[0] + parts[1] + parts[2]
    return [part / jnp.where(total > 0, total, 1) for part in parts]


def _corners(grid: Float[Array, "b s s"]) -> tuple[Array, Array, Array]:
    """Returns the corners of the triangles of a grid (B, S, S), each (B, 2, S-1, S-1).

    The order of slices and stacks is that in which the transpose adds up at each vertex, in reverse: another order
    rounds differently.
    """
    lower_right, lower_left = grid[:, 1:, 1:], grid[:, 1:, :-1]
    upper_right, upper_left = grid[:, :-1, 1:], grid[:, :-1, :-1]
    third = jnp.stack([upper_right, lower_right], 1)
    second = jnp.stack([lower_left, lower_left], 1)
    first = jnp.stack([upper_left, upper_right], 1)
    return first, second, third


def _slopes(screen: visibility.Screen) -> tuple[Array, Array]:
    """Returns the derivatives of 1/z along x and y in each triangle; 0 where it has no area."""
    (x1, x2), (y1, y2), (q1, q2) = ((second - first, third - first) for first, second, third in map(_corners, screen))
    area = x1 * y2 - y1 * x2
    proper = jnp.abs(area) > jnp.finfo(area.dtype).tiny
    safe = jnp.where(proper, area, 1)
    return (
        jnp.where(proper, (q1 * y2 - y1 * q2) / safe, 0),
        jnp.where(proper, (x1 * q2 - q1 * x2) / safe, 0),
    )
