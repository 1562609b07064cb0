"""The surface of a result on the host: points, normals and light, the part that is shown, and the textured mesh of it.

The object mask is made of whole pixels, and beyond its border the depth falls away to whatever the network left there.
A surface cut there has steps along its outline and spikes when seen from the side. So the object's depth is extended
past its border, and the outline is the 1/2 contour of the smoothed mask. All maps are `(S, S)`, canonical frame; depth
in scene units.

The mesh (OBJ with MTL and PNG, or one GLB, both written by trimesh) keeps whole cells: every pixel of the depth map is
a vertex and every cell is two triangles, as in the renderer. Its frame is that of glTF: x right, y up, z towards the
viewer, origin at the rotation centre. One unit is the side of the picture at the rotation centre's distance, so an
object that fills the picture is one unit wide. The texture is the albedo, pixel for pixel: no light is baked in.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from scipy import ndimage

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces
from gan2shape_jax.results import pictures
from gan2shape_jax.results.result import Result

if TYPE_CHECKING:
    import trimesh

# The canonical mask is fractional; the reference cuts its pictures here as well (save_results).
MASK_THRESHOLD = 0.3
_RINGS = 2  # one for the cells across the outline, one more for the normals there
_UNLIT = "KHR_materials_unlit"
_DIGITS = 9  # after the point, of coordinates of about 1: finer than float32
# illum 0: the colour as it is, without shading.
_MTL = "newmtl albedo\nillum 0\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Ka mesh_albedo.png\nmap_Kd mesh_albedo.png\n"


def _on_host(function: Callable[..., Any], static: tuple[int, ...] = ()) -> Callable[..., np.ndarray]:
    """Returns a function of the renderer that returns NumPy's arrays.

    It is one compiled program: run operation by operation, they took a third of the time of a feed-forward result.
    """
    compiled = jax.jit(function, static_argnums=static)
    return functools.wraps(function)(lambda *arguments: jax.device_get(compiled(*arguments)))


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


def object_mask(result: Result) -> Bool[np.ndarray, "s s"]:
    """Returns where the object is: the largest piece of the canonical mask, holes filled; everywhere if it is empty.

    Where the sheet folds, the input's mask lands on parts that the input does not show, which leaves holes and specks.
    """
    inside = result.mask >= MASK_THRESHOLD
    return one_piece(inside) if inside.any() else np.ones_like(inside)


def one_piece(inside: Bool[np.ndarray, "n n"], joined: np.ndarray | None = None) -> Bool[np.ndarray, "n n"]:
    """Returns the largest piece with its holes filled; `joined` says which neighbours are, as `ndimage.label` does."""
    pieces, _ = ndimage.label(inside, joined)
    largest = np.argmax(np.bincount(pieces.ravel(), minlength=2)[1:]) + 1
    return np.asarray(ndimage.binary_fill_holes(pieces == largest, joined), bool)


def surface(result: Result, *, cut: bool = True) -> Surface:
    """Returns the object's surface, or with `cut=False` the whole sheet as it is."""
    inside = object_mask(result) if cut else np.ones(result.mask.shape, bool)
    field, weights = inside.astype(np.float32), np.array([1, 4, 6, 4, 1]) / 16  # binomial, one pixel wide
    for axis in range(2):
        field = ndimage.convolve1d(field, weights, axis, mode="nearest")
    depth, known = result.depth, inside
    for _ in range(_RINGS):  # unknown pixels next to known ones get the mean of those neighbours
        count = _neighbourhood(known)
        mean = _neighbourhood(np.where(known, depth, 0)) / np.maximum(count, 1)
        fresh = ~known & (count > 0.5)
        depth, known = np.where(fresh, mean, depth).astype(np.float32), known | fresh
    # Border normals are frontal by definition; their neighbours' normals look better.
    normal = np.pad(normals(depth, result.camera)[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), mode="edge")
    drawn = _neighbourhood(field >= 0.5) > 0.5
    return Surface(depth=depth, normal=normal, field=field, mask=drawn.astype(np.float32))


def _neighbourhood(values: np.ndarray) -> Float[np.ndarray, "s s"]:
    """Sums over 3 x 3 pixels, with nothing beyond the border."""
    return ndimage.convolve(values.astype(np.float32), np.ones((3, 3)), mode="constant")


def mesh_scale(camera: Camera) -> float:
    """Returns mesh units per scene unit."""
    return camera.focal_length / (camera.rot_center_depth * camera.image_size)


def build_mesh(result: Result, *, full: bool = False) -> trimesh.Trimesh:
    """Builds the mesh in the mesh frame, cut at the object mask; `full` keeps the whole sheet.

    A triangle is kept if all its corners are on the object. An empty mask leaves the sheet whole, since a mesh
    without triangles is of no use.
    """
    size, camera = result.camera.image_size, result.camera
    # Cell by cell, as the page has them: `grid_faces` puts all the cells' first triangles before the second ones.
    faces = grid_faces(size, size).reshape(2, -1, 3).swapaxes(0, 1).reshape(-1, 3).astype(np.int64)
    inside = np.ones(size**2, bool) if full else object_mask(result).reshape(-1)
    faces = within if len(within := faces[inside[faces].all(axis=1)]) else faces
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
    """Returns a mesh in the mesh frame with a fully rough, double-sided material of this name.

    Faces are counterclockwise as seen from outside; the origin of `uv` is the texture's lower left.
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
    """Returns a mesh, named as viewers show it, as binary glTF 2.0; unless `lit`, its colours are shown as they are."""
    from trimesh import Scene

    def unlit(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = "gan2shape_jax"
        if not lit:
            tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", ()), _UNLIT})
            for material in tree["materials"]:
                material["extensions"] = {_UNLIT: {}}

    scene = Scene()
    scene.add_geometry(mesh, node_name=name, geom_name=name)
    return scene.export(file_type="glb", include_normals=True, tree_postprocessor=unlit)


def obj_files(mesh: trimesh.Trimesh) -> dict[str, Any]:
    """Returns `mesh.obj`, `mesh.mtl` and the texture `mesh_albedo.png`, contents by name.

    The material is ours, since trimesh's has lighting that it should not have.
    """
    from trimesh.exchange.obj import export_obj

    # "albedo" is the material's name in the mesh, which trimesh writes as the one to use.
    text = export_obj(mesh, include_normals=True, digits=_DIGITS, mtl_name="mesh.mtl", header="y up, unlit albedo")
    picture = io.BytesIO()
    mesh.visual.material.baseColorTexture.save(picture, "PNG")  # type: ignore[union-attr]
    return {"mesh.obj": text, "mesh.mtl": _MTL, "mesh_albedo.png": picture.getvalue()}
