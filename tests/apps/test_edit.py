"""Editing a saved result: the GAN's version is step 2's, the command's files, and what is wrong said."""

import csv
import dataclasses
import json
import pathlib
import shlex
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.edited_run import OVER_GAN, SIZE, write_run
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps import edit
from gan2shape_jax.apps import sample as sample_gan
from gan2shape_jax.apps.edit import load_editor
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import resample
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.main import main
from gan2shape_jax.method import projection, sampling
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.settings import changed
from gan2shape_jax.results import load, save_result, views
from gan2shape_jax.results.pictures import contact_sheet_size
from gan2shape_jax.run.folder import SavedRun, find_run

# Pitch, yaw, roll in degrees; seen straight on, samples lie on triangles' edges, where rounding decides.
ANGLES = [[5.0, -30, 0], [1, 2, -1], [-4, 25, 3]]
DIRECTIONS = [[-0.8, 0.1], [0.2, 0.5], [0.9, -0.2]]
# Programs compiled apart round the renderings by up to 2e-5 differently, which encoder and GAN pass on tenfold.
_ROUNDING = 1e-3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def editor(saved):
    return load_editor(saved)


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the run to be changed; the result's folder in it."""
    shutil.copytree(saved.parents[1], tmp_path / "moved")
    return tmp_path / "moved" / "results" / "001"


def _shots(editor) -> tuple[np.ndarray, np.ndarray]:
    turned = views.sweep_views(**dict(zip(("pitch_deg", "yaw_deg", "roll_deg"), np.transpose(ANGLES))))
    strengths = np.broadcast_to(editor.result.light[:2], (3, 2))
    return turned, np.concatenate([strengths, DIRECTIONS], axis=-1).astype(np.float32)


def _edits(editor, turned, lights) -> list[np.ndarray]:
    """All views at once, which the command has in parts: pictures, and differences to the renderings."""
    return [np.concatenate(part) for part in zip(*edit.edit_in_parts(editor, turned, lights))]


@jax.jit
def _step_2(params, factors, drawn, directions, latent, reference, frozen, *, settings):
    pseudo, masks = sampling.pseudo_images(factors, drawn, directions, jnp.zeros(3), settings)
    pictures, _ = projection.project(params, pseudo, latent, reference, frozen, settings)
    return pseudo, masks, pictures


@pytest.mark.parametrize("faults", [False, pytest.param(True, marks=pytest.mark.heavy)])
def test_the_gans_version_is_step_2s_of_the_same_views_and_lights(editor, faults):
    """Compared with the training's own functions, in their units."""
    settings = changed(editor.settings, sampling="half" if faults else "centred", unit_normals=not faults)
    chosen = dataclasses.replace(editor, settings=settings)
    turned, lights = _shots(chosen)
    made, l1 = _edits(chosen, turned, lights)
    reach, result = settings.view_range, editor.result
    factors = Factors(
        *(jnp.asarray(v) for v in (result.depth, result.signed_albedo, result.view, result.light, result.mask))
    )
    units = np.array([np.deg2rad(reach.rotation_deg)] * 3 + [reach.xy] * 2 + [1])
    reference = editor.latent, editor.reference, editor.frozen
    drawn, directions = jnp.asarray(turned / units, jnp.float32), jnp.asarray(DIRECTIONS)
    pseudo, masks, pictures = _step_2(editor.params, factors, drawn, directions, *reference, settings=settings)
    assert made.shape == (3, OVER_GAN, OVER_GAN, 3)
    small = np.asarray(resample.resize(jnp.asarray(made), SIZE))
    np.testing.assert_allclose(small, pictures, atol=_ROUNDING)
    off = np.abs(small - np.asarray(pseudo)) * np.asarray(masks)[..., None]
    np.testing.assert_allclose(l1, off.sum((1, 2, 3)) / (3 * np.asarray(masks).sum((1, 2))), rtol=1e-3)
    assert np.abs(np.diff(made, axis=0)).mean() > 1e-4  # they do depend on the view


