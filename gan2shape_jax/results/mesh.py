"""The result as a mesh: OBJ with MTL and PNG, and one self-contained GLB, both written by trimesh.

The mesh frame is that of glTF: x right, y up, z towards the viewer, origin at the rotation centre.
One unit is the side of the picture at the rotation centre's distance, so an object that fills the
picture is one unit wide. Every pixel of the depth map is a vertex and every cell is two triangles,
as in the renderer. The texture is the albedo, pixel for pixel: no light is baked in, and the
materials are unshaded and double-sided.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces
from gan2shape_jax.results import pictures
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import normals, object_mask, points

if TYPE_CHECKING:
    import trimesh

__all__ = ["build_mesh", "glb_bytes", "mesh_scale", "obj_files", "textured_mesh"]

_UNLIT = "KHR_materials_unlit"
_DIGITS = 9  # after the point, of coordinates of about 1: finer than float32
# illum 0: the colour as it is, without shading.
_MTL = "newmtl albedo\nillum 0\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Ka {texture}\nmap_Kd {texture}\n"


def mesh_scale(camera: Camera) -> float:
    """Returns mesh units per scene unit."""
    return camera.focal_length / (camera.rot_center_depth * camera.image_size)


def build_mesh(result: Result, *, full: bool = False) -> trimesh.Trimesh:
    """Builds the mesh in the mesh frame, cut at the object mask; `full` keeps the whole sheet.

    A triangle is kept if all its corners are on the object. An empty mask leaves the sheet whole, since a mesh
    without triangles is of no use.
    """
    size, camera = result.camera.image_size, result.camera
    everything = np.ones((size, size), bool)
    faces = _faces(everything if full else object_mask(result))
    if len(faces) == 0:
        faces = _faces(everything)
    kept, faces = np.unique(faces, return_inverse=True)
    rows, columns = np.divmod(kept, size)
    placed = (points(result.depth, camera).astype(np.float64) - (0, 0, camera.rot_center_depth)) * mesh_scale(camera)
    inward = normals(result.depth, camera).astype(np.float64)
    return textured_mesh(
        vertices=(placed * (1.0, -1.0, -1.0)).reshape(-1, 3)[kept],
        faces=faces.reshape(-1, 3),
        normals=(inward * (-1.0, 1.0, 1.0)).reshape(-1, 3)[kept],
        uv=np.stack([(columns + 0.5) / size, 1 - (rows + 0.5) / size], axis=-1),
        texture=Image.fromarray(pictures.to_uint8(result.albedo)),
        name="albedo",
    )


def textured_mesh(
    *,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    normals: Float[np.ndarray, "v 3"],
    uv: Float[np.ndarray, "v 2"],
    texture: Image.Image,
    name: str,
) -> trimesh.Trimesh:
    """Returns a mesh with a fully rough, double-sided material.

    Args:
      vertices: mesh frame.
      faces: counterclockwise as seen from outside.
      normals: unit, outward.
      uv: of the vertices; the origin is the texture's lower left.
      texture: its colours.
      name: the material's.
    """
    import trimesh  # here, because its import is slow
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    material = PBRMaterial(
        name=name, baseColorTexture=texture, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    visual = TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(vertices=vertices, faces=faces, vertex_normals=normals, visual=visual, process=False)


def glb_bytes(mesh: trimesh.Trimesh, *, name: str, lit: bool = False) -> bytes:
    """Returns a mesh as binary glTF 2.0.

    Args:
      mesh: from `textured_mesh`.
      name: the mesh's name, which viewers show.
      lit: whether viewers light it; otherwise `KHR_materials_unlit` asks for the colours as they are.
    """

    def unlit(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = "gan2shape_jax"
        if not lit:
            tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", ()), _UNLIT})
            for material in tree["materials"]:
                material["extensions"] = {_UNLIT: {}}

    from trimesh import Scene

    scene = Scene()
    scene.add_geometry(mesh, node_name=name, geom_name=name)
    return scene.export(file_type="glb", include_normals=True, tree_postprocessor=unlit)


def obj_files(mesh: trimesh.Trimesh, stem: str) -> dict[str, Any]:
    """Returns `STEM.obj`, `STEM.mtl` and the texture `STEM_albedo.png`, contents by name.

    The material is ours, since trimesh's has lighting that it should not have.
    """
    from trimesh.exchange.obj import export_obj

    # "albedo" is the material's name in the mesh, which trimesh writes as the one to use.
    text = export_obj(mesh, include_normals=True, digits=_DIGITS, mtl_name=f"{stem}.mtl", header="y up, unlit albedo")
    picture = io.BytesIO()
    mesh.visual.material.baseColorTexture.save(picture, "PNG")  # type: ignore[union-attr]
    texture = f"{stem}_albedo.png"
    return {f"{stem}.obj": text, f"{stem}.mtl": _MTL.format(texture=texture), texture: picture.getvalue()}


def _faces(inside: Bool[np.ndarray, "s s"]) -> Int[np.ndarray, "n 3"]:
    """Returns the triangles, counterclockwise as seen from the front, whose three corners are `inside`."""
    # Cell by cell, as the page has them: `grid_faces` puts all the cells' first triangles before the second ones.
    faces = grid_faces(*inside.shape).reshape(2, -1, 3).swapaxes(0, 1).reshape(-1, 3).astype(np.int64)
    return faces[inside.reshape(-1)[faces].all(axis=1)]
