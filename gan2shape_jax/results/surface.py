"""The surface of a result on the host: points, normals and light, and the part that is shown.

Towards the object's border the depth falls away to whatever the network left there: a surface that ends there has
spikes when seen from the side, and steps if it ends at whole pixels. So it ends where it turns away from the viewer,
the depth is extended past its border, and the outline is a contour of a smooth field. All maps are `(S, S)`, canonical
frame; depth in scene units. A result's mask is the image's or its model's: `mean_mask`.

The surface is the grid over the depth map, every pixel a vertex and every cell two triangles, as in the renderer, cut
along the outline to one piece without holes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces
from gan2shape_jax.platforms import default_numerics
from gan2shape_jax.results.result import Result

# The canonical mask is fractional; the reference cuts its pictures here as well (save_results).
MASK_THRESHOLD = 0.3
OUTLINE = 0.5  # of the field: where the surface is cut
RINGS = 5  # the outermost of the object, one for the cells across its outline, and what is averaged there
_BLUR, _BLURRED = 1.0, 3.0  # pixels, of the depth along the border, and up to this distance inside of it
WALL = 0.1  # of the range of depths before the background's: what lies there is the way down to it
FADE = 0.4  # of the field, from the outline on, over which a mesh becomes opaque
SLOPE = 0.1  # of the field in depth, per pixel's width: contours of the two then meet smoothly
LEAST_FRONT = 0.6  # of the object: where less lies before that, nothing is cut
_MOST = 0.75  # of a model's samples have the object where its mean mask does
_MEAN_BLUR = 1.0  # pixels, of their mean
_PARTS = 8  # of a pixel along a side, at which the mean mask's outline is located
CLEAR = 0.03  # least distance of values from the outline's, which keeps cuts away from vertices: no sliver triangles
_border_blurred = functools.partial(ndimage.gaussian_filter, sigma=_BLUR, mode="nearest", truncate=2)
# Which vertices of the grid are joined by an edge: the diagonals all run the same way.
_JOINED = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])


def _on_host(function: Callable[..., Any], static: tuple[int, ...] = ()) -> Callable[..., np.ndarray]:
    """Returns a function of the renderer as one compiled program that returns NumPy's arrays."""
    compiled = jax.jit(function, static_argnums=static)
    return default_numerics()(lambda *arguments: jax.device_get(compiled(*arguments)))


points = _on_host(cameras.back_project, (1,))
normals = _on_host(lighting.normals, (1,))
rotations = _on_host(cameras.rotation_matrix)
lit = _on_host(lighting.apply_shading)  # may exceed 1
_shade = _on_host(lighting.shade)


