"""A sheet of triangles cut along its object's outline, with vertices as dense as requested.

Vertices are a grid over the canonical depth map; triangles are the renderer's, and those that the outline crosses are
cut there, so that the border is smooth instead of following whole pixels. What is kept is one piece without holes: a
disc with a single border. Points are in the camera's frame (x right, y down, z away), in scene units.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.faces import grid_faces
from gan2shape_jax.results import host

__all__ = ["OUTLINE", "CutSheet", "border", "cut_sheet", "finer"]

OUTLINE = 0.5  # the object's share at which a sheet is cut
_CLEAR = 0.03  # least distance of values from that, which keeps cuts away from vertices and so avoids sliver triangles
# Which vertices of the grid are joined by an edge: the diagonals all run the same way.
_JOINED = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])


@dataclasses.dataclass(frozen=True, eq=False)
class CutSheet:
    """The object's part of a sheet.

    Attributes:
      points: (V, 3) float64, camera frame, scene units.
      pixels: (V, 2) float64 column and row in the canonical picture; pixel centres are integers.
      faces: (F, 3) counterclockwise as seen from the front; none is empty.
    """

    points: np.ndarray
    pixels: np.ndarray
    faces: np.ndarray


def finer(values: Float[np.ndarray, "s s"], parts: int) -> Float[np.ndarray, "n n"]:
    """Returns a map with (s - 1) parts + 1 values per side: cubic splines, clipped to the range of the given values.

    Args:
      values: at the pixel centres; they are kept.
      parts: number of parts into which each distance between two of them is divided.
    """
    if parts == 1:
        return values
    smooth = ndimage.zoom(values.astype(np.float64), ((len(values) - 1) * parts + 1) / len(values), mode="nearest")
    return np.clip(smooth, values.min(), values.max()).astype(values.dtype)


def cut_sheet(
    depth: Float[np.ndarray, "n n"], share: Float[np.ndarray, "n n"], camera: Camera, *, parts: int = 1
) -> CutSheet:
    """Cuts the sheet of a depth map where the object's share is 1/2 and keeps the largest piece, with holes filled.

    Args:
      depth: on n = (S - 1) parts + 1 vertices per side, scene units.
      share: likewise, above 1/2 on the object.
      camera: of the S x S map.
      parts: vertices per pixel of that map, along a side.

    Returns:
      The piece; it has no faces if the object's share is nowhere above 1/2.
    """
    side = len(depth)
    # The same field of view on more pixels: pixel k here is pixel k / parts of the camera's own.
    points = host.points(depth, dataclasses.replace(camera, image_size=side)).astype(np.float64)
    rows, columns = np.mgrid[:side, :side] / parts
    value = _one_disc(share.astype(np.float64) - OUTLINE).reshape(-1)
    faces, ends, share_of_second = _cut(grid_faces(side, side).astype(np.int64), value)

    def on_all(values: np.ndarray) -> np.ndarray:
        first, second = values[ends[:, 0]], values[ends[:, 1]]
        return np.concatenate([values, first + share_of_second[:, None] * (second - first)])

    used, faces = np.unique(faces, return_inverse=True)
    return CutSheet(
        points=on_all(points.reshape(-1, 3))[used],
        pixels=on_all(np.stack([columns, rows], axis=-1).reshape(-1, 2))[used],
        faces=faces.reshape(-1, 3),
    )


def border(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Returns the edges (start, end) that belong to only one face, in that face's direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, index, count = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True)
    return edges[np.sort(index[count == 1])]


def _one_disc(value: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Returns the values, positive on the object, with its smaller pieces removed, holes filled, and none near 0."""
    clear = np.where(value > 0, np.maximum(value, _CLEAR), np.minimum(value, -_CLEAR))
    pieces, count = ndimage.label(clear > 0, _JOINED)
    if count > 1:
        largest = np.argmax(np.bincount(pieces.ravel())[1:]) + 1
        clear = np.where((pieces > 0) & (pieces != largest), -_CLEAR, clear)
    outside, count = ndimage.label(clear <= 0, _JOINED)
    rim = np.concatenate([outside[0], outside[-1], outside[:, 0], outside[:, -1]])
    holes = ~np.isin(outside, np.append(rim, 0)) & (outside > 0)
    return np.where(holes, _CLEAR, clear)


def _cut(
    faces: Int[np.ndarray, "f 3"], value: Float[np.ndarray, " v"]
) -> tuple[Int[np.ndarray, "k 3"], Int[np.ndarray, "e 2"], Float[np.ndarray, " e"]]:
    """Cuts triangles where a value that is linear on each is 0, and keeps the part above.

    Returns:
      Triangles of the same orientation; the ends of the edges that are cut, whose cut points are numbered from v on;
      and the share of the second end in each cut point.
    """
    above = value > 0
    count = above[faces].sum(axis=1)
    # Rotated so that the corner that differs from the other two comes first.
    one, two = faces[count == 1], faces[count == 2]
    one = _turned(one, np.argmax(above[one], axis=1))
    two = _turned(two, np.argmin(above[two], axis=1))
    crossed = np.sort(np.concatenate([one[:, :2], one[:, ::2], two[:, :2], two[:, ::2]]), axis=1)
    ends, number = np.unique(crossed, axis=0, return_inverse=True)
    number = len(value) + number.reshape(-1)
    one_b, one_c, two_b, two_c = np.split(number, np.cumsum([len(one), len(one), len(two)]))
    kept = [
        faces[count == 3],
        np.stack([one[:, 0], one_b, one_c], axis=1),
        np.stack([two_b, two[:, 1], two[:, 2]], axis=1),
        np.stack([two_b, two[:, 2], two_c], axis=1),
    ]
    first, second = value[ends[:, 0]], value[ends[:, 1]]
    return np.concatenate(kept), ends, first / (first - second)


def _turned(faces: Int[np.ndarray, "f 3"], start: Int[np.ndarray, " f"]) -> Int[np.ndarray, "f 3"]:
    """Returns faces with their corners in the same cyclic order, but beginning with the given one."""
    return np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, axis=1)