def test_views_do_not_depend_on_how_many_are_projected_together(editor):
    turned, lights = _shots(editor)
    rows = [0, 1, 2, 1, 0, 2, 2, 1, 0, 1, 2]  # more than one batch
    together, l1 = _edits(editor, turned[rows], lights[rows])
    assert len(together) == len(l1) == len(rows)
    for i in range(3):
        alone, _ = _edits(editor, turned[i : i + 1], lights[i : i + 1])
        for k in np.flatnonzero(np.array(rows) == i):
            # Some kinds of CPU (an AMD EPYC) sum in another order at a batch's last places: 1.3e-3 at most, 2e-5 in the
            # mean were measured; pictures of other views are 0.14 apart in the mean.
            np.testing.assert_allclose(together[k], alone[0], atol=5e-3)
            assert np.abs(together[k] - alone[0]).mean() < 1e-4


def _change_config(result, change) -> None:
    path = result.parents[1] / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_a_cropping_run_gives_pictures_of_the_crop(tmp_path, editor):
    folder = write_run(tmp_path, data__crop=48)
    cropped = load_editor(folder)
    np.testing.assert_allclose(cropped.picture, editor.picture[8:-8, 8:-8], atol=1e-5)
    made, l1 = _edits(cropped, *_shots(cropped))
    assert cropped.size == 48 and made.shape == (3, 48, 48, 3) and np.isfinite(l1).all()


def _options(*words):
    return edit._parser("edit").parse_args(["RESULT", *words])


def test_strength_is_that_of_the_methods_relighting(editor):
    own = editor.result.light
    shots = edit._shots(_options("--light", "-1", "0.5", "--strength", "0.3"), editor.result)
    np.testing.assert_allclose(shots.lights, [[own[0] - 0.18, own[1] + 0.3, -1, 0.5]], atol=1e-6)
    shots = edit._shots(_options("--ambient", "0.2", "--diffuse", "0.7"), editor.result)
    np.testing.assert_allclose(shots.lights, [[0.2, 0.7, own[2], own[3]]], atol=1e-6)


def test_frames_are_spread_evenly_and_captions_name_what_varies(editor):
    shots = edit._shots(_options("--yaw", "-40", "40", "--pitch", "5", "--frames", "5"), editor.result)
    turns = [[5, yaw, 0] for yaw in (-40, -20, 0, 20, 40)]
    np.testing.assert_allclose(np.rad2deg(shots.views[:, :3]), turns, atol=1e-5)
    assert shots.captions == ["yaw -40°", "yaw -20°", "yaw 0°", "yaw +20°", "yaw +40°"]
    single = _options("--pitch", "5", "--light", "-0.5", "0")
    assert edit._shots(single, editor.result).captions == ["pitch +5°  light -0.5, 0"]
    assert edit._shots(_options("--ambient", "0", "--frames", "2"), editor.result).captions == ["", ""]


@pytest.mark.parametrize("parser", [edit._parser("edit"), edit._parser("render"), sample_gan._parser()])
def test_the_examples_of_the_help_work(parser):
    examples = [line for line in parser.epilog.splitlines() if line.strip().startswith("gan2shape-jax")]
    assert len(examples) >= 3
    for line in examples:
        parser.parse_args(shlex.split(line)[2:])  # refuses numbers out of their bounds


def _edit(result, *words) -> int:
    return main(["edit", str(result), *map(str, words)])


def _shown(path) -> np.ndarray:
    return np.asarray(Image.open(path), np.float32) / 127.5 - 1


