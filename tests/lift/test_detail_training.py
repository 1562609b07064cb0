"""Detail for a lifted model's albedo: what it is given, who teaches it, and a model file that only it changes."""

import dataclasses
import json
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from helpers.killed import Killed, die_at
from helpers.tiny import tiny_config, tiny_lift

from gan2shape_jax.config import load_config
from gan2shape_jax.config.schema import problems
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.output_folders import RUN, mark
from gan2shape_jax.io.weights import safetensors_bytes
from gan2shape_jax.lift import detail_training, model_file, samples
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import RECIPES, resolve
from gan2shape_jax.results import load_metrics
from gan2shape_jax.run import experiment, lift
from gan2shape_jax.stylegan2.flip_subspace import FlipSubspace
from gan2shape_jax.training import loop, network_files
from gan2shape_jax.training.loop import Cadence, Watcher


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """The configuration of a tiny model that was never trained, and the maker of samples, the model in its file."""
    folder = tmp_path_factory.mktemp("lifted")
    config = tiny_lift(folder, data__image_list="", schedule__batches_per_iteration=2).unlock()
    architecture, frozen = inputs.load_frozen(resolve(config.copy_and_resolve_references()))
    config.networks.pretrained = str(folder / "model.safetensors")
    config.recipe, config.detail.pictures, config.lift.average = "train_detail", 16, 0.5
    maker = samples.maker_of(config, architecture, frozen)
    params = models.init_params(jax.random.key(0), maker.settings)
    held_out = maker.examples(Stream.HELD_OUT_SAMPLE, range(2))
    with (  # how the GAN turns is searched for long, and no test here needs networks in float16
        mock.patch.object(model_file, "measured_pose_edit", lambda *_: None),
        mock.patch.object(model_file, "shortened", lambda *_: set()),
    ):
        model_file.write(config, params, maker, held_out, folder / "model.safetensors", configuration="tiny")
    return config.lock(), maker


def _sheet(settings):
    """A bulging sheet, seen from the side and lit from the other, with a smooth albedo."""
    side = settings.image_size
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    depth = jnp.asarray(1.05 - 0.1 * np.exp(-6 * (x**2 + y**2)), jnp.float32)[None]
    albedo = jnp.asarray(0.5 * np.stack([np.sin(3 * x), np.cos(2 * y), x * y], -1), jnp.float32)[None]
    return depth, albedo, jnp.array([[0.1, 0.6, 0.05, 0.0, 0, 0]]), jnp.array([[0.4, 0.5, -0.4, 0.1]])


def test_the_texture_of_a_rendered_sheet_is_its_albedo_and_its_hidden_side_is_told(lifted):
    settings = lifted[1].settings
    depth, albedo, view, light = _sheet(settings)

    @jax.jit
    def texture_of(depth, albedo, view, light):
        images = reconstruction.appearance(reconstruction.scene(depth, view, light, settings), albedo)[0]
        return models.canonical_texture(images, depth, view, light, settings)

    texture = np.asarray(texture_of(depth, albedo, view, light))[0, 3:-3, 3:-3]
    visible = texture[..., 3] > 0
    assert 0.7 < visible.mean() < 0.9  # the far slope is hidden; what is seen at a grazing angle, blurred
    off = np.abs(texture[..., :3] - np.asarray(albedo)[0, 3:-3, 3:-3]).max(axis=-1)
    assert np.quantile(off[visible], 0.75) < 0.02 and np.all(texture[~visible, :3] == 0)
    np.testing.assert_array_equal(texture[..., 4:8], texture[:, ::-1, :4])


