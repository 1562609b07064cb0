"""Training checkpoints: everything needed to resume exactly where training stopped.

Orbax writes a checkpoint under a temporary name and renames it, so killing the process at any moment leaves the last
complete one intact. A checkpoint holds the train state and a small JSON record (position and history). One that cannot
be read, whatever the reason, is set aside, where Orbax neither counts nor removes it, and the one before it is used.

    FOLDER/N                 the checkpoint after N iterations
    FOLDER/N.unreadable-M    one that could not be read
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import itertools
import json
import logging
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epy
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from gan2shape_jax.errors import FatalRunError, UserError
from gan2shape_jax.io.files import set_aside
from gan2shape_jax.training.resume import Existing, Requested, decide

with epy.lazy_imports():  # Orbax takes seconds, and prediction does not need it
    import orbax.checkpoint as ocp

# Maps a checkpoint's record to a state of the same structure.
Template = Callable[[dict[str, Any]], PyTree]

# Bytes allowed for metadata and the record.
_LITTLE_FILES = 1 << 20
_NO_ROOM = ("No space left on device", "Disk quota exceeded")
_ELSEWHERE = (
    "name another folder (config.workdir, config.checkpoint.folder), or move it away to start from the beginning"
)
_MAKE_ROOM = "the disk is full; make room and run the same command again"


class Checkpoints(contextlib.AbstractContextManager["Checkpoints"]):
    """The checkpoints of one image, or of all networks that are trained together, numbered by completed iterations.

    Use as a context manager: exiting it waits for pending writes.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int, requested: Requested | None = None):
        """Opens, or creates, a folder, in which the newest `keep` checkpoints are kept.

        `requested` is what one must be of to be resumed from: the configuration's fingerprint, ...
        """
        self._folder = folder
        self._requested = requested or Requested({})
        with self._in_words():
            self._manager = ocp.CheckpointManager(
                folder.absolute(),
                options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
                item_names=("state", "record"),
            )
        logging.getLogger("absl").addFilter(_no_tracebacks)
        self._hook, sys.unraisablehook = sys.unraisablehook, functools.partial(_no_late_reads, sys.unraisablehook)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            with contextlib.suppress(UserError) if error else contextlib.nullcontext(), self._in_words():
                self._manager.wait_until_finished()
                self._manager.close()
        finally:
            logging.getLogger("absl").removeFilter(_no_tracebacks)
            sys.unraisablehook = self._hook

    def save(self, done: int, state: PyTree, record: dict[str, Any]) -> None:
        """Writes a checkpoint in the background; `done` counts all iterations so far.

        Raises `UserError`: there is no room for the checkpoint, and nothing is written; or the file system refuses it.
        """
        needed = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _LITTLE_FILES
        with self._in_words():
            if shutil.disk_usage(self._folder).free < needed:
                raise FatalRunError(f"cannot write a checkpoint of {needed >> 20} MiB to {self._folder}: {_MAKE_ROOM}")
            whole = {"made_with": dict(self._requested.made_with), "arrays": _kinds(state), "record": record}
            items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(whole))  # type: ignore[call-arg]
            self._manager.save(done, args=items)

    def restore(self, template: Template) -> tuple[PyTree, dict[str, Any]] | None:
        """Returns the state and record of the newest checkpoint that can be read, or None if there is none.

        Newer ones, which cannot be read, are set aside (by the first host, if there are several), with a sentence:
        Orbax saves nothing before the newest that it sees.

        `template` maps the record to a state of the same structure (the optimiser state depends on the step that was
        saved). Raises `UserError`: the checkpoint belongs to another configuration or to other networks.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step, older in itertools.zip_longest(steps, steps[1:]):
            restored = self._read(step, template)
            on_each = multihost_utils.process_allgather(np.asarray(not isinstance(restored, str), np.int32))
            if np.all(on_each) and not isinstance(restored, str):
                return restored
            if jax.process_index() == 0:
                then = (
                    "training starts from the beginning"
                    if older is None
                    else f"training continues from checkpoint {older}"
                )
                why = restored if isinstance(restored, str) else "a host cannot read it"
                set_aside(self._folder / str(step), why)
                print(f"warning: checkpoint {step} cannot be used: {then}", file=sys.stderr)
            multihost_utils.sync_global_devices("unreadable checkpoint set aside")
            self._manager.reload()
        return None

    def _read(self, step: int, template: Template) -> tuple[PyTree, dict[str, Any]] | str:
        """Returns a checkpoint's state and record, or why it cannot be read."""
        if odd := next(filter(_is_odd, sorted((self._folder / str(step)).rglob("*"))), None):
            return f"{odd} is neither a file nor a folder"  # Orbax would wait for what a pipe may bring
        try:
            whole = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            made_with, arrays, record = whole["made_with"], whole["arrays"], whole["record"]
        except Exception as error:  # Orbax and TensorStore raise all kinds on bytes that are not a checkpoint
            return _reason(error)
        place = f"checkpoint {self._folder}/{step} cannot be used: it was"
        decide(Existing("begun", made_with), dataclasses.replace(self._requested, place=place, advice=_ELSEWHERE))
        if arrays != _kinds(like := template(record)):
            raise UserError(f"{place} made with another set of networks; {_ELSEWHERE}")
        try:
            blank = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
            state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(blank)))  # type: ignore[call-arg]
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:
            return _reason(error)
        return jax.tree.map(_placed, state["state"], like), record

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turns write errors of Orbax, TensorStore and the file system into `UserError`s."""
        try:
            yield
        except (UserError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:
            no_room = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
            if no_room or any(words in str(error) for words in _NO_ROOM):
                raise FatalRunError(f"cannot write a checkpoint to {self._folder}: {_MAKE_ROOM}") from error
            raise UserError(f"cannot write a checkpoint to {self._folder}: {_reason(error)}") from error


def _no_tracebacks(record: logging.LogRecord) -> bool:
    """Drops Orbax's log records with a traceback: the same error reaches whoever waits for the write."""
    return not record.exc_info


def _no_late_reads(otherwise: Callable[[Any], Any], raised: Any) -> None:
    """Drops TensorStore's tracebacks of reads that end when another has failed and Orbax has stopped listening."""
    if not (raised.exc_type is RuntimeError and str(raised.exc_value) == "Event loop is closed"):
        otherwise(raised)


def _placed(array: np.ndarray, like: Any) -> jax.Array:
    """Returns an array, read by all hosts, on the same devices as `like`, if that is bound to any."""
    if not (isinstance(like, jax.Array) and like.committed):  # bound to a device, it would compile programs again
        return jnp.array(array)
    return jax.make_array_from_callback(array.shape, like.sharding, lambda index: array[index])


def _kinds(state: PyTree) -> list[list[Any]]:
    return [[list(leaf.shape), str(np.dtype(leaf.dtype))] for leaf in jax.tree.leaves(state)]


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def made_with(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what the newest checkpoint in a folder was made with whose record can be read; {} if there is none."""
    steps = [path for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    for step in sorted(steps, key=lambda path: int(path.name), reverse=True):
        record = step / "record" / "metadata"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            if record.is_file():  # and no pipe
                return dict(json.loads(record.read_text())["made_with"])
    return {}


def _is_odd(path: pathlib.Path) -> bool:
    return not (path.is_dir() or path.is_file())
