"""What result folders hold, read for pages: each folder once for all pages that one program writes.

Folders may come from anyone: what is read is checked, and what cannot be used is left out.
"""

import base64
import io
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gan2shape_jax.io import json_files
from gan2shape_jax.errors import UserError
from gan2shape_jax.results.page.fragment import FILE, FORMAT, fragment_of
from gan2shape_jax.results.result import load_result
from gan2shape_jax.io.regular_files import MIB, open_regular, read_bytes

__all__ = ["STILLS", "Fragments", "Listing"]

# Pictures, by what they show, that stand in for a missing fragment, as in results of version 0.1.
STILLS = ("input", "input_mask", "depth", "normals", "albedo", "canonical", "reconstruction", "gan_image")
Listing = dict[str, int]

_LARGEST_CARD = 64 * 1024
_LARGEST_FRAGMENT = 8 * MIB
_LARGEST_STILL = 96 * 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PNG = b"\x89PNG\r\n\x1a\n"
_T = TypeVar("_T")


class Fragments:
    """Keeps what the last page was made of, so that the next reads only what is new or did not fit before."""

    def __init__(self, *, build: bool = False) -> None:
        """Starts with nothing read.

        Args:
          build: whether results without a fragment, such as those of earlier versions, get one from their arrays; it is
            not written. Otherwise existing pictures stand in for it.
        """
        self._build = build
        self._kept: dict[tuple[Any, ...], Any] = {}
        self._former: dict[tuple[Any, ...], Any] = {}

    def begin(self) -> None:
        """Begins a page: what it does not ask for is forgotten when the next one begins."""
        self._former, self._kept = self._kept, {}

    def files(self, folder: pathlib.Path) -> Listing:
        """Returns the files of a result's folder with their sizes in bytes; {} if there is no such folder."""
        return self._once(folder, "files", lambda: _listed(folder))

    def thumb(self, folder: pathlib.Path) -> dict[str, str] | None:
        """Returns the gallery's picture of a result: `kind` and base64 `data`; None if there is none."""
        return self._once(folder, "thumb", lambda: _thumb(folder, build=self._build))

    def model(self, folder: pathlib.Path) -> str | None:
        """Returns the interactive model of a result as JSON; None if there is none."""
        return self._lines(folder)[0]

    def extras(self, folder: pathlib.Path) -> str | None:
        """Returns what the fragment holds beyond the model, as JSON; None if that is nothing."""
        return self._lines(folder)[1]

    def texture(self, folder: pathlib.Path) -> str | None:
        """Returns finer colours for the model, as JSON; None if there are none."""
        return self._lines(folder)[2]

    def stills(self, folder: pathlib.Path) -> str | None:
        """Returns the small pictures of a folder without a fragment, as JSON; None if there are none."""
        return self._once(folder, "stills", lambda: _stills(folder))

    def content(self, folder: pathlib.Path, names: Sequence[str]) -> str | None:
        """Returns a file, or several as one ZIP archive, in base64; None if one cannot be read."""
        return self._once(folder, tuple(names), lambda: _content(folder, names))

    def _lines(self, folder: pathlib.Path) -> tuple[str | None, ...]:
        return self._once(folder, "lines", lambda: _lines(folder, build=self._build))

    def _once(self, folder: pathlib.Path, what: Any, make: Callable[[], _T]) -> _T:
        key = (str(folder), what, _stamp(folder))
        if key not in self._kept:
            self._kept[key] = self._former[key] if key in self._former else make()
        return self._kept[key]


def _stamp(folder: pathlib.Path) -> tuple[int, int] | None:
    """Returns a stamp that changes when a folder, or a file in it, is replaced."""
    try:
        found = os.stat(folder)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ino


def _listed(folder: pathlib.Path) -> Listing:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (OSError, ValueError):
        return {}


def _thumb(folder: pathlib.Path, *, build: bool) -> dict[str, str] | None:
    try:
        with open_regular(folder / FILE) as file:
            card = json_files.parse_json(file.readline(_LARGEST_CARD), folder / FILE, "a page's fragment")
        data = card["thumb"] if card["format"] == FORMAT else None
        if isinstance(data, str) and _BASE64.fullmatch(data):
            return {"kind": "jpeg", "data": data}
    except (OSError, UserError, KeyError, TypeError):
        pass
    if build and (built := _built(folder)):
        return {"kind": "jpeg", "data": built[0]["thumb"]}
    return _still(folder, "input")


def _lines(folder: pathlib.Path, *, build: bool) -> tuple[str | None, ...]:
    """Returns model, extras and texture of a fragment, as JSON written anew by this program."""
    try:
        lines = read_bytes(folder / FILE, limit=_LARGEST_FRAGMENT).split(b"\n")[:4]
        card, *parts = (json_files.parse_json(line, folder / FILE, "a page's fragment") for line in lines)
        if card["format"] != FORMAT or len(parts) != 3 or not all(isinstance(part, dict) for part in parts):
            raise ValueError("a fragment of another form")
    except (OSError, UserError, KeyError, TypeError, ValueError):
        parts = _built(folder)[1:] if build else []
    texts = [json.dumps(part, separators=(",", ":"), allow_nan=False) if part else None for part in parts]
    return tuple(texts) if texts else (None, None, None)


def _built(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns a fragment made from the arrays of a result; [] if they cannot be read."""
    try:
        return fragment_of(load_result(folder))
    except UserError:
        return []


def _stills(folder: pathlib.Path) -> str | None:
    found = {name: still for name in STILLS if (still := _still(folder, name)) is not None}
    return json.dumps({"stills": found}, separators=(",", ":")) if found else None


def _still(folder: pathlib.Path, name: str) -> dict[str, str] | None:
    try:
        content = read_bytes(folder / f"{name}.png", limit=_LARGEST_STILL)
    except (OSError, UserError):
        return None
    if not content.startswith(_PNG):
        return None
    return {"kind": "png", "data": base64.b64encode(content).decode("ascii")}


def _content(folder: pathlib.Path, names: Sequence[str]) -> str | None:
    try:
        contents = [read_bytes(folder / name, limit=64 * MIB) for name in names]
    except (OSError, UserError):
        return None
    whole = contents[0] if len(names) == 1 else _zipped(dict(zip(names, contents, strict=True)))
    return base64.b64encode(whole).decode("ascii")


def _zipped(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            # No timestamps, so that the bytes are the same whenever it is made.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
