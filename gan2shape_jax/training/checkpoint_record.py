"""The JSON record of a checkpoint, and verified reading of checkpoints.

    {"format": 2, "made_with": {...}, "arrays": [[shape, dtype, CRC-32], ...], "record": {...}, "checksum": CRC-32}

`arrays` lists the leaves of the train state in order. Checkpoints from versions before 0.2 hold only the bare
`record`, so their arrays cannot be verified.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import PyTree

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import records
from gan2shape_jax.io.records import Damaged
from gan2shape_jax.training import checkpoint_arrays

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

__all__ = ["NoTracebacks", "Template", "make", "peek", "restored"]

_FORMAT = 2
# Maps a checkpoint's record to a state of the same structure.
Template = Callable[[dict[str, Any]], PyTree]


def make(state: PyTree, record: Mapping[str, Any], made_with: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sealed record of a checkpoint.

    Args:
      state: the train state; with several hosts, arrays must be identical on all of them.
      record: position and history, as JSON values.
      made_with: what the checkpoint must match to be resumed from.
    """
    arrays = [[*_kind(leaf), records.checksum(np.asarray(leaf).tobytes())] for leaf in jax.tree.leaves(state)]
    return records.seal({"format": _FORMAT, "made_with": dict(made_with), "arrays": arrays, "record": dict(record)})


def restored(
    manager: ocp.CheckpointManager, step: int, source: pathlib.PurePath, template: Template, made_with: Mapping
) -> tuple[PyTree, dict[str, Any]]:
    """Returns the train state of a checkpoint and the record saved with it.

    Args:
      manager: the checkpoint manager.
      step: the checkpoint's number.
      source: the checkpoint's folder.
      template: maps the record to a state of the same structure; see `Checkpoints.restore`.
      made_with: what the checkpoint must have been made with.

    Raises:
      Damaged: the checkpoint differs from what was written.
      UserError: it is intact, but made with something else or for other networks.
    """
    import orbax.checkpoint as ocp  # here, because importing it is slow and prediction does not need it

    with _in_words(source):
        whole = manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
    sealed = not isinstance(whole, dict) or "format" in whole or "phase" not in whole
    content = records.unseal(whole, source) if sealed else {"record": whole}
    if sealed and content["format"] != _FORMAT:
        raise UserError(f"checkpoint {source} has format version {content['format']}: use the version that wrote it")
    _require_made_with(content.get("made_with", {}), made_with, source)
    try:
        like = template(content["record"])
    except (KeyError, TypeError, ValueError) as error:
        raise _misfit(source, f"{error}") if sealed else Damaged(f"{source} is damaged ({error})") from error
    listed, leaves = content.get("arrays"), jax.tree.leaves(like)
    if listed and [entry[:2] for entry in listed] != [_kind(leaf) for leaf in leaves]:
        raise _misfit(source, "its arrays have other shapes")
    kinds = {
        jax.tree_util.keystr(path, simple=True, separator="."): (leaf.shape, np.dtype(leaf.dtype).name)
        for path, leaf in jax.tree_util.tree_leaves_with_path(like)
    }
    with _in_words(source):
        arrays = [*checkpoint_arrays.read(source / "state", kinds)]
    if listed and [records.checksum(array.tobytes()) for array in arrays] != [entry[2] for entry in listed]:
        raise Damaged(f"{source} is damaged: an array has another checksum than when it was written")
    state = jax.tree.unflatten(jax.tree.structure(like), [*map(_placed, arrays, leaves)])
    return state, content["record"]


def peek(folder: pathlib.PurePath) -> dict[str, Any]:
    """Returns `made_with` from the newest intact record in a folder of checkpoints; {} if none has it."""
    here = epath.Path(folder)
    steps = [path for path in here.iterdir() if path.name.isdecimal()] if here.is_dir() else []
    for step in sorted(steps, key=lambda path: int(path.name), reverse=True):
        try:
            content = records.unseal(json.loads((step / "record" / "metadata").read_text()), step)
        except (OSError, ValueError, RecursionError, UserError):
            continue
        if isinstance(content.get("made_with"), dict):
            return content["made_with"]
    return {}


class NoTracebacks(logging.Filter):
    """Drops Orbax log records with a traceback: the same error reaches whoever waits for the write."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        return not record.exc_info


def _placed(array: np.ndarray, like: Any) -> jax.Array:
    """Returns an array, read by all hosts, on the same devices as `like`."""
    if not isinstance(like, jax.Array):
        return jnp.asarray(array)
    return jax.make_array_from_callback(array.shape, like.sharding, lambda index: array[index])


def _kind(leaf: Any) -> list[Any]:
    return [list(leaf.shape), str(np.dtype(leaf.dtype))]


def _require_made_with(found: Mapping[str, Any], wanted: Mapping[str, Any], source: pathlib.PurePath) -> None:
    """Raises `UserError` if the two disagree on any key they share."""
    other = [key for key in sorted(found.keys() & wanted.keys()) if found[key] != wanted[key]]
    if other:
        raise UserError(
            f"checkpoint {source} cannot be used: it was made with another {', '.join(other)}; name another folder "
            "(config.workdir, config.checkpoint.folder), or remove it to start afresh"
        )


def _misfit(source: pathlib.PurePath, why: str) -> UserError:
    return UserError(
        f"checkpoint {source} cannot be used ({why}): it is of other networks or another schedule; delete "
        f"{source.parent} to start afresh"
    )


@contextlib.contextmanager
def _in_words(source: pathlib.PurePath) -> Iterator[None]:
    """Treats whatever Orbax and TensorStore raise on bytes that are not a checkpoint as damage."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError, Damaged):
        raise
    except Exception as error:  # ValueError, AssertionError, AttributeError, ...: they raise all kinds
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise Damaged(f"{source} is damaged ({reason})") from error
