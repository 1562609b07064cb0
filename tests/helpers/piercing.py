"""Whether a mesh cuts itself, edge against triangle, every pair of them."""

import numpy as np

_PAIRS = 1 << 21  # looked at together


def pierced_faces(vertices: np.ndarray, faces: np.ndarray) -> int:
    """Counts the triangles that an edge of others goes through; edges that share a corner with one do not count.

    Two triangles that are not in one plane cut each other exactly where an edge of either goes through the other one.
    """
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    start, end = vertices[edges[:, 0]], vertices[edges[:, 1]]
    low, high = np.minimum(start, end), np.maximum(start, end)
    pierced = 0
    rows = max(1, _PAIRS // len(edges))
    for some in np.split(faces, range(rows, len(faces), rows)):
        corners = vertices[some]
        near = np.all(
            (corners.min(1)[:, None] <= high[None]) & (corners.max(1)[:, None] >= low[None]), axis=-1
        )  # boxes that touch
        near &= ~(some[:, :, None, None] == edges[None, None]).any((1, 3))
        triangle, edge = np.nonzero(near)
        hits = _goes_through(corners[triangle], start[edge], end[edge])
        pierced += len(np.unique(triangle[hits]))
    return pierced


def _goes_through(corners: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Whether segments meet triangles, by the signs of the volumes that their points span."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    sides = _volume(a, b, c, start) * _volume(a, b, c, end) < 0
    around = np.stack([_volume(start, end, p, q) for p, q in ((a, b), (b, c), (c, a))])
    return sides & ((around > 0).all(0) | (around < 0).all(0))


def _volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.einsum("ni,ni->n", np.cross(b - a, c - a), d - a)
