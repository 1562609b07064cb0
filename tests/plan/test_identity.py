"""What makes a run itself: fields and files' contents, whatever their paths and whichever version wrote them."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from helpers.tiny import tiny_config

from gan2shape_jax.config import load_config, set_field, to_json
from gan2shape_jax.config.schema import fields
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.output_folders import RUN, mark
from gan2shape_jax.plan.identity import digest, identity_of, read_identity, resolve_auto
from gan2shape_jax.plan.recipe import RECIPES, resolve
from gan2shape_jax.run import experiment
from gan2shape_jax.run.folder import RunFolder, opened, require_usable
from gan2shape_jax.training import checkpoint
from gan2shape_jax.training.resume import Requested, differences

_PACKAGED = ("gan.checkpoint", "sampling.view_mvn", "sampling.light_mvn")


def _fingerprint(config) -> str:
    return identity_of(resolve(config).config).fingerprint


def test_two_copies_of_the_same_files_make_one_run(tmp_path):
    """As two clones have them, in folders of other names."""
    config = load_config("ictface:scratch").unlock()
    before = _fingerprint(config)
    config.workdir, config.data.image_root = str(tmp_path / "run"), str(tmp_path)
    for path in _PACKAGED:
        copy = shutil.copy(_value(config, path), tmp_path)
        set_field(config, path, str(copy))
    assert _fingerprint(config) == before
    pathlib.Path(config.sampling.light_mvn).write_bytes(pathlib.Path(config.sampling.view_mvn).read_bytes())
    assert _fingerprint(config) != before


_BALL = """
import numpy as np
from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category

CATEGORY = Category("ball", prior=lambda mask, config: np.where(mask > 0.5, {near}, config.prior.far))

def get_config():
    config = load_config("ictface:scratch").unlock()
    config.category, config.prior.shape = CATEGORY.name, "{shape}"
    return config
