"""Binary glTF 2.0 with one textured mesh: the few parts of the format that a reconstruction needs.

Written here rather than by trimesh, whose import would cost every run 0.4 s of CPU time.
"""

import json
import struct
from typing import Any

import numpy as np
from jaxtyping import Float, Int

__all__ = ["glb_bytes"]

_UNSIGNED, _FLOAT, _TRIANGLES = 5125, 5126, 4  # as OpenGL numbers them
_ALIGNED = 4  # bytes; each part of the file begins at a multiple of this
# The mesh, by the numbers of the arrays in the file: first the triangles, then the vertices' attributes.
_PRIMITIVE = {
    "attributes": {"POSITION": 1, "TEXCOORD_0": 2, "NORMAL": 3},
    "indices": 0,
    "mode": _TRIANGLES,
    "material": 0,
}


def glb_bytes(
    *,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    normals: Float[np.ndarray, "v 3"],
    uv: Float[np.ndarray, "v 2"],
    texture: bytes,
    texture_type: str,
    material: str,
    name: str,
    lit: bool,
) -> bytes:
    """Returns the file's contents: a double-sided mesh whose material is fully rough.

    Args:
      vertices: in the file's frame: x right, y up, z towards the viewer.
      faces: counterclockwise as seen from outside.
      normals: unit, outward.
      uv: of the vertices; the origin is the texture's lower left.
      texture: the contents of a picture file.
      texture_type: its media type, image/png or image/jpeg.
      material: its name.
      name: the mesh's name, which viewers show.
      lit: whether viewers light it; otherwise `KHR_materials_unlit` asks for the colours as they are.
    """
    downwards = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1)  # in the file the origin is the upper left
    arrays = [np.asarray(faces, np.uint32).reshape(-1)]
    arrays += [np.asarray(values, np.float32) for values in (vertices, downwards, normals)]
    parts = [*(array.tobytes() for array in arrays), texture]
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "gan2shape_jax"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [_PRIMITIVE]}],
        "materials": [_surface(material, lit)],
        "textures": [{"source": 0}],
        "images": [{"bufferView": len(arrays), "mimeType": texture_type}],
        "accessors": [_accessor(array, view) for view, array in enumerate(arrays)],
        "bufferViews": _views(parts),
        "buffers": [{"byteLength": sum(len(_padded(part)) for part in parts)}],
    }
    if not lit:
        tree["extensionsUsed"] = ["KHR_materials_unlit"]
    text = json.dumps(tree, separators=(",", ":")).encode()
    return _file(_padded(text, b" "), b"".join(map(_padded, parts)))


def _surface(name: str, lit: bool) -> dict[str, Any]:
    """Returns a fully rough, double-sided material with the file's only texture."""
    surface: dict[str, Any] = {
        "name": name,
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0},
        "doubleSided": True,
    }
    return surface if lit else surface | {"extensions": {"KHR_materials_unlit": {}}}


def _accessor(array: np.ndarray, view: int) -> dict[str, Any]:
    """Returns how an array is to be read, with its minimum and maximum values, which positions must state."""
    rows = array.reshape(len(array), -1)
    return {
        "bufferView": view,
        "componentType": _FLOAT if array.dtype == np.float32 else _UNSIGNED,
        "count": len(rows),
        "type": "SCALAR" if array.ndim == 1 else f"VEC{rows.shape[1]}",
        "min": rows.min(axis=0).tolist(),
        "max": rows.max(axis=0).tolist(),
    }


def _views(parts: list[bytes]) -> list[dict[str, int]]:
    """Returns where in the buffer each part lies."""
    begins = np.cumsum([0, *(len(_padded(part)) for part in parts)]).tolist()
    return [{"buffer": 0, "byteOffset": at, "byteLength": len(part)} for at, part in zip(begins, parts, strict=False)]


def _padded(content: bytes, by: bytes = b"\0") -> bytes:
    return content + by * (-len(content) % _ALIGNED)


def _file(text: bytes, buffer: bytes) -> bytes:
    chunks = b"".join(
        struct.pack("<I4s", len(part), kind) + part for part, kind in ((text, b"JSON"), (buffer, b"BIN\0"))
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
