"""`gan2shape-jax export print` and `spread`: what others read in the files, and what is said of them."""

import contextlib
import dataclasses

import numpy as np
import pytest
import trimesh
from helpers import bump

from gan2shape_jax.apps.export import command
from gan2shape_jax.apps.export.command import write_solid
from gan2shape_jax.main import main
from gan2shape_jax.results import OutputOptions, Solid, build_mesh, build_solid, save_result, write_outputs


@pytest.fixture(scope="module")
def solid() -> Solid:
    return build_solid(bump.result(), width_mm=60)


@pytest.mark.parametrize("ending", ["3mf", "STL"])
def test_files_are_read_by_others_as_the_same_body(solid, tmp_path, ending):
    path = tmp_path / f"a b.{ending}"
    write_solid(solid.mesh, path)
    read = trimesh.load(path, force="mesh")
    assert read.is_volume
    np.testing.assert_allclose(read.extents, solid.mesh.extents, rtol=1e-6)
    assert read.volume == pytest.approx(solid.mesh.volume, rel=1e-5)
    assert len(read.faces) == len(solid.mesh.faces)
    if ending == "3mf":
        assert read.units == "millimeter"
        write_solid(solid.mesh, tmp_path / "again.3mf")
        assert path.read_bytes() == (tmp_path / "again.3mf").read_bytes()
    else:
        assert path.stat().st_size == 84 + 50 * len(solid.mesh.faces)  # binary


def test_the_3mf_consortiums_own_reader_finds_nothing_wrong(solid, tmp_path):
    lib3mf = pytest.importorskip("lib3mf", reason="the extra `formats` is not installed")
    write_solid(solid.mesh, tmp_path / "a.3mf")
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(tmp_path / "a.3mf"))
    assert reader.GetWarningCount() == 0
    assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    objects = model.GetMeshObjects()
    assert objects.MoveNext()
    body = objects.GetCurrentMeshObject()
    assert body.IsValid() and body.IsManifoldAndOriented()
    assert (body.GetVertexCount(), body.GetTriangleCount()) == (len(solid.mesh.vertices), len(solid.mesh.faces))
    assert not objects.MoveNext()
    assert model.GetBuildItems().Count() == 1


def test_print_writes_a_solid_and_says_what_it_is(saved_results, tmp_path, capsys):
    out = tmp_path / "it's.stl"
    words = ["print", str(saved_results / "001")]
    assert command.main([*words, "--width", "50", "--back", "mirrored", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "50.0 x" in said and "closed" in said and str(out) in said
    read = trimesh.load(out)
    assert read.is_volume
    assert read.extents[0] == pytest.approx(50, abs=1e-4)
    assert command.main(words) == 0
    assert trimesh.load(saved_results / "001" / "print.3mf", force="mesh").is_volume


def test_what_is_wrong_is_said(saved_results, capsys):
    for words, message in (
        ("print --out x.obj", ".stl or .3mf"),
        ("print --out nowhere/x.stl", "nowhere"),
        ("print --width nan", "finite"),
        ("spread", "has no spread of depth"),
        ("spread --out x.obj", ".glb or .ply"),
    ):
        name, *options = words.split()
        assert command.main([name, str(saved_results / "001"), *options]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and "Traceback" not in error
    for words in ([], ["stone"]):
        assert command.main(words) == 2
        assert "print" in capsys.readouterr().err


def test_the_mesh_is_brighter_where_depth_may_be_off(tmp_path, capsys):
    result = bump.result()
    size = result.camera.image_size
    spread = np.tile(np.linspace(0.001, 0.02, size, dtype=np.float32), (size, 1))
    save_result(dataclasses.replace(result, depth_spread=spread), tmp_path / "result")
    for path in (tmp_path / "of it.glb", tmp_path / "of it.ply"):
        assert main(["export", "spread", str(tmp_path / "result"), "--out", str(path)]) == 0
        told = capsys.readouterr().out
        assert "of it" in told and "scene units" in told
        mesh = trimesh.load(path, force="mesh")
        brightness = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(float).sum(-1)
        assert np.corrcoef(mesh.vertices[:, 0], brightness)[0, 1] > 0.9


def _complaints(path, stage) -> list:
    """What USD's own checker finds wrong with a file by ARKit's rules; from 26.3 on it is a list of validators."""
    from pxr import Sdr, Tf, UsdUtils

    if hasattr(UsdUtils, "ComplianceChecker"):
        with contextlib.suppress(Tf.ErrorException):
            Sdr.Registry()  # of which the package from the registry lacks the definitions, and says so once
        checker = UsdUtils.ComplianceChecker(arkit=True)
        checker.CheckCompliance(path)
        found = [*checker.GetErrors(), *checker.GetWarnings(), *checker.GetFailedChecks()]
        return [one for one in found if "invalid shader node" not in one]
    from pxr import UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 20
    return [error.GetMessage() for error in UsdValidation.ValidationContext(validators).Validate(stage)]


def test_quick_looks_own_rules_find_nothing_wrong_with_a_usdz_and_it_holds_the_mesh(tmp_path, capsys):
    pytest.importorskip("pxr", reason="the extra `usdz` is not installed")
    from pxr import Usd, UsdGeom, UsdShade

    texture = np.zeros((32, 32, 3), np.uint8)
    save_result(dataclasses.replace(bump.result()), tmp_path / "plain")
    assert main(["export", "usdz", str(tmp_path / "plain")]) == 0
    assert "with the method's colours" in capsys.readouterr().out
    write_outputs(
        dataclasses.replace(bump.result(), texture=texture), tmp_path / "photo", options=OutputOptions("mesh")
    )
    for path in (tmp_path / "plain/model.usdz", tmp_path / "photo/model.usdz"):
        stage = Usd.Stage.Open(str(path))
        assert _complaints(str(path), stage) == []
        colours = UsdShade.Shader(stage.GetPrimAtPath("/model/photo/map")).GetInput("file").Get()
        assert colours.resolvedPath == f"{path}[photo.jpg]"
        shape = UsdGeom.Mesh(stage.GetPrimAtPath("/model/shape"))
        expected = build_mesh(bump.result())
        np.testing.assert_allclose(np.array(shape.GetPointsAttr().Get()) / 25, expected.vertices, atol=1e-6)
        assert len(shape.GetFaceVertexCountsAttr().Get()) == len(expected.faces)
    assert main(["export", "usdz", str(tmp_path / "plain"), "--out", "x.glb"]) == 1
    assert ".usdz" in capsys.readouterr().err
