"""`gan2shape-jax export spread`: the mesh coloured by how far its depth may be off."""

import dataclasses

import numpy as np
import pytest
import trimesh
from helpers.lit_bump import lit_bump

from gan2shape_jax.main import main
from gan2shape_jax.results import load_result, save_result
from gan2shape_jax.results.spread_mesh import build_spread_mesh


@pytest.fixture
def folder(tmp_path):
    result = lit_bump()
    size = result.camera.image_size
    spread = np.tile(np.linspace(0.001, 0.02, size, dtype=np.float32), (size, 1))
    save_result(dataclasses.replace(result, depth_spread=spread), tmp_path / "result")
    return tmp_path / "result"


@pytest.mark.parametrize("ending", ["glb", "ply"])
def test_the_mesh_is_brighter_where_depth_may_be_off(folder, tmp_path, capsys, ending):
    path = tmp_path / f"of it.{ending}"
    assert main(["export", "spread", str(folder), "--out", str(path)]) == 0
    told = capsys.readouterr().out
    assert "of it" in told and "scene units" in told
    mesh = trimesh.load(path, force="mesh")
    brightness = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(float).sum(-1)
    assert np.corrcoef(mesh.vertices[:, 0], brightness)[0, 1] > 0.9


def test_colours_are_of_the_vertices_own_pixels(folder):
    result = load_result(folder)
    mesh, plain = build_spread_mesh(result, full=True), result.camera.image_size
    assert len(mesh.vertices) == plain**2
    rows = np.asarray(mesh.visual.vertex_colors)[:, :3].reshape(plain, plain, 3)
    assert (rows == rows[:1]).all() and len(np.unique(rows[0], axis=0)) > plain // 2


def test_what_has_no_spread_is_told(tmp_path, capsys):
    save_result(lit_bump(), tmp_path / "result")
    assert main(["export", "spread", str(tmp_path / "result")]) == 1
    assert "has no spread of depth" in capsys.readouterr().err
    assert main(["export", "spread", str(tmp_path / "result"), "--out", "x.obj"]) in (1, 2)
    assert ".glb or .ply" in capsys.readouterr().err
    assert not (tmp_path / "result" / "spread.glb").exists()
