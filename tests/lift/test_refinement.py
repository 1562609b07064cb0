"""A lifted model: in float16, refined on each image and kept in part; odd images."""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import shutil
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import asset, images_of, tiny_config, tiny_image
from safetensors import safe_open
from safetensors.numpy import save

from gan2shape_jax.config import load_config, to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import weights
from gan2shape_jax.io.files import sha256
from gan2shape_jax.lift import model_file, refinement
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.photos.judge import MEASURES
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import RECIPES, resolve
from gan2shape_jax.results import load, load_metrics
from gan2shape_jax.run import experiment, preflight
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.run.images import Trainer
from gan2shape_jax.training import loop, network_files
from gan2shape_jax.training.loop import Cadence, Watcher
from gan2shape_jax.training.task import OneImage

_CADENCE = Cadence(checkpoint=1000, log=1000, per_call=1, keep=1)
_SCHEDULE = (Phase(0, 1, STEPS["step1"], 20, True), Phase(1, 1, STEPS["step3"], 12, True))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An image, the frozen networks, and two sets of networks."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("refinement"))
    settings = changed(prepared.settings, learning_rate=1e-3, collect_iters=3)
    start, end = (models.init_params(jax.random.key(seed), settings) for seed in (0, 1))
    return dataclasses.replace(prepared, settings=settings), frozen, start, end


@pytest.mark.parametrize(
    "share, said",
    [
        (0.0, "refinement kept nothing: held-out pictures are explained best by the model as it was (error 0.050)"),
        (0.75, "refinement kept: 75% of the way, error on held-out pictures from 0.050 to 0.035"),
    ],
)
def test_what_a_refinement_brought_is_said(share, said):
    l1 = {str(at): 0.05 - 0.02 * at for at in refinement.SHARES}
    assert refinement.outcome({"refinement_share": share, "held_out_l1": l1}) == said
    assert refinement.outcome({"reconstruction_l1": 0.1}) == ""


def test_networks_are_shortened_where_no_output_changes_by_more_than_a_thousandth(case):
    prepared, _, params, _ = case
    images, settings = prepared.example.image, prepared.settings
    names = model_file.shortened(params, images, settings)
    assert names <= set(models.NAMES) and len(names) > 2
    half = {name: jax.tree.map(lambda leaf: np.float32(np.float16(leaf)), params[name]) for name in names}
    assert max(map(float, model_file._changes(params, params | half, images, settings=settings).values())) <= 1e-3
    huge = params | {"depth": jax.tree.map(lambda leaf: leaf * 1e6, params["depth"])}  # more than float16 can hold
    assert "depth" not in model_file.shortened(huge, images, settings)


@pytest.fixture(scope="module")
def refined(case):
    prepared, frozen, start, _ = case
    return loop.train(prepared, frozen, _SCHEDULE, start, None, _CADENCE, Watcher()).state


