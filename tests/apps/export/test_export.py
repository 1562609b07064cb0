"""`gan2shape-jax export`: what others read in the files, and what is said of them.

Most of what Blender does is checked without it, by a pinhole camera as it defines one. One test asks Blender itself:
its Python module needs another version of NumPy than this package, so name an interpreter that has it,

    python3.11 -m venv blender && blender/bin/pip install bpy
    BLENDER_PYTHON=blender/bin/python pytest -m slow tests/apps/export/test_export.py
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import zipfile
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from helpers import bump
from helpers.mesh_files import read_mesh
from helpers.photographed import photo_texture, photographed
from PIL import Image

from gan2shape_jax.apps.export import command
from gan2shape_jax.apps.export.command import solid_bytes
from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import mesh_rasterizer
from gan2shape_jax.main import main
from gan2shape_jax.photos.texture import photo_textured
from gan2shape_jax.results import OutputOptions, Solid, build_mesh, build_solid, save_result, write_outputs
from gan2shape_jax.results.outputs import add_textured
from gan2shape_jax.results.surface import cut_surface, surface


@pytest.fixture(scope="module")
def solid() -> Solid:
    return build_solid(bump.result(), width_mm=20)


@pytest.mark.parametrize("ending", ["3mf", "STL"])
def test_files_are_read_by_others_as_the_same_body(solid, tmp_path, ending):
    path = tmp_path / f"a b.{ending}"
    path.write_bytes(solid_bytes(solid.mesh, f".{ending.lower()}"))
    read = trimesh.load(path, force="mesh")
    assert read.is_volume
    np.testing.assert_allclose(read.extents, solid.mesh.extents, rtol=1e-6)
    assert read.volume == pytest.approx(solid.mesh.volume, rel=1e-5)
    assert len(read.faces) == len(solid.mesh.faces)
    if ending == "3mf":
        assert read.units == "millimeter"
        with zipfile.ZipFile(path) as archive:
            model = ElementTree.fromstring(archive.read("3D/3dmodel.model"))
        core, material = (f"{{{command._3MF}/{name}/2015/02}}" for name in ("core", "material"))
        colours = np.array(
            [list(bytes.fromhex(element.get("color")[1:])) for element in model.iter(f"{material}color")]
        )
        corners = [[int(element.get(f"p{k}")) for k in (1, 2, 3)] for element in model.iter(f"{core}triangle")]
        np.testing.assert_array_equal(colours[corners], solid.mesh.visual.vertex_colors[solid.mesh.faces][..., :3])
        assert path.read_bytes() == solid_bytes(solid.mesh, ".3mf")
    else:
        assert path.stat().st_size == 84 + 50 * len(solid.mesh.faces)  # binary


def test_the_3mf_consortiums_own_reader_finds_nothing_wrong(solid, tmp_path):
    lib3mf = pytest.importorskip("lib3mf", reason="the extra `formats` is not installed")
    (tmp_path / "a.3mf").write_bytes(solid_bytes(solid.mesh, ".3mf"))
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(tmp_path / "a.3mf"))
    assert reader.GetWarningCount() == 0 and model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    objects = model.GetMeshObjects()
    assert objects.MoveNext()
    body = objects.GetCurrentMeshObject()
    assert body.IsValid() and body.IsManifoldAndOriented()
    assert (body.GetVertexCount(), body.GetTriangleCount()) == (len(solid.mesh.vertices), len(solid.mesh.faces))
    assert not objects.MoveNext() and model.GetBuildItems().Count() == 1


def test_print_writes_a_solid_and_says_what_it_is(saved_results, tmp_path, capsys):
    out = tmp_path / "it's.stl"
    words = ["print", str(saved_results / "001")]
    assert command.main([*words, "--width", "20", "--back", "round", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "20.0 x" in said and "closed" in said and str(out) in said
    assert trimesh.load(out).is_volume and trimesh.load(out).extents[0] == pytest.approx(20, abs=1e-4)
    assert command.main([*words, "--width", "20"]) == 0
    assert trimesh.load(saved_results / "001" / "print.3mf", force="mesh").is_volume


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("print --out x.obj", ".stl or .3mf"),
        ("print --out nowhere/x.stl", "nowhere"),
        ("spread", "has no spread of depth"),
        ("spread --out x.obj", ".glb or .ply"),
    ],
)
def test_what_is_wrong_is_one_line(saved_results, capsys, words, message):
    name, *options = words.split()
    assert command.main([name, str(saved_results / "001"), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error


@pytest.mark.parametrize("words", [[], ["stone"]])
def test_a_command_that_does_not_exist_is_refused(capsys, words):
    with pytest.raises(SystemExit):
        command.main(words)
    assert "print" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["of it.glb", "of it.ply"])
def test_the_mesh_is_brighter_where_depth_may_be_off(tmp_path, capsys, name):
    result = bump.result()
    size = result.camera.image_size
    uncertainty = np.tile(np.linspace(0.001, 0.02, size, dtype=np.float32), (size, 1))
    save_result(dataclasses.replace(result, uncertainty=uncertainty), tmp_path / "result")
    assert main(["export", "spread", str(tmp_path / "result"), "--out", str(tmp_path / name)]) == 0
    told = capsys.readouterr().out
    assert "of it" in told and "scene units" in told
    mesh = trimesh.load(tmp_path / name, force="mesh")
    brightness = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(float).sum(-1)
    assert np.corrcoef(mesh.vertices[:, 0], brightness)[0, 1] > 0.9


def test_a_ply_has_the_photos_colours_and_the_size_of_the_other_meshes(tmp_path, capsys):
    plain = bump.result()
    columns = np.broadcast_to(np.arange(64, dtype=np.uint8) * 4, (64, 64))
    texture = np.stack([columns, columns.T, np.full((64, 64), 7, np.uint8)], axis=-1)
    write_outputs(dataclasses.replace(plain, texture=texture), tmp_path / "photo", options=OutputOptions("mesh"))
    assert main(["export", "ply", str(tmp_path / "photo")]) == 0
    assert "with the photo's texture" in capsys.readouterr().out
    mesh, expected = trimesh.load(tmp_path / "photo/mesh.ply"), build_mesh(plain)
    assert len(mesh.faces) == 16 * len(expected.faces)
    np.testing.assert_allclose(mesh.bounds, expected.bounds, atol=1e-6)
    # Seen from the front, colours grow along the picture's axes, as the points' directions do.
    towards = mesh.vertices[:, :2] / (plain.camera.rot_center_depth * plain.metres - mesh.vertices[:, 2:])
    texels = (towards * plain.camera.focal_length / plain.camera.image_size * (1, -1) + 0.5) * 64 - 0.5
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3]
    inside = np.all((texels > 0) & (texels < 63), axis=1)
    assert np.abs(colours[inside, :2] / 4 - texels[inside]).max() < 0.3 and (colours[:, 2] == 7).all()
    assert main(["export", "ply", str(tmp_path / "photo"), "--out", "x.obj"]) == 1
    assert ".ply" in capsys.readouterr().err


def _complaints(path, stage) -> list:
    """What USD's own checker finds wrong with a file by ARKit's rules; from 26.3 on it is a list of validators."""
    from pxr import Sdr, Tf, UsdUtils

    if hasattr(UsdUtils, "ComplianceChecker"):
        with contextlib.suppress(Tf.ErrorException):
            Sdr.Registry()  # of which the package from the registry lacks the definitions, and says so once
        checker = UsdUtils.ComplianceChecker(arkit=True)
        checker.CheckCompliance(path)
        complaints = [*checker.GetErrors(), *checker.GetWarnings(), *checker.GetFailedChecks()]
        return [line for line in complaints if "invalid shader node" not in line]
    from pxr import UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 20
    return [error.GetMessage() for error in UsdValidation.ValidationContext(validators).Validate(stage)]


def test_quick_looks_own_rules_find_nothing_wrong_with_a_usdz_and_it_holds_the_mesh(tmp_path, capsys):
    pytest.importorskip("pxr", reason="the extra `usdz` is not installed")
    from pxr import Usd, UsdGeom, UsdShade

    save_result(bump.result(), tmp_path / "plain")
    assert main(["export", "usdz", str(tmp_path / "plain")]) == 0
    assert "with the method's colours" in capsys.readouterr().out
    textured = dataclasses.replace(bump.result(), texture=np.zeros((32, 32, 3), np.uint8))
    write_outputs(textured, tmp_path / "photo", options=OutputOptions("mesh"))
    for path in (tmp_path / "plain/model.usdz", tmp_path / "photo/model.usdz"):
        with zipfile.ZipFile(path) as archive:  # the same bits whenever it is made
            assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        stage = Usd.Stage.Open(str(path))
        assert _complaints(str(path), stage) == []
        colours = UsdShade.Shader(stage.GetPrimAtPath("/model/photo/map")).GetInput("file").Get()
        assert colours.resolvedPath == f"{path}[photo.jpg]"
        shape = UsdGeom.Mesh(stage.GetPrimAtPath("/model/shape"))
        expected = build_mesh(bump.result())
        np.testing.assert_allclose(np.array(shape.GetPointsAttr().Get()) / 100, expected.vertices, atol=1e-6)
        assert len(shape.GetFaceVertexCountsAttr().Get()) == len(expected.faces)
    assert main(["export", "usdz", str(tmp_path / "plain"), "--out", "x.glb"]) == 1
    assert ".usdz" in capsys.readouterr().err


_SCRIPT = pathlib.Path(command.__file__).with_name("open_in_blender.py")


def _module():
    spec = importlib.util.spec_from_file_location("open_in_blender", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _as_blender_sees(module, description, vertices):
    """Pixels of points in Blender's world: its camera looks along -z, its lens is measured on the sensor's width."""
    matrix = module.camera_matrix(description)
    local = (vertices - matrix[:3, 3]) @ matrix[:3, :3]
    assert (local[:, 2] < 0).all()
    share = module.focal_length_mm(description) / module.SENSOR_MM
    across, up = share * local[:, 0] / -local[:, 2], share * local[:, 1] / -local[:, 2]
    side = description["image_size"]
    return np.stack([(0.5 + across) * side - 0.5, (0.5 - up) * side - 0.5], axis=-1)


@pytest.mark.parametrize(
    "view, other",
    [([-0.4, 0.9, 1.3, 0.03, -0.05, 0.08], {}), ([0] * 6, {"fov_deg": 35.0, "rot_center_depth": 1.4})],
    ids=["far", "another camera"],
)
def test_the_camera_sees_the_mesh_where_the_packages_own_does(view, other, tmp_path):
    result = bump.result()
    view, camera = np.array(view, np.float32), dataclasses.replace(result.camera, **other)
    write_outputs(dataclasses.replace(result, view=view, camera=camera), tmp_path, options=OutputOptions("mesh"))
    points = cameras.transform(cameras.back_project(surface(result).depth, camera), view, camera)
    pixels = np.asarray(cameras.project(points, camera), np.float64)
    mesh = read_mesh(tmp_path / "mesh.glb")
    x, y, z = mesh.vertices.T
    imported = np.stack([x, -z, y], axis=-1)  # as Blender's importer turns glTF's axes
    visible = _as_blender_sees(_module(), json.loads((tmp_path / "camera.json").read_text()), imported)
    side = camera.image_size
    columns, rows = mesh.visual.uv[:, 0] * side - 0.5, (1 - mesh.visual.uv[:, 1]) * side - 0.5
    expected = pixels[np.rint(rows).astype(int), np.rint(columns).astype(int)]
    whole = np.abs([columns - np.rint(columns), rows - np.rint(rows)]).max(axis=0) < 1e-4  # not where it was cut
    assert whole.sum() > 100
    assert np.abs(visible - expected)[whole].max() < 2e-3  # of a pixel; half a pixel is what is asked


@pytest.mark.parametrize("dx, dy", [(0.5, -0.3), (0.0, 0.0), (-3.0, 2.0)])
def test_the_sun_shines_along_the_estimated_light(dx, dy):
    """Blender's sun lights a face by the cosine between its outward normal and the way back to the sun."""
    outward = np.concatenate([np.eye(3), -np.eye(3)])  # Blender's axes
    x, y, z = outward.T
    inward = -np.stack([x, -z, y], axis=-1)  # the camera's: x right, y down, z away
    description = {"light": {"ambient": 0.4, "diffuse": 0.6, "dx": dx, "dy": dy}}
    to_sun = _module().light_matrix(description)[:3, 2]
    direction = np.array([dx, dy, 1.0]) / np.linalg.norm([dx, dy, 1.0])
    np.testing.assert_allclose(outward @ to_sun, inward @ direction, atol=1e-6)


