"""The textured mesh of a result, and its files: OBJ, GLB, USDZ.

It is in glTF's frame: x right, y up, z towards the viewer, origin at the rotation centre, metres as of
`Result.metres`. A whole head is closed, with the back of `results.back`; other objects end at their outline.
"""

from __future__ import annotations

import io
import os
import pathlib
import tempfile
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, JpegImagePlugin
from scipy import ndimage, spatial

from gan2shape_jax.results import pictures
from gan2shape_jax.results.back import Back, back_of, normals_of
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import FADE, OUTLINE, CutSurface, cut_surface, whole_if_empty

if TYPE_CHECKING:
    import trimesh

_HIGH = 3.6  # distances of the eyes, in a head's height: what is higher is a whole one
_UNLIT = "KHR_materials_unlit"
_DIGITS = 9  # after the point, of coordinates below 1: finer than float32
# illum 0: the colour as it is, without shading.
_MTL = "newmtl {0}\nillum 0\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Ka {1}\nmap_Kd {1}\n"


def build_mesh(
    result: Result, *, full: bool = False, texture: UInt8[np.ndarray, "t t 3"] | None = None
) -> trimesh.Trimesh:
    """Builds the mesh in the mesh frame, cut along the object's outline; `full` keeps the whole depth map.

    `texture` is a square picture over the canonical one, by default the photo's, or else the albedo. An empty mask
    leaves the depth map whole, since a mesh without triangles is of no use. The material is fully rough and
    double-sided. The vertices' colours are white, and transparent towards the outline, where the object fades into what
    was behind it; faces that have such a vertex come last. Formats without transparency end at the outline.

    A whole head is opaque and closed: the faces of its back come last, and have vertices of their own along the
    outline, as their colours are beside the texture, in a picture that is twice as wide.
    """
    import trimesh  # here, because its import is slow
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    size, camera, part = result.camera.image_size, result.camera, whole_if_empty(result, full=full)
    front = cut_surface(part.depth, part.field, camera)
    columns, rows = front.pixels.T
    inward = [ndimage.map_coordinates(part.normal[..., i], [rows, columns], order=1, mode="nearest") for i in range(3)]
    normal, points, faces = np.stack(inward, axis=-1), front.points, front.faces
    photo = result.texture if texture is None else texture
    picture = pictures.to_uint8(result.signed_albedo) if photo is None else photo
    uv = np.stack([(columns + 0.5) / size, 1 - (rows + 0.5) / size], axis=-1)
    field = ndimage.map_coordinates(part.field, [rows, columns], order=1, mode="nearest")
    share = np.clip((field - OUTLINE) / FADE, 0, 1)
    opacity = np.rint(255 * share * share * (3 - 2 * share)).astype(np.uint8)  # as the viewer's shader has it
    if (back := None if full else whole_back(result, front, picture)) is not None:
        smooth = normals_of(back.joined(front))
        normal[back.outline] = smooth[back.outline]
        normal = np.concatenate([normal, smooth[back.outline], smooth[len(points) :]])
        faces = np.concatenate([faces, back.faces + len(points)])
        points = np.concatenate([points, back.points])
        beside = (np.clip(back.pixels, 0, size - 1) + 0.5) / size * (0.5, -1) + (0.5, 1)
        uv = np.concatenate([uv * (0.5, 1), beside])
        picture = np.concatenate([picture, _panel(back, size, len(picture))], axis=1)
        opacity = np.full(len(points), 255, np.uint8)
    placed = (points - (0, 0, camera.rot_center_depth)) * result.metres * (1.0, -1.0, -1.0)
    outward = normal * (-1.0, 1.0, 1.0)
    name, image = ("albedo", Image.fromarray(picture)) if photo is None else ("photo", jpeg(picture))
    look = {"metallicFactor": 0.0, "roughnessFactor": 1.0, "doubleSided": True}
    visual = TextureVisuals(uv=uv, material=PBRMaterial(name=name, baseColorTexture=image, **look))
    white = np.full((len(uv), 3), 255, np.uint8)
    visual.vertex_attributes["color"] = np.concatenate([white, opacity[:, None]], axis=-1)
    faces = faces[np.argsort((opacity[faces] < 255).any(axis=1), kind="stable")]
    unit = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
    return trimesh.Trimesh(placed, faces, vertex_normals=unit, visual=visual, process=False)


