"""Folders that commands write to: new or empty ones, and those that this program has made.

Whatever else is in a folder is somebody's, and a command that would write there is refused before it changes anything.
Which folders are this program's, and of what kind, says a marker in each:

    FOLDER/.gan2shape_jax.json    {"kind": "run"}

That of a single result has no marker: its record, `files.json`, names the files that were made, and all others in it
stay as they are.

No link inside such a folder is followed, since what it leads to may be anybody's; the folder itself may be one.
"""

import json
import os
import pathlib
from collections.abc import Iterator

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.files import MIB, atomic_text, folder_fault, is_partial, read_object, spare_unreadable

MARKER = ".gan2shape_jax.json"
RUN, GAN, WEIGHTS, CHECKPOINTS, EVALUATION, RESULT = "run", "gan", "weights", "checkpoints", "evaluation", "result"
WEB = "web"
_WORDS = {
    RUN: "of a run",
    GAN: "of a GAN's training",
    WEIGHTS: "of weights from `gan2shape-jax get`",
    CHECKPOINTS: "of checkpoints",
    EVALUATION: "of an evaluation",
    RESULT: "of one image's results",
    WEB: "of a page by `export web`",
}
# The records of a result, and fields that each has.
_RECORDS = {"files.json": {"files", "made_with"}, "result.json": {"arrays", "format"}}
_LARGEST_RECORD = 256 * MIB  # that of a training lists every photo that was left out
_NAMED = 3  # files in a message
_UNFINISHED = ".orbax-checkpoint-tmp"  # in the name of a checkpoint that is being written


def require_output_folder(folder: pathlib.Path, kind: str, option: str = "--out") -> None:
    """Raises `UserError` unless a folder can be created or written, and is empty or one of this kind, without links."""
    if fault := folder_fault(folder):
        raise UserError(f"{option} {folder} {fault}")
    if not folder.is_dir():
        return
    if kind != RESULT and (other := _marked(folder)):
        if other != kind:
            raise UserError(f"{option} {folder} is the folder {_WORDS.get(other, 'of something else')}: name another")
    elif (names := _names(folder)) and not (kind == RESULT and _is_result(folder)):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise UserError(
            f"{option} {folder} holds files that this program did not write ({', '.join(names[:_NAMED])}{more}): name "
            "a new folder or an empty one; nothing was changed"
        )
    if kind != RESULT and (link := next(_links(folder), None)):  # a result's files are put in place by renaming
        raise UserError(f"{link} is a link, and nothing is written through links: move it elsewhere")


def mark(folder: pathlib.Path, kind: str) -> bool:
    """Marks a folder that `require_output_folder` allows, creating it; returns whether it was not marked before."""
    if _marked(folder):
        return False
    spare_unreadable(folder / MARKER, lambda path: read_object(path, "a record", limit=_LARGEST_RECORD))
    atomic_text(folder / MARKER, json.dumps({"kind": kind}) + "\n")
    return True


def _marked(folder: pathlib.Path) -> str:
    """Returns the kind that a folder's marker says; '' if there is no marker that can be read."""
    return next((str(record["kind"]) for record in _read(folder / MARKER) if "kind" in record), "")


def _is_result(folder: pathlib.Path) -> bool:
    return any(fields <= record.keys() for name, fields in _RECORDS.items() for record in _read(folder / name))


def _read(path: pathlib.Path) -> list[dict]:
    try:
        return [] if path.is_symlink() else [read_object(path, "a record", limit=_LARGEST_RECORD)]
    except (OSError, UserError):
        return []


def _names(folder: pathlib.Path) -> list[str]:
    """Returns what is in a folder, for messages, without what an interrupted write leaves."""
    with os.scandir(folder) as entries:
        there = [entry for entry in entries if not is_partial(entry.name)]
        return sorted(one_line(entry.name) for entry in there if not _is_bare(entry))


def _is_bare(entry: os.DirEntry[str]) -> bool:
    """Whether a folder has no file anywhere, but for those of a checkpoint that was being written.

    Such a one comes back where a folder was removed while a run was writing to it.
    """
    if not entry.is_dir(follow_symlinks=False):
        return False
    for _, folders, files in os.walk(entry.path):
        folders[:] = [name for name in folders if _UNFINISHED not in name]
        if files:
            return False
    return True


def _links(folder: pathlib.Path, below: int = 1) -> Iterator[pathlib.Path]:
    """Yields the links in a folder and, so many levels, below."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield pathlib.Path(entry.path)
            elif below and entry.is_dir():
                yield from _links(pathlib.Path(entry.path), below - 1)
