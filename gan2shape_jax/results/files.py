"""A results folder as files: written whole or not at all, added to, checked.

`files.json` is its record:

    {"files": {NAME: bytes, ...}, "made_with": {"configuration": HASH, ...}}
"""

import collections
import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from concurrent import futures
from typing import Any, BinaryIO

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB, atomic_file, atomic_folder, file_inside, open_regular, read_object
from gan2shape_jax.io.output_folders import RESULT, require_output_folder
from gan2shape_jax.results import pictures

FILES = "files.json"
_RECORD = "the record of a results folder"
_AHEAD = 8  # files that wait to be written
_LARGEST = 512 * MIB  # of a file: arrays of pictures of 4096 pixels a side have 192 MiB


def write_folder(
    folder: str | os.PathLike, parts: Iterable[Mapping[str, Any]], made_with: Mapping[str, Any] | None = None
) -> None:
    """Writes a results folder with its record, which appears whole or not at all and replaces an existing one.

    Files that an existing one has besides those of its record are kept. Raises `UserError` if the folder is none of a
    result, or has a file that is not in its record under the name of a new one.

    Args:
      folder: where.
      parts: contents by file name, in parts, each of which is made while those before it are written, and then freed:
        bytes or text; an array for `.npy`; a uint8 picture (h, w, 3) for `.png`; for `.json` any value that JSON can
        hold, where numbers that are not finite become null; or a function that is called with the path and writes the
        file itself.
      made_with: JSON values that say what it was made with, for the record.
    """
    replaced = replaceable(pathlib.Path(folder))
    with atomic_folder(folder, replaces=replaced) as fresh:
        with futures.ThreadPoolExecutor(1) as other:
            writing: collections.deque[futures.Future[None]] = collections.deque()
            for files in parts:
                for name, content in files.items():
                    if callable(content):
                        content(fresh / name)
                        continue
                    # Compressing a picture takes as long as making the next one.
                    writing.append(other.submit(_write, fresh / name, content))
                while len(writing) > _AHEAD:
                    writing.popleft().result()
            for written in writing:
                written.result()
        sizes = {path.name: path.stat().st_size for path in sorted(fresh.iterdir())}
        _write(fresh / FILES, {"files": sizes, "made_with": dict(made_with or {})})


def replaceable(folder: pathlib.Path) -> set[str] | None:
    """Returns the names of the files in a results folder that this program has made, for `atomic_folder`.

    It is None if nothing says which they are, or there is no such folder yet. Raises `UserError` if there is one that
    is not empty and none of a result.
    """
    require_output_folder(folder, RESULT, "the folder")
    with contextlib.suppress(OSError, UserError, KeyError, TypeError):
        if names := list(read_object(folder / FILES, _RECORD)["files"]):
            return {FILES, *names}
    return None


def add_files(folder: pathlib.Path, files: Mapping[str, Any], *, gone: Iterable[str] = ()) -> None:
    """Writes files, each whole, contents as for `write_folder`, into a new, empty or results folder; its record tells.

    Those that are `gone` are removed, if the record has them.

    Raises:
      UserError: the folder is another's, or has a file of such a name that is not in its record; or the file system
        refuses.
    """
    ours = replaceable(folder)
    for name in () if ours is None else files.keys() - ours:
        if os.path.lexists(folder / name):
            raise UserError(f"{folder / name} was not written by this program: move it elsewhere")
    for name, content in files.items():
        atomic_file(folder / name, functools.partial(_write, content=content))
    if ours is not None or not (folder / "result.json").exists():  # otherwise nothing tells what else is there
        record = {"files": {}, "made_with": {}} if ours is None else read_object(folder / FILES, _RECORD)
        record["files"] |= {name: (folder / name).stat().st_size for name in files}
        for name in gone:
            record["files"].pop(name, None)
        atomic_file(folder / FILES, lambda path: _write(path, record))
    for name in set(gone) & (ours or set()):
        (folder / name).unlink(missing_ok=True)


def _write(path: pathlib.Path, content: Any) -> None:
    if callable(content):
        content(path)
    elif isinstance(content, (bytes, str)):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    elif path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".png":
        pictures.write_png(path, content)
    else:
        path.write_text(json.dumps(finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """Returns a value as JSON can hold it: NumPy's numbers as Python's, those that are not finite as None."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def examine(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what a results folder was made with: `configuration`, ...

    Raises:
      UserError: a file is missing or has another size than `files.json` records, or that record cannot be used.
    """
    try:
        record = read_object(folder / FILES, _RECORD)
        sizes, made_with = dict(record["files"]), dict(record["made_with"])
    except FileNotFoundError:
        raise UserError(f"{FILES} is missing") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{FILES} is not a record of a results folder ({error!r})") from error
    for name, size in sizes.items():
        path = folder / name
        if not path.exists():
            raise UserError(f"{name} is missing")
        if (actual := path.stat().st_size) != size:
            raise UserError(f"{name} has {actual} bytes instead of {size}")
    return made_with


def open_file(folder: pathlib.Path, name: str) -> BinaryIO:
    """Opens a file of a result for reading: a regular one, no link that leads out of its folder, and not too large.

    Whatever is read of a result, which somebody else may have made, is opened or checked by this. Raises `UserError`,
    or `OSError` if it is missing.
    """
    return open_regular(file_inside(folder, name), limit=_LARGEST)