"""


def test_a_prior_in_a_users_own_file_is_part_of_it(tmp_path):
    def written(name, near, shape="category"):
        (file := tmp_path / name / "ball.py").parent.mkdir(exist_ok=True)
        file.write_text(_BALL.format(near=near, shape=shape))
        return load_config(str(file))

    first = written("one", 0.95)
    assert list(identity_of(first).extensions) == ["prior.ball"]
    assert _fingerprint(written("two", 0.95)) == _fingerprint(first)
    assert differences(identity_of(first).computed, identity_of(written("one", 0.96)).computed)[0].startswith(
        "extensions.prior.ball (was 'ball.py of SHA-256 "
    )
    assert identity_of(written("three", 0.96, shape="flat")).extensions == {}  # which does not read it
    folder = RunFolder(tmp_path / "run")
    mark(folder.root, RUN)
    folder.describe(first, identity_of(first))
    assert read_identity(folder.root / "config.json")[1] == identity_of(first)


def _value(config, path):
    group, name = path.split(".")
    return config[group][name]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_field_is_part_of_it_unless_it_changes_nothing_that_is_computed(tmp_path, recipe):
    names = {path for path, field in fields().items() if field.role == "compute"}
    config = tiny_config(tmp_path).unlock()
    config.recipe = recipe
    identity, unread = identity_of(config), RECIPES[recipe].unread
    assert identity.computed.keys() <= names and identity.computed["recipe"] == recipe
    for path in names - identity.computed.keys():
        assert any(path == group or path.startswith(f"{group}.") for group in unread), path
    for group in unread:
        assert any(path == group or path.startswith(f"{group}.") for path in names), f"{group} is no field"
    assert identity.drawn.keys() == {path for path, field in fields().items() if field.role == "draw"}


@pytest.mark.parametrize(
    ("field", "value", "changes"),
    [
        ("outputs.turntable_frames", 5, "drawing"),
        ("outputs.preset", "mesh", "drawing"),
        ("checkpoint.keep", 5, ""),
        ("workdir", "elsewhere", ""),
        ("data.image_list", "longer.txt", ""),
        ("runtime.iterations_per_call", 7, ""),
        ("outputs.networks", "none", ""),
        ("seed", 7, "fingerprint"),
        ("optimizer.learning_rate", 0.5, "fingerprint"),
        ("refinement.gain", 0.5, ""),  # which training from scratch does not read
    ],
)
def test_what_a_field_changes(tmp_path, field, value, changes):
    before, config = identity_of(tiny_config(tmp_path)), tiny_config(tmp_path).unlock()
    set_field(config, field, value)
    after = identity_of(config)
    changed = {name for name in ("fingerprint", "drawing") if getattr(before, name) != getattr(after, name)}
    assert changed == ({changes} if changes else set())


def test_values_left_to_the_program_are_those_that_the_run_began_with(tmp_path):
    config = tiny_config(tmp_path, recipe="joint", names=("001.png", "005.png")).unlock()
    config.networks.update(width=0, group_base=0)
    plan = resolve(config.lock())
    chosen = resolve_auto(plan.config, plan.recipe)
    assert (chosen.networks.width, chosen.networks.group_base) == (128, 16)
    assert chosen.schedule.batches_per_iteration == 1
    with chosen.unlocked():
        chosen.schedule.batches_per_iteration = 4  # as on four devices
    folder = RunFolder.at(chosen)
    mark(folder.root, RUN)
    folder.describe(chosen, identity_of(chosen))
    with opened(plan, ["001.png", "005.png"]) as started:
        assert started.config.schedule.batches_per_iteration == 4
        assert started.identity.fingerprint == identity_of(chosen).fingerprint
    config.unlock().schedule.batches_per_iteration = 2
    with pytest.raises(UserError, match=r"schedule\.batches_per_iteration \(was 4, is 2\)"):
        require_usable(resolve(config.lock()), ["001.png", "005.png"])


def test_a_field_that_a_run_lacks_has_its_default(tmp_path):
    plan = resolve(tiny_config(tmp_path))
    config = resolve_auto(plan.config, plan.recipe)
    folder, identity = RunFolder.at(config), identity_of(config)
    mark(folder.root, RUN)
    tree = json.loads(to_json(config)) | {"identity": identity.record()}
    del tree["camera"]["fov_deg"], tree["detail"]
    (folder.root / "config.json").write_text(json.dumps(tree))
    assert read_identity(folder.root / "config.json")[1] == identity
    with opened(plan, ["001.png"]) as started:
        assert started.identity == identity
    other = tiny_config(tmp_path, camera__fov_deg=11.0)
    with pytest.raises(UserError, match=r"camera\.fov_deg \(was 10\.0, is 11\.0\)"):
        require_usable(resolve(other), ["001.png"])


@pytest.fixture
def finished(tiny_run, tmp_path):
    """The configuration of a run that is finished, with the image that could be read in its list."""
    config = tiny_run.config.copy_and_resolve_references().unlock()
    (tmp_path / "names.txt").write_text("001.png\n")
    config.data.image_list = str(tmp_path / "names.txt")
    return config.lock()


def _factors(run: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "results" / "001").glob("*.npy")}


def test_another_drawing_is_drawn_from_what_is_kept(finished, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(finished.workdir, tmp_path / "run")
    config = finished.copy_and_resolve_references().unlock()
    config.workdir = str(run)
    config.outputs.update(turntable_frames=3, animation=False, gan_images=False)
    before, networks = _factors(run), (run / "results/001/networks.safetensors").read_bytes()
    monkeypatch.setattr("gan2shape_jax.training.loop.run_schedule", lambda *_, **__: pytest.fail("it is trained"))
    assert experiment.run_experiment(config.lock()) == 0
    assert "001: drawn anew from what is kept" in capsys.readouterr().err
    assert _factors(run) == before and (run / "results/001/networks.safetensors").read_bytes() == networks
    assert (run / "results/001/turntable.png").is_file() and (run / "results/001/history.csv").is_file()
    assert experiment.run_experiment(config) == 0  # and not again
    assert "drawn anew" not in (said := capsys.readouterr().err) and "001: finished before, skipped" in said


def test_another_image_under_the_same_name_is_refused(finished, tmp_path):
    run = shutil.copytree(finished.workdir, tmp_path / "run")
    images = shutil.copytree(asset("ictface/image"), tmp_path / "image")
    config = finished.copy_and_resolve_references().unlock()
    config.workdir, config.data.image_root = str(run), str(images)
    config.data.latent_root, config.data.mask_root = finished.data.latent_root, finished.data.mask_root
    assert experiment.run_experiment(config) == 0  # from another folder
    shutil.copy(images / "005.png", images / "001.png")
    with pytest.raises(UserError, match=r"results/001 holds a result made with other values: image \(was a file of"):
        experiment.run_experiment(config)


def test_a_checkpoint_of_another_fingerprint_is_refused(tmp_path):
    state = {"depth": np.zeros(3, np.float32)}
    with checkpoint.Checkpoints(tmp_path, keep=1, requested=Requested({"configuration": "old"})) as kept:
        kept.save(2, state, {"done": 2})
    with (
        checkpoint.Checkpoints(tmp_path, keep=1, requested=Requested({"configuration": "new"})) as kept,
        pytest.raises(UserError, match=r"cannot be used: it was made with other values: configuration"),
    ):
        kept.restore(lambda record: state)


def test_a_digest_is_of_the_values_and_not_of_their_order():
    assert digest({"a": 1, "b": (2,)}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
