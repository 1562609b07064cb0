"""The script for Blender: its camera sees the exported mesh where the package's camera does.

Most of it is checked without Blender, by a pinhole camera as Blender defines it. One test asks Blender itself: its
Python module needs another version of NumPy than this package, so name an interpreter that has it,

    python3.11 -m venv blender && blender/bin/pip install bpy
    BLENDER_PYTHON=blender/bin/python pytest -m slow tests/apps/export/test_blender.py
"""

import dataclasses
import importlib.util
import json
import os
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from helpers import bump
from helpers.photographed import photographed
from PIL import Image

from gan2shape_jax.apps.export import command
from gan2shape_jax.apps.export.texture import write_photo_textured
from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import mesh_rasterizer
from gan2shape_jax.io import bundled
from gan2shape_jax.results import OutputOptions, save_result, write_outputs
from gan2shape_jax.results.solid import cut_sheet
from gan2shape_jax.results.surface import surface

_SCRIPT = bundled.folder("tools") / "open_in_blender.py"


def _module():
    spec = importlib.util.spec_from_file_location("open_in_blender", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(
    scope="module",
    params=[
        {"view": [-0.4, 0.9, 1.3, 0.03, -0.05, 0.08]},
        {"view": [0, 0, 0, 0, 0, 0], "fov_deg": 35.0, "rot_center_depth": 1.4},
    ],
    ids=["far", "another camera"],
)
def exported(request, tmp_path_factory):
    """A folder with `camera.json` and `mesh.glb`, and where the camera sees the mesh's vertices, pixels."""
    given = dict(request.param)
    result = bump.result()
    view = np.array(given.pop("view"), np.float32)
    result = dataclasses.replace(result, view=view, camera=dataclasses.replace(result.camera, **given))
    folder = tmp_path_factory.mktemp("blender")
    write_outputs(result, folder / "r", options=OutputOptions("mesh"))
    points = cameras.transform(cameras.back_project(result.depth, result.camera), view, result.camera)
    return folder / "r", result, np.asarray(cameras.project(points, result.camera), np.float64)


def _as_blender_sees(module, description, vertices):
    """Pixels of points in Blender's world: its camera looks along -z, its lens is measured on the sensor's width."""
    matrix = module.camera_matrix(description)
    local = (vertices - matrix[:3, 3]) @ matrix[:3, :3]
    assert (local[:, 2] < 0).all()
    share = module.focal_length_mm(description) / module.SENSOR_MM
    across, up = share * local[:, 0] / -local[:, 2], share * local[:, 1] / -local[:, 2]
    side = description["image_size"]
    return np.stack([(0.5 + across) * side - 0.5, (0.5 - up) * side - 0.5], axis=-1)


def test_the_camera_sees_the_mesh_where_the_packages_own_does(exported):
    folder, result, pixels = exported
    mesh = trimesh.load(folder / "mesh.glb", force="mesh", process=False)
    x, y, z = mesh.vertices.T
    imported = np.stack([x, -z, y], axis=-1)  # as Blender's importer turns glTF's axes
    description = json.loads((folder / "camera.json").read_text())
    seen = _as_blender_sees(_module(), description, imported)
    side = result.camera.image_size
    columns, rows = mesh.visual.uv[:, 0] * side - 0.5, (1 - mesh.visual.uv[:, 1]) * side - 0.5
    expected = pixels[np.rint(rows).astype(int), np.rint(columns).astype(int)]
    whole = np.abs([columns - np.rint(columns), rows - np.rint(rows)]).max(axis=0) < 1e-4  # not where it was cut
    assert whole.sum() > 100
    assert np.abs(seen - expected)[whole].max() < 2e-3  # of a pixel; half a pixel is what is asked


def test_the_sun_shines_along_the_estimated_light():
    """Blender's sun lights a face by the cosine between its outward normal and the way back to the sun."""
    outward = np.concatenate([np.eye(3), -np.eye(3)])  # Blender's axes
    x, y, z = outward.T
    inward = -np.stack([x, -z, y], axis=-1)  # the camera's: x right, y down, z away
    for dx, dy in ((0.5, -0.3), (0.0, 0.0), (-3.0, 2.0)):
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
    known = photographed()
    result, size = known.result, 256
    save_result(result, tmp_path / "r")
    write_photo_textured(result, known.photo, known.box, tmp_path / "r", largest=256)
    numbers, picture = tmp_path / "seen.json", tmp_path / "drawn.png"
    program = bundled.folder("tools").parent / "tests" / "helpers" / "blender_program.py"
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    arguments = [blender, program, _SCRIPT, tmp_path / "r", numbers, picture, size]
    done = subprocess.run([str(a) for a in arguments], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and picture.is_file(), done.stderr
    part = surface(result)
    sheet = cut_sheet(part.depth, part.field, result.camera)
    center = np.array([0, 0, result.camera.rot_center_depth])
    rotation = np.asarray(cameras.rotation_matrix(jnp.asarray(result.view[:3])), np.float64)
    seen_from = (sheet.points - center) @ rotation.T + center + result.view[3:]
    pixels = np.asarray(cameras.project(jnp.asarray(seen_from), result.camera))
    told = json.loads(numbers.read_text())
    side = result.camera.image_size
    uv = np.array(told["uv"])
    places = np.stack([uv[:, 0] * side - 0.5, (1 - uv[:, 1]) * side - 0.5], axis=-1)
    which = np.linalg.norm(places[:, None] - sheet.pixels[None], axis=-1).argmin(1)
    across, up = np.array(told["seen"])[:, :2].T
    theirs = np.stack([across * side - 0.5, (1 - up) * side - 0.5], axis=-1)
    assert np.abs(theirs - pixels[which]).max() < 2e-3
    vertices, faces = jnp.asarray(seen_from, jnp.float32), sheet.faces.astype(np.int32)
    covered = mesh_rasterizer.rasterize(vertices, result.camera, faces=faces, supersample=4, size=size)
    ours = (np.asarray(covered.triangle) >= 0).reshape(size, 4, size, 4).mean((1, 3))
    drawn = np.asarray(Image.open(picture), float)[..., 3] / 255
    around = sum(np.abs(np.diff(ours > 0.5, axis=axis)).sum() for axis in (0, 1))
    assert np.abs(drawn - ours).sum() / around < 0.1
    assert np.abs(np.roll(drawn, 1, axis=1) - ours).sum() / around > 0.3  # a pixel beside would be noticed
