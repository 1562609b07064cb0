"""The back of a whole head: closed, without a crease along the outline, in the colours of its border and its top."""

import dataclasses
import json
import zlib
from base64 import b64decode

import numpy as np
import pytest
import trimesh
from helpers import bump, whole_head
from helpers.mesh_files import read_mesh
from scipy import ndimage

from gan2shape_jax.apps.export import command
from gan2shape_jax.results import OutputOptions, build_mesh, build_solid, write_outputs
from gan2shape_jax.results.back import back_of
from gan2shape_jax.results.meshes import whole_back
from gan2shape_jax.results.outputs import fragment_of
from gan2shape_jax.results.surface import cut_surface, surface

_CREASE = 8.0  # degrees between neighbouring triangles along the outline, at most: inside of it there are 7


@pytest.fixture(scope="module")
def head():
    return whole_head.egg()


@pytest.fixture(scope="module")
def front(head):
    part = surface(head)
    return cut_surface(part.depth, part.field, head.camera)


@pytest.fixture(scope="module")
def back(head, front):
    return back_of(front, head.camera, head.texture)


@pytest.fixture(scope="module")
def whole(front, back):
    joined = back.joined(front)
    return trimesh.Trimesh(joined.points, joined.faces, process=False)


def test_there_is_no_crease_along_the_outline(front, whole):
    faces, angles = whole.face_adjacency, np.degrees(whole.face_adjacency_angles)
    across = (faces < len(front.faces)).sum(axis=1) == 1
    inside = (faces < len(front.faces)).all(axis=1)
    assert across.sum() > 100
    assert angles[across].max() < _CREASE and angles[inside].max() < _CREASE


def test_it_is_as_deep_as_a_skull_and_reaches_hardly_beyond_the_outline(front, whole):
    width, behind = np.ptp(front.points[:, 0]), whole.bounds[1, 2] - front.points[:, 2].max()
    assert 0.6 * width < behind < 1.0 * width
    assert whole.extents[0] < 1.06 * width and whole.extents[1] < 1.06 * np.ptp(front.points[:, 1])


def test_nothing_of_the_face_is_behind(head, front, back):
    """Colours behind the face are not those of its features, which differ from pixel to pixel."""
    inside = ndimage.binary_erosion(surface(head).field >= 0.5, iterations=6)
    columns, rows = np.rint(front.pixels).astype(int).T
    behind = back.colours[-len(front.points) :].astype(float)  # of the front's vertices, each
    some = inside[rows, columns] & np.all(front.pixels == np.rint(front.pixels), axis=1)
    shown = head.signed_albedo[rows, columns][some] * 127.5 + 127.5
    texture, other = (values - ndimage.uniform_filter1d(values, 15, axis=0) for values in (shown, behind[some]))
    assert texture.std() > 20 and other.std() < 3
    assert abs(np.corrcoef(texture[:, 2], behind[some][:, 2])[0, 1]) < 0.25


def test_hair_goes_down_to_the_nape_and_skin_is_below(front, back):
    behind, row = back.colours[-len(front.points) :].astype(float), front.pixels[:, 1]
    middle = np.abs(front.pixels[:, 0] - (whole_head.SIDE - 1) / 2) < 4
    hair, skin = (middle & (np.abs(row - place) < 3) for place in (28, 55))
    assert np.abs(behind[hair].mean(axis=0) - whole_head.HAIR).max() < 25
    assert np.abs(behind[skin].mean(axis=0) - whole_head.SKIN).max() < 25


