"""What is known of a run that trains one set of networks for all its images: `WORKDIR/joint.json`.

It lists the images, how many batches share an iteration and, once the training is done, its files with their sizes in
bytes; they are written before it. A training whose files are not all there with these sizes counts as not done.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import atomic_text, read_object, read_text

RECORD = "joint.json"
TRAINED = ("networks.safetensors", "history.json", "history.csv")
_LARGEST_HISTORY = 1 << 30  # bytes


def record_of(root: pathlib.Path) -> dict[str, Any]:
    """Returns the content of `joint.json`; {} if there is none that can be read."""
    try:
        return read_object(root / RECORD, "the record of a joint run")
    except (OSError, UserError):
        return {}


def note(root: pathlib.Path, *, done: bool = False, **facts: Any) -> None:
    """Adds facts such as `images` to the record, and with `done` the sizes of the trained files.

    Raises:
      UserError: the file system refuses.
    """
    record = record_of(root) | facts
    if done:
        record["files"] = {name: (root / name).stat().st_size for name in TRAINED}
    atomic_text(root / RECORD, json.dumps(record, indent=2) + "\n")


def is_trained(root: pathlib.Path) -> bool:
    """Returns whether the training is done and none of its files has gone or changed its size."""
    files = record_of(root).get("files")
    found = {name: (root / name).stat().st_size for name in TRAINED if (root / name).is_file()}
    return files is not None and found == files


def read_history(root: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the history of a finished training."""
    history: list[dict[str, Any]] = json.loads(read_text(root / "history.json", limit=_LARGEST_HISTORY))
    return history
