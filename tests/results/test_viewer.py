"""The viewer's JavaScript: run by Node beside the package's own geometry (`tests/viewer`), and linted."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers import bump, whole_head

from gan2shape_jax.geometry.camera import back_project, rotation_matrix
from gan2shape_jax.results.back import normals_of
from gan2shape_jax.results.meshes import whole_back
from gan2shape_jax.results.outputs import fragment_of
from gan2shape_jax.results.surface import CutSurface, cut_surface, normals, shading, surface

_FOLDER = pathlib.Path(__file__).parents[1] / "viewer"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_depth_and_geometry_are_those_of_the_package(tmp_path):
    result = bump.result()
    model, depth = fragment_of(result)[1], surface(result).depth
    normal = normals(depth, result.camera)
    truth = {
        "depth": depth,
        "points": back_project(depth, result.camera),
        "normals": normal,
        "shading": shading(normal, result.light),
        "rotation": rotation_matrix(result.view[:3]),
    }
    head = whole_head.egg()
    part = surface(head)
    back = whole_back(head, cut_surface(part.depth, part.field, head.camera), head.texture)
    closed = CutSurface(back.points, back.pixels, back.faces)
    truth |= {"back_points": back.points, "back_faces": back.faces, "back_normals": normals_of(closed)}
    flat = {name: np.asarray(values, np.float64).ravel().tolist() for name, values in truth.items()}
    (tmp_path / "truth.json").write_text(json.dumps(flat | {"model": model, "size": bump.SIZE}))
    environment = os.environ | {"VIEWER_TRUTH": str(tmp_path / "truth.json")}
    command = ["node", "--test", "viewer.test.js"]
    done = subprocess.run(command, cwd=_FOLDER, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "# pass 7" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not (_FOLDER / "node_modules").is_dir(), reason="needs ESLint: npm ci --prefix tests/viewer")
def test_the_linter_finds_nothing():
    done = subprocess.run(["npm", "run", "--silent", "lint"], cwd=_FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_that_the_viewer_names_exist():
    root = _FOLDER.parents[1]
    viewer = root / "gan2shape_jax" / "assets" / "viewer"
    sources = [path for kind in ("js", "css", "html") for path in viewer.glob(f"*.{kind}")]
    named = {
        name
        for path in sources
        if path.name != "three.min.js"
        for name in re.findall(r"(?<![\w/.])[./\w]+\.(?:py|js|md|css|html)\b", path.read_text(encoding="utf-8"))
    }
    named -= {"three.js"}  # the library, which lies here in its short form
    assert {"./geometry.js", "gan2shape_jax/geometry/lighting.py"} <= named
    assert {name for name in named if not any((folder / name).is_file() for folder in (viewer, root))} == set()