def test_both_versions_stand_side_by_side(saved, tmp_path, capsys):
    assert _edit(saved, "--yaw", -20, 20, "--size", SIZE, "--out", tmp_path / "a.jpg") == 0
    with Image.open(tmp_path / "a.jpg") as labelled:
        assert labelled.size == contact_sheet_size(SIZE, 3, [True, True], subtitle=True)
    assert f"64 pixels, shown at {SIZE};" in capsys.readouterr().out
    turn = tmp_path / "turn.gif"
    assert _edit(saved, "--yaw", -20, 20, "--frames", 4, "--swing", "--size", SIZE, "--out", turn) == 0
    with Image.open(turn) as gif:
        assert gif.n_frames == 6 and gif.size == contact_sheet_size(SIZE, 3, [True])
    assert _edit(saved, "--yaw", 10, "--size", SIZE, "--out", tmp_path / "frames") == 0
    result = load(saved)
    assert np.abs(_shown(tmp_path / "frames" / "input.png") - result.signed_image).max() <= 0.5 / 127.5 + 1e-6
    assert np.abs(_shown(tmp_path / "frames" / "input_gan.png") - result.gan_image).max() <= 0.5 / 127.5 + 1e-4


def test_the_gans_pictures_are_written_as_they_are(saved, editor, tmp_path):
    out = tmp_path / "frames"
    words = ("--yaw", -30, 20, "--light", 0.5, 0.2, "--size", 64, "--base", "input")
    assert _edit(saved, "--version", "gan", *words, "--out", out) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"000_gan.png", "001_gan.png", "input_gan.png", "frames.csv"}
    turned = views.sweep_views(yaw_deg=[-30, 20]) + editor.result.view
    lights = np.array([[*editor.result.light[:2], 0.5, 0.2]] * 2, np.float32)
    for i, picture in enumerate(_edits(editor, turned, lights)[0]):
        assert np.abs(_shown(out / f"{i:03}_gan.png") - picture).max() <= 0.5 / 127.5 + 1e-4
    with (out / "frames.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    np.testing.assert_allclose([float(row["yaw_deg"]) for row in rows], np.rad2deg(turned[:, 1]), rtol=1e-4)
    assert all(0 < float(row["gan_l1"]) < 2 for row in rows)
    assert _edit(saved, "--version", "gan", *words, "--out", out) == 1  # nothing is overwritten


def test_the_3d_version_is_renders_and_needs_no_run(saved, tmp_path):
    alone = shutil.copytree(saved, tmp_path / "alone")
    with pytest.raises(UserError, match="--run FOLDER"):
        load_editor(alone)
    assert load_editor(alone, run=saved.parents[1]).size == OVER_GAN
    words = ["--yaw", "-30", "10", "--size", str(SIZE), "--out"]
    assert _edit(alone, "--version", "3d", *words, tmp_path / "a.png") == 0
    assert edit.render([str(alone), *words, str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_only_relighting_keeps_the_inputs_view(saved, tmp_path):
    words = ("--version", "3d", "--light", -0.9, 0, "--size", SIZE)
    for name, base in (("a", ()), ("b", ("--base", "input")), ("c", ("--base", "canonical"))):
        assert _edit(saved, *words, *base, "--out", tmp_path / f"{name}.png") == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_views_beyond_the_training_are_noted(saved, tmp_path, capsys):
    assert _edit(saved, "--version", "gan", "--yaw", 55, "--light", -3, 0, "--out", tmp_path / "a.png") == 0
    noted = capsys.readouterr().err
    assert "yaw of -48° to +48°" in noted and "light from (-0.9, -0.3)" in noted
    assert _edit(saved, "--version", "gan", "--yaw", 30, "--out", tmp_path / "b.png") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to edit"),
        (("--yaw", "70"), "xyz_rotation_range_deg is 60"),
        (("--base", "input", "--yaw", "-55"), "xyz_rotation_range_deg is 60"),
        (("--yaw", "1", "--gan", "nowhere.safetensors"), "--gan nowhere.safetensors"),
        (("--yaw", "1", "--latent", "nowhere.npy"), "nowhere.npy"),
        (("--yaw", "1", "--run", "nowhere"), "config.json"),
    ],
)
def test_what_is_wrong_with_the_options_is_one_line(saved, capsys, words, message):
    assert _edit(saved, *words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1, said


def _explained(config):
    """As `photo` without --refine leaves it."""
    config["data"].update(latent_root="")
    config["networks"].update(pretrained="networks.safetensors")
    config.update(recipe="predict")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda copy: (copy / "networks.safetensors").unlink(), "unless config.outputs.networks is 'none'"),
        (lambda copy: (copy / "networks.safetensors").write_bytes(b"x" * 99), "networks.safetensors"),
        (lambda copy: (copy.parents[1] / "config.json").unlink(), "--run FOLDER"),
        (lambda copy: (copy.parents[1] / "config.json").write_text("{"), "config.json"),
        (lambda copy: _change_config(copy, lambda c: c["gan"].update(checkpoint="/gone/gan")), "--gan FILE"),
        (lambda copy: _change_config(copy, lambda c: c["data"].update(latent_root="/gone")), "--latent FILE"),
        (lambda copy: _change_config(copy, _explained), "by a model alone, without a latent, which the GAN's pictures"),
        (lambda copy: _change_config(copy, lambda c: c["camera"].update(fov_deg=20.0)), "its camera"),
        (lambda copy: _change_config(copy, lambda c: c["networks"].update(encoder_width=8)), "does not fit"),
    ],
)
def test_a_result_whose_files_are_gone_or_strange_is_refused(copy, capsys, change, message):
    change(copy)
    assert _edit(copy, "--yaw", 10) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and "Traceback" not in said
    assert not (copy / "edit.png").exists()


