r"""Lists of images: text files with one name per line.

    001.png                     the name alone
    002.png 0.25 left           a name and further columns, which are ignored
    my photo.png                a name with spaces, if there is such a file
    "my photo.png" 0.25         the same in quotation marks, which any name may have; \" stands for one inside
    # a comment

Blank lines are ignored. Spaces and tabs separate columns; whether a line with some is a single name depends on which
file exists: that of the whole line, or that of its first word. If both exist, the line is rejected.
"""

import os
import pathlib
import re
import sys

from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB, read_text
from gan2shape_jax.io.image_names import clash, fault_of, shortened

__all__ = ["names_of", "read_names"]

_LIMIT = 64 * MIB
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:[ \t].*)?')
# What a run appends to `WORKDIR/` and a name, at most: the longest paths are those of a checkpoint's parts.
_BELOW = 300
_LONGEST_PATH = {"darwin": 1024}.get(sys.platform, 4096)


def names_of(config: ConfigDict) -> list[str]:
    """Returns the names of the images that a run reconstructs.

    Raises:
        UserError: see `read_names`; or the path `config.workdir` is too long for one of them.
    """
    names = read_names(config.data.image_list, config.data.image_root)
    longest = max(names, key=len)
    length = len(os.fsencode(os.path.abspath(config.workdir))) + len(longest.encode()) + _BELOW
    if length > _LONGEST_PATH:
        raise UserError(
            f"the results of {shortened(longest)} would have paths of {length} bytes below config.workdir, "
            f"{_LONGEST_PATH} are the most here: choose a shorter --config.workdir"
        )
    return names


def read_names(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> list[str]:
    """Returns the names in a list.

    Args:
        path: the list, UTF-8.
        root: the images' folder, used to tell names with spaces from further columns; without it the first word counts.

    Raises:
        UserError: the list is missing, unreadable, larger than 64 MiB or empty; or (with the line number) a name is not
            usable in a run, or clashes with another.
    """
    path = pathlib.Path(path)
    lines = _read(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbers, names = [], []
    for number, line in enumerate(lines, start=1):
        entry = line.strip(" \t")
        if not entry or entry.startswith("#"):
            continue
        try:
            names.append(_name_in(entry, root))
        except ValueError as error:
            raise UserError(f"image list {path}, line {number}: {error}") from None
        numbers.append(number)
    if not names:
        raise UserError(f"image list {path} names no image: write one file name a line")
    _require_distinct(path, names, numbers)
    return names


def _read(path: pathlib.Path) -> str:
    try:
        return read_text(path, limit=_LIMIT, encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"image list {path} does not exist (config.data.image_list)") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"image list {path} cannot be read as text: line {line} is not UTF-8") from None
    except (OSError, UserError) as error:
        raise UserError(f"image list {path} cannot be read: {error}") from error


def _name_in(entry: str, root: str | os.PathLike[str] | None) -> str:
    """Returns the name in a line; raises `ValueError` saying what is wrong with it."""
    if entry.startswith('"'):
        name = _unquoted(entry)
    elif " " in entry or "\t" in entry:
        name = _whole_or_first(entry, root)
    else:
        name = entry
    fault = fault_of(name)
    if fault:
        raise ValueError(f"{shortened(name)} {fault}")
    return name


def _unquoted(entry: str) -> str:
    quoted = _QUOTED.fullmatch(entry)
    if not quoted:
        raise ValueError(
            f"{shortened(entry)} begins with a quotation mark: write another one at the end of the name, and a space "
            r"before what follows (a mark inside the name is \")"
        )
    return re.sub(r'\\(["\\])', r"\1", quoted[1])


def _whole_or_first(entry: str, root: str | os.PathLike[str] | None) -> str:
    """Returns the name in a line with spaces: whichever of the whole line and its first word is an image file."""
    first = re.split("[ \t]", entry, maxsplit=1)[0]
    if root is None:
        return first
    there = [name for name in (entry, first) if not fault_of(name) and os.path.isfile(f"{root}/{name}")]
    if len(there) > 1:
        raise ValueError(
            f"both {shortened(entry)} and {shortened(first)} are images: write the one that is meant in "
            f'quotation marks, "{shortened(entry)}" or "{shortened(first)}"'
        )
    if there:
        return there[0]
    return first if "." in first else entry


def _require_distinct(path: pathlib.Path, names: list[str], numbers: list[int]) -> None:
    """Raises `UserError` if two names in the list clash."""
    found = clash(names)
    if found is None:
        return
    later, earlier, reason = found
    raise UserError(
        f"image list {path}, line {numbers[later]}: {shortened(names[later])} cannot stand beside "
        f"{shortened(names[earlier])} of line {numbers[earlier]}: {reason}; rename one of them, or take it off the list"
    )
