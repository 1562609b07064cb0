"""The object as a solid to print: closed, in millimetres, as it lies on the bed.

Its front is the object's surface, see `surface.cut_surface`: seen from the camera, one surface that every ray meets
once. The solid is what lies behind it along the rays, up to a plane; so front, walls and back can meet only at their
borders, whatever the depth. A round back is that of `results.back`. Print frame: x right, y up in the picture, z up
from the bed, millimetres, the lowest corner at the origin. Vertices have the colours of the meshes' texture; a flat
back has their mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy import ndimage

from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.results.back import back_of
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import MASK_THRESHOLD, CutSurface, border, cut_surface, object_mask, surface

if TYPE_CHECKING:
    import trimesh

BACKS = ("flat", "round")
LEAST_WALL_MM = 0.8  # two lines of a common nozzle: what printers can still make
LARGEST_MM = 10_000.0

_FINENESS_MM = 0.5  # vertices are no farther apart than this, unless that takes more of them than
_MOST_VERTICES = 400  # along a side
_FITTINGS = 50
_THIN_SHARE = 0.002  # of the area: less than this is just a sharp corner
# The 16 pixels around a pixel and its eight neighbours: a spike is narrower than what they enclose.
_RING = np.pad(np.zeros((3, 3), bool), 1, constant_values=True)
_PITCHES = 3.0  # a spike's least height, in distances between neighbouring pixels
_THIN_CELLS = 8  # across the least wall
_MOST_THIN_CELLS = 1500  # along a side; a larger solid is examined more coarsely
_WALLS_HIGH = 2.0  # so many walls high is a ridge's crest before it counts: every sharp edge is thin at its end


class Solid(NamedTuple):
    """A closed body in millimetres, and what was changed for it or may not print, one sentence each."""

    mesh: trimesh.Trimesh
    notes: list[str]


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
        is, it has the meshes' scale: the eyes of a face are 63 mm apart.
      thickness_mm: material where it is thinnest, 0.8 or more.
      back: 'flat', which lies on the bed, or 'round', as of the meshes of whole heads.

    Raises:
      ArgumentError: a size is out of range, or `back` is unknown.
      UserError: the object mask is empty, or has only a few pixels.
    """
    import trimesh  # here, because its import is slow

    for name, value in (("width_mm", width_mm), ("height_mm", height_mm), ("thickness_mm", thickness_mm)):
        if value is not None and not 0 < value <= LARGEST_MM:
            raise ArgumentError(f"{name} is {value:g}: it must be above 0 and at most {LARGEST_MM:g} mm")
    if thickness_mm < LEAST_WALL_MM:
        raise ArgumentError(f"thickness_mm is {thickness_mm:g}: walls below {LEAST_WALL_MM:g} mm do not print")
    if back not in BACKS:
        raise ArgumentError(f"back is {back!r}: it must be one of {', '.join(BACKS)}")
    inside = result.mask >= MASK_THRESHOLD
    if not inside.any():
        raise UserError(f"the object mask of {result.name} is empty: reconstruct with a mask")
    kept = object_mask(result.mask)
    part = surface(result)
    share = part.field
    depth, spikes = _without_spikes(part.depth, kept, 1 / result.camera.focal_length)
    limits = np.array([math.inf if value is None else value for value in (width_mm, height_mm)], float)

    def scaled(points: Float[np.ndarray, "v 3"]) -> float:
        if not np.isfinite(limits).any():
            return 1000 * result.metres
        if back == "flat":
            return _fitted(points, limits, thickness_mm)
        return float(np.min(limits / np.ptp(points[:, :2], axis=0)))

    front = cut_surface(depth, share, result.camera)
    if len(front.faces) == 0:
        raise UserError(f"the object mask of {result.name} is only {kept.sum()} pixels: too small to print")
    pixel = scaled(front.points) * result.camera.rot_center_depth / result.camera.focal_length
    most = (_MOST_VERTICES - 1) // (result.camera.image_size - 1)
    parts = max(1, min(math.ceil(pixel / _FINENESS_MM), most))  # vertices for each pixel, along a side
    if parts > 1:
        depth, share = _finer(depth, parts), _finer(share, parts)
        front = cut_surface(depth, share, result.camera, parts=parts)
    texture = to_uint8(result.signed_albedo) if result.texture is None else result.texture
    uv = (front.pixels + 0.5) / result.camera.image_size * (1, -1) + (0, 1)
    colours = texel_colours(texture, uv, _MOST_VERTICES)
    scale = scaled(front.points)
    plane = front.points[:, 2].max() + thickness_mm / scale
    if back == "flat":
        vertices, faces = _closed(front, plane)
        behind_it = np.tile(np.rint(colours.mean(axis=0)).astype(np.uint8), (len(front.points), 1))
    else:
        other = back_of(front, result.camera, texture, least=thickness_mm / scale)
        whole = other.joined(front)
        vertices, faces, behind_it = whole.points, whole.faces, other.colours[len(other.outline) :]
        scale = scaled(vertices)
    placed = vertices * (scale, -scale, -scale)
    colours = np.concatenate([colours, behind_it])
    mesh = trimesh.Trimesh(placed - placed.min(axis=0), faces, vertex_colors=colours, process=False)
    # Projected along the rays onto the plane, where front and back share one outline.
    thin = _thin_share((plane - depth) * scale, share, plane * scale / (parts * result.camera.focal_length))
    filled, lost, pieces = (kept & ~inside).sum(), (inside & ~kept).sum(), ndimage.label(inside)[1]
    notes = (
        (pieces > 1, f"the mask has {pieces} pieces: the largest was used, {lost} pixels of others were left out"),
        (filled, f"the mask has holes: {filled} pixels were filled"),
        (spikes, f"{spikes} pixels were spikes and were flattened"),
        (thin > _THIN_SHARE, f"{thin:.1%} of the area is thinner than 0.8 mm and may not print: enlarge it"),
    )
    return Solid(mesh, [note for applies, note in notes if applies])


