"""How the visible depth of a grid mesh changes with its vertices, with the visible triangle of each sample held fixed.

Screen vertices and triangle numbers are those of `visibility`. The tangent is a plain function, linear in the change
of the vertices: from it JAX derives forward mode, second derivatives and, as its transpose, the backward pass.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.seen_values import corners_at_samples, grid_corners, triangles_at_samples

__all__ = ["depth_tangent", "screen_weights"]


def depth_tangent(
    screen: visibility.Screen,
    depth: Float[Array, "b n n"],
    triangle: Int[Array, "b n n"],
    change: visibility.Screen,
) -> Float[Array, "b n n"]:
    """Returns how visible depth changes with x, y and 1/z of the vertices on screen; linear in `change`.

    With q = 1/z linear on screen, dq = sum of w_k (dq_k - slope_x dx_k - slope_y dy_k) over the
    corners. The bracket is computed per triangle, as arithmetic on the regular grid; each sample gathers
    three numbers. So the transpose, which is the backward pass, scatters three numbers per sample.
    """
    slope_x, slope_y = _slopes(screen)
    changes = [dq - dx * slope_x - dy * slope_y for dx, dy, dq in zip(*map(grid_corners, change))]
    total = jnp.zeros((), depth.dtype)
    for weight, along in zip(screen_weights(screen, triangle), triangles_at_samples(changes, triangle, screen)):
        total = total + weight * along
    return jnp.where(triangle >= 0, -(total * depth * depth), 0)


def screen_weights(screen: visibility.Screen, triangle: Int[Array, "b n n"]) -> list[Float[Array, "b n n"]]:
    """Returns the weights, linear on screen, of the corners of each sample's triangle, (B, n, n) each."""
    lattice = jnp.arange(triangle.shape[-1], dtype=screen[0].dtype)
    x, y = corners_at_samples(screen[:2], triangle, screen)
    x, y = [corner - lattice for corner in x], [corner - lattice[:, None] for corner in y]
    parts = [x[a] * y[b] - y[a] * x[b] for a, b in ((1, 2), (2, 0), (0, 1))]
    area = parts[0] + parts[1] + parts[2]
    parts = [jnp.where(area < 0, -part, part) for part in parts]
    # Not `maximum`, whose derivative is one half on the edges themselves.
    parts = [jnp.where(part >= 0, part, 0) for part in parts]
    total = parts[0] + parts[1] + parts[2]
    return [part / jnp.where(total > 0, total, 1) for part in parts]


def _slopes(screen: visibility.Screen) -> tuple[Array, Array]:
    """Returns the derivatives of 1/z along x and y in each triangle; 0 where it has no area."""
    (x1, x2), (y1, y2), (q1, q2) = (
        (second - first, third - first) for first, second, third in map(grid_corners, screen)
    )
    area = x1 * y2 - y1 * x2
    proper = jnp.abs(area) > jnp.finfo(area.dtype).tiny
    safe = jnp.where(proper, area, 1)
    return (
        jnp.where(proper, (q1 * y2 - y1 * q2) / safe, 0),
        jnp.where(proper, (x1 * q2 - q1 * x2) / safe, 0),
    )
