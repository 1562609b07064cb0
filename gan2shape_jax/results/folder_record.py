"""What a results folder records about itself: which files it holds, with checksums, and what it was made with.

    files.json   {"format": 1, "files": {NAME: [bytes, CRC-32], ...}, "made_with": {...}, "checksum": CRC-32}

It lists every other file in the folder. Folders written by versions before 0.2 have no record: only their arrays have
checksums, in `result.json`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from gan2shape_jax.io import records
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.records import Damaged

__all__ = ["FILE", "Examined", "adopt", "examine", "require_listed", "write_record"]

FILE = "files.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Examined:
    """What reading every byte of a results folder has shown.

    Attributes:
      harm: what is wrong, in words; "" if nothing is.
      made_with: what the folder was made with, as far as it says; {} if it does not.
      recorded: whether the folder has a record of its files.
    """

    harm: str
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recorded: bool = True


def write_record(folder: pathlib.Path, made_with: Mapping[str, Any]) -> None:
    """Writes the record of a folder that is otherwise complete.

    Args:
      folder: not yet in its place; nothing else looks at it.
      made_with: what it was made with, as JSON values.
    """
    content = {"format": _FORMAT, "files": records.checksums_below(folder), "made_with": dict(made_with)}
    (folder / FILE).write_text(json.dumps(records.seal(content), indent=2) + "\n", encoding="utf-8")


def adopt(folder: pathlib.Path, made_with: Mapping[str, Any]) -> None:
    """Gives a folder without a record one of its files as they are now; raises `UserError` if that is refused."""
    records.write(
        folder / FILE, {"format": _FORMAT, "files": records.checksums_below(folder), "made_with": dict(made_with)}
    )


def examine(folder: pathlib.Path) -> Examined:
    """Checks whether every file of a results folder is as it was written; reads all of them.

    For a folder without a record, it only reports that there is none.
    """
    try:
        record = _read(folder)
    except FileNotFoundError:
        return Examined("", recorded=False)
    except UserError as error:
        return Examined(str(error))
    made_with = record.get("made_with")
    known = made_with if isinstance(made_with, dict) else {}
    return Examined(records.harm_below(folder, record.get("files")), known)


def require_listed(path: pathlib.Path, content: bytes) -> None:
    """Raises `Damaged` if a file of a results folder differs from what the folder's record says.

    Args:
      path: the file.
      content: what it holds.
    """
    try:
        listed = _read(path.parent).get("files")
    except (FileNotFoundError, Damaged):  # nothing is known then
        return
    if isinstance(listed, dict) and listed.get(path.name) not in (None, [len(content), records.checksum(content)]):
        raise Damaged(f"{path} is damaged: its checksum differs from the one in {FILE}; reconstruct again")


def _read(folder: pathlib.Path) -> dict[str, Any]:
    record = records.unseal(records.read(folder / FILE, "the record of a results folder"), folder / FILE)
    if record.get("format") != _FORMAT:
        raise UserError(
            f"{folder / FILE} has format version {record.get('format')}, this program reads {_FORMAT}: use the "
            "version that wrote it"
        )
    return record