def test_a_hidden_texel_has_no_share_in_the_albedo(lifted):
    settings = lifted[1].settings
    params = models.init_detail(jax.random.key(1), settings)
    side = settings.image_size
    texture = jax.random.uniform(jax.random.key(2), (1, side, side, 10), minval=-1.0)
    hidden = texture.at[..., 3].set(0.0).at[..., 7].set(0.0)
    detailed = jax.jit(models.detailed)
    painted = detailed(params, hidden, settings)
    assert float(jnp.abs(painted).max()) < 1  # by tanh alone
    shown = detailed(params, texture.at[..., 3].set(1.0).at[..., 7].set(1.0), settings)
    assert float(jnp.abs(shown - painted).mean()) > 0.05
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(detailed(p, hidden, settings) ** 2)))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_pictures_are_new_in_every_iteration_and_partners_are_turned_or_mirrored(lifted):
    _, maker = lifted
    settings = dataclasses.replace(maker.settings, fresh_samples=4, mirrored=True)
    width = settings.architecture.style_dim
    axes = jnp.eye(2, width)
    edit = LatentPoseEdit(FlipSubspace(axes, axes, jnp.zeros(width)), jnp.zeros((2, 9)), jnp.float32(9))
    draw = jax.jit(detail_training.pictures)
    keys = jax.random.split(jax.random.key(0), 2)
    photographs = np.full((1, 32, 32, 3), 255, np.uint8)
    photographs[:, :, :8] = 0
    first, partner = np.split(np.asarray(draw(keys[0], None, maker.frozen, settings)), 2)
    np.testing.assert_allclose(partner, first[:, :, ::-1], atol=1e-6)  # no axis: mirror images, varied alike
    one_sided = dataclasses.replace(settings, mirrored=False)
    first, partner = np.split(np.asarray(draw(keys[0], None, maker.frozen, one_sided)), 2)
    np.testing.assert_array_equal(partner, first)  # what is not symmetric has no mirror image
    frozen = dataclasses.replace(maker.frozen, pose_edit=edit)
    first, partner = np.split(np.asarray(draw(keys[0], photographs, frozen, settings)), 2)
    mirrored = np.abs(partner - first[:, :, ::-1]).mean(axis=(1, 2, 3)) < 1e-6
    assert list(mirrored) == [False, False, True, True]
    assert np.ptp(first[-1], axis=0).max() < 1e-6 < np.ptp(first[0], axis=0).min()  # the last is the photograph
    other = np.asarray(draw(keys[1], None, maker.frozen, settings))[:4]
    assert np.abs(other - first).mean(axis=(1, 2, 3)).min() > 0.01


def test_colours_vary_by_the_key_and_some_pictures_are_grey():
    images = jnp.broadcast_to(jnp.array([0.2, -0.3, 0.5]), (64, 2, 2, 3))
    colours = np.asarray(detail_training.varied(jax.random.key(0), images))[:, 0, 0] / 2 + 0.5
    assert (colours >= 0).all() and (colours <= 1).all()
    tint = np.log(colours) - np.log(colours).mean(axis=1, keepdims=True)
    assert 0.02 < (tint.std(axis=1) < 0.12).mean() < 0.4 and tint.std(axis=1).max() > 0.3


@pytest.fixture(scope="module")
def taught(lifted):
    config, _ = lifted
    assert experiment.run_experiment(config) == 0
    return pathlib.Path(config.workdir)


def test_the_model_is_the_old_one_with_a_network_more(lifted, taught):
    before = safetensors.numpy.load_file(lifted[0].networks.pretrained)
    after = safetensors.numpy.load_file(taught / "model.safetensors")
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"detail"}
    for name, tensor in before.items():
        np.testing.assert_array_equal(after[name], tensor)
    facts = model_file.read_model(taught / "model.safetensors").facts
    assert facts.training["detail"]["pictures"] == 16
    assert dataclasses.replace(facts, training={}) == dataclasses.replace(
        model_file.read_model(pathlib.Path(lifted[0].networks.pretrained)).facts, training={}
    )
    rows = json.loads((taught / "history.json").read_text())
    assert [row["pictures"] for row in rows] == [0, 8, 16] and rows[-1]["loss"] < 1
    last = rows[-1]  # this GAN has no axes, so all partners are mirror images, which weigh less than the pictures
    assert last["loss"] == pytest.approx(last["l1"] + 0.25 * last["l1_partner"], rel=1e-4)
    assert [path.name for path in (taught / "samples").iterdir()] == ["00_stage_1_train_detail.png"]