def test_another_gan_and_another_latent_are_noticed(saved, tmp_path):
    architecture, params = stylegan2.load(asset("ictface/gan.safetensors"))
    rgb = params["generator"]["to_rgb"]["0"]
    rgb["bias"] = rgb["bias"] + 0.3
    stylegan2.save(tmp_path / "other.safetensors", architecture, params)
    for arguments in ({"gan": tmp_path / "other.safetensors"}, {"latent": asset("ictface/latents/005.pt")}):
        with pytest.raises(UserError, match="draws another picture"):
            load_editor(saved, **arguments)


def test_networks_that_many_images_share_are_found(copy, editor):
    """A joint run leaves one file in its folder; prediction names the file of another run."""
    shared = copy.parents[1] / "networks.safetensors"
    (copy / "networks.safetensors").rename(shared)
    joint = load_editor(copy)
    trained = shared.rename(copy.parents[2] / "trained.safetensors")
    _change_config(copy, lambda c: (c.update(recipe="predict"), c["networks"].update(pretrained=str(trained))))
    for loaded in (joint, load_editor(copy)):
        for ours, theirs in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(editor.params), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_files_are_found_where_the_run_was_started_and_in_this_installation(tmp_path, monkeypatch):
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "gan.safetensors").write_text("")
    config = load_config("base").unlock()
    config.workdir = "results/mine"
    run = SavedRun(tmp_path / "results" / "mine", config)
    monkeypatch.chdir(tmp_path / "results")
    (tmp_path / "results" / "here.npy").write_text("")
    bundled = "/other/machine/gan2shape_jax/assets/ictface/gan.safetensors"
    places = {"gan.safetensors": tmp_path / "gan.safetensors", bundled: pathlib.Path(asset("ictface/gan.safetensors"))}
    places |= {name: pathlib.Path(name) for name in ("here.npy", "/gone/gan.safetensors", "")}
    assert {name: run.locate(name) for name in places} == places


def test_the_latent_is_that_of_the_whole_name(copy, tmp_path):
    """`face[x].v2` is no `face[x]` and no pattern: other images' files lie where a careless look would find them."""
    run, name, latent = copy.parents[1], "face[x].v2", np.full((1, 128), 0.5, np.float32)
    np.save(tmp_path / "face[x].npy", latent + 1)
    np.save(tmp_path / f"{name}.npy", latent)
    _change_config(copy, lambda config: config["data"].update(latent_root=str(tmp_path)))
    result = dataclasses.replace(load(copy), name=name)
    save_result(result, run / "results" / name)
    run_again = find_run(run / "results" / name)
    assert run_again.root == run
    np.testing.assert_array_equal(edit._latent(run_again, name, None, 128), latent)
