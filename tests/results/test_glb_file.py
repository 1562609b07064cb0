"""GLB files of one textured mesh: what another reader makes of them, and where their parts lie."""

import io
import json
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from gan2shape_jax.results.glb_file import glb_bytes

PICTURE = np.random.default_rng(0).integers(0, 255, (5, 5, 3), dtype=np.uint8)
MESH = {
    "vertices": np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.25], [1, 1, 0.5]], np.float64),
    "faces": np.array([[0, 1, 2], [2, 1, 3]]),
    "normals": np.array([[0, 0, 1], [0, 0, 1], [0.6, 0, 0.8], [0, 0.6, 0.8]]),
    "uv": np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.8]]),
}


def _texture() -> bytes:
    content = io.BytesIO()
    Image.fromarray(PICTURE).save(content, "PNG")
    png = content.getvalue()
    return png + b"\0" * ((1 - len(png)) % 4)  # readers stop at the picture's end; the file has to be padded


def _glb(*, lit: bool = False) -> bytes:
    return glb_bytes(**MESH, texture=_texture(), texture_type="image/png", material="paint", name="thing", lit=lit)


def _parts(content: bytes) -> tuple[dict, bytes]:
    """Returns the description and the buffer, by the format's specification alone."""
    magic, version, length = struct.unpack("<4sII", content[:12])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack("<I4s", content[12:20])
    assert kind == b"JSON" and size % 4 == 0
    rest = content[20 + size :]
    assert struct.unpack("<I4s", rest[:8]) == (len(rest) - 8, b"BIN\0")
    return json.loads(content[20 : 20 + size]), rest[8:]


def test_another_reader_finds_the_same_mesh():
    mesh = trimesh.load(io.BytesIO(_glb()), file_type="glb", process=False).geometry["thing"]
    np.testing.assert_allclose(mesh.vertices, MESH["vertices"])
    np.testing.assert_array_equal(mesh.faces, MESH["faces"])
    np.testing.assert_allclose(mesh.vertex_normals, MESH["normals"], atol=1e-7)
    np.testing.assert_allclose(mesh.visual.uv, MESH["uv"], atol=1e-7)
    material = mesh.visual.material
    assert (material.name, material.doubleSided, material.metallicFactor, material.roughnessFactor) == (
        *("paint", True),
        *(0.0, 1.0),
    )
    np.testing.assert_array_equal(np.asarray(material.baseColorTexture.convert("RGB")), PICTURE)


def test_it_is_what_trimesh_writes_but_for_who_has_written_it():
    """Arrays, their order and the texture, byte for byte."""
    mesh = trimesh.Trimesh(
        vertices=MESH["vertices"],
        faces=MESH["faces"],
        vertex_normals=MESH["normals"],
        visual=trimesh.visual.TextureVisuals(
            uv=MESH["uv"], material=trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(PICTURE))
        ),
        process=False,
    )
    theirs, their_buffer = _parts(trimesh.exchange.gltf.export_glb(trimesh.Scene(mesh), include_normals=True))
    ours, buffer = _parts(_glb())
    (primitive,), (other) = ours["meshes"][0]["primitives"], theirs["meshes"][0]["primitives"][0]
    pairs = [(primitive["indices"], other["indices"])]
    pairs += [(primitive["attributes"][name], at) for name, at in other["attributes"].items()]
    assert len(pairs) == 4
    for one, two in pairs:
        assert _bytes_of(ours, buffer, one) == _bytes_of(theirs, their_buffer, two)
        for key in ("componentType", "count", "type", "min", "max"):
            assert np.all(np.ravel(ours["accessors"][one][key]) == np.ravel(theirs["accessors"][two][key]))


def _bytes_of(tree: dict, buffer: bytes, accessor: int) -> bytes:
    view = tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]
    return buffer[view["byteOffset"] :][: view["byteLength"]]


def test_every_part_begins_at_a_multiple_of_four_bytes_and_lies_in_the_buffer():
    tree, buffer = _parts(_glb())
    assert tree["buffers"] == [{"byteLength": len(buffer)}]
    for view in tree["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= len(buffer)
    (image,) = tree["images"]
    view = tree["bufferViews"][image["bufferView"]]
    assert buffer[view["byteOffset"] :][: view["byteLength"]] == _texture()


@pytest.mark.parametrize("lit", [True, False])
def test_it_says_whether_viewers_are_to_light_it(lit):
    tree, _ = _parts(_glb(lit=lit))
    assert ("KHR_materials_unlit" in tree.get("extensionsUsed", [])) is not lit
    assert ("KHR_materials_unlit" in tree["materials"][0].get("extensions", {})) is not lit
