"""Editing a saved result: the GAN's version is step 2's, the files are found, and what is wrong is said."""

import csv
import dataclasses
import functools
import json
import pathlib
import shlex
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tiny import tiny_config

from gan2shape_jax import edit_command, editing, loading, models, projection, resample, saved_run, steps, stylegan2
from gan2shape_jax import weights as network_files
from gan2shape_jax.camera import Camera
from gan2shape_jax.config import asset, flatten, load_config
from gan2shape_jax.editor import load_editor
from gan2shape_jax.errors import UserError
from gan2shape_jax.factors import Factors
from gan2shape_jax.main import main
from gan2shape_jax.outputs import Result, load_result, render_command, save_result, view_options, views
from gan2shape_jax.outputs.view_options import Shots
from gan2shape_jax.run_folder import RunFolder

SIZE = 32  # below the GAN's 64 pixels, so that the two sizes are told apart
OVER_GAN = 64
ANGLES = [[5.0, -30, 0], [0, 0, 0], [-4, 25, 3]]  # pitch, yaw, roll in degrees
# Programs compiled apart round the renderings by up to 2e-5 differently, which encoder and GAN pass on tenfold.
_ROUNDING = 1e-3
DIRECTIONS = [[-0.8, 0.1], [0.2, 0.5], [0.9, -0.2]]


def _bump(camera: Camera) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1
    return (1.05 - 0.08 * np.clip(1 - (x - 0.1) ** 2 - y**2, 0, None)).astype(np.float32)


def _write_run(folder: pathlib.Path, **fields) -> pathlib.Path:
    """A run's folder with one result: untrained networks, a made-up shape; returns the result's folder."""
    config = tiny_config(folder, image_size=SIZE, data__depth_root="", schedule__use_mask=True, **fields)
    run = RunFolder.open(config)
    architecture, fixed = loading.load_frozen(config)
    prepared = loading.prepare_image(config, "001.png", architecture, fixed, run.latents)
    problem, camera = prepared.problem, prepared.settings.camera
    image, depth = np.asarray(problem.image[0]), _bump(camera)
    result = Result(
        name="001", camera=camera, depth=depth, albedo=image, view=np.array([0.02, -0.2, 0.01, 0.001, 0, 0]),
        light=np.array([0.4, 0.6, 0.3, -0.2]), mask=np.where(depth < 1.04, 0.9, 0.1), image=image,
        input_mask=problem.mask, canonical=image, reconstruction=image, warped_depth=depth,
        gan_image=problem.gan_image[0], category="face")
    save_result(result, run.result("001"))
    params = models.init_params(jax.random.key(3), prepared.settings)
    (run.result("001") / "networks.safetensors").write_bytes(network_files.networks_bytes(params))
    return run.result("001")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return _write_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def editor(saved):
    return load_editor(saved)


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the run to be harmed; the result's folder in it."""
    shutil.copytree(saved.parent, tmp_path / "moved")
    return tmp_path / "moved" / "001"


def _shots(editor) -> tuple[np.ndarray, np.ndarray]:
    turned = views.sweep_views(**dict(zip(("pitch_deg", "yaw_deg", "roll_deg"), np.transpose(ANGLES))))
    strengths = np.broadcast_to(editor.result.light[:2], (3, 2))
    return turned, np.concatenate([strengths, DIRECTIONS], axis=-1).astype(np.float32)


@functools.partial(jax.jit, static_argnames="settings")
def _step_2(params, factors, drawn, directions, latent, reference, frozen, *, settings):
    pseudo, masks = steps.pseudo_images(factors, drawn, directions, jnp.zeros(3), settings)
    pictures, _ = projection.project(params, pseudo, latent, reference, frozen, settings)
    return pseudo, masks, pictures


def _by_step_2(editor, turned):
    """The training's own functions on the same views and lights, in their units."""
    reach, result = editor.settings.view_range, editor.result
    factors = Factors(*(jnp.asarray(v) for v in (result.depth, result.albedo, result.view, result.light, result.mask)))
    units = np.array([np.deg2rad(reach.rotation_deg)] * 3 + [reach.xy] * 2 + [1])
    return _step_2(
        editor.params, factors, jnp.asarray(turned / units, jnp.float32), jnp.asarray(DIRECTIONS), editor.latent,
        editor.reference, editor.frozen, settings=editor.settings)


