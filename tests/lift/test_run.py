"""The command that lifts a GAN: its files, going back after a divergence, and what it refuses."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy
from helpers.tiny import tiny_config, tiny_lift
from PIL import Image

from gan2shape_jax.errors import DivergedError, UserError
from gan2shape_jax.io.files import sha256
from gan2shape_jax.lift import model_file
from gan2shape_jax.lift import task as lift
from gan2shape_jax.method import pose_edit
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.run import experiment, preflight
from gan2shape_jax.run.folder import RunFolder

pytestmark = pytest.mark.heavy  # whole lifts


def _config(folder, **fields):
    return tiny_lift(folder, **{"data__image_list": "no such list", "schedule__stages": ((2, 2, 4),)} | fields)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = _config(tmp_path_factory.mktemp("lift"), lift__detail_pictures=16)
    assert preflight.run_preflight(config) == 0 and experiment.run_experiment(config) == 0
    return config, pathlib.Path(config.workdir)


def test_networks_history_and_pictures_are_there(finished):
    _, root = finished
    assert (root / "networks.safetensors").is_file()
    rows = json.loads((root / "history.json").read_text())
    assert {"held_out_l1", "roughness", "saturation"} <= set(rows[-1])
    pictures = sorted(path.name for path in (root / "samples").iterdir())
    phases = ("prior", "inversion", "stage_1_step1", "stage_1_step2", "stage_1_anchored")
    assert pictures == [f"{number:02}_{phase}.png" for number, phase in enumerate(phases)]
    with Image.open(root / "samples" / pictures[-1]) as picture:
        assert picture.size == (2 * 128 + 2, 5 * 128 + 4 * 2)
    assert not (root / "checkpoints").exists() or not any((root / "checkpoints").rglob("*.json"))


def test_it_ends_with_the_detail_of_the_albedo_and_does_nothing_twice(finished):
    config, root = finished
    lifted, ended = (safetensors.numpy.load_file(folder / "model.safetensors") for folder in (root, root / "detail"))
    assert {name.split("/")[0] for name in ended.keys() - lifted.keys()} == {"detail"}
    assert model_file.read_model(root / "detail" / "model.safetensors").facts.training["detail"]["pictures"] == 16
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")}
    assert experiment.run_experiment(config) == 0
    assert files == {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")}


@pytest.mark.slow
@pytest.mark.parametrize("turns", [False, True])
def test_networks_of_a_lift_go_on_without_an_anchor(finished, tmp_path, monkeypatch, capsys, turns):
    schedule = {"stages": ((1, 1, 3),) * 2, "flip1": (True,) * 2, "flip3": (True,) * 2, "batches_per_iteration": 2}
    fields = {f"schedule__{name}": value for name, value in schedule.items()}
    fields |= {"lift__inversion_iterations": 0, "recipe": "finetune"}
    config = _config(tmp_path, networks__pretrained=str(finished[1] / "networks.safetensors"), **fields)
    if turns:
        monkeypatch.setattr(pose_edit, "_LEAST", -1)
        monkeypatch.setattr(pose_edit, "_LESSONS", 4)
    assert preflight.run_preflight(config) == 0 and experiment.run_experiment(config) == 0
    told = capsys.readouterr().err
    assert ("V is trained on far turns" in told) == turns == ("an encoder of its own" not in told)
    root = pathlib.Path(config.workdir)
    before, after = (safetensors.numpy.load_file(folder / "networks.safetensors") for folder in (finished[1], root))
    moved = {name.split("/")[0] for name in after if not np.allclose(before[name], after[name], rtol=1e-5, atol=1e-8)}
    # The encoder moves in step 2, as in any stage; V only where it is taught, before the first.
    assert moved == {"depth", "albedo", "light", "encoder"} | ({"view"} if turns else set())
    assert model_file.read_model(root / "model.safetensors") is not None


def test_the_model_says_what_it_is_of(finished):
    config, root = finished
    facts = model_file.read_model(root / "model.safetensors").facts
    tensors = safetensors.numpy.load_file(root / "model.safetensors")
    statistics = {name: tensors[f"statistics/{name}"] for name in model_file.STATISTICS}
    assert facts.category == "ictface" and facts.gan_sha256 == sha256(config.gan.checkpoint)
    assert "ICT-FaceKit" in facts.gan_license
    predicting = _predicting(root, root / "model.safetensors")
    assert 0 < facts.errors["l1_mean"] <= facts.errors["l1_p95"] == resolve(predicting).model.facts.errors["l1_p95"]
    assert {name: value.shape for name, value in statistics.items()} == model_file.STATISTICS
    mask = tensors["statistics/mask"]
    assert mask.shape == (32, 32) and mask.max() <= 1 and np.array_equal(mask, mask[:, ::-1])
    np.testing.assert_array_equal(resolve(predicting).mask, mask)
    assert resolve(_predicting(root, root / "networks.safetensors")).mask is None
    for name in ("view", "light"):
        assert np.linalg.eigvalsh(statistics[f"{name}_cov"]).min() > -1e-6


def _predicting(folder, model, **fields):
    return tiny_config(folder, recipe="predict", networks__pretrained=str(model), **fields)


def test_the_model_predicts_as_its_networks_do(finished, tmp_path):
    _, root = finished
    depths = []
    for name in ("model", "networks"):
        (tmp_path / name).mkdir()
        config = _predicting(tmp_path / name, root / f"{name}.safetensors")
        assert experiment.run_experiment(config) == 0
        depths.append(np.load(pathlib.Path(config.workdir) / "results" / "001" / "depth.npy"))
    np.testing.assert_allclose(*depths, atol=2e-4)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"category": "car"}, "is of category 'ictface', this run of 'car'"),
        ({"camera__fov_deg": 12.0}, "does not fit this run: camera is"),
        ({"camera__xyz_rotation_range_deg": 30}, "does not fit this run: view_range is"),
    ],
)
def test_a_model_of_something_else_is_refused_by_check_and_run(finished, tmp_path, capsys, fields, told):
    config = _predicting(tmp_path, finished[1] / "model.safetensors", **fields)
    assert preflight.run_preflight(config) == 1
    assert told in capsys.readouterr().err
    with pytest.raises(UserError, match="model .*" + told.split(" is")[0]):
        experiment.run_experiment(config)


def test_a_run_takes_the_encoders_offsets_as_the_model_does(finished, tmp_path, capsys):
    fields = {"networks__pretrained": str(finished[1] / "model.safetensors"), "gan__regularize_offset": False}
    pictures = {"recipe": "predict", "outputs__gan_images": True, "outputs__preset": "all"}  # by the model's encoder
    config = tiny_config(tmp_path, **pictures, **fields)
    architecture, frozen = inputs.load_frozen(resolve(config))
    assert resolve(config).settings(architecture, original_size=64).regularize_offset  # the lift's own
    assert inputs.load_image(resolve(config), "001.png", architecture, frozen, tmp_path).settings.regularize_offset
    assert preflight.run_preflight(config) == 0
    assert preflight.run_preflight(tiny_config(tmp_path, **pictures, **fields, gan__F1_d=2)) == 1
    assert "config.gan.F1_d is 8 in the model and 2 in this run" in capsys.readouterr().err
    own = tiny_config(tmp_path, recipe="refine", **fields, gan__F1_d=2)
    assert preflight.run_preflight(own) == 0  # an encoder of the image's own


def test_another_gans_model_is_refused_where_the_gan_is_used(finished, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    content = pathlib.Path(finished[0].gan.checkpoint).read_bytes()
    other.write_bytes(content.replace(b"MIT licence", b"MIT-licence"))
    fields = {"networks__pretrained": str(finished[1] / "model.safetensors"), "gan__checkpoint": str(other)}
    config = tiny_config(tmp_path, recipe="refine", **fields)
    assert experiment.run_experiment(config) == 1
    assert "was lifted from another GAN" in capsys.readouterr().err
    plan = resolve(tiny_config(tmp_path, recipe="finetune", **fields))
    sizes = plan.settings(inputs.load_frozen(plan)[0], original_size=64)
    plan.require_model_fits(sizes, gan=True)  # what it knows of its GAN is measured anew


def test_a_second_start_has_nothing_to_do_but_to_make_a_damaged_model_again(finished):
    config, root = finished
    path = root / "model.safetensors"
    content, before = path.read_bytes(), (root / "networks.safetensors").stat().st_mtime_ns
    assert experiment.run_experiment(config) == 0
    path.write_bytes(content[:-7])
    assert experiment.run_experiment(config) == 0
    assert path.read_bytes() == content and (root / "networks.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"version":"1"', b'"version":"7"', "of version '7'"),
        (b'"category"', b'"categorx"', r"damaged: its header cannot be read \('category'\)"),
    ],
)
def test_models_of_another_version_or_damaged_are_refused(finished, tmp_path, old, new, told):
    content = (finished[1] / "model.safetensors").read_bytes()
    assert content.count(old) == 1
    path = tmp_path / "model.safetensors"
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match=told):
        model_file.read_model(path)


def test_a_collapse_goes_back_to_the_last_good_checkpoint(finished, tmp_path, monkeypatch, capsys):
    actual = iter(([], ["depth is in stripes"]))  # at the second iteration of step 3
    monkeypatch.setattr(lift, "_SETTLED", 0)
    monkeypatch.setattr(lift, "collapse", lambda means, flat_l1: next(actual, []))
    config = _config(tmp_path)
    assert experiment.run_experiment(config) == 0
    told = capsys.readouterr().err
    assert "the networks have collapsed in stage 1 anchored, iteration 4: depth is in stripes" in told
    assert (
        "Going back to the last good checkpoint" in told and "continues from stage 1 anchored, iteration 2 of 4" in told
    )
    root = pathlib.Path(config.workdir)
    assert RunFolder(root).joint["returns_to_a_checkpoint"] == 1
    assert np.isfinite(json.loads((root / "history.json").read_text())[-1]["loss"])
    first, other = ((folder / "networks.safetensors").read_bytes() for folder in (root, finished[1]))
    assert first != other  # it went on more slowly


def test_a_loss_that_is_not_finite_goes_back_once_and_then_ends_the_run(tmp_path, capsys, monkeypatch):
    never = staticmethod(lambda scalars: {"loss": float("nan")})
    monkeypatch.setattr("gan2shape_jax.lift.task.Lift.averages", never)
    config = _config(tmp_path)
    with pytest.raises(DivergedError, match=r"the loss became nan in prior, iteration 2.*; the run already went back"):
        experiment.run_experiment(config)
    assert "Going back to the last good checkpoint" in capsys.readouterr().err
    assert not (pathlib.Path(config.workdir) / "model.safetensors").exists()


def test_an_empty_mean_mask_and_too_few_samples_for_the_replicas_are_refused(tmp_path):
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    for fields, told in (
        ({"lift__masks": "mean", "lift__mean_mask": str(tmp_path / "black.png")}, "black.png is empty"),
        ({"schedule__batches_per_iteration": 4}, "4 images share an iteration, but a stage has 3 samples"),
    ):
        with pytest.raises(UserError, match=told):
            experiment.run_experiment(_config(tmp_path, workdir=str(tmp_path / told[:5]), **fields))
