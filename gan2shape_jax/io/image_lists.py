r"""Lists of images, and which names of images a run accepts.

A list is a text file with one name per line:

    001.png                     the name alone
    002.png 0.25 left           a name and further columns, which are ignored
    my photo.png                a name with spaces, if there is such a file
    "my photo.png" 0.25         the same in quotation marks, which any name may have; \" stands for one inside
    # a comment

Blank lines are ignored. Spaces and tabs separate columns; whether a line with some is a single name depends on which
file exists: that of the whole line, or else that of its first word.

A name is the path of an image below `config.data.image_root`, with `/` between folders. Without its ending, as
its *stem*, it names what a run stores for the image: `results/STEM/`, `checkpoints/STEM/`, `latents/STEM.npy`. So it
must be one that no file system rejects or takes for something else, and no two names may share a folder. Names that
begin with a dot are reserved for files being written.
"""

import os
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.files import MIB, read_text

_LIMIT = 64 * MIB
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:[ \t].*)?')
# Bytes in UTF-8. File systems allow 255 per part; the longest name derived from one is `.NAME.xxxxxxxx.part.npy`, and
# some systems store letters with accents as two characters.
LONGEST_PART, _LONGEST = 220, 1000
# What is wrong with a name, or with a part of it, by what matches.
_FAULTS = {
    "[\x00-\x1f\x7f-\x9f\u2028\u2029]": "has the control character {}: rename the file",
    r"\\": "has a backslash: write / between folders, or rename the file",
    ":": "has a colon, which means a drive or a stream on Windows: rename the file",
    "^/": "begins at the root: names are relative to config.data.image_root",
    r"(^|/)\.\.(/|$)": "leads out of a folder: names are relative to config.data.image_root, without ..",
    r"(^|/)\.?$": "names a folder: name the image in it",
}
_PART_FAULTS = {
    r"^\.": "begins with a dot",
    r"(?i)^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\.|$)": "is a device on Windows",
    r"[. ]$": "ends with a dot or a space before any ending",
}


def names_of(config: ConfigDict) -> list[str]:
    """Returns the names of the images that a run reconstructs; raises like `read_names`."""
    return read_names(config.data.image_list, config.data.image_root)


def read_names(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> list[str]:
    """Returns the names in a list, UTF-8; without the images' folder, the first word of a line counts.

    Raises `UserError` for a list that is missing, unreadable, larger than 64 MiB or empty, and, with the line number,
    for a name that is not usable or clashes with another.
    """
    numbers, names = [], []
    for number, line in enumerate(_read(path).replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        entry = line.strip(" \t")
        if not entry or entry.startswith("#"):
            continue
        name, fault = _name_in(entry, root)
        if fault:
            raise UserError(f"image list {path}, line {number}: {_shown(name)} {fault}")
        names.append(name)
        numbers.append(number)
    if not names:
        raise UserError(f"image list {path} names no image: write one file name per line")
    if conflict := clash(names):
        later, earlier, reason = conflict
        both = f"{_shown(names[later])} cannot stand beside {_shown(names[earlier])} of line {numbers[earlier]}"
        raise UserError(f"image list {path}, line {numbers[later]}: {both}: {reason}; rename one of them")
    return names


def _read(path: str | os.PathLike[str]) -> str:
    try:
        return read_text(path, limit=_LIMIT, encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"image list {path} does not exist (config.data.image_list)") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"image list {path} cannot be read as text: line {line} is not UTF-8") from None
    except (OSError, UserError) as error:
        raise UserError(f"image list {path} cannot be read: {error}") from error


def _name_in(entry: str, root: str | os.PathLike[str] | None) -> tuple[str, str]:
    """Returns the name in a line, and what is wrong with it, or ''."""
    name = first = re.split("[ \t]", entry, maxsplit=1)[0]
    if entry.startswith('"'):
        if not (quoted := _QUOTED.fullmatch(entry)):
            return entry, r"begins with a quotation mark: close it at the end of the name (inside, write \")"
        name = re.sub(r'\\(["\\])', r"\1", quoted[1])
    elif entry != first and root is not None:
        there = (name for name in (entry, first) if not fault_of(name) and os.path.isfile(f"{root}/{name}"))
        name = next(there, first if "." in first else entry)
    return name, fault_of(name)


def stem_of(name: str) -> str:
    """Returns a name without its ending: what the image's results are stored under."""
    if "//" in name or "./" in name:  # redundant parts of the path
        name = pathlib.PurePosixPath(name).as_posix()
    folder, slash, file = name.rpartition("/")
    base, _, ending = file.rpartition(".")
    return f"{folder}{slash}{base if base and ending else file}"


def fault_of(name: str) -> str:
    """Returns why a run cannot accept an image name, and what to do about it; '' if it can."""
    for pattern, fault in _FAULTS.items():
        if match := re.search(pattern, name):
            return fault.format(match[0].encode("unicode_escape").decode())
    if _bytes(name) > _LONGEST:
        return f"is {_bytes(name)} bytes long, at most {_LONGEST} are possible: rename the file or its folders"
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for part in (*parts, stem_of(parts[-1])):
        for pattern, fault in _PART_FAULTS.items():
            if re.search(pattern, part):
                return f"has a part that {fault} ({_shown(part)}): rename it"
        if _bytes(part) > LONGEST_PART:
            return f"has a part of {_bytes(part)} bytes ({_shown(part)}), above {LONGEST_PART}: rename it"
    return ""


def clash(names: Sequence[str]) -> tuple[int, int, str] | None:
    """Returns which two of names that are each usable cannot be used together: the later, the earlier, and why."""
    keys = [filing_key(stem_of(name)) for name in names]
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        before = first.setdefault(key, index)
        if before != index:
            later, earlier = names[index], names[before]
            why = "they differ only by case or by how accents are written, and many systems treat them as one"
            if stem_of(later) == stem_of(earlier):
                why = f"both would have the results folder {_shown(stem_of(later))}"
            return index, before, "it is the same image" if later == earlier else why
    for index, key in enumerate(keys):
        for folder in (key[: slash.start()] for slash in re.finditer("/", key)):
            if (other := first.get(folder, first.get(folder.removesuffix(".npy")))) is not None:
                inner, outer = _shown(names[index]), _shown(names[other])
                why = f"the results or the latent of {inner} would lie inside those of {outer}"
                return max(index, other), min(index, other), why
    return None


def filing_key(stem: str) -> str:
    """Returns a key that is the same for stems that some file system takes for one."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", stem).casefold())


def natural_key(name: str | os.PathLike[str]) -> tuple[list[str | int], str]:
    """Returns a key by which names are in the order that people expect: 1, 2, 10."""
    text = os.fspath(name)
    parts = re.split("([0-9]+)", text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], text


def _bytes(name: str) -> int:
    return max(len(unicodedata.normalize(form, name).encode(errors="replace")) for form in ("NFC", "NFD"))


def _shown(text: str) -> str:
    shown = one_line(text) or '""'
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