def test_an_interruption_changes_nothing(lifted, tmp_path):
    config, maker = lifted
    settings = model_file.as_with_single_images(config, maker.settings)
    initial = models.init_params(jax.random.key(0), settings) | models.init_detail(jax.random.key(5), settings)
    (phase,) = RECIPES[config.recipe].schedule(config)
    phase = dataclasses.replace(phase, iterations=4)
    rows = []

    def run(name, watcher):
        task = detail_training.DetailTraining(
            maker,
            changed(settings, fresh_samples=2),
            average=0.9,
            held_out=maker.examples(Stream.HELD_OUT_SAMPLE, [0]),
            photographs=None,
            on_row=lambda detail, pictures: rows.append(pictures),
        )
        return loop.run_schedule(task, (phase,), initial, tmp_path / name, Cadence(2, 2, 1, 2), watcher)

    whole = run("whole", Watcher())
    with pytest.raises(Killed):
        run("cut", die_at(0, 3))
    again = run("cut", Watcher())
    jax.tree.map(np.testing.assert_array_equal, again.state, whole.state)
    assert again.history == whole.history and rows == [8, 16, 8, 16]
    jax.tree.map(np.testing.assert_array_equal, whole.state.params["detail"], whole.state.average)
    same = jax.tree.map(np.array_equal, whole.state.params, initial)
    assert all(all(jax.tree.leaves(same[name])) == (name != "detail") for name in initial)


def _predicted(folder, model):
    """What a prediction by a model says of an image, and its depth."""
    config = tiny_config(folder, recipe="predict", networks__pretrained=str(model), outputs__preset="mesh")
    assert experiment.run_experiment(config) == 0
    result = pathlib.Path(config.workdir) / "results" / "001"
    return load_metrics(result), np.load(result / "depth.npy")


@pytest.fixture(scope="module")
def predicted(lifted, tmp_path_factory):
    """By the model without detail."""
    return _predicted(tmp_path_factory.mktemp("predicted"), lifted[0].networks.pretrained)


def test_a_prediction_takes_the_detail_and_is_judged_without_it(predicted, taught, tmp_path):
    (old, depth), (new, same) = predicted, _predicted(tmp_path, taught / "model.safetensors")
    np.testing.assert_allclose(depth, same, atol=1e-6)  # by two programs, which round differently
    assert new["dissimilarity"] == pytest.approx(old["dissimilarity"], abs=1e-4)
    assert new["reconstruction_l1"] != old["reconstruction_l1"]


@pytest.mark.parametrize(("fault", "told"), [("misshapen", "misshapen"), ("missing", "missing")])
def test_a_file_whose_detail_is_not_what_it_lists_is_refused(lifted, taught, tmp_path, fault, told):
    tensors = safetensors.numpy.load_file(taught / "model.safetensors")
    with safetensors.safe_open(taught / "model.safetensors", "np") as file:
        texts = file.metadata()
    tensors["detail/output/kernel"] = tensors["detail/output/kernel"][..., :5]
    if fault == "missing":
        del tensors["detail/output/kernel"]
    (path := tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors, texts))
    settings = lifted[1].settings
    like = models.init_params(jax.random.key(0), settings)
    with pytest.raises(UserError, match=f"{told}: detail/output/kernel"):
        network_files.load_networks(path, like, settings)


def test_networks_with_detail_come_back_from_their_file(lifted, tmp_path):
    settings = lifted[1].settings
    params = models.init_params(jax.random.key(0), settings)
    whole = params | models.init_detail(jax.random.key(5), settings)
    (path := tmp_path / "networks.safetensors").write_bytes(network_files.networks_bytes(whole))
    back = network_files.load_networks(path, params, settings, needed=models.NAMES)
    jax.tree.map(np.testing.assert_array_equal, back, whole)
    assert models.trained(whole, ("depth", "albedo")).keys() == {"depth"}  # as in refinement
    assert models.trained(params, ("depth", "albedo")).keys() == {"depth", "albedo"}
    assert models.published(whole).keys() == params.keys()


def test_what_is_not_asked_for_is_left_in_the_file(lifted, tmp_path):
    settings = lifted[1].settings
    params = models.init_params(jax.random.key(0), settings)
    (path := tmp_path / "networks.safetensors").write_bytes(network_files.networks_bytes(params))
    like = {name: values for name, values in params.items() if name not in ("encoder", "light")}
    jax.tree.map(np.testing.assert_array_equal, network_files.load_networks(path, like, settings), like)


