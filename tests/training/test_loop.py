"""The stage loop: what each phase changes, that stopping anywhere changes nothing, and its checkpoints, read or not."""

import dataclasses
import errno
import os
import pathlib
import shutil
import time
import traceback
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.command_line import overrides
from helpers.killed import Killed, die_at
from helpers.tiny import tiny_config
from jax.flatten_util import ravel_pytree

import gan2shape_jax
from gan2shape_jax import main as program
from gan2shape_jax.errors import FatalRunError, Terminated, UserError
from gan2shape_jax.io.files import remove_folder
from gan2shape_jax.method import models
from gan2shape_jax.method.schedule import STEPS, Phase, make_schedule
from gan2shape_jax.method.state import TrainState
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import RECIPES, resolve
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.training import loop
from gan2shape_jax.training import task as task_lib
from gan2shape_jax.training.checkpoint import Checkpoints
from gan2shape_jax.training.loop import Cadence, Watcher
from gan2shape_jax.training.resume import Requested

CADENCE = Cadence(checkpoint=2, log=2, per_call=1, keep=2)
UNWATCHED = Watcher()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Everything that the stage loop is given."""
    config = tiny_config(tmp_path_factory.mktemp("tiny"))
    architecture, frozen = inputs.load_frozen(resolve(config))
    prepared = inputs.load_image(resolve(config), "001.png", architecture, frozen, RunFolder.at(config).latents)
    initial = models.init_params(jax.random.key(0), prepared.settings)
    return prepared, frozen, RECIPES[config.recipe].schedule(config), initial


def _train(run, folder, watcher=UNWATCHED, cadence=CADENCE, phases=None):
    prepared, frozen, schedule, initial = run
    return loop.train(prepared, frozen, schedule[:phases], initial, folder, cadence, watcher)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """An uninterrupted run."""
    seldom = dataclasses.replace(CADENCE, checkpoint=1000)
    return _train(run, tmp_path_factory.mktemp("whole"), cadence=seldom)


@pytest.mark.parametrize(
    ("stop", "error"),
    [
        ((3, 3), Terminated),
        *(pytest.param(stop, Killed, marks=pytest.mark.heavy) for stop in ((3, 3), (1, 1), (6, 1))),
    ],
)
def test_interrupted_anywhere_and_resumed_gives_the_same_bits(run, whole, tmp_path, stop, error):
    with pytest.raises(error):
        _train(run, tmp_path, die_at(*stop, error))
    resumed = []
    state, history = _train(run, tmp_path, Watcher(on_resume=lambda phase, done: resumed.append((phase.number, done))))
    # After a signal there is a checkpoint of just that iteration, of which none was due.
    assert len(resumed) == 1 and (resumed == [stop]) == (error is Terminated)
    chex.assert_trees_all_equal(state, whole[0])
    assert history == whole[1]


def _distance(first, second):
    apart = jax.tree.map(np.subtract, jax.device_get(first), jax.device_get(second))
    return float(np.linalg.norm(ravel_pytree(apart)[0]))


@pytest.mark.heavy
def test_several_iterations_a_call_give_the_same_result(run, tmp_path):
    first, history = _train(run, tmp_path / "one", phases=2)
    several, same = _train(run, tmp_path / "two", cadence=dataclasses.replace(CADENCE, per_call=2), phases=2)
    # Adam's first steps are as long for gradients that are all rounding as for others, so that programs which differ
    # in rounding alone were 0.04 apart; an iteration too few or too many is 0.25.
    for name, start in run[3].items():
        moved = _distance(first.params[name], start)
        assert (moved > 0) == (name in ("depth", "albedo"))
        assert _distance(several.params[name], first.params[name]) <= 0.1 * moved
    for a, b in zip(same, history, strict=True):
        assert a.keys() == b.keys()
        assert a.get("loss", 0.0) == pytest.approx(b.get("loss", 0.0), rel=1e-3)


def test_each_phase_moves_its_own_networks_only(run):
    prepared, frozen, schedule, initial = run
    # On the device, as in a loop: arguments of other types would be other programs.
    task = task_lib.OneImage(jax.device_put(prepared.context(frozen)), axis=True)
    state = task.initial(initial)
    for phase in schedule[:4]:
        before = jax.tree.map(np.array, state.params)
        state = task.begin(state, phase)
        state, _ = task.advance(state, phase, 0, task.phase_constants(state, phase), 1)
        for name in models.NAMES:
            pairs = zip(jax.tree.leaves(before[name]), jax.tree.leaves(state.params[name]), strict=True)
            moved = any(not np.array_equal(a, b) for a, b in pairs)
            assert moved == (name in phase.kind.networks), (phase.label, name)


def test_a_step_1_of_ones_own_starts_from_the_objects_mask_too(run):
    prepared, frozen, schedule, initial = run
    masked = dataclasses.replace(prepared, settings=dataclasses.replace(prepared.settings, use_mask=True))
    task = task_lib.OneImage(jax.device_put(masked.context(frozen)), axis=True)
    own = dataclasses.replace(schedule[1], kind=dataclasses.replace(schedule[1].kind, cost=2.0))
    assert 0 < float(task.begin(task.initial(initial), own).mask.mean()) < 1


def test_losses_fall(run, tmp_path):
    prepared, frozen, _, initial = run
    schedule = make_schedule(((40, 0, 0),), flip1=(False,), flip3=(False,), prior_iterations=60)
    cadence = Cadence(checkpoint=1000, log=20, per_call=1, keep=1)
    _, history = loop.train(prepared, frozen, schedule, initial, tmp_path, cadence, Watcher())
    for step in ("prior", "step1"):
        losses = [row["loss"] for row in history if row["step"] == step]
        assert losses[-1] < losses[0]


def test_a_loss_that_is_not_finite_is_reported(run, tmp_path):
    prepared, frozen, schedule, initial = run
    broken = jax.tree.map(lambda x: x * np.nan, initial)
    with pytest.raises(UserError, match="loss became nan in prior, iteration 2"):
        loop.train(prepared, frozen, schedule, broken, tmp_path, CADENCE, Watcher())


@pytest.mark.parametrize(("platform", "waits"), [("cpu", 20), ("gpu", 0)])
def test_calls_wait_for_one_another_on_cpu_only(monkeypatch, platform, waits):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    scalar, task = mock.Mock(spec=["block_until_ready"]), mock.Mock(spec=task_lib.Task, window=1)
    task.advance = lambda state, *_: (state, {"loss": scalar})
    task.averages.return_value, task.examine.return_value = {"loss": 0.0}, (None, {})
    cadence = dataclasses.replace(CADENCE, log=100, checkpoint=100)
    loop.run_schedule(task, (Phase(0, 1, STEPS["step3"], 20, False),), {}, None, cadence, UNWATCHED)
    assert scalar.block_until_ready.call_count == waits


def _state(value: float) -> TrainState:
    return TrainState(
        params={"depth": {"kernel": jnp.arange(3000.0) * value}},
        opt_state=(jnp.full((7,), value), jnp.int32(3)),  # counts have no dimensions
        factors=jnp.full(2, value),
        mask=jnp.zeros(3),
    )


def _template(record):
    return jax.tree.map(jnp.zeros_like, _state(0.0))


def _record(done: int) -> dict:
    return {"phase": 0, "step": "prior", "iteration": done, "history": [{"loss": float("nan")}], "recent": []}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints, 2 and 4."""
    folder = tmp_path_factory.mktemp("saved") / "001"
    with Checkpoints(folder, keep=2, requested=Requested({"configuration": "a"})) as checkpoints:
        for done in (2, 4):
            checkpoints.save(done, _state(float(done)), _record(done))
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints" / "001")


