"""A back for what a depth map shows from in front only: a closed shape that follows the outline.

The back is as deep as the outline is wide, row by row: an ellipse's half behind a strip, a ball's behind a disc. It is
the square root of what a membrane over the outline has under even pressure (Poisson's equation, by linear finite
elements on the front's own triangles), so that it stands upright on the outline. A narrow strip, rounded as the
front's slope says, joins the two without a crease. Everything lies behind the front along the camera's rays, and only
the strip reaches beyond them, outwards: no part goes through another, whatever the depth.

Colours go on from the front's border, evenly from all sides (Laplace's equation), and those of its top, hair, spread
over the middle down to the nape. Nothing else of the front is there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy import ndimage, sparse, spatial
from scipy.sparse import linalg

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results.surface import CutSurface, border

# Lengths are in pixels of the depth map.
# Times the membrane's height, about half the outline's width: a skull's depth at its middle, and how much more that is
# a half width higher (docs/reports/whole_heads.md).
_DEEP, _UPPER = 1.8, 0.4
_STRIP, _RINGS = 2.5, 4  # its depth, and into how many it is divided
_STEEPEST = 1.5  # outwards per depth: a front that ends flatter has an edge
_EVEN = 4.0  # within this distance of the outline, vertices move towards it: what stands upright needs them
_ROUGH = 3.0  # strips: a front whose border is less even than that
_SMOOTH = 2.0  # along the outline
_EDGE = 2.0  # from the outline, within which the front's own colours fade out
_TOP = 0.12  # of the outline's height: hair, or a bald head
_CROWN = (0.0, 0.45)  # of the back's depth, between which the colour of the top comes in
_NAPE = (0.7, 1.3)  # half widths below the deepest place, between which it ends


class Back(NamedTuple):
    """The other side of a front, with which it makes one closed surface. Its first vertices are on the outline."""

    points: np.ndarray  # (B, 3) camera frame, scene units
    pixels: np.ndarray  # (B, 2) column and row in the canonical picture that they are behind
    colours: np.ndarray  # (B, 3) uint8
    faces: np.ndarray  # (G, 3) counterclockwise as seen from behind
    outline: np.ndarray  # (E,) the front's vertices that the first E of these lie on

    def joined(self, front: CutSurface) -> CutSurface:
        """Returns both as one closed surface: the front's vertices, then those that are only the back's."""
        first, count = len(self.outline), len(front.points)
        number = np.concatenate([self.outline, count + np.arange(len(self.points) - first)])
        return CutSurface(
            points=np.concatenate([front.points, self.points[first:]]),
            pixels=np.concatenate([front.pixels, self.pixels[first:]]),
            faces=np.concatenate([front.faces, number[self.faces]]),
        )


def back_of(piece: CutSurface, camera: Camera, texture: UInt8[np.ndarray, "t t 3"], *, least: float = 0.0) -> Back:
    """Returns the back of a front that is one piece without holes.

    Args:
      piece: the front.
      camera: whose pixels those of the front are.
      texture: the front's colours, over the canonical picture.
      least: how far the back is behind the front, at least; scene units.
    """
    rim, front = _loop(border(piece.faces)), piece.points[:, 2]
    pitch = front[rim].mean() / camera.focal_length
    outward, slope = _sides(piece, rim, camera)
    solve = _membrane(piece, rim)
    deep = np.sqrt(2 * np.maximum(solve(np.zeros(len(rim)), 1.0), 0))
    behind = _farthest(_farthest(front, piece.faces), piece.faces)
    strip = max(pitch * _STRIP, least)
    wall = _even(behind[rim] - front[rim], _along(piece, rim)) + strip
    even = wall.max() < _ROUGH * strip  # else nothing leaves its ray, on which it is behind the front
    slope = slope * even
    away, nearest = spatial.KDTree(piece.pixels[rim]).query(piece.pixels)
    share = np.minimum(away / _EVEN, 1) if even else np.ones_like(away)
    closer = share * (2 - share)  # of the distance, within which vertices come to lie evenly along the curve
    beyond = slope * _STRIP / 2  # of the strip, outside of the outline
    moved = piece.pixels + outward[nearest] * (away * (1 - closer) + beyond[nearest] * (1 - share) ** 2)[:, None]
    height = deep * (_DEEP + _UPPER * np.clip(_above(piece, deep), -1, 1)) * np.sqrt(closer)
    depth = np.maximum(solve(front[rim] + wall, 0.0), behind + strip) + pitch * height
    depth[rim] = front[rim] + wall
    # Rings of the strip from the front's outline on, and where the last would be, the back's own border.
    part = np.arange(_RINGS)[:, None] / _RINGS
    rings = piece.pixels[rim] + (2 * beyond * part * (1 - part / 2))[..., None] * outward
    pixels = np.concatenate([rings.reshape(-1, 2), moved])
    depths = np.concatenate([(front[rim] + wall * part).reshape(-1), depth])
    rays = (pixels - (camera.image_size - 1) / 2) / camera.focal_length
    points = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depths[:, None]
    points[: len(rim)] = piece.points[rim]
    first = _RINGS * len(rim)
    near = np.arange(first).reshape(_RINGS, -1)
    far = np.concatenate([near[1:], first + rim[None]])
    a, b, c, d = near, np.roll(near, -1, axis=1), far, np.roll(far, -1, axis=1)
    strips = np.concatenate([np.stack([b, a, c], axis=-1), np.stack([b, c, d], axis=-1)]).reshape(-1, 3)
    colours = _continued(piece, rim, away, deep, solve, texture, camera)
    colours = np.concatenate([np.tile(colours[rim], (_RINGS, 1)), colours])
    return Back(
        points=points,
        pixels=pixels,
        colours=np.rint(np.clip(colours, 0, 255)).astype(np.uint8),
        faces=np.concatenate([strips, piece.faces[:, ::-1] + first]),
        outline=rim,
    )


def normals_of(surface: CutSurface) -> Float[np.ndarray, "v 3"]:
    """Returns unit normals of vertices, into the surface, by those of their faces and these faces' areas."""
    corners = surface.points[surface.faces]
    across = np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0])
    total = np.zeros_like(surface.points)
    for k in range(3):
        np.add.at(total, surface.faces[:, k], across)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)


