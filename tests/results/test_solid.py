"""Meshes as other programs read them, and solids to print: closed, of the size asked for, no part through another."""

import dataclasses
import io
import json
import struct

import numpy as np
import pytest
import trimesh
from helpers import bump
from helpers.mesh_files import read_mesh
from helpers.outlines import excess_length, overlap
from helpers.plain_result import plain_result
from scipy import ndimage

from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import OutputOptions, Reconstruction, build_mesh, load, write_outputs
from gan2shape_jax.results.meshes import glb_bytes
from gan2shape_jax.results.solid import BACKS, build_solid
from gan2shape_jax.results.surface import border, cut_surface, mean_mask, surface

_PAIRS = 1 << 21  # looked at together


def pierced_faces(vertices: np.ndarray, faces: np.ndarray) -> int:
    """Counts the triangles that an edge of others goes through; edges that share a corner with one do not count.

    Two triangles that are not in one plane cut each other exactly where an edge of either goes through the other one.
    """
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    start, end = vertices[edges[:, 0]], vertices[edges[:, 1]]
    low, high = np.minimum(start, end), np.maximum(start, end)
    pierced = 0
    rows = max(1, _PAIRS // len(edges))
    for some in np.split(faces, range(rows, len(faces), rows)):
        corners = vertices[some]
        touching = (corners.min(1)[:, None] <= high[None]) & (corners.max(1)[:, None] >= low[None])  # of boxes
        near = touching.all(-1)
        near &= ~(some[:, :, None, None] == edges[None, None]).any((1, 3))
        triangle, edge = np.nonzero(near)
        hits = _goes_through(corners[triangle], start[edge], end[edge])
        pierced += len(np.unique(triangle[hits]))
    return pierced


def _goes_through(corners: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Whether segments meet triangles, by the signs of the volumes that their points span."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    sides = _volume(a, b, c, start) * _volume(a, b, c, end) < 0
    around = np.stack([_volume(start, end, p, q) for p, q in ((a, b), (b, c), (c, a))])
    return sides & ((around > 0).all(0) | (around < 0).all(0))


def _volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    volume = np.einsum("ni,ni->n", np.cross(b - a, c - a), d - a)
    return np.where(np.abs(volume) < 1e-9, 0, volume)  # mm3: points in one plane, as of rings along a wall


@pytest.fixture(autouse=True)
def _coarse(monkeypatch):
    """No more vertices than pixels, but where a test asks for them: that takes a tenth of the time."""
    monkeypatch.setattr("gan2shape_jax.results.solid._FINENESS_MM", 100.0)


def _head(side: int, *, rough: float = 0.0, seed: int = 0) -> Reconstruction:
    """An egg whose depth is disturbed, up to what a depth map can hold at all."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    height = np.clip(1 - x**2 / 0.5 - y**2 / 0.8, 0, None)
    rng = np.random.default_rng(seed)
    depth = 1.05 - 0.1 * np.sqrt(height) + rough * rng.uniform(-0.1, 0.1, (side, side))
    mask = ((height > 0.05) & (rng.uniform(size=height.shape) > 0.1 * (rough > 0))).astype(float)
    return plain_result("people", side, depth=depth, mask=mask)


def _require_closed(mesh: trimesh.Trimesh) -> None:
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.is_volume
    assert mesh.volume > 0 and mesh.euler_number == 2 and mesh.body_count == 1
    assert mesh.area_faces.min() > 0


@pytest.mark.parametrize("back", BACKS)
def test_it_is_one_closed_body_and_no_part_goes_through_another(monkeypatch, back):
    for seed, rough in enumerate((0.1, 1.0)):
        mesh = build_solid(_head(18, rough=rough, seed=seed), width_mm=30, back=back).mesh
        _require_closed(mesh)
        assert pierced_faces(mesh.vertices, mesh.faces) == 0
    monkeypatch.setattr("gan2shape_jax.results.solid._FINENESS_MM", 0.5)
    _require_closed(build_solid(_head(32), width_mm=40, back=back).mesh)


def test_piercing_is_noticed():
    first = trimesh.creation.icosphere(subdivisions=2)
    both = trimesh.util.concatenate([first, first.copy().apply_translation([0.5, 0.1, 0.2])])
    assert pierced_faces(first.vertices, first.faces) == 0 < pierced_faces(both.vertices, both.faces)


def test_its_volume_is_what_the_rays_enclose():
    """Between slopes du dv of the rays, a solid angle holds (Z^3 - z^3) / 3 from depth z to the plane Z."""
    result = _head(96)
    solid = build_solid(result, height_mm=100, thickness_mm=4)
    part = surface(result)
    inside, depth = part.field >= 0.5, part.depth
    focal = result.camera.focal_length
    slope = (np.indices(inside.shape)[0] - result.camera.intrinsics[2]) / focal
    farthest = cut_surface(depth, part.field, result.camera).points[:, 2].max()
    reach = float(np.ptp(slope[inside])) + 1 / focal  # whole pixels
    scale = (100 / reach - 4) / farthest
    plane = farthest + 4 / scale
    volume = ((plane**3 - depth[inside].astype(float) ** 3) / 3).sum() / focal**2 * scale**3
    assert solid.mesh.volume == pytest.approx(volume, rel=0.02)


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize(
    ("sizes", "axis", "expected"),
    [
        ({"width_mm": 33}, 0, 33),
        ({"width_mm": 20, "height_mm": 500}, 0, 20),
        ({"width_mm": 500, "height_mm": 20, "thickness_mm": 6}, 1, 20),
    ],
)
def test_it_has_the_size_that_was_asked_for(back, sizes, axis, expected):
    low, high = build_solid(_head(24), back=back, **sizes).mesh.bounds
    np.testing.assert_allclose(low, 0, atol=1e-9)
    assert high[axis] == pytest.approx(expected, abs=1e-6)
    assert all(high[i] <= sizes.get(name, 1e9) + 1e-6 for i, name in enumerate(("width_mm", "height_mm")))


def test_without_a_size_it_has_that_of_the_mesh_and_a_face_that_fills_its_picture_is_a_fifth_of_a_metre_high():
    result = _head(64)
    mesh, solid = build_mesh(result), build_solid(result).mesh
    front = solid.vertices[: len(solid.vertices) // 2]
    ours = (mesh.extents * 1000)[:2]
    np.testing.assert_allclose(np.ptp(front, axis=0)[:2], ours, rtol=0.01)
    whole = build_mesh(result, full=True).extents
    assert whole[1] == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("back", BACKS)
def test_a_solid_has_the_colours_of_the_photo_where_there_is_one(back):
    result = _head(24)
    texture = np.zeros((96, 96, 3), np.uint8)
    texture[:, :48, 0] = texture[:48, :, 1] = 200
    solid = build_solid(dataclasses.replace(result, texture=texture), back=back).mesh
    colours, place = np.asarray(solid.visual.vertex_colors)[:, :3], solid.vertices
    middle = solid.bounds.mean(axis=0)
    front = np.arange(len(place)) < len(cut_surface(result.depth, surface(result).field, result.camera).points)
    for axis, channel, sign in ((0, 0, -1), (1, 1, 1)):
        off = (place[:, axis] - middle[axis]) * sign
        sure = front & (np.abs(off) > 12)
        np.testing.assert_array_equal(colours[sure, channel], np.where(off[sure] > 0, 200, 0))
    if back == "flat":
        assert len(np.unique(colours[place[:, 2] < 1e-9], axis=0)) == 1


def test_it_lies_on_its_flat_back_and_is_as_thick_as_asked():
    mesh = build_solid(_head(48), thickness_mm=2.5).mesh
    heights = mesh.vertices[:, 2]
    bottom = heights < 1e-9
    assert bottom.sum() == len(heights) / 2  # the back, a vertex for each of the front
    assert heights[~bottom].min() == pytest.approx(2.5, abs=1e-6)
    down = mesh.face_normals[:, 2] < -0.999
    assert mesh.area_faces[down].sum() == pytest.approx(mesh.area_faces[bottom[mesh.faces].all(1)].sum())


def test_vertices_are_close_enough_for_the_size(monkeypatch):
    monkeypatch.setattr("gan2shape_jax.results.solid._FINENESS_MM", 0.5)
    fine = build_solid(_head(32), width_mm=20).mesh  # 0.85 mm a pixel
    edges = fine.vertices[fine.edges_unique][:, :, :2]
    assert np.median(np.linalg.norm(edges[:, 0] - edges[:, 1], axis=1)) < 0.5
    monkeypatch.setattr("gan2shape_jax.results.solid._FINENESS_MM", 100.0)
    coarse = build_solid(_head(32), width_mm=20).mesh
    assert fine.volume == pytest.approx(coarse.volume, rel=0.01) and len(fine.faces) > 3 * len(coarse.faces)


def test_the_front_is_the_depth_map():
    """Vertices on pixels of the picture are the very points of the depth map, up to one scale and shift."""
    result = _head(64)
    piece = cut_surface(result.depth, surface(result).field, result.camera)
    whole = np.all(piece.pixels == np.rint(piece.pixels), axis=1)
    columns, rows = piece.pixels[whole].astype(int).T
    z = result.depth[rows, columns].astype(float)
    expected = np.stack([z * (columns - 31.5), z * (rows - 31.5), z * result.camera.focal_length], -1)
    np.testing.assert_allclose(piece.points[whole] * result.camera.focal_length, expected, rtol=1e-5, atol=1e-4)


def test_an_outline_is_smooth_and_where_the_mask_ends():
    side = 64
    y, x = np.mgrid[:side, :side] - 31.5
    mask = (np.hypot(x, y) < 20).astype(float)
    piece = cut_surface(np.ones((side, side)), surface(plain_result(side=side, mask=mask)).field, Camera(side))
    rim = piece.pixels[np.unique(border(piece.faces))] - 31.5
    radius = np.hypot(*rim.T)
    assert radius.mean() == pytest.approx(20, abs=0.2) and radius.std() < 0.3  # in whole pixels: 0.5


def test_the_largest_piece_is_kept_and_holes_are_filled_and_both_said():
    result = _head(48)
    mask = result.mask.copy()
    area = build_solid(result).mesh.volume
    mask[20:24, 20:24] = 0
    mask[1:3, 1:4] = 1
    solid = build_solid(dataclasses.replace(result, mask=mask))
    _require_closed(solid.mesh)
    assert solid.mesh.volume == pytest.approx(area, rel=1e-6)
    said = " ".join(solid.notes)
    assert "2 pieces" in said and "6 pixels of others" in said and "16 pixels were filled" in said


def test_spikes_are_flattened_and_said():
    result = _head(64)
    depth = result.depth.copy()
    depth[30, 30] -= 0.08
    depth[40, 25:27] += 0.06
    plain, spiky = build_solid(result), build_solid(dataclasses.replace(result, depth=depth))
    assert not plain.notes and "3 pixels were spikes" in spiky.notes[0]
    assert spiky.mesh.extents[2] == pytest.approx(plain.mesh.extents[2], rel=0.01)
    assert spiky.mesh.volume == pytest.approx(plain.mesh.volume, rel=0.005)


@pytest.mark.parametrize(("width", "thin"), [(2, True), (12, False)])
def test_what_is_too_thin_to_print_is_said(width, thin):
    depth = np.full((128, 128), 1.05)
    depth[20:108, 64 - width // 2 : 64 + width // 2] -= 0.05  # a wall on a plate
    solid = build_solid(plain_result(side=128, depth=depth), width_mm=30)  # 0.24 mm a pixel
    assert any("thinner than 0.8 mm" in note for note in solid.notes) == thin


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thickness_mm": 0.5}, "thickness_mm is 0.5: walls below 0.8 mm do not print"),
        ({"thickness_mm": float("nan")}, "thickness_mm"),
        ({"height_mm": 1e6}, "at most 10000"),
        ({"back": "mirrored"}, "back is 'mirrored'"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        build_solid(_head(16), **arguments)


def test_impossible_sizes_and_masks_that_are_empty_or_a_pixel_are_refused():
    mask = np.zeros((16, 16))
    with pytest.raises(UserError, match="the object mask of a is empty"):
        build_solid(plain_result(mask=mask))
    mask[8, 8] = 1
    with pytest.raises(UserError, match="1 pixels: too small"):
        build_solid(plain_result(mask=mask))


SIZE = 12


@pytest.fixture(scope="module")
def result() -> Reconstruction:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1
    depth = 0.97 + 0.05 * (x**2 + y**2) + 0.001 * rng.uniform(size=(SIZE, SIZE))
    mask = np.zeros((SIZE, SIZE))
    mask[2:10, 3:9] = 1
    return plain_result("bowl", SIZE, depth=depth, signed_albedo=rng.uniform(-1, 1, (SIZE, SIZE, 3)), mask=mask)


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("mesh") / "r"
    write_outputs(result, path, options=OutputOptions("mesh"))
    return path


def test_the_eyes_of_a_face_are_63_mm_apart_in_meshes_and_prints_or_as_far_as_is_said(tmp_path):
    plain = bump.result()
    assert build_mesh(plain).extents[0] < 0.2  # without eyes, the picture's side
    sizes = []
    for eyes_mm in (63.0, 70.0):
        result = dataclasses.replace(plain, eyes=0.06, eyes_mm=eyes_mm)
        write_outputs(result, tmp_path / "r", options=OutputOptions("mesh"))
        assert load(tmp_path / "r").metres == result.metres == eyes_mm / 1000 / 0.06
        camera = json.loads((tmp_path / "r/camera.json").read_text())
        pixels = camera["intrinsics"][0][0] / camera["rot_center_depth"]  # of a scene unit there
        assert camera["mesh_side"] == pytest.approx(result.metres * camera["image_size"] / pixels)
        sizes.append([read_mesh(tmp_path / "r/mesh.glb").extents[0], build_solid(result).mesh.extents[0] / 1000])
        mesh, depth = build_mesh(result), surface(result).depth
        points = np.asarray(cameras.back_project(depth, result.camera), np.float64).reshape(-1, 3)
        there = (points - (0, 0, 1)) * (1, -1, -1) * eyes_mm / 1000 / 0.06
        near = [np.linalg.norm(there - vertex, axis=1).min() for vertex in mesh.vertices]
        assert np.median(near) < 1e-6
    np.testing.assert_allclose(np.divide(*sizes), 63 / 70, rtol=0.02)  # the wall of a print stays as thick


@pytest.mark.parametrize("name", ["mesh.obj", "mesh.glb"])
def test_a_file_shows_the_object_point_by_point(folder, result, name):
    mesh = read_mesh(folder / name)
    uv = mesh.visual.uv
    columns, rows = uv[:, 0] * SIZE - 0.5, (1 - uv[:, 1]) * SIZE - 0.5
    # Inside, a vertex for each pixel of the mask; at its end, vertices between pixels.
    whole = np.abs([columns - np.rint(columns), rows - np.rint(rows)]).max(axis=0) < 1e-4
    assert 8 * 6 - 4 <= whole.sum() <= 8 * 6
    ends = [columns.min(), columns.max(), rows.min(), rows.max()]
    np.testing.assert_allclose(ends, [2.5, 8.5, 1.5, 9.5], atol=0.2)  # midway to the first pixels outside
    columns, rows = columns[whole], rows[whole]
    i, j = np.rint(rows).astype(int), np.rint(columns).astype(int)
    scale = 0.2 * result.camera.focal_length / SIZE  # the picture's side is 0.2 m long
    points = np.asarray(cameras.back_project(surface(result).depth, result.camera), np.float64)[i, j]
    assert np.abs(mesh.vertices[whole] - (points - [0, 0, 1]) * [scale, -scale, -scale]).max() < 1e-6
    material = mesh.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    texture = np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1
    assert np.abs(texture[i, j] - result.signed_albedo[i, j]).max() <= 0.5 / 127.5 + 1e-6
    normals = mesh.vertex_normals
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert normals[:, 2].min() > 0 and mesh.face_normals[:, 2].min() > 0  # towards the viewer
    assert np.sum(normals[mesh.faces].mean(axis=1) * mesh.face_normals, axis=1).mean() > 0.95


def test_materials_are_unlit_and_double_sided(folder):
    contents = (folder / "mesh.glb").read_bytes()
    length = struct.unpack("<I", contents[12:16])[0]
    tree = json.loads(contents[20 : 20 + length])
    for material in tree["materials"]:
        assert material["doubleSided"] and "KHR_materials_unlit" in material["extensions"]
    assert "KHR_materials_unlit" in tree["extensionsUsed"]
    assert {"POSITION", "NORMAL", "TEXCOORD_0"} <= set(tree["meshes"][0]["primitives"][0]["attributes"])
    text = (folder / "mesh.mtl").read_text()
    assert "illum 0" in text and "map_Kd mesh.png" in text


def _pieces(mesh) -> list[trimesh.Trimesh]:
    """What a viewer draws of a mesh, in this order."""
    file = io.BytesIO(glb_bytes(mesh, name="mesh"))
    return [*trimesh.load_scene(file, file_type="glb", process=False).geometry.values()]


def test_the_outline_alone_is_blended_and_fades_to_nothing(result):
    mesh = build_mesh(bump.result())
    inner, outer = _pieces(mesh)
    assert [one.visual.material.alphaMode for one in (inner, outer)] == [None, "BLEND"]
    np.testing.assert_array_equal(np.concatenate([inner.faces, outer.faces]), mesh.faces)
    colours = outer.visual.vertex_attributes["color"]
    assert (colours[:, :3] == 255).all() and (colours[inner.faces, 3] == 255).all()
    assert (colours[outer.faces, 3].min(axis=1) < 255).all()
    assert (
        colours[np.unique(border(mesh.faces)), 3].max() <= 5
    )  # of 255: cuts stay 0.03 of the field away from its vertices
    whole, narrow = build_mesh(bump.result(), full=True), build_mesh(result)  # which is all outline
    assert (whole.visual.vertex_attributes["color"] == 255).all()
    assert [one.visual.material.alphaMode for mesh in (whole, narrow) for one in _pieces(mesh)] == [None, None]


def test_the_whole_sheet_is_an_option_and_what_an_empty_mask_gives(result):
    assert len(build_mesh(result, full=True).vertices) == SIZE**2
    assert len(build_mesh(plain_result(mask=np.zeros((16, 16)))).vertices) == 16**2


def _border_of(depth, mask) -> np.ndarray:
    """Column, row and depth of the vertices at a mesh's border, in pixels."""
    size = len(depth)
    made = plain_result(side=size, depth=depth, mask=mask)
    part = surface(made)
    piece = cut_surface(part.depth, part.field, made.camera)
    rim = np.unique(border(piece.faces))
    return np.concatenate([piece.pixels[rim], piece.points[rim, 2:] * made.camera.focal_length], axis=1)


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


def test_a_border_has_no_teeth_seen_from_the_side_though_the_mask_ends_on_a_slope_in_steps():
    """Depth falls to the background from the mask's end on, where that is in whole pixels."""
    size = 64
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    away = np.hypot(x * 1.1, y)
    mask = np.clip(0.3 * (1 + 22 - away), 0, 1)
    pixel = 1 / Camera(size).focal_length
    depth = 0.95 + 1.5 * pixel * np.maximum(away - 8, 0)  # the object's own
    depth += 3 * pixel * np.clip(ndimage.distance_transform_edt(mask < 0.6), 0, 4)  # and the way down
    column, row, behind = _border_of(depth, mask).T
    order = np.argsort(np.arctan2(row - 31.5, column - 31.5))
    rim, window = behind[order], np.ones(15) / 15
    once = rim - ndimage.convolve1d(rim, window, mode="wrap")
    teeth = once - ndimage.convolve1d(once, window, mode="wrap")
    assert teeth.std() < 0.1  # pixels; 0.31 without averaging
    made, inside = plain_result(side=size, depth=depth, mask=mask), away < 11
    np.testing.assert_allclose(surface(made).depth[inside], made.depth[inside], rtol=0, atol=1e-6)


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


def test_a_mean_mask_is_smooth_and_symmetric_where_single_ones_are_bitten():
    side, rng = 64, np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - 31.5
    whole = (x / 26) ** 2 + (y / 30) ** 2 < 1
    camera = Camera(side)
    depth = np.where(whole, 0.95, 1.04)
    masks, depths = [], []
    for _ in range(40):
        angle = rng.uniform(0, 2 * np.pi)
        masks.append(whole & (np.hypot(x - 22 * np.cos(angle), y - 25 * np.sin(angle)) > 9))
        depths.append(depth + rng.normal(0, 1e-3, depth.shape))
    masks, depths = np.float32(masks), np.float32(depths)
    mean = mean_mask(depths, masks, camera, symmetric=True)
    assert mean.dtype == np.float32 and np.array_equal(mean, mean[:, ::-1]) and mean.max() == 1
    bitten, usual = (plain_result(side=side, depth=depths[0], mask=mask) for mask in (masks[0], mean))
    assert excess_length(usual) < 1.01 < 1.05 < excess_length(bitten)
    assert overlap(usual, plain_result(side=side, depth=depths[0], mask=whole)) > 0.9
    # What falls to the background is no part of the object, even if every mask has it.
    narrow = np.where(np.abs(x) < 12, depths, 1.04)
    assert not mean_mask(narrow, masks, camera, symmetric=True)[:, [8, -9]].any()
    assert not mean_mask(depths, np.zeros_like(masks), camera, symmetric=True).any()