def _restored(folder, **made_with):
    """The value that the restored state was made of, or None without one."""
    with Checkpoints(folder, keep=2, requested=Requested(made_with)) as checkpoints:
        actual = checkpoints.restore(_template)
    if actual is None:
        return None
    state, record = actual
    value = float(state.opt_state[0][0])
    assert record["iteration"] == value
    for leaf, expected in zip(jax.tree.leaves(state), jax.tree.leaves(_state(value)), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    return value


def _largest(step: pathlib.Path) -> pathlib.Path:
    return max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("file", ["arrays", "record/metadata"])
def test_where_the_newest_cannot_be_read_the_next_older_one_is_used(copied, capfd, file):
    path = _largest(copied / "4" / "state") if file == "arrays" else copied / "4" / file
    whole = path.read_bytes()
    for number, content in enumerate((b"", whole[: len(whole) // 2], b"null", b"[" * 100_000, None)):
        folder = shutil.copytree(copied, copied.parent / str(number))
        here = folder / path.relative_to(copied)
        here.unlink() if content is None else here.write_bytes(content)
        assert _restored(folder) == 2.0, content
        told = capfd.readouterr().err
        assert f"{folder}/4 cannot be read" in told and "continues from checkpoint 2" in told
        aside = folder / "4.unreadable-1" / path.relative_to(copied / "4")
        assert not aside.exists() if content is None else aside.read_bytes() == content
        assert "Traceback" not in told and _restored(folder) == 2.0 and not capfd.readouterr().err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO])
def test_one_that_cannot_be_read_for_now_is_kept_whole_whatever_is_saved_after_it(copied, monkeypatch, capfd, number):
    def refuse(step, **given):
        if step == 4:
            raise OSError(number, os.strerror(number), str(copied / "4"))
        return restore(step, **given)

    before = {path.relative_to(copied / "4"): path.read_bytes() for path in (copied / "4").rglob("*") if path.is_file()}
    with Checkpoints(copied, keep=2) as checkpoints:
        restore = checkpoints._manager.restore
        monkeypatch.setattr(checkpoints._manager, "restore", refuse)
        assert checkpoints.restore(_template)[1]["iteration"] == 2
        assert os.strerror(number) in capfd.readouterr().err
        for done in (3, 4, 5, 6):
            checkpoints.save(done, _state(float(done)), _record(done))
    aside = copied / "4.unreadable-1"
    assert before == {path.relative_to(aside): path.read_bytes() for path in aside.rglob("*") if path.is_file()}
    assert sorted(path.name for path in copied.iterdir()) == ["4.unreadable-1", "5", "6"] and _restored(copied) == 6.0
    assert not remove_folder(copied) and [path.name for path in copied.iterdir()] == [aside.name]
    aside.rename(copied / "4")  # when it can be read again
    assert _restored(copied) == 4.0


def test_without_a_readable_one_training_starts_afresh(copied, capfd):
    for step in ("2", "4"):
        _largest(copied / step / "state").write_bytes(b"")
    assert _restored(copied) is None and "training starts from the beginning" in capfd.readouterr().err


def test_a_pipe_in_a_checkpoint_is_not_waited_for(copied, capfd):
    path = _largest(copied / "4" / "state")
    path.unlink()
    os.mkfifo(path)
    assert _restored(copied) == 2.0
    assert f"{path} is neither a file nor a folder" in capfd.readouterr().err


def test_reads_that_end_after_another_has_failed_are_not_told(tmp_path, capfd):
    state = {str(number): jnp.arange(1 << 12) * number for number in range(300)}
    with Checkpoints(tmp_path / "kept", keep=1) as checkpoints:
        checkpoints.save(1, state, {})
    path = _largest(tmp_path / "kept" / "1" / "state")
    os.truncate(path, path.stat().st_size // 2)
    with Checkpoints(tmp_path / "kept", keep=1) as checkpoints:
        assert checkpoints.restore(lambda record: state) is None
        time.sleep(0.3)  # they end in threads of their own
    assert capfd.readouterr().err.count("\n") == 2


def test_an_older_one_is_continued_and_saved_over(copied):
    _largest(copied / "4" / "state").write_bytes(b"")
    with Checkpoints(copied, keep=2) as checkpoints:
        checkpoints.restore(_template)
        checkpoints.save(4, _state(4.0), _record(4))
    assert _restored(copied) == 4.0


def test_another_configurations_checkpoint_is_never_taken(copied):
    with pytest.raises(UserError, match=r"was made with other values: configuration \(was 'a', is 'b'\); name"):
        _restored(copied, configuration="b")
    assert _restored(copied, configuration="a") == 4.0


def test_a_checkpoint_of_other_networks_is_refused_and_stays(copied):
    def wider(record):
        return _state(0.0).replace(mask=jnp.zeros(4))

    with Checkpoints(copied, keep=2) as checkpoints, pytest.raises(UserError, match="with another set of networks"):
        checkpoints.restore(wider)
    assert _restored(copied) == 4.0


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE_EXHAUSTED: No space left on device")],
)
def test_a_disk_that_fills_up_meanwhile_is_told_in_words(tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise error

    with Checkpoints(tmp_path / "001", keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(FatalRunError, match="the disk is full; make room and run the same command again"):
            checkpoints.save(1, _state(1.0), _record(1))


def test_an_error_while_closing_does_not_hide_the_first_one(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("cannot close")

    with pytest.raises(KeyError, match="first"), Checkpoints(tmp_path / "001", keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "wait_until_finished", broken)
        raise KeyError("first")
    with pytest.raises(UserError, match="cannot close"), Checkpoints(tmp_path / "002", keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "wait_until_finished", broken)


_PACKAGE = str(pathlib.Path(gan2shape_jax.__file__).parent)


def _own_calls() -> list[str]:
    """Returns the package's calls under way, outermost first, as "module.function"; libraries' do not count."""
    frames = traceback.extract_stack()
    return [f"{pathlib.Path(f.filename).stem}.{f.name}" for f in frames if f.filename.startswith(_PACKAGE)]


@pytest.mark.heavy  # compiles step 3 in its own way
def test_the_calls_that_lead_from_main_to_the_loss_of_step_3(tmp_path):
    """While a run of one image traces it, both ends included."""
    observed = []

    def loss(*args, **options):
        observed.append([*_own_calls(), "step3.step3_loss"])
        raise UserError("seen enough")

    short = {"prior__iterations": 1, "schedule__stages": ((1, 1, 1),), "sampling__collect_iters": 1}
    config = tiny_config(tmp_path, schedule__flip1=(False,), schedule__flip3=(False,), **short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "step3", dataclasses.replace(STEPS["step3"], loss=loss))
        assert program.main(["--config=ictface", *overrides(config)]) == 1
    (way,) = observed
    assert way[way.index("main.main") :] == [
        "main.main",
        "images.train_images",
        "images.train",
        "loop.run_schedule",
        "loop._run_phase",
        "task.advance",
        "devices.local",
        "task.single",
        "iteration.iterate",
        "iteration.loss",
        "step3.step3_loss",
    ]
