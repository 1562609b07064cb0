"""The files that all images of a joint run share, and their integrity.

    WORKDIR/joint.json             the images, how many batches share an iteration; checksums once the training is done
    WORKDIR/networks.safetensors   and the other files in `TRAINED`: the outcome of the training
    WORKDIR/.joint/                second copies of these files, from which damaged ones are restored

Without the second copies, a flipped bit in the history would cost the training of all images. Runs of versions before
0.2 have neither second copies nor checksums.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import safetensors

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import records
from gan2shape_jax.io.atomic_files import atomic_bytes
from gan2shape_jax.io.records import Damaged
from gan2shape_jax.io.regular_files import open_regular, read_text
from gan2shape_jax.io.set_aside import Aside

__all__ = ["RECORD", "TRAINED", "JointFiles", "look", "mend", "note", "read_history", "record_of"]

RECORD, SPARES = "joint.json", ".joint"
TRAINED = ("networks.safetensors", "history.json", "history.csv")
_LARGEST_HISTORY = 1 << 30
_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class JointFiles:
    """What the folder of a joint run contains.

    Attributes:
      record: the content of `joint.json` or its second copy; {} if neither is readable.
      harm: what is wrong with damaged files, in words, by path below the run's folder.
      spare: damaged files whose second copy is intact.
      trained: whether the training is done and its files are intact or can be restored.
    """

    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    harm: dict[str, str] = dataclasses.field(default_factory=dict)
    spare: Sequence[str] = ()
    trained: bool = False


def look(root: pathlib.Path) -> JointFiles:
    """Examines every byte of the files; changes nothing."""
    harm: dict[str, str] = {}
    record = _record(root, harm)
    files = record.get("files")
    if not isinstance(files, dict):
        return JointFiles(record, harm, (), _is_done_by_earlier_version(root, record, harm))
    for name in TRAINED:
        for place in (name, f"{SPARES}/{name}"):
            wrong = records.harm_below((root / place).parent, {name: files.get(name)})
            if wrong:
                harm[place] = f"{root / place} is damaged ({wrong})"
    spare = tuple(name for name in TRAINED if name in harm and f"{SPARES}/{name}" not in harm)
    return JointFiles(record, harm, spare, all(name not in harm or name in spare for name in TRAINED))


def record_of(root: pathlib.Path) -> dict[str, Any]:
    """Returns the content of `joint.json` or its second copy; it contains `files` once the training is done."""
    return _record(root, {})


def mend(root: pathlib.Path, found: JointFiles, aside: Aside) -> None:
    """Sets damaged files aside and restores them from their second copies, where there are any.

    Raises:
      UserError: the file system refuses.
    """
    for place, why in found.harm.items():
        name = place.removeprefix(f"{SPARES}/")
        whole = place in found.spare or (place != name and name not in found.harm) or (name == RECORD and found.record)
        aside(root / place, why, "a second copy takes its place" if whole else "it is made again")
    if found.record and (found.harm or "format" not in found.record):
        known = {key: value for key, value in found.record.items() if found.trained or key != "files"}
        _write(root, known)
    if not found.trained:
        return
    for name in TRAINED:
        first, second = root / name, root / SPARES / name
        if name in found.spare:
            atomic_bytes(first, second.read_bytes())
        elif f"{SPARES}/{name}" in found.harm:
            _copy(first, second)


def note(root: pathlib.Path, **facts: Any) -> dict[str, Any]:
    """Adds facts such as `images` to the record and returns it; with `done=True` also copies the trained files.

    Raises:
      UserError: the file system refuses.
    """
    done = facts.pop("done", False)
    record = _record(root, {}) | facts
    if done:
        for name in TRAINED:
            _copy(root / name, root / SPARES / name)
        measured = records.checksums_below(root / SPARES)
        record["files"] = {name: measured[name] for name in TRAINED}
    _write(root, record)
    return record


def read_history(root: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the history of a finished training; [] if an earlier version's file is missing or unreadable."""
    with contextlib.suppress(OSError, ValueError, RecursionError, UserError):
        history = json.loads(read_text(root / "history.json", limit=_LARGEST_HISTORY))  # NaN is kept
        if isinstance(history, list) and all(isinstance(row, dict) for row in history):
            return history
    return []


def _record(root: pathlib.Path, harm: dict[str, str]) -> dict[str, Any]:
    """Returns the first intact record of the two, and notes what is wrong with either."""
    found: list[dict[str, Any]] = []
    for place in (RECORD, f"{SPARES}/{RECORD}"):
        try:
            found.append(_read(root / place))
        except FileNotFoundError:
            pass
        except Damaged as error:
            harm[place] = str(error)
    if found and "format" in found[0]:  # earlier versions wrote only one
        for place in (RECORD, f"{SPARES}/{RECORD}"):
            if not (root / place).exists():
                harm[place] = f"{root / place} is missing"
    return found[0] if found else {}


def _read(path: pathlib.Path) -> dict[str, Any]:
    content = records.read(path, "the record of a joint run")
    if "checksum" in content or "format" in content:
        content = records.unseal(content, path)
    batches: Any = content.get("batches_per_iteration", 1)
    if type(batches) is not int or batches < 1:
        raise Damaged(f"{path} is damaged: batches_per_iteration is {batches!r}")
    return content


def _is_done_by_earlier_version(root: pathlib.Path, record: dict[str, Any], harm: dict[str, str]) -> bool:
    """Returns whether a training without checksums is done; notes which of its files cannot be read."""
    path, history = root / TRAINED[0], root / "history.json"
    if "format" in record or (root / SPARES).exists() or not path.is_file():  # this version: not yet done
        return False
    if history.is_file() and not read_history(root):
        harm[history.name] = f"{history} is damaged"
    try:
        open_regular(path).close()
        with safetensors.safe_open(str(path), "np") as file:
            list(file.keys())
    except (OSError, TypeError, UserError, safetensors.SafetensorError) as error:
        harm[path.name] = f"{path} is damaged ({error})"
        return False
    return True


def _write(root: pathlib.Path, record: dict[str, Any]) -> None:
    content = record | {"format": _FORMAT}
    records.write(root / SPARES / RECORD, content)
    records.write(root / RECORD, content)


def _copy(first: pathlib.Path, second: pathlib.Path) -> None:
    try:
        second.parent.mkdir(parents=True, exist_ok=True)
        content = first.read_bytes()
    except OSError as error:
        raise UserError(f"cannot copy {first} to {second}: {error.strerror or error}") from error
    atomic_bytes(second, content)
