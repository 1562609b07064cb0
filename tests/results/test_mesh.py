"""Mesh files as other programs read them: opened with trimesh, compared with the result."""

import json
import struct

import numpy as np
import pytest
import trimesh
from helpers.plain_result import plain_result

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.results import OutputOptions, Result, build_mesh, write_outputs

SIZE = 12


def _result(mask) -> Result:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1
    depth = 0.97 + 0.05 * (x**2 + y**2) + 0.001 * rng.uniform(size=(SIZE, SIZE))
    return plain_result("bowl", SIZE, depth=depth, albedo=rng.uniform(-1, 1, (SIZE, SIZE, 3)), mask=mask)


@pytest.fixture(scope="module")
def result() -> Result:
    mask = np.zeros((SIZE, SIZE))
    mask[2:10, 3:9] = 1
    return _result(mask)


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("mesh") / "r"
    write_outputs(result, path, options=OutputOptions("mesh"))
    return path


@pytest.mark.parametrize("name", ["mesh.obj", "mesh.glb"])
def test_a_file_shows_the_object_point_by_point(folder, result, name):
    mesh = trimesh.load(folder / name, force="mesh", process=False)
    assert len(mesh.vertices) == 8 * 6 and len(mesh.faces) == 2 * 7 * 5  # cut at the mask
    uv = mesh.visual.uv
    columns, rows = uv[:, 0] * SIZE - 0.5, (1 - uv[:, 1]) * SIZE - 0.5  # the pixel of each vertex
    np.testing.assert_allclose([columns, rows], np.rint([columns, rows]), atol=1e-4)
    i, j = np.rint(rows).astype(int), np.rint(columns).astype(int)
    scale = result.camera.focal_length / SIZE
    points = np.asarray(cameras.back_project(result.depth, result.camera), np.float64)[i, j]
    assert np.abs(mesh.vertices - (points - [0, 0, 1]) * [scale, -scale, -scale]).max() < 1e-6
    material = mesh.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    texture = np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1
    assert np.abs(texture[i, j] - result.albedo[i, j]).max() <= 0.5 / 127.5 + 1e-6
    normals = mesh.vertex_normals
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert normals[:, 2].min() > 0 and mesh.face_normals[:, 2].min() > 0  # towards the viewer
    assert np.sum(normals[mesh.faces].mean(axis=1) * mesh.face_normals, axis=1).mean() > 0.95


def test_materials_are_unlit_and_double_sided(folder):
    contents = (folder / "mesh.glb").read_bytes()
    length = struct.unpack("<I", contents[12:16])[0]
    tree = json.loads(contents[20 : 20 + length])
    (material,) = tree["materials"]
    assert material["doubleSided"] and "KHR_materials_unlit" in material["extensions"]
    assert "KHR_materials_unlit" in tree["extensionsUsed"]
    assert {"POSITION", "NORMAL", "TEXCOORD_0"} <= set(tree["meshes"][0]["primitives"][0]["attributes"])
    text = (folder / "mesh.mtl").read_text()
    assert "illum 0" in text and "map_Kd mesh_albedo.png" in text


def test_the_whole_sheet_is_an_option_and_what_an_empty_mask_gives(result):
    assert len(build_mesh(result, full=True).vertices) == SIZE**2
    assert len(build_mesh(_result(np.zeros((SIZE, SIZE)))).vertices) == SIZE**2
