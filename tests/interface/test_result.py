"""A reconstruction in hand (units, pictures, mesh, folder), and what `import gan2shape_jax` offers and leaves alone."""

import ast
import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from helpers import bump

import gan2shape_jax as g2s
from gan2shape_jax.results import views
from gan2shape_jax.results.views import pictures_in_turn


@pytest.fixture(scope="module")
def result():
    return bump.result()


def test_units_and_shapes(result):
    size = bump.SIZE
    assert result.depth.shape == result.input_depth.shape == result.mask.shape == (size, size)
    assert result.view.shape == (6,) and result.light.shape == (4,)
    np.testing.assert_allclose(result.albedo, result.signed_albedo / 2 + 0.5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(result.normals, axis=-1), 1, atol=1e-5)
    assert result.normals[..., 2].min() > 0  # into the surface, away from the camera
    assert repr(result) == "Reconstruction('bump', 16 x 16 pixels)"


@pytest.mark.parametrize("name", ["albedo", "image", "reconstructed_image"])
def test_pictures_are_from_0_to_1(result, name):
    picture = getattr(result, name)
    assert picture.shape == (bump.SIZE, bump.SIZE, 3) and picture.dtype == np.float32
    assert 0 <= picture.min() < picture.max() <= 1


def test_pictures_are_those_of_the_command(result):
    turned = views.sweep_views(yaw_deg=30, pitch_deg=-10)
    (expected,) = pictures_in_turn(result, turned, result.light[None], size=24)
    np.testing.assert_array_equal(result.render(yaw=30, pitch=-10, size=24), expected)
    (expected,) = pictures_in_turn(result, turned + result.view, result.light[None], size=24, show="shape")
    np.testing.assert_array_equal(result.render(yaw=30, pitch=-10, size=24, show="shape", from_input=True), expected)


def test_lists_of_angles_and_lights_give_many_pictures_and_its_own_light_changes_nothing(result):
    pictures = result.render(yaw=[-20, 0], size=24)
    assert pictures.shape == (2, 24, 24, 3)
    lit = result.relight([tuple(result.light[2:].tolist()), (-0.5, 0.2)], size=24)
    assert lit.shape == (2, 24, 24, 3) and (lit[0] != lit[1]).any()
    for picture in (pictures[1], lit[0]):
        np.testing.assert_array_equal(picture, result.render(size=24))
    np.testing.assert_array_equal(lit[1], result.relight((-0.5, 0.2), size=24))
    stronger = np.array([0.4 - 0.6 * 0.3, 0.6 + 0.3, 1.0, 0.5], np.float32)
    (expected,) = pictures_in_turn(result, views.sweep_views(), stronger[None], size=24)
    assert np.abs(result.relight((1.0, 0.5), strength=0.3, size=24).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.render(show="colour"), "show is 'colour': it must be one of image, albedo"),
        (lambda r: r.render(yaw=[0, 1], pitch=[0, 1, 2]), r"shapes \(3,\), \(2,\), \(\): they must be numbers or"),
        (lambda r: r.render(yaw=np.zeros((2, 2))), r"yaw, roll have the shapes \(\), \(2, 2\)"),
        (lambda r: r.render(yaw=float("nan")), "yaw holds numbers that are not finite"),
        (lambda r: r.render(size=0), "size is 0: it must be 1 to 4096"),
        (lambda r: r.relight((0.5, 0.2, 1.0)), r"direction has the shape \(3,\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(result, call, message):
    with pytest.raises(ValueError, match=message):
        call(result)


def test_mesh_and_solid_are_those_that_exports_have(result):
    assert len(result.mesh(full=True).faces) == 2 * (bump.SIZE - 1) ** 2 > len(result.mesh().faces)
    solid = result.solid(width_mm=20, thickness_mm=2)
    assert solid.is_volume and solid.extents[0] == pytest.approx(20)
    with pytest.raises(g2s.UserError, match="thickness_mm"):
        result.solid(thickness_mm=0.1)
    mask = result.mask.copy()
    mask[8, 8] = 0
    with pytest.warns(UserWarning, match="the mask has holes: 1 pixels were filled"):
        dataclasses.replace(result, mask=mask).solid(back="round")


@pytest.mark.parametrize("pictures", [False, True])
def test_a_saved_folder_is_read_again_and_rendered(result, tmp_path, pictures):
    folder = tmp_path / f"saved {pictures}"
    result.save(folder, pictures=pictures)
    again = g2s.load(folder)
    np.testing.assert_array_equal(again.depth, result.depth)
    np.testing.assert_array_equal(again.render(yaw=15, size=24), result.render(yaw=15, size=24))
    assert (folder / "overview.png").is_file() == pictures


def test_a_saved_folder_is_read_again_and_rendered_and_another_is_refused(tmp_path):
    with pytest.raises(g2s.UserError, match="is not a results folder"):
        g2s.load(tmp_path)


def test_importing_loads_no_jax_and_using_names_changes_nothing():
    code = (
        "import os, sys, warnings\n"
        "environ, filters = dict(os.environ), list(warnings.filters)\n"
        "import gan2shape_jax as g2s\n"
        "assert dict(os.environ) == environ and warnings.filters == filters\n"
        "heavy = ('jax', 'jaxlib', 'flax', 'numpy', 'PIL')\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in heavy]\n"
        "import jax\n"
        "environ, settings = dict(os.environ), dict(jax.config.values)\n"
        "for name in g2s.__all__: getattr(g2s, name)\n"
        "assert dict(os.environ) == environ and settings.items() <= dict(jax.config.values).items()\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"  # too late once there are devices
        "assert len(jax.devices('cpu')) == 3\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_programs_that_are_kept_are_read_without_a_word(tmp_path):
    """XLA logs processor features as errors, where it reads what it has compiled itself."""
    code = (
        "import sys, gan2shape_jax as g2s\n"
        "g2s.depth_errors\n"
        "import jax, jax.numpy as jnp\n"
        "from gan2shape_jax.plan import runtime\n"
        "runtime.keep_programs(sys.argv[1])\n"
        "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((64, 64))).block_until_ready()\n"
    )
    chosen = ("JAX_", "XLA_", "TF_CPP_")  # beginnings of what is set here, for tests and by JAX
    environ = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, tmp_path], env=environ, text=True, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert any(tmp_path.iterdir())


def test_every_name_is_there_and_documented_and_seen_by_type_checkers():
    for name in g2s.__all__:
        assert getattr(g2s, name).__doc__, name
    assert set(g2s.__all__) < set(dir(g2s))
    with pytest.raises(AttributeError, match="has no attribute 'reconstrukt'"):
        g2s.reconstrukt  # noqa: B018
    # The imports for type checkers are those that happen when a name is used.
    tree = ast.parse(pathlib.Path(g2s.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    observed = {name.name: node.module for node in imports if node.module != "typing" for name in node.names}
    assert observed == {name: f"gan2shape_jax.{module}" for name, module in g2s._MODULES.items()}
    assert sorted(observed) == sorted(g2s.__all__)
