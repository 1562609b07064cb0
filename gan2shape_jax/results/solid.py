"""A result as a solid to print: closed, in millimetres, as it lies on the bed.

Seen from the camera, the front is one surface that every ray meets once. The solid is what lies behind it along the
rays, up to a plane; so the walls follow the rays, and front, walls and back can meet only at their borders, whatever
the depth. A mirrored back is the same again, reflected in that plane. Print frame: x right, y up in the picture, z up
from the bed, millimetres, the lowest corner at the origin.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.results.outline import CutSheet, border, cut_sheet, finer
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.smooth_depth import without_spikes
from gan2shape_jax.results.surface import MASK_THRESHOLD, object_mask, surface
from gan2shape_jax.results.thin_parts import thin_share

if TYPE_CHECKING:
    import trimesh

__all__ = ["BACKS", "LARGEST_MM", "LEAST_WALL_MM", "Solid", "build_solid"]

BACKS = ("flat", "mirrored")
LEAST_WALL_MM = 0.8  # two lines of a common nozzle: what printers can still make
LARGEST_MM = 10_000.0

_DEFAULT_MM = 80.0
_FINENESS_MM = 0.5  # vertices are no farther apart than this, unless that takes more of them than
_MOST_VERTICES = 400  # along a side
_FITTINGS = 50
_THIN_SHARE = 0.002  # of the area: less than this is just a sharp corner


@dataclasses.dataclass(frozen=True, eq=False)
class Solid:
    """A closed body.

    Attributes:
      mesh: vertices in millimetres, print frame; faces counterclockwise as seen from outside.
      notes: what was changed to make it a closed body, and what may not print, one sentence each.
    """

    mesh: trimesh.Trimesh
    notes: tuple[str, ...] = ()


def build_solid(
    result: Result,
    *,
    width_mm: float | None = None,
    height_mm: float | None = None,
    thickness_mm: float = 3.0,
    back: str = "flat",
) -> Solid:
    """Makes a solid from a result's object.

    Args:
      result: the reconstruction.
      width_mm: the finished solid's extent along the picture's x.
      height_mm: likewise along the picture's y. If both are given, the solid is as large as fits into both; if neither
        is, its larger extent is 80 mm.
      thickness_mm: material where it is thinnest, between the farthest point of the front and the flat back, or the
        mirrored front.
      back: 'flat', which lies on the bed, or 'mirrored', the front once more.

    Returns:
      The solid, with notes on it.

    Raises:
      ArgumentError: a size is not a number above 0 and at most 10,000, `thickness_mm` is below what prints (0.8 mm), or
        `back` is unknown.
      UserError: the object mask is empty, or has only a few pixels.
    """
    import trimesh  # here, because its import is slow

    _check(width_mm, height_mm, thickness_mm, back)
    inside = result.mask >= MASK_THRESHOLD
    if not inside.any():
        raise UserError(
            f"the object mask of {result.name} is empty, so there is no object to print: reconstruct with a mask"
        )
    kept = object_mask(result)
    depth, spikes = without_spikes(result.depth, kept, 1 / result.camera.focal_length)
    share = surface(result).field
    limits = _limits(width_mm, height_mm)

    sheet = cut_sheet(depth, share, result.camera)
    if len(sheet.faces) == 0:
        raise UserError(f"the object mask of {result.name} is only {int(kept.sum())} pixels: too small to print")
    half = thickness_mm / (2 if back == "mirrored" else 1)
    parts = _parts(_fitted(sheet.points, limits, half), result)
    if parts > 1:
        depth, share = finer(depth, parts), finer(share, parts)
        sheet = cut_sheet(depth, share, result.camera, parts=parts)
    scale = _fitted(sheet.points, limits, half)
    plane = sheet.points[:, 2].max() + half / scale
    vertices, faces = _closed(sheet, plane, mirrored=back == "mirrored")
    placed = vertices * (scale, -scale, -scale)
    placed -= placed.min(axis=0)
    mesh = trimesh.Trimesh(placed, faces, process=False)
    # Projected along the rays onto the plane, where front and back share one outline.
    pitch = plane * scale / (parts * result.camera.focal_length)
    thin = thin_share((plane - depth) * scale, share, pitch, LEAST_WALL_MM)
    return Solid(mesh, tuple(_notes(inside, kept, spikes, thin)))


def _check(width_mm: float | None, height_mm: float | None, thickness_mm: float, back: str) -> None:
    for name, value, least in (
        ("width_mm", width_mm, 0.0),
        ("height_mm", height_mm, 0.0),
        ("thickness_mm", thickness_mm, LEAST_WALL_MM),
    ):
        if value is None:
            continue
        if not math.isfinite(value) or value <= 0:
            raise ArgumentError(f"{name} is {value:g}: it must be a number of millimetres above 0")
        if value < least:
            raise ArgumentError(f"{name} is {value:g}: walls below {least:g} mm do not print")
        if value > LARGEST_MM:
            raise ArgumentError(f"{name} is {value:g}: at most {LARGEST_MM:g} mm are possible")
    if back not in BACKS:
        raise ArgumentError(f"back is {back!r}: it is one of {', '.join(BACKS)}")


def _limits(width_mm: float | None, height_mm: float | None) -> Float[np.ndarray, "2"]:
    if width_mm is None and height_mm is None:
        return np.full(2, _DEFAULT_MM)
    return np.array([math.inf if value is None else value for value in (width_mm, height_mm)], float)


def _fitted(points: Float[np.ndarray, "v 3"], limits: Float[np.ndarray, "2"], half: float) -> float:
    """Returns the millimetres per scene unit that bring the solid to its limits.

    The back is `half` mm behind the farthest point, and a little wider than the front since the rays diverge; so a size
    is not quite proportional to the scale, which is found by iteration.
    """
    front, slopes = (np.stack([a.min(axis=0), a.max(axis=0)]) for a in (points[:, :2], points[:, :2] / points[:, 2:]))
    farthest = points[:, 2].max()
    scale = 1.0
    for _ in range(_FITTINGS):
        both = np.concatenate([front * scale, slopes * (farthest * scale + half)])
        scale *= float(np.min(limits / np.ptp(both, axis=0)))
    return scale


def _parts(scale: float, result: Result) -> int:
    """Returns how many vertices each pixel of the depth map gets along a side."""
    pixel = scale * result.camera.rot_center_depth / result.camera.focal_length
    most = (_MOST_VERTICES - 1) // (result.camera.image_size - 1)
    return max(1, min(math.ceil(pixel / _FINENESS_MM), most))


def _closed(
    sheet: CutSheet, plane: float, *, mirrored: bool
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Returns vertices and faces of what lies between a sheet and a plane of constant z, or its mirror image in it."""
    front, faces = sheet.points, sheet.faces
    on_plane = front * (plane / front[:, 2:])
    rim = border(faces)
    count = len(front)
    if not mirrored:
        sides = _walls(rim, rim + count)
        return np.concatenate([front, on_plane]), np.concatenate([faces, sides, faces[:, ::-1] + count])
    corners, rim_corners = np.unique(rim, return_inverse=True)
    middle = rim_corners.reshape(rim.shape) + 2 * count
    other = front * (1, 1, -1) + (0, 0, 2 * plane)
    sides = np.concatenate([_walls(rim, middle), _walls(rim + count, middle)[:, ::-1]])
    return np.concatenate([front, other, on_plane[corners]]), np.concatenate([faces, sides, faces[:, ::-1] + count])


def _walls(near: Int[np.ndarray, "e 2"], far: Int[np.ndarray, "e 2"]) -> Int[np.ndarray, "f 3"]:
    """Returns the triangles between a front's border, edge by edge in its faces' direction, and the vertices behind."""
    (a, b), (c, d) = near.T, far.T
    return np.concatenate([np.stack([b, a, c], axis=1), np.stack([b, c, d], axis=1)])


def _notes(inside: Bool[np.ndarray, "s s"], kept: Bool[np.ndarray, "s s"], spikes: int, thin: float) -> list[str]:
    notes = []
    pieces = ndimage.label(inside)[1]
    if pieces > 1:
        lost = int((inside & ~kept).sum())
        notes.append(f"the mask has {pieces} pieces: the largest was kept, {lost} pixels of others were left out")
    filled = int((kept & ~inside).sum())
    if filled:
        notes.append(f"the mask has holes: {filled} pixels were filled")
    if spikes:
        notes.append(f"{spikes} pixels stood out of their surroundings as spikes and were flattened")
    if thin > _THIN_SHARE:
        notes.append(f"{thin:.1%} of the area is thinner than {LEAST_WALL_MM:g} mm and may not print: make it larger")
    return notes
