"""Checkpoints of one image's run: everything needed to go on exactly where it stopped.

Orbax writes a checkpoint under a temporary name and renames it, so a kill at any moment leaves the last
whole one. A checkpoint holds the train state and a small JSON record (position and history).
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.method.state import TrainState

__all__ = ["Checkpoints", "discard", "open_checkpoints"]

# Bytes for metadata and the record.
_LITTLE_FILES = 1 << 20


class Checkpoints:
    """The checkpoints of one image, numbered by the iterations done.

    Use as a context manager: leaving it waits for writes under way.
    """

    def __init__(self, folder: pathlib.PurePath, *, keep: int):
        """Opens (and makes) `folder`, a local path or an `epath.Path` of object storage; the newest `keep` stay."""
        self._folder = folder
        self._local = folder if isinstance(folder, pathlib.Path) else None
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(
            self._local.absolute() if self._local else epath.Path(folder),
            options=options,
            item_names=("state", "record"),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def save(self, done: int, state: TrainState, record: dict[str, Any]) -> None:
        """Writes in the background; `done` counts iterations since the image's start.

        Raises:
          DiskFullError: there is no room for the checkpoint; nothing is written then.
        """
        needed = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _LITTLE_FILES
        if self._local and shutil.disk_usage(self._local).free < needed:
            raise DiskFullError(
                f"cannot write a checkpoint of {needed >> 20} MiB to {self._folder}: the disk is full; "
                "make room and run the same command again"
            )
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))  # type: ignore[call-arg]
        self._manager.save(done, args=items)

    def restore(self, template: Callable[[dict[str, Any]], TrainState]) -> tuple[TrainState, dict[str, Any]] | None:
        """Returns the newest checkpoint's state and record, or None where there is none.

        Args:
          template: from the record to a state of the same structure (which optimiser state there is
            depends on the step that was saved).

        Raises:
          UserError: the checkpoint cannot be read, or has other shapes than this configuration's.
        """
        newest = self._manager.latest_step()
        if newest is None:
            return None
        try:
            record = self._manager.restore(newest, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template(record))
            state = self._manager.restore(newest, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))[
                "state"
            ]  # type: ignore[call-arg]
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise UserError(
                f"checkpoint {self._folder / str(newest)} cannot be used ({error}); delete "
                f"{self._folder} to start this image afresh"
            ) from error
        return state, record


class _NoCheckpoints(Checkpoints):
    """Takes the place of `Checkpoints` where none are wanted: nothing is written, and nothing restored."""

    def __init__(self) -> None:
        """Opens nothing."""

    def __exit__(self, *_: object) -> None:
        pass

    def save(self, done: int, state: TrainState, record: dict[str, Any]) -> None:
        """Does nothing."""

    def restore(self, template: Callable[[dict[str, Any]], TrainState]) -> None:
        """Returns None: there is no checkpoint."""


def open_checkpoints(folder: pathlib.PurePath | None, *, keep: int) -> Checkpoints:
    """Opens a folder of checkpoints; without a folder none are kept."""
    return _NoCheckpoints() if folder is None else Checkpoints(folder, keep=keep)


def discard(folder: pathlib.PurePath) -> None:
    """Removes an image's checkpoints, wherever they lie; what cannot be removed stays."""
    if isinstance(folder, pathlib.Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif (there := epath.Path(folder)).exists():
        there.rmtree()
