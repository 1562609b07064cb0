"""Faces of triangle meshes `(F, 3)`: those of a grid, and whether they name vertices that exist."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

__all__ = ["check_faces", "grid_faces"]


@functools.cache
def grid_faces(height: int, width: int) -> np.ndarray:
    """Returns the faces of a grid of vertices numbered row by row, in the order of `visibility`: `(2 (H-1)(W-1), 3)`.

    Cell (i, j) has the triangles (i, j) (i+1, j) (i, j+1) and (i, j+1) (i+1, j) (i+1, j+1); all the first ones come
    before all the second ones.
    """
    number = np.arange(height * width, dtype=np.int32).reshape(height, width)
    upper_left, upper_right = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    lower_left, lower_right = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    first = np.stack([upper_left, lower_left, upper_right], -1)
    faces = np.concatenate([first, np.stack([upper_right, lower_left, lower_right], -1)])
    faces.setflags(write=False)
    return faces


def check_faces(
    faces: Integer[Array, "f 3"], vertices: int, argument: str = "vertices"
) -> tuple[Int[Array, "f 3"], Bool[Array, " f"]]:
    """Returns faces as int32, clipped to existing vertices, and which of them were valid before clipping.

    Args:
      faces: vertex numbers, of any integer type.
      vertices: how many vertices there are.
      argument: name of the array with that many rows, for messages.

    Raises:
      ValueError: on a face with a number outside 0 to vertices - 1, where values are known (they are not under jit), or
        more vertices than int32 can number.
    """
    if vertices > np.iinfo(np.int32).max:
        raise ValueError(f"{argument} has {vertices:,} rows; int32 counts up to 2,147,483,647")
    if not isinstance(faces, jax.core.Tracer):
        known = np.asarray(faces)
        outside = np.flatnonzero(((known < 0) | (known >= vertices)).any(-1))
        if outside.size:
            row = outside[0]
            raise ValueError(
                f"faces[{row}] is {known[row].tolist()}, but {argument} has {vertices} rows: "
                f"each must be 0 to {vertices - 1}"
            )
        return jnp.asarray(known, jnp.int32), jnp.ones(known.shape[0], bool)
    exists = ((faces >= 0) & (faces < vertices)).all(-1)
    return jnp.clip(faces, 0, max(vertices - 1, 0)).astype(jnp.int32), exists
