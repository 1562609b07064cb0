"""Training checkpoints: everything needed to resume exactly where training stopped.

Orbax writes a checkpoint under a temporary name and renames it, so killing the process at any moment leaves the last
complete one intact. A checkpoint holds the train state and a small JSON record (position and history), which contains
a checksum of itself and of every array. Damaged checkpoints are set aside and the next older one is used instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import logging
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from etils import epath
from jaxtyping import PyTree

from gan2shape_jax.errors import DiskFullError, FolderGoneError, UserError
from gan2shape_jax.io.records import Damaged
from gan2shape_jax.io.set_aside import Aside
from gan2shape_jax.training import checkpoint_record, hosts
from gan2shape_jax.training.checkpoint_record import Template

__all__ = ["ANY", "Checkpoints", "Keeping", "discard", "open_checkpoints"]

# Bytes allowed for metadata and the record.
_LITTLE_FILES = 1 << 20
_NO_ROOM = ("No space left on device", "Disk quota exceeded")


@dataclasses.dataclass(frozen=True)
class Keeping:
    """What a run requires of its checkpoints.

    Attributes:
      made_with: what a checkpoint must match to be resumed from, as JSON values: the configuration's hash, ...
      set_aside: called with a damaged checkpoint's folder, what is wrong with it, and how the run will continue;
        moves the folder out of the way and reports it. None moves it to a folder `damaged` beside the checkpoints.
    """

    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    set_aside: Callable[[pathlib.PurePath, str, str], None] | None = None


ANY = Keeping()


class Checkpoints:
    """The checkpoints of one image, numbered by completed iterations.

    Use as a context manager: exiting it waits for pending writes.
    """

    def __init__(self, folder: pathlib.PurePath, *, keep: int, keeping: Keeping = ANY):
        """Opens (or creates) `folder`, a local path or an object-storage `epath.Path`; keeps the newest `keep`."""
        import orbax.checkpoint as ocp  # here, because importing it is slow and prediction does not need it

        self._folder = folder
        self._keeping = keeping
        self._local = folder if isinstance(folder, pathlib.Path) else None
        self._quiet = checkpoint_record.NoTracebacks()
        logging.getLogger("absl").addFilter(self._quiet)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        with self._in_words():
            self._manager = ocp.CheckpointManager(
                self._local.absolute() if self._local else epath.Path(folder),
                options=options,
                item_names=("state", "record"),
            )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            with self._in_words():
                self._manager.wait_until_finished()
                self._manager.close()
        except UserError:
            if error is None:  # otherwise the error that ended the block is the one that matters
                raise
        finally:
            logging.getLogger("absl").removeFilter(self._quiet)

    def save(self, done: int, state: PyTree, record: dict[str, Any]) -> None:
        """Writes a checkpoint in the background; `done` counts all iterations of this image so far.

        Raises:
          DiskFullError: there is no room for the checkpoint; nothing is written.
          FolderGoneError: the folder has been removed.
          UserError: the file system refuses the write.
        """
        import orbax.checkpoint as ocp

        needed = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _LITTLE_FILES
        with self._in_words():
            if self._local and shutil.disk_usage(self._local).free < needed:
                raise DiskFullError(
                    f"cannot write a checkpoint of {needed >> 20} MiB to {self._folder}: the disk is full; "
                    "make room and run the same command again"
                )
            sealed = checkpoint_record.make(state, record, self._keeping.made_with)
            items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(sealed))  # type: ignore[call-arg]
            self._manager.save(done, args=items)

    def restore(self, template: Template) -> tuple[PyTree, dict[str, Any]] | None:
        """Returns the state and record of the newest intact checkpoint, or None if there is none.

        Damaged checkpoints found on the way are set aside (by the first host, if there are several).

        Args:
          template: maps the record to a state of the same structure (the optimiser state depends on the step that was
            saved); raises `ValueError` for a record that cannot be continued.

        Raises:
          UserError: the checkpoint is intact but belongs to another configuration or to other networks.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step, older in itertools.zip_longest(steps, steps[1:]):
            found = self._try(step, template)
            if hosts.all_say(not isinstance(found, str)) and not isinstance(found, str):
                return found
            if jax.process_index() == 0:
                then = "training starts afresh" if older is None else f"training goes on from checkpoint {older}"
                self._set_aside(step, found if isinstance(found, str) else "another host cannot read it", then)
            hosts.wait_for_all("a damaged checkpoint is set aside")
            self._manager.reload()
        return None

    def _try(self, step: int, template: Template) -> tuple[PyTree, dict[str, Any]] | str:
        """Returns a checkpoint's state and record, or a description of what is wrong with it."""
        source = self._folder / str(step)
        try:
            return checkpoint_record.restored(self._manager, step, source, template, self._keeping.made_with)
        except Damaged as error:
            return str(error)

    def _set_aside(self, step: int, why: str, then: str) -> None:
        aside = self._keeping.set_aside or Aside(self._folder.parent)
        aside(self._folder / str(step), why, then)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turns write errors of Orbax, TensorStore and the file system into `UserError`s."""
        try:
            yield
        except (UserError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> UserError:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        no_room = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if no_room or any(words in str(error) for words in _NO_ROOM):
            return DiskFullError(
                f"cannot write a checkpoint to {self._folder}: the disk is full; make room and run the same command "
                "again"
            )
        if self._local and not self._local.is_dir():
            return FolderGoneError(
                f"{self._folder} was removed while the run was going on: its checkpoints cannot be written; start the "
                "same command again"
            )
        return UserError(f"cannot write a checkpoint to {self._folder}: {reason}")


class _NoCheckpoints(Checkpoints):
    """Replaces `Checkpoints` when none are wanted: writes and restores nothing."""

    def __init__(self) -> None:
        """Opens nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        pass

    def save(self, done: int, state: PyTree, record: dict[str, Any]) -> None:
        """Does nothing."""

    def restore(self, template: Template) -> None:
        """Returns None: there is no checkpoint."""


def open_checkpoints(folder: pathlib.PurePath | None, *, keep: int, keeping: Keeping = ANY) -> Checkpoints:
    """Opens a folder of checkpoints; keeps none if `folder` is None."""
    return _NoCheckpoints() if folder is None else Checkpoints(folder, keep=keep, keeping=keeping)


def discard(folder: pathlib.PurePath) -> None:
    """Removes an image's checkpoints, local or remote; local files that cannot be removed stay."""
    if isinstance(folder, pathlib.Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif (there := epath.Path(folder)).exists():
        there.rmtree()
