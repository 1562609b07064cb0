"""The result as a mesh: OBJ with MTL and PNG, and one self-contained GLB.

The mesh frame is that of glTF: x right, y up, z towards the viewer, origin at the rotation centre.
One unit is the side of the picture at the rotation centre's distance, so an object that fills the
picture is one unit wide. Every pixel of the depth map is a vertex and every cell is two triangles,
as in the renderer. The texture is the albedo, pixel for pixel: no light is baked in, and the
materials are unshaded and double-sided.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import host, pictures
from gan2shape_jax.results.glb_file import glb_bytes
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import object_mask

if TYPE_CHECKING:
    import trimesh

__all__ = ["TexturedSheet", "build_mesh", "mesh_scale", "sheet_of", "write_glb", "write_mesh", "write_obj"]

_MATERIAL = "albedo"
_DIGITS = 9  # significant digits that reproduce every float32 exactly


@dataclasses.dataclass(frozen=True, eq=False)
class TexturedSheet:
    """A result as triangles in the mesh frame.

    Attributes:
      vertices: (v, 3).
      faces: (f, 3) counterclockwise as seen from the front.
      normals: (v, 3) outward.
      uv: (v, 2) origin at the texture's lower left.
      texture: (S, S, 3).
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"]
    texture: UInt8[np.ndarray, "s s 3"]


def mesh_scale(camera: Camera) -> float:
    """Returns mesh units per scene unit."""
    return camera.focal_length / (camera.rot_center_depth * camera.image_size)


def sheet_of(result: Result, *, full: bool = False) -> TexturedSheet:
    """Returns the mesh in the mesh frame, cut at the object mask; `full` keeps the whole sheet.

    A triangle is kept if all its corners are on the object. An empty mask leaves the sheet whole, since a mesh
    without triangles is of no use.
    """
    size = result.camera.image_size
    inside = np.ones((size, size), bool) if full else object_mask(result)
    faces = _faces(inside)
    if len(faces) == 0:
        faces = _faces(np.ones((size, size), bool))
    kept, faces = np.unique(faces, return_inverse=True)
    rows, columns = np.divmod(kept, size)
    return TexturedSheet(
        vertices=_vertices(result).reshape(-1, 3)[kept],
        faces=faces.reshape(-1, 3),
        normals=_vertex_normals(result).reshape(-1, 3)[kept],
        uv=np.stack([(columns + 0.5) / size, 1 - (rows + 0.5) / size], axis=-1),
        texture=pictures.to_uint8(result.albedo),
    )


def build_mesh(result: Result, *, full: bool = False) -> trimesh.Trimesh:
    """Builds the mesh of `sheet_of` for trimesh, with the texture."""
    import trimesh  # here, because its import is slow and no file of a result needs it
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    sheet = sheet_of(result, full=full)
    material = PBRMaterial(
        name=_MATERIAL,
        baseColorTexture=Image.fromarray(sheet.texture),
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    return trimesh.Trimesh(
        vertices=sheet.vertices,
        faces=sheet.faces,
        vertex_normals=sheet.normals,
        visual=TextureVisuals(uv=sheet.uv, material=material),
        process=False,
    )


def write_mesh(result: Result, folder: pathlib.Path, *, full: bool = False) -> None:
    """Writes `mesh.obj`, `mesh.mtl`, `mesh_albedo.png` and `mesh.glb` into an existing folder."""
    sheet = sheet_of(result, full=full)
    write_obj(sheet, folder / "mesh.obj")
    write_glb(sheet, folder / "mesh.glb")


def write_obj(sheet: TexturedSheet, path: pathlib.Path) -> None:
    """Writes an OBJ, with its MTL and texture beside it under the same stem.

    Written here rather than by trimesh, whose exporter counts digits after the decimal point, names
    the texture after the material, and gives the material lighting that it should not have.
    """
    texture = path.with_name(f"{path.stem}_albedo.png")
    lines = [
        "# x right, y up, z towards the viewer; texture: albedo without light",
        f"mtllib {path.stem}.mtl",
        f"usemtl {_MATERIAL}",
    ]
    lines += [_rows("v", sheet.vertices), _rows("vt", sheet.uv), _rows("vn", sheet.normals)]
    lines.append(_triangles(sheet.faces))
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    # illum 0: the colour as it is, without shading.
    material = [
        f"newmtl {_MATERIAL}",
        "illum 0",
        "Ka 1 1 1",
        "Kd 1 1 1",
        "Ks 0 0 0",
        f"map_Ka {texture.name}",
        f"map_Kd {texture.name}",
    ]
    path.with_suffix(".mtl").write_text("\n".join(material) + "\n", encoding="ascii")
    Image.fromarray(sheet.texture).save(texture)


def write_glb(sheet: TexturedSheet, path: pathlib.Path) -> None:
    """Writes binary glTF 2.0 with an unlit material (`KHR_materials_unlit`, otherwise fully rough)."""
    texture = io.BytesIO()
    Image.fromarray(sheet.texture).save(texture, "PNG")
    content = glb_bytes(
        vertices=sheet.vertices,
        faces=sheet.faces,
        normals=sheet.normals,
        uv=sheet.uv,
        texture=texture.getvalue(),
        texture_type="image/png",
        material=_MATERIAL,
        name=path.stem,
        lit=False,
    )
    path.write_bytes(content)


def _faces(inside: np.ndarray) -> Int[np.ndarray, "n 3"]:
    """Returns the triangles, counterclockwise as seen from the front, whose three corners are `inside`."""
    size = inside.shape[0]
    index = np.arange(size * size).reshape(size, size)
    top_left, top_right = index[:-1, :-1], index[:-1, 1:]
    low_left, low_right = index[1:, :-1], index[1:, 1:]
    cells = [
        np.stack([top_left, low_left, top_right], axis=-1),
        np.stack([top_right, low_left, low_right], axis=-1),
    ]
    faces = np.stack(cells, axis=2).reshape(-1, 3)
    return faces[inside.reshape(-1)[faces].all(axis=1)]


def _vertices(result: Result) -> Float[np.ndarray, "s s 3"]:
    points = host.points(result.depth, result.camera).astype(np.float64)
    points[..., 2] -= result.camera.rot_center_depth
    flipped = points * (1.0, -1.0, -1.0) * mesh_scale(result.camera)
    return flipped.astype(np.float32)


def _vertex_normals(result: Result) -> Float[np.ndarray, "s s 3"]:
    """Returns outward normals in the mesh frame; the package's own point into the surface."""
    inward = host.normals(result.depth, result.camera).astype(np.float64)
    return inward * (-1.0, 1.0, 1.0)


def _rows(key: str, values: np.ndarray) -> str:
    return _filled(" ".join([key, *[f"%.{_DIGITS}g"] * values.shape[1]]), values)


def _triangles(faces: np.ndarray) -> str:
    """Returns one line per triangle; each vertex is formatted once, not in each of its six triangles."""
    corners = [f"{number}/{number}/{number}" for number in range(1, int(faces.max()) + 2)]
    return "\n".join(["f %s %s %s"] * len(faces)) % tuple(corners[index] for index in faces.reshape(-1).tolist())


def _filled(pattern: str, values: np.ndarray) -> str:
    """Returns one line per row of values, formatted in one go: several times as fast as line by line."""
    return "\n".join([pattern] * len(values)) % tuple(np.asarray(values).reshape(-1).tolist())