def _leaves(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


@pytest.mark.parametrize(
    "errors, gain, number",
    [
        ([1.0, 0.9, 0.79, 0.72, 0.7], 1.0, 4),
        ([1.0, 0.9, 0.79, 0.72, 0.7], 0.9, 3),
        ([1.0, 0.9, 0.79, 0.72, 0.7], 0.5, 2),
        ([1.0, 0.7, 0.75, 0.8, 0.9], 0.5, 1),
        ([1.0, 0.7, 0.75, 0.8, 0.9], 1.0, 1),
        ([1.0, 1.1, 1.2, 1.3, 1.4], 0.5, 0),
        ([1.0, 1.1, 1.2, 1.3, 1.4], 1.0, 0),
        ([1.0] * 5, 0.5, 0),
        ([1.0] * 5, 1.0, 0),
        ([1.0, 0.8, 0.7, 0.7, 0.9], 1.0, 2),
        ([1.0, 0.9, 0.8, np.nan, np.nan], 1.0, 2),
        ([1.0, np.nan, np.nan, np.nan, np.nan], 0.5, 0),
    ],
)
def test_the_first_networks_that_explain_held_out_samples_well_enough_are_kept(errors, gain, number):
    assert refinement.chosen(errors, gain=gain) == number


@pytest.mark.heavy
def test_networks_that_explain_held_out_samples_better_are_kept(case, refined):
    prepared, frozen, start, _ = case
    kept = [refinement.keep_best(start, refined, prepared, frozen, batches=2, gain=0.8) for _ in range(2)]
    params, share, l1 = kept[0]
    assert len(l1) == len(refinement.SHARES) and np.isfinite(l1).all()
    assert share == refinement.SHARES[refinement.chosen(l1, gain=0.8)] > 0  # training helped
    expected = (1 - share) * _leaves(start) + share * _leaves(refined.params)
    np.testing.assert_allclose(_leaves(params), expected, rtol=1e-5, atol=1e-7)
    assert kept[1][1:] == kept[0][1:]
    example = dataclasses.replace(prepared.example, key=jax.random.key(99))
    elsewhere = dataclasses.replace(prepared, example=example)
    assert refinement.keep_best(start, refined, elsewhere, frozen, batches=2, gain=0.8)[2] != l1  # other samples


@pytest.mark.heavy
def test_a_refinement_that_moves_the_object_out_of_the_picture_is_not_kept(case, refined):
    """Where nothing is shown nothing differs: of eight cars that were refined with a free view six ended so."""
    prepared, frozen, start, _ = case
    far = jax.tree.map(lambda leaf: leaf, refined.params)
    far["view"] = jax.tree.map(lambda leaf: 50 * leaf, far["view"])  # every view is at the end of its range
    state = dataclasses.replace(refined, params=far)
    _, share, l1 = refinement.keep_best(start, state, prepared, frozen, batches=1, gain=0.8)
    assert share < 1 and np.isfinite(l1[0]) and np.isnan(l1[-1])


@pytest.mark.heavy
@pytest.mark.parametrize("noise", [0.5, 0.0])
def test_a_refinement_that_does_harm_or_nothing_changes_nothing(case, refined, noise):
    prepared, frozen, *_ = case
    rng = np.random.default_rng(0)
    harmed = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(0, noise, leaf.shape), leaf.dtype), refined.params)
    state = dataclasses.replace(refined, params=harmed)
    params, share, l1 = refinement.keep_best(refined.params, state, prepared, frozen, batches=1, gain=0.8)
    assert share == 0 and (noise or len(set(np.round(l1, 6))) == 1)
    for name in set(models.NAMES) - {"encoder"}:  # which explains nothing
        np.testing.assert_array_equal(_leaves(params[name]), _leaves(refined.params[name]))