def whole_back(result: Result, front: CutSurface, picture: UInt8[np.ndarray, "t t 3"]) -> Back | None:
    """Returns the back of a result's front in these colours where it shows a whole head, from the neck to the crown."""
    high = np.ptp(front.points[:, 1]) if len(front.points) else 0.0
    return back_of(front, result.camera, picture) if 0 < _HIGH * result.eyes < high else None


def _panel(back: Back, size: int, side: int) -> UInt8[np.ndarray, "t t 3"]:
    """Returns the colours of a back as a picture, each where it is behind the canonical one."""
    rows, columns = np.indices((size, size))
    nearest = spatial.KDTree(back.pixels).query(np.stack([columns, rows], axis=-1))[1]
    return np.asarray(Image.fromarray(back.colours[nearest]).resize((side, side), Image.Resampling.BICUBIC))


class _Kept(JpegImagePlugin.JpegImageFile):
    """A JPEG that goes into a GLB as it is: trimesh would save it again, with a lower quality."""

    def __init__(self, content: bytes, pixels: UInt8[np.ndarray, "t w 3"]):
        super().__init__(io.BytesIO(content))
        self.content, self.pixels = content, pixels

    def save(self, fp, format=None, **options):
        fp.write(self.content)


def jpeg(texture: UInt8[np.ndarray, "t w 3"]) -> _Kept:
    """Returns a photo's texture as a mesh file holds it."""
    return _Kept(pictures.encoded(texture, "JPEG", quality=92, subsampling=0), texture)


def colours_of(mesh: trimesh.Trimesh) -> UInt8[np.ndarray, "t w 3"]:
    """Returns the texture of a mesh of `build_mesh` as it was before any compression."""
    picture = cast(Any, mesh.visual).material.baseColorTexture
    return picture.pixels if isinstance(picture, _Kept) else np.asarray(picture)


