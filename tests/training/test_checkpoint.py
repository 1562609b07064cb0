"""Checkpoints of a small state: what is damaged is set aside, and the next older one takes its place."""

import asyncio
import errno
import pathlib
import shutil
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore

from gan2shape_jax.errors import DiskFullError, FolderGoneError, UserError
from gan2shape_jax.method.state import TrainState
from gan2shape_jax.training import checkpoint_record
from gan2shape_jax.training.checkpoint import Checkpoints, Keeping

pytestmark = pytest.mark.hostile


def _state(value: float) -> TrainState:
    return TrainState(
        params={"depth": {"kernel": jnp.arange(3000.0) * value}},
        opt_state=(jnp.full((7,), value),),
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
    with Checkpoints(folder, keep=2, keeping=Keeping({"configuration": "a"})) as checkpoints:
        for done in (2, 4):
            checkpoints.save(done, _state(float(done)), _record(done))
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints" / "001")


def _restored(folder, **made_with):
    """The value that the restored state was made of, None without one, and what was set aside."""
    aside = []

    def move(path, why, then):
        assert str(path) in why and then
        aside.append(path.name)
        shutil.move(path, folder.parent / f"aside-{path.name}")

    with Checkpoints(folder, keep=2, keeping=Keeping(made_with, move)) as checkpoints:
        found = checkpoints.restore(_template)
    if found is None:
        return None, aside
    state, record = found
    value = float(state.opt_state[0][0])
    assert record["iteration"] == value
    for leaf, expected in zip(jax.tree.leaves(state), jax.tree.leaves(_state(value)), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    return value, aside


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


_HARM = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "garbled": lambda content: np.random.default_rng(0).bytes(len(content)),
    "one bit": _flipped,
    "another type": lambda content: b"null",
    "a list": lambda content: b"[]",
    "deep": lambda content: b"[" * 100_000,
}


def _largest(step: pathlib.Path) -> pathlib.Path:
    return max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("harm", [*_HARM, "missing"])
@pytest.mark.parametrize("file", ["arrays", "record/metadata"])
def test_a_damaged_checkpoint_is_set_aside_for_the_next_older_one(copied, capfd, file, harm):
    path = _largest(copied / "4" / "state") if file == "arrays" else copied / "4" / file
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(_HARM[harm](path.read_bytes()))
    assert _restored(copied) == (2.0, ["4"])
    assert "Traceback" not in capfd.readouterr().err
    assert _restored(copied) == (2.0, [])


def test_no_file_of_a_checkpoint_can_be_harmed_unnoticed_and_to_effect(saved, tmp_path, capfd):
    files = [path.relative_to(saved) for path in sorted((saved / "4").rglob("*")) if path.is_file()]
    for number, file in enumerate(files):
        folder = shutil.copytree(saved, tmp_path / str(number) / "001")
        (folder / file).write_bytes(_flipped((folder / file).read_bytes()))
        assert _restored(folder) in ((2.0, ["4"]), (4.0, [])), file
    assert "Traceback" not in capfd.readouterr().err


def test_without_a_whole_one_training_starts_afresh(copied):
    for step in ("2", "4"):
        _largest(copied / step / "state").write_bytes(b"")
    assert _restored(copied) == (None, ["4", "2"])
    assert (copied.parent / "aside-2").is_dir()


def test_what_is_set_aside_lies_beside_the_checkpoints_where_nobody_says_otherwise(copied, capsys):
    _largest(copied / "4" / "state").write_bytes(b"")
    with Checkpoints(copied, keep=2) as checkpoints:
        assert checkpoints.restore(_template)[1]["iteration"] == 2
    place = copied.parent / "damaged" / "001" / "4"
    assert place.is_dir() and str(place) in capsys.readouterr().err
    assert str(place) in (copied.parent / "damaged" / "log.txt").read_text()


def test_an_older_one_is_continued_and_saved_over(copied):
    _largest(copied / "4" / "state").write_bytes(b"")
    with Checkpoints(copied, keep=2) as checkpoints:
        checkpoints.restore(_template)
        checkpoints.save(4, _state(4.0), _record(4))
    assert _restored(copied) == (4.0, [])


def test_another_configurations_checkpoint_is_never_taken(copied):
    with pytest.raises(UserError, match="made with another configuration"):
        _restored(copied, configuration="b")
    assert _restored(copied, configuration="a") == (4.0, [])


def test_a_whole_checkpoint_of_other_networks_is_refused_and_stays(copied):
    def wider(record):
        return _state(0.0).replace(mask=jnp.zeros(4))

    with Checkpoints(copied, keep=2) as checkpoints, pytest.raises(UserError, match="other networks"):
        checkpoints.restore(wider)
    assert _restored(copied) == (4.0, [])


@pytest.fixture
def earlier(tmp_path):
    """Two checkpoints as earlier versions wrote them: without checksums."""
    folder = tmp_path / "checkpoints" / "001"
    manager = ocp.CheckpointManager(folder, item_names=("state", "record"))
    for done in (2, 4):
        items = {"state": ocp.args.StandardSave(_state(float(done))), "record": ocp.args.JsonSave(_record(done))}
        manager.save(done, args=ocp.args.Composite(**items))
    manager.close()
    return folder


def test_checkpoints_of_earlier_versions_are_continued(earlier):
    assert _restored(earlier, configuration="a") == (4.0, [])
    _largest(earlier / "4" / "state").write_bytes(b"")
    assert _restored(earlier, configuration="a") == (2.0, ["4"])


def test_a_group_is_known_by_the_newest_whole_record(copied):
    (copied / "4" / "record" / "metadata").write_text("[")
    assert checkpoint_record.peek(copied) == {"configuration": "a"}
    assert checkpoint_record.peek(copied.parent / "absent") == {}


# --- where they cannot be written ----------------------------------------------------------------------------


def test_a_removed_folder_is_told_in_words(tmp_path):
    folder = tmp_path / "checkpoints" / "001"
    with pytest.raises(FolderGoneError, match="was removed while the run was going on"):
        with Checkpoints(folder, keep=1) as checkpoints:
            shutil.rmtree(folder.parent)
            checkpoints.save(1, _state(1.0), _record(1))


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE_EXHAUSTED: No space left on device")],
)
def test_a_disk_that_fills_up_meanwhile_is_told_in_words(tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise error

    with Checkpoints(tmp_path / "001", keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(DiskFullError, match="the disk is full; make room and run the same command again"):
            checkpoints.save(1, _state(1.0), _record(1))


def test_an_error_while_closing_does_not_hide_the_first_one(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("cannot close")

    with pytest.raises(KeyError, match="first"), Checkpoints(tmp_path / "001", keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "wait_until_finished", broken)
        raise KeyError("first")
    with pytest.raises(UserError, match="cannot close"), Checkpoints(tmp_path / "002", keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "wait_until_finished", broken)


def test_reads_of_damaged_arrays_that_end_late_are_not_told(copied, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(str(unraisable.exc_value)))
    (copied / "4" / "state" / "manifest.ocdbt").write_bytes(b"")
    assert _restored(copied, configuration="a")[0] == 2

    def late():
        """A read that ends after the loop that waits for it was closed."""
        promise, read = tensorstore.Promise.new()
        loop = asyncio.new_event_loop()

        async def wait():
            return await read

        task = loop.create_task(wait())
        for _ in range(2):
            loop.call_soon(loop.stop)
            loop.run_forever()
        loop.close()
        promise.set_result(1)
        task._log_destroy_pending = False
        return task

    class Falling:
        def __init__(self, message):
            self.message = message

        def __del__(self):
            raise RuntimeError(self.message)

    late()
    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    Falling("something else").message  # noqa: B018
    Falling("Event loop is closed").message  # noqa: B018 (an object's own doing)
    assert told == ["something else", "Event loop is closed"]