@pytest.mark.heavy
def test_a_prediction_says_what_the_networks_make_without_detail(lifted):
    maker = lifted[1]
    params = models.init_params(jax.random.key(0), maker.settings)
    whole = params | models.init_detail(jax.random.key(5), maker.settings)
    (sample,) = maker.examples(Stream.HELD_OUT_SAMPLE, range(3, 4))
    both = reconstruction.predict(whole, sample.example, maker.frozen, maker.settings)
    plain = reconstruction.predict(params, sample.example, maker.frozen, maker.settings)
    assert plain.published is None and np.abs(both.reconstruction - plain.reconstruction).max() > 0.01
    np.testing.assert_allclose(both.published, plain.reconstruction, atol=1e-5)  # by two programs
    np.testing.assert_allclose(both.depth, plain.depth, atol=1e-5)


def test_every_model_can_be_given_detail_and_a_lift_starts_without_one():
    config = load_config("cat:train_detail")
    assert config.recipe == "train_detail" and not config.data.image_list and not problems(config)
    assert "name the model.safetensors of a lift" in problems(load_config("car:published:train_detail"))[0]


def test_a_lift_is_refused_before_it_starts_if_the_folder_of_its_end_is_somebody_elses(tmp_path):
    config = tiny_lift(tmp_path, data__image_list="", lift__detail_pictures=16)
    diary = pathlib.Path(config.workdir, "detail", "diary.txt")
    diary.parent.mkdir(parents=True)
    diary.write_text("mine")
    mark(pathlib.Path(config.workdir), RUN)  # of an earlier start
    with pytest.raises(UserError, match=r"detail.*diary\.txt"):
        experiment.run_experiment(config)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name == "detail"] == [diary]


def test_photographs_are_checked_and_a_file_that_is_no_model_is_refused(lifted, tmp_path):
    config = lifted[0].copy_and_resolve_references().unlock()
    config.workdir, config.data.image_list = str(tmp_path / "run"), str(tmp_path / "list.txt")
    with pytest.raises(UserError, match="image_list"):
        experiment.run_experiment(config)
    (tmp_path / "list.txt").write_text("nobody.png\n")
    with pytest.raises(UserError, match=r"nobody\.png"):
        experiment.run_experiment(config)
    params = models.init_params(jax.random.key(0), lifted[1].settings)
    (tmp_path / "networks.safetensors").write_bytes(network_files.networks_bytes(params))
    config.networks.pretrained, config.data.image_list = str(tmp_path / "networks.safetensors"), ""
    with pytest.raises(UserError, match="is not a lifted model, .* name a lift's model.safetensors"):
        experiment.run_experiment(config)


def test_photographs_are_among_the_pictures_of_a_run(lifted, tmp_path, monkeypatch):
    config = tiny_lift(tmp_path).copy_and_resolve_references().unlock()  # its list has the bundled face 001
    config.networks.pretrained = lifted[0].networks.pretrained
    config.recipe, config.detail.pictures, config.lift.average = "train_detail", 8, 0.5
    arguments = []

    def begun(*of, **more):
        arguments.append(more["photographs"])
        raise KeyboardInterrupt

    monkeypatch.setattr(lift, "DetailTraining", begun)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_experiment(config)
    assert arguments[0].shape == (1, 32, 32, 3) and arguments[0].dtype == np.uint8


@pytest.mark.heavy
def test_a_refinement_keeps_the_detail(lifted, taught, tmp_path):
    fields = {"refinement__stages": ((1, 1, 2),), "refinement__collect_iters": 1, "refinement__held_out": 0}
    model = taught / "model.safetensors"
    config = tiny_config(tmp_path, recipe="refine", networks__pretrained=str(model), outputs__networks="full", **fields)
    assert experiment.run_experiment(config) == 0
    before = safetensors.numpy.load_file(model)
    after = safetensors.numpy.load_file(pathlib.Path(config.workdir) / "results" / "001" / "networks.safetensors")
    assert {name.split("/")[0] for name in after} == {*models.NAMES, "detail"}
    for name in after:
        kept = np.allclose(after[name], before[name], rtol=1e-3, atol=1e-6)  # the model has float16
        assert kept or name.split("/")[0] not in ("detail", "albedo"), name
    assert any(not np.array_equal(after[name], before[name]) for name in after if name.startswith("view"))