def test_the_command_writes_the_script(saved_results, tmp_path, capsys):
    folder = saved_results / "001"
    assert command.main(["blender", str(folder)]) == 0
    assert "blender --python" in capsys.readouterr().out
    assert (folder / "open_in_blender.py").read_bytes() == _SCRIPT.read_bytes()
    with pytest.raises(FileNotFoundError, match="neither textured.glb nor mesh.glb"):
        _module()._first(tmp_path, ("textured.glb", "mesh.glb"))


@pytest.mark.slow
def test_blender_itself_sees_mesh_and_silhouette_there(tmp_path):
    """Vertices to a thousandth of a pixel of the result; the outline of what Cycles draws to a tenth of a drawn one."""
    blender = os.environ.get("BLENDER_PYTHON")
    if not blender:
        pytest.skip("BLENDER_PYTHON names no interpreter with Blender's module `bpy`")
    rendered = photographed()
    result, size = rendered.result, 256
    save_result(result, tmp_path / "r")
    texture = photo_texture(result, rendered.photo, rendered.box, largest=256)
    add_textured(tmp_path / "r", *photo_textured(result, rendered.photo, texture, rendered.box))
    numbers, picture = tmp_path / "seen.json", tmp_path / "drawn.png"
    program = pathlib.Path(__file__).parents[2] / "helpers" / "blender_program.py"
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    arguments = [blender, program, _SCRIPT, tmp_path / "r", numbers, picture, size]
    done = subprocess.run([str(a) for a in arguments], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and picture.is_file(), done.stderr
    part = surface(result)
    piece = cut_surface(part.depth, part.field, result.camera)
    center = np.array([0, 0, result.camera.rot_center_depth])
    rotation = np.asarray(cameras.rotation_matrix(jnp.asarray(result.view[:3])), np.float64)
    seen_from = (piece.points - center) @ rotation.T + center + result.view[3:]
    pixels = np.asarray(cameras.project(jnp.asarray(seen_from), result.camera))
    told = json.loads(numbers.read_text())
    side = result.camera.image_size
    uv = np.array(told["uv"])
    places = np.stack([uv[:, 0] * side - 0.5, (1 - uv[:, 1]) * side - 0.5], axis=-1)
    which = np.linalg.norm(places[:, None] - piece.pixels[None], axis=-1).argmin(1)
    across, up = np.array(told["seen"])[:, :2].T
    theirs = np.stack([across * side - 0.5, (1 - up) * side - 0.5], axis=-1)
    assert np.abs(theirs - pixels[which]).max() < 2e-3
    vertices, faces = jnp.asarray(seen_from, jnp.float32), piece.faces.astype(np.int32)
    covered = mesh_rasterizer.rasterize(vertices, result.camera, faces=faces, supersample=4, size=size)
    ours = (np.asarray(covered.triangle) >= 0).reshape(size, 4, size, 4).mean((1, 3))
    drawn = np.asarray(Image.open(picture), float)[..., 3] / 255
    around = sum(np.abs(np.diff(ours > 0.5, axis=axis)).sum() for axis in (0, 1))
    assert np.abs(drawn - ours).sum() / around < 0.1
    assert np.abs(np.roll(drawn, 1, axis=1) - ours).sum() / around > 0.3  # a pixel beside would be noticed
