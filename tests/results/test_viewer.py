"""The viewer's JavaScript: run by Node beside the package's own geometry (`tests/viewer`), and linted."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from helpers import bump

from gan2shape_jax.geometry.camera import back_project, rotation_matrix
from gan2shape_jax.results.outputs import fragment_of
from gan2shape_jax.results.surface import normals, shading, surface

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
    flat = {name: np.asarray(values, np.float64).ravel().tolist() for name, values in truth.items()}
    (tmp_path / "truth.json").write_text(json.dumps(flat | {"model": model, "size": bump.SIZE}))
    environment = os.environ | {"VIEWER_TRUTH": str(tmp_path / "truth.json")}
    command = ["node", "--test", "viewer.test.js"]
    done = subprocess.run(command, cwd=_FOLDER, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "# pass 6" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not (_FOLDER / "node_modules").is_dir(), reason="needs ESLint: npm ci --prefix tests/viewer")
def test_the_linter_finds_nothing():
    done = subprocess.run(["npm", "run", "--silent", "lint"], cwd=_FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