_SHORT = {"stages": ((1, 1, 2),), "learning_rate": 5e-4, "collect_iters": 2, "batch_size": 2, "held_out": 1}
_SHORT = {f"refinement__{name}": value for name, value in _SHORT.items()} | {"outputs__preset": "mesh"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Random networks as a model and as mere networks, by name."""
    folder = tmp_path_factory.mktemp("model")
    config = tiny_config(folder)
    ((prepared,), _) = images_of(config)
    settings = changed(prepared.settings, relative_enc=True, regularize_offset=False)
    params = models.init_params(jax.random.key(5), settings)
    statistics = {name: np.zeros(shape, np.float32) for name, shape in model_file.STATISTICS.items()}
    facts = model_file.ModelFacts(
        category=config.category,
        gan_sha256=sha256(config.gan.checkpoint),
        gan_license="",
        fits=model_file.needs_of(config, settings, encoder=True),
        errors={"l1_p95": 2.0},
        training={},
    )
    paths = {name: folder / f"{name}.safetensors" for name in ("model", "networks", "narrow")}
    paths["model"].write_bytes(model_file.model_bytes(params, statistics, facts, shortened={}))
    paths["networks"].write_bytes(network_files.networks_bytes(params))
    narrow = dataclasses.replace(facts, errors={"l1_p95": 1e-3})
    paths["narrow"].write_bytes(model_file.model_bytes(params, statistics, narrow, shortened={}))
    return {name: str(path) for name, path in paths.items()}


def _config(folder, pretrained, **fields):
    folder.mkdir(exist_ok=True)
    recipe = "train" if pretrained == "" or "networks" in pathlib.Path(pretrained).name else "refine"
    return tiny_config(folder, networks__pretrained=pretrained, **_SHORT | {"recipe": recipe} | fields)


def test_a_model_has_a_schedule_of_its_own_and_other_networks_have_not(made, tmp_path):
    config = _config(tmp_path, made["model"], schedule__flip3=(True,), refinement__batch_size=3)
    chosen = resolve(config).config
    planned = [(phase.step, phase.iterations, phase.flip) for phase in RECIPES[chosen.recipe].schedule(chosen)]
    assert planned == [("step1", 1, True), ("step2", 1, False), ("step3", 2, True)]
    assert chosen.optimizer.learning_rate == 5e-4
    assert chosen.sampling.collect_iters == 2 and chosen.sampling.batch_size == 3
    assert resolve(chosen).config == chosen
    odd = _config(tmp_path, made["model"], schedule__flip3=(False,))
    assert not resolve(odd).config.schedule.flip1[0]  # a category that is not symmetric
    for other in (made["networks"], ""):
        config = _config(tmp_path, other)
        assert resolve(config).config is config
    frozen = _config(tmp_path, made["model"], refinement__freeze_geometry=True)
    assert [phase.step for phase in resolve(frozen).schedule] == ["step1", "step2", "step3_frozen_geometry"]


@contextlib.contextmanager
def _counted_openings():
    """The paths of the safetensors files that are opened meanwhile."""
    paths, safe_open = [], weights.safetensors.safe_open

    def counted(path, **options):
        paths.append(str(path))
        return safe_open(path, **options)

    with mock.patch.object(weights.safetensors, "safe_open", counted):
        yield paths


def _run(folder, model, recipe):
    """A run of two images; returns its configuration, the files that it opened and what it said."""
    config, said = _config(folder, model, recipe=recipe, names=("001.png", "002.png")), io.StringIO()
    assert preflight.examine(config) == []
    with _counted_openings() as paths, contextlib.redirect_stderr(said):
        assert experiment.run_experiment(config) == 0
    return config, paths, said.getvalue()


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """A refinement from its beginning to its end, whose programs those of other tests here are."""
    return _run(tmp_path_factory.mktemp("whole"), made["model"], "refine")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("refine", "refines a lifted model on each image"), ("predict", "trained networks explain each")],
)
def test_a_run_opens_the_models_file_twice_and_says_what_it_does(made, tmp_path, request, capsys, kind, words):
    """Once for the plan and once for the networks, however many images there are."""
    refines = kind == "refine"
    config, openings, said = request.getfixturevalue("whole") if refines else _run(tmp_path, made["model"], kind)
    assert openings.count(made["model"]) == 2
    assert words in said
    written = pathlib.Path(config.workdir) / "config.json"
    plan = json.loads(written.read_text())["plan"]
    assert plan["recipe"] == kind and words in plan["what"]
    assert plan["schedule"] == (["stage 1 step1: 1", "stage 1 step2: 1", "stage 1 step3: 2"] if refines else [])
    assert resolve(read_config(written)).config == read_config(written)  # the plan is told, and not read back
    assert experiment.run_experiment(config) == 0 and "finished before, skipped" in capsys.readouterr().err
    written.write_text(to_json(resolve(config).config))  # as runs before plans have left it
    assert experiment.run_experiment(config) == 0


@pytest.mark.parametrize(
    ("recipe", "file", "refusal"),
    [
        ("train", "networks", ""),
        ("train", "", ""),
        ("refine", "model", ""),
        ("predict", "model", ""),
        ("predict", "networks", ""),
        ("train", "model", r"is a lifted model, .* 'train': refine it with config\.recipe='refine'"),
        ("refine", "networks", r"is not a lifted model, .* 'refine': config\.recipe='train' goes on from them"),
        ("finetune", "", r"^config\.networks\.pretrained is empty, which does not go with .* 'finetune': name a file$"),
    ],
)
def test_a_files_content_decides_nothing_and_a_plan_asks_no_file_again(made, tmp_path, recipe, file, refusal):
    config = _config(tmp_path, made.get(file, ""), recipe=recipe)
    if refusal:
        with pytest.raises(UserError, match=refusal):
            resolve(config)
        return
    plan = resolve(config)
    with _counted_openings() as openings:
        assert (plan.recipe.name, plan.mask is None, plan.pose_edit) == (recipe, True, None) and not openings


def test_turned_samples_need_a_model_that_knows_how_its_gan_turns(made, tmp_path):
    with pytest.raises(UserError, match=r"does not know how its GAN turns .* set it to 'projected'"):
        resolve(_config(tmp_path, made["model"], refinement__samples="turned"))


def test_the_published_codes_faults_do_not_go_with_a_model(made, tmp_path):
    config = _config(tmp_path, made["model"], reference=True)
    with pytest.raises(UserError, match=r"config\.reference .* starts without a model: use a variant"):
        experiment.run_experiment(config)
    assert any("starts without a model" in problem for problem in preflight.examine(config))


def _metrics(folder):
    return json.loads((folder / "result.json").read_text())["metrics"]


def _assert_refined(folder):
    """Whether an image's results say what was kept."""
    metrics = _metrics(folder)
    l1 = metrics["held_out_l1"]
    assert list(map(float, l1)) == list(refinement.SHARES)
    assert refinement.SHARES.index(metrics["refinement_share"]) == refinement.chosen(list(l1.values()), gain=0.8)
    assert 0 < metrics["dissimilarity"] < MEASURES["dissimilarity"].no
    steps = {line.split(",")[2] for line in (folder / "history.csv").read_text().splitlines()[1:]}
    assert steps == {"start", "step1", "step2", "step3"}


def test_a_refinement_goes_on_after_an_interruption_to_the_same_bits(made, whole, tmp_path, monkeypatch):
    assert "refines a lifted model on each image, by config.refinement" in whole[2]
    undisturbed = pathlib.Path(whole[0].workdir) / "results/001"
    _assert_refined(undisturbed)
    cut = _config(tmp_path / "cut", made["model"])
    advance, calls = OneImage.advance, []

    def interrupted(task, state, phase, *rest):
        calls.append(phase.step)
        if calls.count("step3") == 2:
            raise KeyboardInterrupt
        return advance(task, state, phase, *rest)

    monkeypatch.setattr(OneImage, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_experiment(cut)
    monkeypatch.setattr(OneImage, "advance", advance)
    assert experiment.run_experiment(cut) == 0
    results = [undisturbed, tmp_path / "cut/run/results/001"]
    np.testing.assert_array_equal(*[np.load(folder / "depth.npy") for folder in results])
    assert _metrics(results[0])["held_out_l1"] == _metrics(results[1])["held_out_l1"]


def test_a_run_shows_what_the_model_sees_before_it_refines_and_then_replaces_it(made, tmp_path, monkeypatch, capsys):
    """One of the two images is unusable; the run is ended twice, and goes on."""
    images = pathlib.Path(shutil.copytree(asset("ictface/image"), tmp_path / "image"))
    (images / "005.png").write_bytes((images / "005.png").read_bytes()[:500])
    names = ("005.png", "001.png")
    fields = {"names": names, "data__image_root": str(images), "outputs__preset": "overview"}
    config, train, calls = _config(tmp_path, made["model"], **fields), Trainer.train, []
    run = tmp_path / "run"

    def ends(trainer, name, prepared, work_items):
        calls.append([name])
        if len(calls) in (1, 3):
            raise KeyboardInterrupt
        return train(trainer, name, prepared, work_items)

    def shown() -> dict[str, tuple[str, bool]]:
        """Status, and whether it is said to await its refinement, of each image on the page."""
        text = (run / "index.html").read_text()
        data = json.loads(re.search(r'id="page-data">(.*?)</script>', text)[1])["images"]
        assert text.count('<span class="badge told">not refined yet</span></a>') == sum(
            image["awaits"] for image in data
        )
        undoubted = (
            re.sub("(, )?doubtful: the model's.*", "", image["remarks"]) for image in data
        )  # it is a tiny model
        return {image["name"]: (remarks, image["awaits"]) for image, remarks in zip(data, undoubted, strict=True)}

    monkeypatch.setattr(Trainer, "train", ends)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_experiment(config)
    said = capsys.readouterr().err
    assert f"page: {run / 'index.html'}, 1 image as the model sees it; refining it now" in said
    assert said.count("005: image") == 1 and "minutes" not in said
    awaiting = "not refined yet"
    assert [status for status, _ in shown().values()][0].startswith("failed: image")
    assert list(shown().values())[1:] == [(awaiting, True)]
    assert not RunFolder(run).is_finished("001") and load_metrics(run / "results/001")["awaits_refinement"]
    assert "its own shape" not in (run / "results/001/metrics.json").read_text()
    assert ",done, not refined yet" in (run / "results.csv").read_text().replace('"', "")
    predicting = _config(tmp_path / "predicting", made["model"], **fields | {"recipe": "predict"})
    assert experiment.run_experiment(predicting) == 1
    before = _arrays(run / "results/001")
    chex.assert_trees_all_equal(before, _arrays(tmp_path / "predicting/run/results/001"))

    (images / "005.png").unlink()
    shutil.copy(asset("ictface/image/005.png"), images / "005.png")
    with pytest.raises(KeyboardInterrupt):
        experiment.run_experiment(config)
    assert "1 image as the model sees it; refining it now" in capsys.readouterr().err  # the others are there
    assert calls[1:] == [["005.png"], ["001.png"]]
    assert shown() == {"005": ("", False), "001": (awaiting, True)}
    _assert_refined(run / "results/005")
    refined = {path: path.stat().st_mtime_ns for path in (run / "results/005").iterdir()}

    assert experiment.run_experiment(config) == 0
    assert "as the model sees" not in (said := capsys.readouterr().err) and "005: finished before, skipped" in said
    assert not any(awaits or awaiting in remarks for remarks, awaits in shown().values())
    assert refined == {path: path.stat().st_mtime_ns for path in (run / "results/005").iterdir()}
    _assert_refined(run / "results/001")
    assert "awaits_refinement" not in load_metrics(run / "results/001")
    assert not np.array_equal(_arrays(run / "results/001")["albedo"], before["albedo"])


def _arrays(folder):
    return {path.stem: np.load(path) for path in folder.glob("*.npy") if path.stem not in ("gan_image", "true_depth")}


def test_an_encoder_of_its_own_begins_afresh_and_means_what_the_configuration_says(made, tmp_path):
    own, models_own = _config(tmp_path, made["model"]), _config(tmp_path, made["model"], recipe="predict")
    architecture, _ = inputs.load_gan(own)
    settings = [resolve(config).settings(architecture, original_size=32) for config in (own, models_own)]
    assert [stage.regularize_offset for stage in settings] == [True, False]
    first, second = (
        inputs.initial_params(*pair) for pair in zip(map(resolve, (own, models_own)), settings, strict=True)
    )
    for name in models.NAMES:
        same = all(map(np.array_equal, jax.tree.leaves(first[name]), jax.tree.leaves(second[name])))
        assert same == (name != "encoder")
    fresh = models.init_params(key_of(run_key(own.seed), Stream.NETWORKS), settings[0])["encoder"]
    chex.assert_trees_all_equal(first["encoder"], fresh)


def test_a_model_sees_an_image_and_its_mirror_image_alike(made, tmp_path):
    config = _config(tmp_path, made["model"])
    architecture, _ = inputs.load_gan(config)
    settings = resolve(config).settings(architecture, original_size=32)
    params = inputs.initial_params(resolve(config), settings)
    images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    for see, mean, signs in (
        (models.views, jnp.ones(6), (1, -1, -1, -1, 1, 1)),
        (models.lights, jnp.ones(4), (1, 1, -1, 1)),
    ):
        first, other = (see(params, each, mean, settings) for each in (images, images[:, :, ::-1]))
        np.testing.assert_allclose(first, other * np.array(signs), atol=1e-6)
        alone, back = (
            see(params, each, mean, dataclasses.replace(settings, mirrored=False))
            for each in (images, images[:, :, ::-1])
        )
        np.testing.assert_allclose(first, (alone + back * np.array(signs)) / 2, atol=1e-6)
        assert np.abs(first - alone).max() > 1e-3


def test_a_new_encoder_needs_a_step_2(made, tmp_path):
    untrained = _config(tmp_path, made["model"], refinement__stages=((1, 0, 2),))
    assert any("a new encoder" in fault and "first step 2" in fault for fault in preflight.examine(untrained))


@pytest.mark.heavy
def test_a_model_whose_gan_turns_needs_no_step_2(made, tmp_path):
    with safe_open(made["model"], "np") as file:
        kept, texts = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    width = inputs.load_gan(_config(tmp_path, made["model"]))[0].style_dim
    axes = np.eye(2, width, dtype=np.float32)
    parts = {"axes": axes, "readers": axes, "centre": np.zeros(width, np.float32)}
    parts["values"] = np.linspace(-0.5, 0.5, 9, dtype=np.float32) * np.ones((2, 1), np.float32)
    parts["farthest"] = np.float32(3)
    path = tmp_path / "turns.safetensors"
    path.write_bytes(
        save(kept | {f"statistics/turning_{name}": np.asarray(part) for name, part in parts.items()}, texts)
    )
    config = _config(tmp_path, str(path), refinement__samples="turned")
    actual = resolve(config).pose_edit
    np.testing.assert_array_equal(actual.values, parts["values"])
    assert {name: value.tobytes() for name, value in model_file.pose_edit_tensors(actual).items()} == {
        f"turning_{name}": part.tobytes() for name, part in parts.items()
    }
    assert preflight.examine(config) == [] and experiment.run_experiment(config) == 0
    history = (tmp_path / "run/results/001/history.csv").read_text()
    assert {line.split(",")[2] for line in history.splitlines()[1:]} == {"start", "step1", "step3"}
    assert "refinement_share" in _metrics(tmp_path / "run/results/001")


def test_an_image_that_the_model_does_not_know_is_told_of(made, tmp_path, capsys):
    """Without samples kept out, the last networks stay."""
    assert experiment.run_experiment(_config(tmp_path, made["narrow"], refinement__held_out=0)) == 0
    assert "001: a face: the general shape of a face, not this one's own, but the model's" in capsys.readouterr().err
    metrics = _metrics(tmp_path / "run/results/001")
    assert "refinement_share" not in metrics and metrics["dissimilarity"] > MEASURES["dissimilarity"].doubt
    texts = {name: (tmp_path / "run" / name).read_text() for name in ("results.md", "results.csv", "index.html")}
    assert [name for name, text in texts.items() if "looks different" not in text] == []


def test_the_bundled_model_fits_the_bundled_configuration():
    config = load_config("ictface")
    chosen = resolve(config).config
    assert chosen.schedule.stages == ((30, 0, 150),)  # its GAN turns: no encoder is trained
    assert not resolve(chosen).trains_encoder
    architecture, _ = inputs.load_gan(config)
    resolve(config).require_model_fits(resolve(config).settings(architecture, original_size=64), gan=True)
    assert resolve(config).model.facts.errors["l1_p95"] < 0.3


@pytest.mark.heavy
def test_shape_and_view_stay_the_models_where_they_are_held(made, tmp_path):
    more = {"refinement__stages": ((1, 1, 12),), "refinement__held_out": 0}
    more["names"], away = ("001.png", "002.png"), {}
    for hold in (False, True):
        config = _config(tmp_path / str(hold), made["model"], refinement__freeze_geometry=hold, **more)
        assert preflight.examine(config) == [] and experiment.run_experiment(config) == 0
        images, frozen = images_of(config)
        away[hold] = []
        for first in images:
            params = inputs.initial_params(resolve(config), first.settings)
            model = jax.jit(reconstruction.predict)(params, first.example, frozen, first.settings)
            actual = load(tmp_path / str(hold) / f"run/results/{first.name}")
            pairs = [(getattr(actual, part), getattr(model, part)) for part in ("depth", "view", "albedo", "light")]
            away[hold].append([np.abs(own - np.squeeze(models_own)).max() for own, models_own in pairs])
    free, held = np.array(away[False]), np.array(away[True])
    assert held[:, :2].max() < 1e-5 < free[:, :2].min()
    assert held[:, 2:].min() > 1e-5
