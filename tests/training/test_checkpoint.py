"""Checkpoints of a small state: where one cannot be read, the next older one takes its place."""

import errno
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.method.state import TrainState
from gan2shape_jax.training.checkpoint import Checkpoints


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
    with Checkpoints(folder, keep=2, made_with={"configuration": "a"}) as checkpoints:
        for done in (2, 4):
            checkpoints.save(done, _state(float(done)), _record(done))
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints" / "001")


def _restored(folder, **made_with):
    """The value that the restored state was made of, or None without one."""
    with Checkpoints(folder, keep=2, made_with=made_with) as checkpoints:
        found = checkpoints.restore(_template)
    if found is None:
        return None
    state, record = found
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
        assert f"checkpoint {folder}/4 cannot be read" in told and "goes on from checkpoint 2" in told
        assert "Traceback" not in told and _restored(folder) == 2.0 and not capfd.readouterr().err


def test_without_a_readable_one_training_starts_afresh(copied, capfd):
    for step in ("2", "4"):
        _largest(copied / step / "state").write_bytes(b"")
    assert _restored(copied) is None and "training starts afresh" in capfd.readouterr().err


def test_an_older_one_is_continued_and_saved_over(copied):
    _largest(copied / "4" / "state").write_bytes(b"")
    with Checkpoints(copied, keep=2) as checkpoints:
        checkpoints.restore(_template)
        checkpoints.save(4, _state(4.0), _record(4))
    assert _restored(copied) == 4.0


def test_another_configurations_checkpoint_is_never_taken(copied):
    with pytest.raises(UserError, match="made with another configuration"):
        _restored(copied, configuration="b")
    assert _restored(copied, configuration="a") == 4.0


def test_a_checkpoint_of_other_networks_is_refused_and_stays(copied):
    def wider(record):
        return _state(0.0).replace(mask=jnp.zeros(4))

    with (
        Checkpoints(copied, keep=2) as checkpoints,
        pytest.raises(UserError, match="with another set of networks"),
    ):
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
