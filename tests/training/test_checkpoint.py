"""Checkpoints of a small state: what is damaged is set aside, and the next older one takes its place."""

import errno
import gc
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore

from gan2shape_jax.errors import DiskFullError, FolderGoneError, UserError
from gan2shape_jax.io.records import Damaged
from gan2shape_jax.method.state import TrainState
from gan2shape_jax.training import checkpoint_arrays, checkpoint_record
from gan2shape_jax.training.checkpoint import Checkpoints, Keeping

pytestmark = pytest.mark.hostile


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


def test_no_read_of_damaged_arrays_goes_on_after_it_was_told(copied, monkeypatch, capfd):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(str(unraisable.exc_value)))
    reads = []

    class Followed:
        def __init__(self, future):
            self.future, self.waited_for = future, False
            reads.append(self)

        def exception(self):
            error = self.future.exception()
            self.waited_for = True
            return error

        def result(self):
            assert self.waited_for
            return self.future.result()

    whole = tensorstore.open
    monkeypatch.setattr(tensorstore, "open", lambda *given, **named: Followed(whole(*given, **named)))
    for path in (copied / "4" / "state" / "ocdbt.process_0" / "d").iterdir():
        path.write_bytes(b"")
    assert _restored(copied, configuration="a")[0] == 2
    gc.collect()
    assert len(reads) == 2 * len(jax.tree.leaves(_state(0.0))) and all(read.waited_for for read in reads)
    assert told == [] and capfd.readouterr().err == ""


def test_arrays_that_claim_more_than_they_should_are_not_read(copied, monkeypatch):
    def read_all(*_, **__):
        raise AssertionError("read")

    other = {"depth": ((3000,), "float64")}, {"depth": ((3001,), "float32")}
    store = tensorstore.open(
        {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"file://{copied}/new/"}, "path": "depth/"},
        create=True,
        dtype="float32",
        shape=[3000],
        chunk_layout=tensorstore.ChunkLayout(chunk_shape=[1 << 40]),
    ).result()
    monkeypatch.setattr(type(store), "read", read_all)
    for kinds in (*other, {"depth": ((3000,), "float32")}, {"absent": ((3000,), "float32")}):
        with pytest.raises((Damaged, ValueError), match="is not the array it should be|NOT_FOUND"):
            list(checkpoint_arrays.read(copied / "new", kinds))
