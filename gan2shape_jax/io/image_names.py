"""Which image names a run accepts: those under which any file system can store what belongs to them.

A name is the path of an image below `config.data.image_root`, with `/` between folders. Without its ending, as
its *stem*, it names what a run stores for the image:

    results/STEM/   checkpoints/STEM/   latents/STEM.npy   tensorboard/STEM/

So a name must be one that no system rejects or takes for something else, and no two names in a list may share a folder.
Files being written are hidden, `.NAME.xxxxxxxx.part`: names that begin with a dot are reserved for them.
"""

import os
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from gan2shape_jax.errors import one_line

__all__ = ["LONGEST", "LONGEST_PART", "clash", "fault_of", "filing_key", "shortened", "stem_of"]

# Bytes in UTF-8. File systems allow 255 per part; the longest name derived from one is `.NAME.xxxxxxxx.part.npy`, and
# some systems store letters with accents as two characters.
LONGEST_PART = 220
LONGEST = 1000

# Endings of files below `latents/`, where the folders of names are too.
_OF_LATENTS = (".npy", ".json")

# Most names look like this and need no closer check: words of letters, digits and some signs, joined by single dots.
_WORD = r"\w(?:[\w ,()+&'-]*[\w)-])?"
_ORDINARY = re.compile(rf"{_WORD}(?:[./]{_WORD})*")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What Windows treats as a device, with any ending.
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)
_DEVICES = re.compile(r"(?:^|/)(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]) *(?:[./]|$)", re.IGNORECASE)


def stem_of(name: str) -> str:
    """Returns a name without its ending: what the image's results are stored under."""
    if "//" in name or "./" in name:  # redundant parts of the path
        name = pathlib.PurePosixPath(name).as_posix()
    folder, slash, file = name.rpartition("/")
    base, _, ending = file.rpartition(".")
    return f"{folder}{slash}{base if base and ending else file}"


def fault_of(name: str) -> str:
    """Returns why a run cannot accept an image name, and what to do about it; '' if it can."""
    if _ORDINARY.fullmatch(name) and not _DEVICES.search(name) and _bytes(name) <= LONGEST_PART:
        return ""
    return _fault_of_path(name) or _fault_of_parts([part for part in name.split("/") if part not in ("", ".")])


def _fault_of_path(name: str) -> str:
    if control := _CONTROL.search(name):
        return f"has the control character {control[0].encode('unicode_escape').decode()}: rename the file"
    if "\\" in name:
        return "has a backslash: write / between folders, or rename the file"
    if ":" in name:
        return "has a colon, which stands for a drive or a hidden stream on Windows: rename the file"
    if name.startswith("/"):
        return "begins at the root: names are relative to config.data.image_root"
    if ".." in name.split("/"):
        return "leads out of a folder: names are relative to config.data.image_root, without .."
    if name.rpartition("/")[2] in ("", "."):
        return "names a folder: name the image in it"
    if _bytes(name) > LONGEST:
        return f"is {_bytes(name)} bytes long, {LONGEST} is the most: rename the file or its folders"
    return ""


def _fault_of_parts(parts: list[str]) -> str:
    """Returns what is wrong with a folder in a name, or with the file at its end."""
    for part in parts:
        if part.startswith("."):
            return f"has a part that begins with a dot ({shortened(part)}): rename it"
        if _DEVICE.fullmatch(part):
            return f"has a part that Windows takes for a device ({shortened(part)}): rename it"
        if _bytes(part) > LONGEST_PART:
            return f"has a part of {_bytes(part)} bytes ({shortened(part)}), {LONGEST_PART} is the most: rename it"
    for part in (*parts, stem_of(parts[-1])):
        if part.endswith((".", " ")):
            return f"has a part that ends with a dot or a space before any ending ({shortened(part)}): rename it"
    return ""


def clash(names: Sequence[str]) -> tuple[int, int, str] | None:
    """Returns which two names in a list cannot both be used, or None.

    Args:
        names: names that are each usable by themselves.

    Returns:
        The index of the later name, that of the earlier one, and why.
    """
    stems = [stem_of(name) for name in names]
    keys = [filing_key(stem) for stem in stems]
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        before = first.setdefault(key, index)
        if before != index:
            return index, before, _same(names[index], names[before])
    for index, key in enumerate(keys):
        for folder in _folders(key):
            holder, holds = first.get(folder), "results"
            base, ending = os.path.splitext(folder)
            if holder is None and ending in _OF_LATENTS:
                holder, holds = first.get(base), "latent"
            if holder is not None:
                return max(index, holder), min(index, holder), _inside(names[index], names[holder], holds)
    return None


def _same(one: str, other: str) -> str:
    if one == other:
        return "it is the same image"
    if stem_of(one) == stem_of(other):
        return f"both would have the results folder {shortened(stem_of(one))}"
    return "they differ only by case or by how accents are written, and many systems take them for one"


def _inside(inner: str, outer: str, holds: str) -> str:
    if holds == "latent":
        return f"the latent of {shortened(outer)} would lie where that of {shortened(inner)} needs a folder"
    return f"the results of {shortened(inner)} would lie inside those of {shortened(outer)}"


def _folders(path: str) -> list[str]:
    """Returns the folders above a path, outermost first."""
    return [path[: slash.start()] for slash in re.finditer("/", path)]


def filing_key(stem: str) -> str:
    """Returns a key that is the same for stems that some file system takes for one."""
    if stem.isascii():
        return stem.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", stem).casefold())


def _bytes(name: str) -> int:
    if name.isascii():
        return len(name)
    return max(len(unicodedata.normalize(form, name).encode()) for form in ("NFC", "NFD"))


def shortened(text: str) -> str:
    """Returns a name as shown in messages: one line of at most 60 characters."""
    shown = one_line(text) or '""'
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
