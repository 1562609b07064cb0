"""Mesh files as other programs read them: opened with trimesh, compared with the result."""

import json
import struct

import numpy as np
import pytest
import trimesh
from helpers.plain_result import plain_result

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import OutputOptions, Result, build_mesh, write_outputs
from gan2shape_jax.results.solid import border
from gan2shape_jax.results.surface import cut_sheet, surface

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
    uv = mesh.visual.uv
    columns, rows = uv[:, 0] * SIZE - 0.5, (1 - uv[:, 1]) * SIZE - 0.5
    # Inside, a vertex for each pixel of the mask; at its end, vertices between pixels.
    whole = np.abs([columns - np.rint(columns), rows - np.rint(rows)]).max(axis=0) < 1e-4
    assert 8 * 6 - 4 <= whole.sum() <= 8 * 6
    ends = [columns.min(), columns.max(), rows.min(), rows.max()]
    np.testing.assert_allclose(ends, [2.5, 8.5, 1.5, 9.5], atol=0.2)  # midway to the first pixels outside
    columns, rows = columns[whole], rows[whole]
    i, j = np.rint(rows).astype(int), np.rint(columns).astype(int)
    scale = result.camera.focal_length / SIZE
    points = np.asarray(cameras.back_project(result.depth, result.camera), np.float64)[i, j]
    assert np.abs(mesh.vertices[whole] - (points - [0, 0, 1]) * [scale, -scale, -scale]).max() < 1e-6
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


def _border_of(depth, mask) -> np.ndarray:
    """Column, row and depth of the vertices at a mesh's border, in pixels."""
    size = len(depth)
    made = plain_result(side=size, depth=depth, mask=mask)
    part = surface(made)
    sheet = cut_sheet(part.depth, part.field, made.camera)
    rim = np.unique(border(sheet.faces))
    return np.concatenate([sheet.pixels[rim], sheet.points[rim, 2:] * made.camera.focal_length], axis=1)


def test_where_the_sheet_falls_to_the_background_the_edge_is_straight_seen_from_the_side():
    """The mask ends in steps somewhere on the plateau behind the object, or on the steep way down to it."""
    size = 48
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    away = np.hypot(x, y) / 18
    depth = 1.04 - 0.08 * np.clip((1 - away) * 3, 0, 1) ** 0.7 + 0.0001 * rng.normal(size=(size, size))
    mask = (away < 1.15 + 0.1 * rng.uniform(-1, 1, (size, size))).astype(float)
    _, _, behind = _border_of(depth, mask).T
    assert np.ptp(behind) < 1.0  # pixels; the object is 25 deep
    assert behind.max() < depth.max() * Camera(size).focal_length - 1


def test_a_border_lies_on_the_surface_however_the_pixels_of_the_mask_are_stepped():
    size = 48
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    slope = 2 / Camera(size).focal_length  # of a cone: two pixels down for each across
    depth = 0.95 + slope * np.hypot(x, y)
    mask = (np.hypot(x * 1.2, y) < 16).astype(float)
    depth[mask == 0] = 1.1  # as a network leaves it there
    column, row, behind = _border_of(depth, mask).T
    there = 0.95 + slope * np.hypot(column - (size - 1) / 2, row - (size - 1) / 2)
    assert np.abs(behind - there * Camera(size).focal_length).max() < 0.5
    assert np.hypot((column - 23.5) * 1.2, row - 23.5).std() < 0.35
