"""Checks, without writing and before hours of work, whether a file or folder can be created and written."""

import os
import pathlib
import stat
from collections.abc import Sequence

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.option_types import name_fault

__all__ = ["folder_fault", "nearest_folder", "require_file_place", "require_folder_place", "require_targets"]

_PART = 22  # bytes by which the name of a file or folder being written is longer than its final name
_LONGEST = 255  # bytes of a name, if the system does not say


def nearest_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the absolute path, or its nearest parent that exists, of whatever type.

    Raises:
      OSError: a name that no file can have, or a folder that cannot be accessed.
    """
    place = pathlib.Path(path).absolute()
    while True:
        try:
            place.lstat()
            return place
        except (FileNotFoundError, NotADirectoryError):
            place = place.parent


def folder_fault(path: str | os.PathLike[str]) -> str:
    """Returns why a folder cannot be created or written, as the end of a sentence that starts with its name, or ''."""
    try:
        there = nearest_folder(path)
        kind = there.stat().st_mode
    except FileNotFoundError:
        return "is, or lies below, a link that leads nowhere: name another folder"
    except (OSError, ValueError) as error:  # ValueError for a null character
        return f"cannot be a folder: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISDIR(kind):
        if there == pathlib.Path(path).absolute():
            return "is a file: name a folder"
        return f"lies below {there}, which is a file: name another folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"cannot be written: {there} is read-only"
    return ""


def require_folder_place(path: pathlib.Path, option: str = "--out") -> None:
    """Raises `UserError` if a folder, with its parents, cannot be created or written."""
    fault = folder_fault(path) or _name_fault(path)
    if fault:
        raise UserError(f"{option} {path} {fault}")


def require_file_place(path: pathlib.Path, option: str = "--out") -> None:
    """Raises `UserError` if the file cannot be written; its folder must exist."""
    if not path.name or os.path.isdir(path):
        raise UserError(f"{option} {path} is a folder: name a file")
    if not os.path.isdir(path.parent):
        raise UserError(f"{option} {path}: there is no folder {path.parent}")
    fault = folder_fault(path.parent) or _name_fault(path)
    if fault:
        raise UserError(f"{option} {path} {fault}")


def require_targets(
    target: str, picture: str | None, *, sources: Sequence[str | None], option: str, name: str = "OUT"
) -> None:
    """Rejects writing a file, and a picture of it, if that is impossible or would overwrite an input.

    Args:
      target: the file.
      picture: the picture's file, or None.
      sources: files that are read; None for those that are not given.
      option: the picture's option.
      name: the file's name on the command line.

    Raises:
      UserError: the message says which of the two, and why.
    """
    given = [path for path in sources if path is not None and os.path.exists(path)]
    for path, option_of_it in ((target, name), (picture, option)):
        if path is None:
            continue
        if fault := name_fault(path):
            raise UserError(f"{option_of_it} {path!r}: {fault}")
        require_file_place(pathlib.Path(path), option_of_it)
        if os.path.exists(path) and any(os.path.samefile(path, source) for source in given):
            raise UserError(f"{option_of_it} {path} would overwrite a file that is read: choose another name")
    if picture is not None and os.path.realpath(picture) == os.path.realpath(target):
        raise UserError(f"{option} {picture} is the file that is converted to: choose another name")


def _name_fault(path: pathlib.Path) -> str:
    if path.name in ("", ".."):
        return "is no name of its own: name a new folder"
    parent = nearest_folder(path.parent)
    longest = os.pathconf(parent, "PC_NAME_MAX") if hasattr(os, "pathconf") else _LONGEST
    if len(os.fsencode(path.name)) + _PART > longest:
        return "has too long a name"
    return ""