def glb_bytes(mesh: trimesh.Trimesh, *, name: str, lit: bool = False) -> bytes:
    """Returns a mesh of `build_mesh`, named as viewers show it, as binary glTF 2.0.

    Unless `lit`, its colours are shown as they are. The faces along the outline are a primitive of their own, the only
    one that is blended: viewers draw what is blended without hiding what lies behind it, the far side of a nose.
    """
    from trimesh import Scene

    opacity = mesh.visual.vertex_attributes["color"][:, 3]  # type: ignore[union-attr]
    opaque = 3 * int((opacity[mesh.faces] == 255).all(axis=1).sum())

    def finish(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = "gan2shape_jax"
        if not lit:
            tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", ()), _UNLIT})
            for material in tree["materials"]:
                material["extensions"] = {_UNLIT: {}}
        if 0 < opaque < 3 * len(mesh.faces):
            _blend(tree, opaque)

    scene = Scene()
    scene.add_geometry(mesh, node_name=name, geom_name=name)
    return scene.export(file_type="glb", include_normals=True, tree_postprocessor=finish)


def _blend(tree: dict[str, Any], opaque: int) -> None:
    """Splits the one primitive of a glTF tree: its corners from the number `opaque` on are drawn with transparency."""
    (primitive,), (material,) = tree["meshes"][0]["primitives"], tree["materials"]
    inner = tree["accessors"][primitive["indices"]]
    del inner["min"], inner["max"]  # of all corners
    outer = inner | {"byteOffset": 4 * opaque, "count": inner["count"] - opaque}  # of uint32
    inner["count"] = opaque
    tree["materials"].append(material | {"name": f"{material['name']} outline", "alphaMode": "BLEND"})
    tree["accessors"].append(outer)
    tree["meshes"][0]["primitives"].append(primitive | {"indices": len(tree["accessors"]) - 1, "material": 1})


def usdz_bytes(mesh: trimesh.Trimesh) -> bytes:
    """Returns a mesh whose texture is of `jpeg` as USDZ, its colours as they are, in centimetres.

    That is what Quick Look opens on iOS. `ImportError` without usd-core, the extra `usdz`.
    """
    from pxr import Sdf, Usd, UsdGeom, UsdShade, UsdUtils

    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "photo.jpg").write_bytes(mesh.visual.material.baseColorTexture.content)  # type: ignore
        stage = Usd.Stage.CreateNew(f"{folder}/model.usdc")
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 0.01)
        stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/model").GetPrim())
        shape = UsdGeom.Mesh.Define(stage, "/model/shape")
        points = (mesh.vertices * 100).astype(np.float32)
        shape.CreatePointsAttr(points)
        shape.CreateExtentAttr(np.stack([points.min(axis=0), points.max(axis=0)]))
        shape.CreateNormalsAttr(mesh.vertex_normals.astype(np.float32))
        shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        shape.CreateFaceVertexCountsAttr(np.full(len(mesh.faces), 3, np.int32))
        shape.CreateFaceVertexIndicesAttr(mesh.faces.reshape(-1).astype(np.int32))
        shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        shape.CreateDoubleSidedAttr(True)
        kinds, places = Sdf.ValueTypeNames, UsdGeom.PrimvarsAPI(shape)
        uv = mesh.visual.uv.astype(np.float32)  # type: ignore[union-attr]
        places.CreatePrimvar("st", kinds.TexCoord2fArray, UsdGeom.Tokens.vertex).Set(uv)
        material = UsdShade.Material.Define(stage, "/model/photo")
        surface, texture, reader = (UsdShade.Shader.Define(stage, f"/model/photo/{n}") for n in ("to", "map", "st"))
        black, picture = (kinds.Color3f, (0, 0, 0)), (kinds.Asset, "./photo.jpg")
        inputs = (
            (surface, "UsdPreviewSurface", {"diffuseColor": black, "roughness": (kinds.Float, 1.0)}),
            (texture, "UsdUVTexture", {"file": picture, "sourceColorSpace": (kinds.Token, "sRGB")}),
            (reader, "UsdPrimvarReader_float2", {"varname": (kinds.String, "st")}),
        )
        for shader, name, values in inputs:
            shader.CreateIdAttr(name)
            for key, (kind, value) in values.items():
                shader.CreateInput(key, kind).Set(value)
        texture.CreateInput("st", kinds.Float2).ConnectToSource(reader.CreateOutput("result", kinds.Float2))
        surface.CreateInput("emissiveColor", kinds.Color3f).ConnectToSource(texture.CreateOutput("rgb", kinds.Float3))
        material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", kinds.Token))
        UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
        stage.Save()
        earliest = time.mktime((1980, 1, 1, 0, 0, 0, 0, 0, -1))  # of an archive, whose bytes are always the same
        for file in ("model.usdc", "photo.jpg"):
            os.utime(f"{folder}/{file}", (earliest, earliest))
        UsdUtils.CreateNewARKitUsdzPackage(f"{folder}/model.usdc", f"{folder}/model.usdz")
        return pathlib.Path(folder, "model.usdz").read_bytes()


def rows(pattern: str, values: np.ndarray) -> str:
    """Returns the rows of an array (n, k) as text, each by a pattern for k values."""
    return pattern * len(values) % tuple(values.reshape(-1).tolist())


def obj_files(mesh: trimesh.Trimesh) -> dict[str, Any]:
    """Returns `mesh.obj`, `mesh.mtl` and the texture, contents by name: `mesh.jpg`, the photo's, or `mesh.png`, albedo.

    Both texts are ours: trimesh takes three times as long, and its material has lighting that it should not have.
    """
    number, material = f"%.{_DIGITS}f", cast(Any, mesh.visual).material
    corners = np.repeat(mesh.faces + 1, 3, axis=1)  # the numbers of its point, texture place and normal are the same
    text = f"# metres, y up, unlit {material.name}\nmtllib mesh.mtl\nusemtl {material.name}\n"
    text += rows(f"v {number} {number} {number}\n", mesh.vertices)
    text += rows(f"vn {number} {number} {number}\n", mesh.vertex_normals)
    text += rows(f"vt {number} {number}\n", mesh.visual.uv)  # type: ignore[union-attr]
    text += rows("f %d/%d/%d %d/%d/%d %d/%d/%d\n", corners)
    name = "mesh.jpg" if isinstance(material.baseColorTexture, _Kept) else "mesh.png"
    material.baseColorTexture.save(picture := io.BytesIO(), "PNG")  # what is a JPEG stays one
    return {"mesh.obj": text, "mesh.mtl": _MTL.format(material.name, name), name: picture.getvalue()}