def test_files_are_closed_and_their_colours_go_on_across_the_outline(head, tmp_path):
    write_outputs(head, tmp_path / "r", options=OutputOptions("mesh"))
    for name in ("mesh.glb", "mesh.obj"):
        mesh = read_mesh(tmp_path / "r" / name)
        merged = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        merged.merge_vertices()
        assert merged.is_volume and merged.euler_number == 2 and merged.body_count == 1 and merged.volume > 0
    mesh = build_mesh(head)
    picture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), float)
    assert picture.shape[1] == 2 * picture.shape[0] == 512
    columns, rows = np.clip((mesh.visual.uv * (1, -1) + (0, 1)) * (512, 256), 0, (511, 255)).astype(int).T
    colours, first = picture[rows, columns], {}
    for vertex, point in enumerate(map(tuple, mesh.vertices)):
        first.setdefault(point, []).append(vertex)
    pairs = np.array([vertices for vertices in first.values() if len(vertices) == 2])
    assert len(pairs) > 100
    np.testing.assert_allclose(mesh.vertex_normals[pairs[:, 0]], mesh.vertex_normals[pairs[:, 1]], atol=1e-6)
    assert np.median(np.abs(colours[pairs[:, 0]] - colours[pairs[:, 1]]).max(axis=1)) < 12
    assert (mesh.visual.vertex_attributes["color"] == 255).all()


def test_a_print_of_it_is_the_same_body_in_the_same_colours(head, whole):
    solid = build_solid(head, height_mm=150, back="round").mesh
    assert solid.is_volume and solid.extents[1] == pytest.approx(150, abs=1e-6)
    for axis in (0, 2):
        assert solid.extents[axis] / 150 == pytest.approx(whole.extents[axis] / whole.extents[1], rel=0.06)
    lowest = solid.vertices[:, 2] < 5  # it lies on its back
    colours = np.asarray(solid.visual.vertex_colors)[lowest, :3]
    assert np.abs(colours.astype(float).mean(axis=0) - whole_head.HAIR).max() < 40


def test_what_is_no_whole_head_has_no_back(head, front):
    narrow = dataclasses.replace(head, eyes=0.05)  # a face fills the picture
    for result in (narrow, dataclasses.replace(head, eyes=0.0), bump.result()):
        assert whole_back(result, front, whole_head.egg().texture) is None
        assert not trimesh.Trimesh(*build_mesh_of(result), process=False).is_watertight
        assert "back" not in fragment_of(result)[1]


def build_mesh_of(result):
    mesh = build_mesh(result)
    return mesh.vertices, mesh.faces


def test_the_page_gets_it(head, back):
    _, model, _ = fragment_of(head)
    told = model["back"]

    def read(name, kind):
        return np.frombuffer(zlib.decompress(b64decode(told[name])), kind).reshape(-1, 3)

    low, high = np.array(told["low"]), np.array(told["high"])
    points = low + read("points", "<u2") / 65535 * (high - low)
    assert told["vertices"] == len(points) and told["triangles"] == len(read("faces", "<u4"))
    assert np.abs(points - back.points).max() < 0.51 * (high - low).max() / 65535
    np.testing.assert_array_equal(read("faces", "<u4"), back.faces)
    np.testing.assert_array_equal(read("colours", np.uint8), back.colours)
    assert "back" not in fragment_of(head, full=True)[1]
    assert len(json.dumps(told)) < 100_000


def test_a_ply_and_the_mesh_of_its_uncertainty_are_closed_and_have_the_same_colours(head, back, tmp_path):
    unsure = dataclasses.replace(head, uncertainty=np.full((whole_head.SIDE, whole_head.SIDE), 0.01))
    write_outputs(unsure, tmp_path / "r", options=OutputOptions("mesh"))
    for kind in ("ply", "spread"):
        assert command.main([kind, str(tmp_path / "r"), "--out", str(tmp_path / f"{kind}.ply")]) == 0
        mesh = trimesh.load(tmp_path / f"{kind}.ply", process=False)
        assert trimesh.Trimesh(mesh.vertices.round(6), mesh.faces).is_watertight
    coloured = trimesh.load(tmp_path / "ply.ply", process=False)
    nearest = np.linalg.norm(coloured.vertices - coloured.vertices[coloured.vertices[:, 2].argmin()], axis=1) < 0.005
    colours = np.asarray(coloured.visual.vertex_colors)[nearest, :3].astype(float)
    assert np.abs(colours.mean(axis=0) - whole_head.HAIR).max() < 15