def _farthest(depth: Float[np.ndarray, " v"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, " v"]:
    """Returns the greatest depth of each vertex and its neighbours."""
    most = depth.copy()
    np.maximum.at(most, faces.ravel(), np.repeat(depth[faces].max(axis=1), 3))
    return most


def _loop(edges: Int[np.ndarray, "e 2"]) -> Int[np.ndarray, " e"]:
    """Returns the vertices of a closed border in order."""
    after, here = dict(edges.tolist()), int(edges[0, 0])
    loop = [here]
    while (here := after[here]) != loop[0]:
        loop.append(here)
    return np.array(loop)


def _sides(
    piece: CutSurface, rim: Int[np.ndarray, " e"], camera: Camera
) -> tuple[Float[np.ndarray, "e 2"], Float[np.ndarray, " e"]]:
    """Returns where the outside is along the outline, and how far the front goes there for each step of depth."""
    at = piece.pixels[rim]
    width = _along(piece, rim)
    x, y = ndimage.gaussian_filter1d(np.roll(at, -1, axis=0) - np.roll(at, 1, axis=0), width, axis=0, mode="wrap").T
    outward = np.stack([-y, x], axis=-1)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    normal = -ndimage.gaussian_filter1d(normals_of(piece)[rim], width, axis=0, mode="wrap")
    sideways = np.maximum((normal[:, :2] * outward).sum(axis=1), 1e-9)
    along_rays = ((at - (camera.image_size - 1) / 2) * outward).sum(axis=1) / camera.focal_length
    return outward, np.clip(-normal[:, 2] / sideways - along_rays, 0, _STEEPEST)


def _along(piece: CutSurface, rim: Int[np.ndarray, " e"]) -> float:
    """Returns the width over which values are averaged along the outline, in its vertices."""
    at = piece.pixels[rim]
    return float(_SMOOTH * len(rim) / np.linalg.norm(at - np.roll(at, 1, axis=0), axis=1).sum())


def _even(values: Float[np.ndarray, " e"], width: float) -> Float[np.ndarray, " e"]:
    """Returns values around a loop that are smooth and nowhere less."""
    reach = math.ceil(2 * width)
    most = ndimage.maximum_filter1d(values, 2 * reach + 1, mode="wrap")
    return np.asarray(ndimage.gaussian_filter1d(most, width, mode="wrap", radius=reach))


def _membrane(piece: CutSurface, rim: Int[np.ndarray, " e"]):
    """Returns a function that solves -Laplace(u) = load in the outline for values on it, (e,) or (e, c)."""
    corners, count = piece.pixels[piece.faces], len(piece.pixels)
    opposite = corners[:, [2, 0, 1]] - corners[:, [1, 2, 0]]  # of each corner, the edge
    double = opposite[:, 0, 0] * opposite[:, 1, 1] - opposite[:, 0, 1] * opposite[:, 1, 0]
    local = np.einsum("fia,fja->fij", opposite, opposite) / (2 * np.abs(double))[:, None, None]
    rows, columns = np.broadcast_arrays(piece.faces[:, :, None], piece.faces[:, None, :])
    stiffness = sparse.csr_array((local.ravel(), (rows.ravel(), columns.ravel())), shape=(count, count))
    area = np.bincount(piece.faces.ravel(), np.repeat(np.abs(double) / 6, 3), minlength=count)
    inner = np.setdiff1d(np.arange(count), rim)
    factored = linalg.splu(sparse.csc_array(stiffness[inner][:, inner])) if len(inner) else None
    across = stiffness[inner][:, rim]

    def solve(values: np.ndarray, load: float) -> np.ndarray:
        whole = np.zeros((count, *values.shape[1:]))
        whole[rim] = values
        if factored is not None:
            whole[inner] = factored.solve((load * area[inner] - (across @ values).T).T)
        return whole

    return solve


def _continued(
    piece: CutSurface,
    rim: Int[np.ndarray, " e"],
    away: Float[np.ndarray, " v"],
    deep: Float[np.ndarray, " v"],
    solve,
    texture: UInt8[np.ndarray, "t t 3"],
    camera: Camera,
) -> Float[np.ndarray, "v 3"]:
    """Returns the colours of the back behind each vertex of the front."""
    side = 2 * camera.image_size
    small = np.asarray(Image.fromarray(texture).resize((side, side), Image.Resampling.BOX), np.float64)
    columns, rows = ((piece.pixels + 0.5) * side / camera.image_size - 0.5).T
    shown = [ndimage.map_coordinates(small[..., k], [rows, columns], order=1, mode="nearest") for k in range(3)]
    front = np.stack(shown, axis=-1)
    even = solve(ndimage.gaussian_filter1d(front[rim], _along(piece, rim), axis=0, mode="wrap"), 0.0)
    row = piece.pixels[:, 1]
    top = np.median(front[rim][row[rim] <= row.min() + _TOP * np.ptp(row)], axis=0)
    share = _ramp(deep / max(float(deep.max()), 1e-9), *_CROWN) * (1 - _ramp(-_above(piece, deep), *_NAPE))
    even = even + share[:, None] * (top - even)
    return front + _ramp(away, 0, _EDGE)[:, None] * (even - front)


def _above(piece: CutSurface, deep: Float[np.ndarray, " v"]) -> Float[np.ndarray, " v"]:
    """Returns how far vertices are above the deepest one, in about half the outline's width."""
    row = piece.pixels[:, 1]
    return (row[np.argmax(deep)] - row) / max(float(deep.max()), 1e-9)


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)