@pytest.mark.parametrize("faults", [False, True])
def test_the_gans_version_is_step_2s_of_the_same_views_and_lights(editor, faults):
    settings = dataclasses.replace(
        editor.settings, sampling="half" if faults else "centred", unit_normals=not faults)
    chosen = dataclasses.replace(editor, settings=settings)
    turned, lights = _shots(chosen)
    found = editing.edit(chosen, turned, lights)
    pseudo, masks, pictures = _by_step_2(chosen, turned)
    np.testing.assert_allclose(found.pseudo, pseudo, atol=2e-5)
    np.testing.assert_array_equal(found.masks, masks)
    assert 0 < found.masks.mean() < 1
    assert found.pictures.shape == (3, OVER_GAN, OVER_GAN, 3)
    small = np.asarray(resample.resize(jnp.asarray(found.pictures), SIZE))
    np.testing.assert_allclose(small, pictures, atol=_ROUNDING)
    off = np.abs(small - np.asarray(pseudo)) * np.asarray(masks)[..., None]
    np.testing.assert_allclose(
        found.l1, off.sum((1, 2, 3)) / (3 * np.asarray(masks).sum((1, 2))), rtol=1e-3)
    assert np.abs(np.diff(found.pictures, axis=0)).mean() > 1e-4  # they do depend on the view


def test_views_do_not_depend_on_how_many_are_projected_together(editor):
    turned, lights = _shots(editor)
    rows = [0, 1, 2, 1, 0, 2, 2, 1, 0, 1, 2]  # more than one batch
    together = editing.edit(editor, turned[rows], lights[rows])
    assert len(together.pictures) == len(together.l1) == len(rows)
    for i in range(3):
        alone = editing.edit(editor, turned[i:i + 1], lights[i:i + 1])
        for k in np.flatnonzero(np.array(rows) == i):
            np.testing.assert_allclose(together.pictures[k], alone.pictures[0], atol=1e-5)
            np.testing.assert_allclose(together.pseudo[k], alone.pseudo[0], atol=1e-5)


def test_a_cropping_run_gives_pictures_of_the_crop(tmp_path, editor):
    cropped = load_editor(_write_run(tmp_path, data__crop=48))
    np.testing.assert_allclose(cropped.picture, editor.picture[8:-8, 8:-8], atol=1e-5)
    found = editing.edit(cropped, *_shots(cropped))
    assert cropped.size == 48 and found.pictures.shape == (3, 48, 48, 3)
    assert found.pseudo.shape == (3, SIZE, SIZE, 3) and np.isfinite(found.l1).all()
    moved = tmp_path / "images"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["image_root"] = str(moved)
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="--image FILE"):
        load_editor(tmp_path / "run" / "001")
    given = load_editor(tmp_path / "run" / "001", image=asset("ictface/image/001.png"))
    assert given.settings.original_size == 64


# --- options -------------------------------------------------------------------------------------------


def _options(*words):
    return edit_command._parser().parse_args(["RESULT", *words])


def test_strength_is_that_of_the_methods_relighting(editor):
    own = editor.result.light
    shots = view_options.shots(_options("--light", "-1", "0.5", "--strength", "0.3"), editor.result)
    np.testing.assert_allclose(shots.lights, [[own[0] - 0.18, own[1] + 0.3, -1, 0.5]], atol=1e-6)
    shots = view_options.shots(_options("--ambient", "0.2", "--diffuse", "0.7"), editor.result)
    np.testing.assert_allclose(shots.lights, [[0.2, 0.7, own[2], own[3]]], atol=1e-6)