def shading(normal: Float[np.ndarray, "h w 3"], light: Float[np.ndarray, "4"]) -> Float[np.ndarray, "h w"]:
    """Returns ambient and diffuse light on normals."""
    return _shade(normal, light)[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """Depth, normals, and where the object is."""

    depth: np.ndarray  # (S, S) the object's own, extended a little past its border
    normal: np.ndarray  # (S, S, 3) unit, into the surface, of this depth
    field: np.ndarray  # (S, S) at least 1/2 on the object, below outside; its 1/2 contour is the outline
    mask: np.ndarray  # (S, S) 1 on the object and just across its outline, where `depth` may be drawn


def object_mask(mask: Float[np.ndarray, "s s"]) -> Bool[np.ndarray, "s s"]:
    """Returns where the object is: the largest piece of a canonical mask, holes filled; everywhere if it is empty."""
    inside = mask >= MASK_THRESHOLD  # with holes and specks where the surface folds
    return one_piece(inside) if inside.any() else np.ones_like(inside)


def _outlined(result: Result) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
    """Returns field and depth of the object's surface.

    The field follows the mask's fractions, and the depth before the way down to the background's: that contour is a
    straight edge when seen from the side.
    """
    kept = object_mask(result.mask)
    share = mask_field(result.mask, kept)
    if kept.all():
        return share, result.depth
    depth = with_even_border(result.depth, kept)
    both = np.minimum(share, _front(depth, kept, _far(result.depth), result.camera))
    return (both if (both >= OUTLINE).sum() > LEAST_FRONT * kept.sum() else share), depth


def mask_field(mask: Float[np.ndarray, "s s"], kept: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns a smooth field that is 1/2 and more where a mask has the object, `kept`."""
    soft = np.clip(mask * (OUTLINE / MASK_THRESHOLD), 0, 1)
    if kept.all():
        return np.ones_like(soft)
    share = np.where(kept, np.maximum(soft, OUTLINE), np.minimum(soft, OUTLINE - CLEAR))
    share[ndimage.binary_erosion(kept, border_value=1)], share[~ndimage.binary_dilation(kept)] = 1, 0
    weights = np.array([1, 8, 28, 56, 70, 56, 28, 8, 1]) / 256  # binomial, 1.4 pixels wide
    for axis in range(2):
        share = ndimage.convolve1d(share, weights, axis, mode="nearest")
    return np.asarray(share)


def _far(depth: Float[np.ndarray, "s s"]) -> float:
    """Returns the background's depth, which the method puts into the outer columns."""
    return float(np.median(depth[:, [0, -1]]))


def _front(
    depth: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"], far: float, camera: cameras.Camera
) -> Float[np.ndarray, "s s"]:
    """Returns a field that is 1/2 and more before the way down to the background's depth; 0 if nothing lies before."""
    near = depth[inside].min(initial=far)
    if near >= far:
        return np.zeros_like(depth)
    return np.clip(OUTLINE + (far - WALL * (far - near) - depth) * SLOPE * camera.focal_length, 0, 1)


def mean_mask(
    depths: Float[np.ndarray, "n s s"], masks: Float[np.ndarray, "n s s"], camera: cameras.Camera, *, symmetric: bool
) -> Float[np.ndarray, "s s"]:
    """Returns where objects of one kind are, all seen from straight ahead: one smooth piece, fractional at its outline.

    It has the pixels where three of four `masks` are and `depths` have not begun to fall to the background; 0 if there
    are none. With `symmetric` its halves are alike.
    """
    inside, side = masks >= MASK_THRESHOLD, masks.shape[-1]
    fronts = [_front(depth, mask, _far(depth), camera) for depth, mask in zip(depths, inside, strict=True)]
    share = (inside & (np.stack(fronts) >= OUTLINE)).mean(axis=0)
    share = (share + share[:, ::-1]) / 2 if symmetric else share
    share = ndimage.gaussian_filter(share, _MEAN_BLUR, mode="nearest")
    fine = ndimage.zoom(share, _PARTS, order=1, grid_mode=True, mode="nearest") >= _MOST
    if fine.all() or not fine.any():
        return np.full_like(depths[0], fine.all())
    kept = one_piece(fine)
    away = ndimage.distance_transform_edt(kept) - ndimage.distance_transform_edt(~kept)
    away = away.reshape(side, _PARTS, side, _PARTS).mean(axis=(1, 3)) / _PARTS  # pixels; above 0 inside
    away = (away + away[:, ::-1]) / 2 if symmetric else away
    return np.clip(MASK_THRESHOLD * (1 + away), 0, 1, dtype=np.float32)


def one_piece(inside: Bool[np.ndarray, "n n"], joined: np.ndarray | None = None) -> Bool[np.ndarray, "n n"]:
    """Returns the largest piece with its holes filled; `joined` says which neighbours are, as `ndimage.label` does."""
    pieces, _ = ndimage.label(inside, joined)
    largest = np.argmax(np.bincount(pieces.ravel(), minlength=2)[1:]) + 1
    return np.asarray(ndimage.binary_fill_holes(pieces == largest, joined), bool)


def surface(result: Result, *, cut: bool = True) -> Surface:
    """Returns the object's surface, or with `cut=False` the whole depth map as it is."""
    field, depth = _outlined(result) if cut else (np.ones_like(result.mask), result.depth)
    # Border normals are frontal by definition; their neighbours' normals look better.
    normal = np.pad(normals(depth, result.camera)[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), mode="edge")
    drawn = ndimage.binary_dilation(field >= 0.5, np.ones((3, 3)))
    return Surface(depth=depth, normal=normal, field=field, mask=drawn.astype(np.float32))


def whole_if_empty(result: Result, *, full: bool) -> Surface:
    """Returns the surface of a mesh: the whole depth map if requested, or if the object is too small for an outline."""
    part = surface(result, cut=not full)
    return part if (part.field > OUTLINE).any() else surface(result, cut=False)


def with_even_border(depth: Float[np.ndarray, "s s"], kept: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns a depth map that goes on straight past the object, and is even along its border.

    The outermost pixels have begun to fall to the background, the more, the further out the mask's steps reach; so the
    depth there is what goes on from inside, and averaged: seen from the side, the border had teeth otherwise.
    """
    core, there, weight = border_weights(kept)
    straight = _extended(depth, core)
    even = _border_blurred(straight * there) / np.maximum(_border_blurred(there), 1e-6)
    return (straight + weight * (even - straight)).astype(depth.dtype)


def border_weights(
    kept: Bool[np.ndarray, "s s"],
) -> tuple[Bool[np.ndarray, "s s"], Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
    """Returns where a depth map is known, 1 where it is or goes on, and how much of the average its border gets."""
    core = ndimage.binary_erosion(kept, np.ones((3, 3)), border_value=1)
    core = core if core.any() else kept
    there = ndimage.binary_dilation(core, np.ones((3, 3)), iterations=RINGS).astype(np.float64)
    inner = np.clip((_BLURRED - ndimage.distance_transform_edt(kept)) / (_BLURRED - 1), 0, 1)
    return core, there, _border_blurred(inner) * there


def _extended(depth: Float[np.ndarray, "s s"], filled: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns a depth map that goes on straight for `RINGS` past what is known: by planes through 5 x 5 pixels."""
    y, x = np.mgrid[-2:3, -2:3]
    terms = np.stack([np.ones((5, 5)), x, y])
    for _ in range(RINGS):
        fresh = ndimage.binary_dilation(filled, np.ones((3, 3))) & ~filled
        rows, columns = np.nonzero(fresh)
        window = np.pad(np.stack([np.where(filled, depth, 0), filled]).astype(np.float64), ((0, 0), (2, 2), (2, 2)))
        value, weight = window[:, rows[:, None, None] + y + 2, columns[:, None, None] + x + 2]
        matrix = np.einsum("aij,bij,kij->kab", terms, terms, weight) + np.diag([0, 1e-3, 1e-3])
        planes = np.linalg.solve(matrix, np.einsum("aij,kij->ka", terms, value)[..., None])
        depth, filled = depth.copy(), filled | fresh
        depth[fresh] = np.clip(planes[:, 0, 0], depth.min(), depth.max())
    return depth


@dataclasses.dataclass(frozen=True, eq=False)
class CutSurface:
    """The object's part of a surface."""

    points: np.ndarray  # (V, 3) float64, camera frame, scene units
    pixels: np.ndarray  # (V, 2) float64 column and row in the canonical picture; pixel centres are integers
    faces: np.ndarray  # (F, 3) counterclockwise as seen from the front; none is empty


def cut_surface(
    depth: Float[np.ndarray, "n n"], share: Float[np.ndarray, "n n"], camera: cameras.Camera, *, parts: int = 1
) -> CutSurface:
    """Cuts the surface of a depth map where the object's share is 1/2 and keeps the largest piece, with holes filled.

    Depth (scene units) and share are on n = (S - 1) parts + 1 vertices per side, for a camera of S x S pixels and
    `parts` vertices per pixel along a side. The share is above 1/2 on the object; the piece has no faces if it is so
    nowhere.
    """
    side = len(depth)
    # The same field of view on more pixels: pixel k here is pixel k / parts of the camera's own.
    placed = points(depth, dataclasses.replace(camera, image_size=side)).astype(np.float64)
    rows, columns = np.mgrid[:side, :side] / parts
    whole = np.concatenate([placed, columns[..., None], rows[..., None]], axis=-1).reshape(-1, 5)
    value = share.astype(np.float64) - OUTLINE
    value = np.where(one_piece(value > 0, _JOINED), np.maximum(value, CLEAR), np.minimum(value, -CLEAR)).reshape(-1)
    faces, ends = _cut(grid_faces(side, side).astype(np.int64), value)
    first, second = whole[ends[:, 0]], whole[ends[:, 1]]
    share_of_second = (value[ends[:, 0]] / (value[ends[:, 0]] - value[ends[:, 1]]))[:, None]
    used, faces = np.unique(faces, return_inverse=True)
    corners = np.concatenate([whole, first + share_of_second * (second - first)])[used]
    return CutSurface(points=corners[:, :3], pixels=corners[:, 3:], faces=faces.reshape(-1, 3))


def _cut(
    faces: Int[np.ndarray, "f 3"], value: Float[np.ndarray, " v"]
) -> tuple[Int[np.ndarray, "k 3"], Int[np.ndarray, "e 2"]]:
    """Cuts triangles where a value that is linear on each is 0, and keeps the part above.

    Returns them in the same orientation, and the ends of the edges that are cut, whose cut points are numbered from v.
    """
    above = value > 0
    count = above[faces].sum(axis=1)
    # Rotated so that the corner that differs from the other two comes first.
    single, two = faces[count == 1], faces[count == 2]
    single = _turned(single, np.argmax(above[single], axis=1))
    two = _turned(two, np.argmin(above[two], axis=1))
    crossed = np.sort(np.concatenate([single[:, :2], single[:, ::2], two[:, :2], two[:, ::2]]), axis=1)
    ends, number = np.unique(crossed, axis=0, return_inverse=True)
    number = len(value) + number.reshape(-1)
    one_b, one_c, two_b, two_c = np.split(number, np.cumsum([len(single), len(single), len(two)]))
    kept = [
        faces[count == 3],
        np.stack([single[:, 0], one_b, one_c], axis=1),
        np.stack([two_b, two[:, 1], two[:, 2]], axis=1),
        np.stack([two_b, two[:, 2], two_c], axis=1),
    ]
    return np.concatenate(kept), ends


def _turned(faces: Int[np.ndarray, "f 3"], start: Int[np.ndarray, " f"]) -> Int[np.ndarray, "f 3"]:
    """Returns faces with their corners in the same cyclic order, but beginning with the given one."""
    return np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, axis=1)


def border(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Returns the edges (start, end) that belong to only one face, in that face's direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, index, count = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True)
    return edges[np.sort(index[count == 1])]