def _fitted(points: Float[np.ndarray, "v 3"], limits: Float[np.ndarray, "2"], behind: float) -> float:
    """Returns the millimetres per scene unit that bring the solid to its limits, by iteration.

    A flat back, `behind` mm behind the farthest point, is wider than the front: sizes are not proportional to scales.
    """
    front, slopes = (np.stack([a.min(axis=0), a.max(axis=0)]) for a in (points[:, :2], points[:, :2] / points[:, 2:]))
    farthest = points[:, 2].max()
    scale = 1.0
    for _ in range(_FITTINGS):
        both = np.concatenate([front * scale, slopes * (farthest * scale + behind)])
        scale *= float(np.min(limits / np.ptp(both, axis=0)))
    return scale


def _closed(piece: CutSurface, plane: float) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Returns vertices and faces of what lies between a surface and a plane of constant z."""
    front, faces = piece.points, piece.faces
    rim, count = border(faces), len(front)
    (a, b), (c, d) = rim.T, (rim + count).T
    walls = np.concatenate([np.stack([b, a, c], axis=1), np.stack([b, c, d], axis=1)])
    on_plane = front * (plane / front[:, 2:])
    return np.concatenate([front, on_plane]), np.concatenate([faces, walls, faces[:, ::-1] + count])


def texel_colours(
    texture: UInt8[np.ndarray, "t w 3"], uv: Float[np.ndarray, "v 2"], most: int
) -> UInt8[np.ndarray, "v 3"]:
    """Returns a texture's colours at places of glTF's kind, v upwards, reduced to `most` texels in height.

    What is finer than vertices are apart would be missed between them.
    """
    side = min(len(texture), most)
    wide = side * texture.shape[1] // len(texture)
    small = np.asarray(Image.fromarray(texture).resize((wide, side), Image.Resampling.BOX), np.float32)
    places = texel_places(uv, small)
    channels = [ndimage.map_coordinates(small[..., k], places, order=1, mode="nearest") for k in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def texel_places(uv: Float[np.ndarray, "v 2"], picture: Float[np.ndarray, "h w *c"]) -> list[Float[np.ndarray, " v"]]:
    """Returns rows and columns in a picture of places of glTF's kind, v upwards."""
    return [(1 - uv[:, 1]) * len(picture) - 0.5, uv[:, 0] * picture.shape[1] - 0.5]


def _finer(values: Float[np.ndarray, "s s"], parts: int) -> Float[np.ndarray, "n n"]:
    """Returns a map with (s - 1) parts + 1 values per side: cubic splines, clipped to the range of the given values."""
    smooth = ndimage.zoom(values.astype(np.float64), ((len(values) - 1) * parts + 1) / len(values), mode="nearest")
    return np.clip(smooth, values.min(), values.max()).astype(values.dtype)


def _without_spikes(
    depth: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"], pitch: float
) -> tuple[Float[np.ndarray, "s s"], int]:
    """Flattens what stands out from everything around it; slopes, edges and ridges stay as they are.

    Returns the depth and how many pixels were flattened; `pitch` is the distance between neighbouring pixels' points,
    scene units.
    """
    nearest = tuple(ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True))
    whole = depth[nearest]
    low = ndimage.minimum_filter(whole, footprint=_RING, mode="nearest")
    high = ndimage.maximum_filter(whole, footprint=_RING, mode="nearest")
    within = np.clip(whole, low, high)
    spikes = inside & (np.abs(whole - within) > _PITCHES * pitch)
    return np.where(spikes, within, depth), int(spikes.sum())


def _thin_share(height_mm: Float[np.ndarray, "n n"], share: Float[np.ndarray, "n n"], pitch_mm: float) -> float:
    """Returns the share of a solid's area, seen from above, that is narrower than a disc of the least wall's size.

    The height of the front above the back is opened with a disc of that diameter (grey-scale morphology): what rises
    above the opening by more than two walls is narrower than one. Values are `pitch_mm` apart.
    """
    side = len(height_mm)
    parts = max(1, min(math.ceil(pitch_mm * _THIN_CELLS / LEAST_WALL_MM), _MOST_THIN_CELLS // side))
    zoom = ((side - 1) * parts + 1) / side
    height, inside = (ndimage.zoom(values, zoom, order=1, mode="nearest") for values in (height_mm, share))
    solid = np.pad(np.where(inside > 0.5, height, 0), 1)
    radius = LEAST_WALL_MM / 2 / (pitch_mm / parts)
    reach = math.floor(radius)
    if reach < 1:  # the disc is no wider than a cell
        return 0.0
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    opened = ndimage.grey_opening(solid, footprint=x**2 + y**2 <= radius**2, mode="constant")
    return float((solid - opened > _WALLS_HIGH * LEAST_WALL_MM).sum() / max((solid > 0).sum(), 1))