def test_frames_are_spread_evenly_and_captions_name_what_varies(editor):
    options = _options("--yaw", "-40", "40", "--pitch", "5", "--frames", "5")
    shots = view_options.shots(options, editor.result)
    np.testing.assert_allclose(shots.angles_deg, [[5, yaw, 0] for yaw in (-40, -20, 0, 20, 40)], atol=1e-5)
    assert view_options.captions(shots, options) == ["yaw -40°", "yaw -20°", "yaw 0°", "yaw +20°", "yaw +40°"]
    single = _options("--pitch", "5", "--light", "-0.5", "0")
    shots = view_options.shots(single, editor.result)
    assert view_options.captions(shots, single) == ["pitch +5°  light -0.5, 0"]
    same = Shots(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    assert view_options.captions(same, _options("--ambient", "0")) == ["", ""]


def test_help_lists_every_option_and_its_examples_work(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["edit", "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for name in ("--version", "--yaw", "--light", "--strength", "--frames", "--swing", "--size", "--gan", "--run"):
        assert name in printed, name
    for module in (edit_command, render_command):
        examples = [line for line in module._EPILOG.splitlines() if line.strip().startswith("gan2shape-jax")]
        assert len(examples) >= 4
        for line in examples:
            options = module._parser().parse_args(shlex.split(line)[2:])
            view_options.check_options(options)


# --- the command ---------------------------------------------------------------------------------------


def _edit(result, *words) -> int:
    return main(["edit", str(result), *map(str, words)])


def test_both_versions_stand_side_by_side(saved, tmp_path, capsys):
    out = tmp_path / "both.png"
    assert _edit(saved, "--yaw", -20, 20, "--size", SIZE, "--out", out) == 0
    assert np.asarray(Image.open(out)).shape == (2 * SIZE + 2, 3 * SIZE + 4, 3)
    assert f"64 pixels, shown at {SIZE};" in capsys.readouterr().out
    labelled = tmp_path / "labelled.jpg"
    assert _edit(saved, "--yaw", -20, 20, "--size", SIZE, "--labels", "--out", labelled) == 0
    assert Image.open(labelled).size[0] == 48 + 3 * SIZE + 2 * 8


def test_the_gans_pictures_are_written_as_they_are(saved, editor, tmp_path):
    out = tmp_path / "frames"
    words = ("--yaw", -30, 20, "--light", 0.5, 0.2, "--size", 64, "--base", "input")
    assert _edit(saved, "--version", "gan", *words, "--out", out) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"000_gan.png", "001_gan.png", "input_gan.png", "frames.csv"}
    turned = views.sweep_views(yaw_deg=[-30, 20]) + editor.result.view
    lights = np.array([[*editor.result.light[:2], 0.5, 0.2]] * 2, np.float32)
    wanted = editing.edit(editor, turned, lights).pictures
    for i in range(2):
        shown = np.asarray(Image.open(out / f"{i:03}_gan.png"), np.float32) / 127.5 - 1
        assert np.abs(shown - wanted[i]).max() <= 0.5 / 127.5 + 1e-4
    rows = list(csv.DictReader((out / "frames.csv").open()))
    expected = np.rad2deg(turned[:, 1])
    np.testing.assert_allclose([float(row["yaw_deg"]) for row in rows], expected, rtol=1e-4)
    assert all(0 < float(row["gan_l1"]) < 2 for row in rows)
    assert _edit(saved, "--version", "gan", *words, "--out", out) == 1  # nothing is overwritten


def test_the_3d_version_is_renders_and_needs_no_run(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "alone")
    for command, out in (("edit", "a.png"), ("render", "b.png")):
        version = ["--version", "3d"] if command == "edit" else []
        assert main([command, str(tmp_path / "alone"), *version, "--yaw", "-30", "10", "--size", str(SIZE),
                     "--out", str(tmp_path / out)]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_only_relighting_keeps_the_inputs_view(saved, editor, tmp_path):
    words = ("--version", "gan", "--light", -0.9, 0, "--size", 64)
    assert _edit(saved, *words, "--out", tmp_path / "a.png") == 0
    assert _edit(saved, *words, "--base", "input", "--out", tmp_path / "b.png") == 0
    assert _edit(saved, *words, "--base", "canonical", "--out", tmp_path / "c.png") == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_animations_swing_back(saved, tmp_path):
    out = tmp_path / "turn.gif"
    assert _edit(saved, "--yaw", -20, 20, "--frames", 4, "--swing", "--size", SIZE, "--out", out) == 0
    with Image.open(out) as gif:
        assert gif.n_frames == 6 and gif.size == (3 * SIZE + 4, SIZE)


def test_views_beyond_the_training_are_noted(saved, tmp_path, capsys):
    assert _edit(saved, "--version", "gan", "--yaw", 55, "--light", -3, 0, "--out", tmp_path / "a.png") == 0
    told = capsys.readouterr().err
    assert "yaw of -48° to +48°" in told and "light from (-0.9, -0.3)" in told
    assert _edit(saved, "--version", "gan", "--yaw", 30, "--out", tmp_path / "a.png") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words, message", [
    ((), "nothing to edit"),
    (("--yaw", "70"), "xyz_rotation_range_deg is 60"),
    (("--base", "input", "--yaw", "-55"), "xyz_rotation_range_deg is 60"),
    (("--yaw", "nan"), "--yaw"),
    (("--yaw", "1", "--size", "0"), "--size 0"),
    (("--yaw", "1", "--out", "a.bmp"), ".png"),
    (("--yaw", "1", "--gan", "nowhere.safetensors"), "--gan nowhere.safetensors"),
    (("--yaw", "1", "--latent", "nowhere.npy"), "nowhere.npy"),
    (("--yaw", "1", "--run", "nowhere"), "config.json"),
])
def test_what_is_wrong_with_the_options_is_one_line(saved, capsys, words, message):
    assert _edit(saved, *words) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and told.count("\n") == 1


def _harm_config(copy, change) -> None:
    path = copy.parent / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("harm, message", [
    (lambda copy: (copy / "networks.safetensors").unlink(), "trained encoder"),
    (lambda copy: (copy / "networks.safetensors").write_bytes(b"x" * 99), "networks.safetensors"),
    (lambda copy: (copy.parent / "config.json").unlink(), "--run FOLDER"),
    (lambda copy: (copy.parent / "config.json").write_text("{"), "config.json"),
    (lambda copy: _harm_config(copy, lambda c: c["gan"].update(checkpoint="/gone/gan.safetensors")), "--gan FILE"),
    (lambda copy: _harm_config(copy, lambda c: c["data"].update(latent_root="/gone")), "--latent FILE"),
    (lambda copy: _harm_config(copy, lambda c: c["camera"].update(fov_deg=20.0)), "its camera"),
    (lambda copy: _harm_config(copy, lambda c: c["networks"].update(encoder_width=8)), "does not fit"),
    (lambda copy: _harm_config(copy, lambda c: c["gan"].update(size="big")), "config.gan.size"),
])
def test_a_result_whose_files_are_gone_or_strange_is_refused(copy, capsys, harm, message):
    harm(copy)
    assert _edit(copy, "--yaw", 10) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and "Traceback" not in told
    assert not (copy / "edit.png").exists()
    assert _edit(copy, "--yaw", 10, "--version", "3d") == 0


def test_another_gan_and_another_latent_are_noticed(saved, tmp_path):
    architecture, params = stylegan2.load(asset("ictface/gan.safetensors"))
    rgb = params["generator"]["to_rgb"]["0"]
    rgb["bias"] = rgb["bias"] + 0.3
    stylegan2.save(tmp_path / "other.safetensors", architecture, params)
    with pytest.raises(UserError, match="draws another picture"):
        load_editor(saved, gan=tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="draws another picture"):
        load_editor(saved, latent=asset("ictface/latents/005.pt"))


def test_a_result_taken_out_of_its_run_is_edited_with_the_runs_folder_named(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="--run FOLDER"):
        load_editor(tmp_path / "elsewhere")
    assert load_editor(tmp_path / "elsewhere", run=saved.parent).size == OVER_GAN


@pytest.mark.parametrize("mode", ["joint", "predict"])
def test_networks_that_many_images_share_are_found(copy, editor, mode):
    """A joint run leaves one file in its folder; prediction names the file of another run."""
    shared = copy.parent / "networks.safetensors"
    (copy / "networks.safetensors").rename(shared)
    if mode == "predict":
        shared = shared.rename(copy.parents[1] / "trained.safetensors")
        _harm_config(copy, lambda c: (c.update(mode="predict"), c["networks"].update(pretrained=str(shared))))
    found = load_editor(copy)
    for ours, theirs in zip(jax.tree.leaves(found.params), jax.tree.leaves(editor.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- the run's configuration ---------------------------------------------------------------------------


def test_a_saved_configuration_comes_back(tmp_path):
    config = tiny_config(tmp_path, data__crop=48)
    RunFolder.open(config)
    assert flatten(saved_run.read_config(tmp_path / "run" / "config.json")) == flatten(config)


def test_an_older_or_newer_configuration_is_read_too(saved):
    path = saved.parent / "config.json"
    content = json.loads(path.read_text())
    del content["prior"], content["gan"]["truncation"]
    content["gan"]["later"] = 1
    other = saved.parent / "older.json"
    other.write_text(json.dumps(content))
    before, after = flatten(load_config("base")), flatten(saved_run.read_config(other))
    assert after["prior.near"] == before["prior.near"] and after["gan.truncation"] == before["gan.truncation"]
    assert after["gan.size"] == 64 and before.keys() == after.keys()


def test_files_are_found_where_the_run_was_started_and_in_this_installation(tmp_path, monkeypatch):
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "gan.safetensors").write_text("")
    config = load_config("base").unlock()
    config.workdir = "results/mine"
    run = saved_run.SavedRun(tmp_path / "results" / "mine", config)
    monkeypatch.chdir(tmp_path / "results")
    assert run.locate("gan.safetensors") == tmp_path / "gan.safetensors"
    (tmp_path / "results" / "here.npy").write_text("")
    assert run.locate("here.npy") == pathlib.Path("here.npy")
    bundled = "/other/machine/gan2shape_jax/assets/ictface/gan.safetensors"
    assert run.locate(bundled) == pathlib.Path(asset("ictface/gan.safetensors"))
    assert run.locate("/gone/gan.safetensors") == pathlib.Path("/gone/gan.safetensors")
    assert run.locate("") == pathlib.Path("")


def test_the_input_at_the_left_is_the_input(saved, tmp_path):
    assert _edit(saved, "--yaw", 10, "--size", SIZE, "--out", tmp_path / "frames") == 0
    shown = np.asarray(Image.open(tmp_path / "frames" / "input.png"), np.float32) / 127.5 - 1
    result = load_result(saved)
    assert np.abs(shown - result.image).max() <= 0.5 / 127.5 + 1e-6
    by_gan = np.asarray(Image.open(tmp_path / "frames" / "input_gan.png"), np.float32) / 127.5 - 1
    assert np.abs(by_gan - result.gan_image).max() <= 0.5 / 127.5 + 1e-4
