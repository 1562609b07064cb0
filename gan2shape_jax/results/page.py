"""The run's page: one self-contained HTML file with an interactive model of every image it has room for.

The template is `assets/viewer/page.html`. Names and messages are untrusted text: the template escapes them, and a
policy in the page's head allows only its own two scripts to run and no connections.

The page keeps to a size limit. The most important things go in first, each kind for all images in order before the next
kind: names and figures; small pictures for the gallery; interactive models; further pictures and maps; finer colours;
links for readers without JavaScript; files to download, in the order of `OUTPUTS`. Once a thing of some kind does not
fit, no more of that kind goes in, so that it is easy to say on the page what is missing.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import re
import urllib.parse
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jinja2
from markupsafe import Markup

from gan2shape_jax.errors import UserError, message_line, one_line
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.results import fragment
from gan2shape_jax.results.outputs import OUTPUTS
from gan2shape_jax.results.result import finite, load_result
from gan2shape_jax.results.table import COLUMNS, Row, figure

__all__ = ["GRADES", "LIMIT", "OFFERS", "Entry", "Fragments", "page_text", "trust_of", "write_page"]

LIMIT = 9_900_000  # bytes: e-mail allows 10 MB, a little of which it needs itself
OFFERS = tuple(output for output in OUTPUTS if output.offer)
# The grades of trust, from good to bad, and their short names for where there is no room for the verdict.
GRADES = {"trust": "trust it", "doubt": "doubt it", "no": "do not trust it"}

_FOR_ROWS = 0.7  # of what the fixed parts leave, the most that names and figures may take
_FOR_THUMBS = 0.8  # of the room, the most that small pictures may take: of thousands of images, some can be turned
_FOR_NOTES = 4_000  # bytes
_AROUND = 100  # bytes of HTML around what is packed, at most
_MESSAGE = 2_000  # characters of a status that are shown
_LONGEST = 600  # characters of a verdict
_DONE = "done"

# The viewer's modules, each after those that it imports from.
_MODULES = (
    *("decode.js", "geometry.js", "colours.js", "shaders.js", "meshes.js", "handling.js", "viewer.js"),
    *("light.js", "words.js", "factors.js", "telling.js", "gallery.js", "downloads.js", "main.js"),
)
_IMPORT = re.compile(r"^import\b[^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function |const |let )", re.MULTILINE)

# What the columns of the table are, in plain words.
_COLUMN_WORDS = {
    "side": "Error of depth, whatever its scale (SIDE)",
    "mad": "Mean angle between normals and true normals, degrees",
    "mad_unit": "The same with normals of length one, degrees",
    "mae": "Mean absolute error of depth",
    "mse": "Mean squared error of depth",
    "prior_side": "SIDE of the shape that the method started from",
    "prior_mad": "Angle between normals of the shape that the method started from, degrees",
    "reconstruction_l1": "Mean difference between photo and reconstruction (black to white is 2)",
    "inversion_l1": "Mean difference between photo and the GAN's picture of it (black to white is 2)",
}
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a page.

    Attributes:
      row: what became of it.
      folder: its results, which need not exist.
      place: the same folder relative to the page's, with `/`.
    """

    row: Row
    folder: pathlib.Path
    place: str


class Fragments:
    """Reads results folders for pages, each once: the next page reads only what is new or did not fit before.

    What cannot be read is left out; a model whose fragment is missing or unreadable is made from the result's arrays.
    """

    def __init__(self) -> None:
        """Starts with nothing read."""
        self._kept: dict[tuple[Any, ...], Any] = {}

    def files(self, folder: pathlib.Path) -> Mapping[str, int]:
        """Returns the files of a result's folder with their sizes in bytes; {} if there is no such folder."""
        return self._once(folder, "files", _listed)

    def thumb(self, folder: pathlib.Path) -> str | None:
        """Returns the gallery's picture of a result, a JPEG in base64; None if there is none."""
        return self._once(folder, "thumb", _thumb)

    def lines(self, folder: pathlib.Path) -> tuple[str, str, str] | None:
        """Returns model, extras and texture of a result as JSON, "" for what it lacks; None if it cannot be read."""
        return self._once(folder, "lines", _lines)

    def content(self, folder: pathlib.Path, names: Sequence[str]) -> str | None:
        """Returns a file, or several as one ZIP archive, in base64; None if one cannot be read."""
        return self._once(folder, tuple(names), lambda folder: _content(folder, names))

    def _once(self, folder: pathlib.Path, what: Any, make: Callable[[pathlib.Path], _T]) -> _T:
        try:
            found = os.stat(folder)
            stamp = (found.st_mtime_ns, found.st_ino)  # changes when the folder, or a file in it, is replaced
        except (OSError, ValueError):
            stamp = None
        key = (str(folder), what, stamp)
        if key not in self._kept:
            self._kept[key] = make(folder)
        return self._kept[key]


def _listed(folder: pathlib.Path) -> Mapping[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (OSError, ValueError):
        return {}


def _thumb(folder: pathlib.Path) -> str | None:
    try:
        with open(folder / fragment.FILE, "rb") as file:
            thumb = json.loads(file.readline())["thumb"]
        return base64.b64encode(base64.b64decode(thumb, validate=True)).decode("ascii")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _lines(folder: pathlib.Path) -> tuple[str, str, str] | None:
    try:
        _, *parts = (json.loads(line) for line in (folder / fragment.FILE).read_bytes().splitlines())
        if len(parts) != 3 or not all(isinstance(part, dict) for part in parts):
            raise ValueError("a fragment of another form")
    except (OSError, ValueError, RecursionError):
        try:
            parts = fragment.fragment_of(load_result(folder))[1:]
        except UserError:
            return None
    model, extras, texture = (_json_text(part) if part else "" for part in parts)
    return model, extras, texture


def _content(folder: pathlib.Path, names: Sequence[str]) -> str | None:
    try:
        contents = [(folder / name).read_bytes() for name in names]
    except OSError:
        return None
    whole = contents[0]
    if len(names) > 1:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in zip(names, contents, strict=True):
                # No timestamps, so that the bytes are the same whenever it is made.
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        whole = buffer.getvalue()
    return base64.b64encode(whole).decode("ascii")


def write_page(
    folder: str | os.PathLike,
    rows: Sequence[Row],
    *,
    title: str = "Reconstructions",
    fragments: Fragments | None = None,
    limit: int = LIMIT,
) -> None:
    """Writes `folder/index.html`; the result of row `name` lies in `folder/results/name`.

    Only files that exist are shown or linked, so the page may be written at any time.

    Args:
      folder: of the run.
      rows: the images.
      title: the page's heading.
      fragments: from earlier calls for the same folder; with it, only new results are read.
      limit: the largest size of the page in bytes.

    Raises:
      UserError: the file system refuses.
    """
    folder = pathlib.Path(folder)
    entries = [Entry(row, folder / "results" / row.name, f"results/{row.name}") for row in rows]
    atomic_text(folder / "index.html", page_text(entries, title=title, fragments=fragments, limit=limit))


def page_text(entries: Sequence[Entry], *, title: str, fragments: Fragments | None = None, limit: int = LIMIT) -> str:
    """Returns the page of these images: at most `limit` bytes in UTF-8, but never less than its fixed 0.7 MB."""
    fragments = fragments or Fragments()
    entries = [dataclasses.replace(entry, row=_shortened(entry.row)) for entry in entries]
    pages = [_Page(title, entry, fragments) for entry in ([], entries)]
    bare = pages[0].bytes()
    room = bare + (limit - bare) * _FOR_ROWS
    page, listed = pages[1], len(entries)
    if page.bytes() > room:  # the most images for whose names and figures there is room
        low, high = 0, len(entries)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _Page(title, entries[:middle], fragments).bytes() <= room else (low, middle)
        page, listed = _Page(title, entries[:low], fragments), low
    page.pack(limit - page.bytes() - _FOR_NOTES)
    missing = page.left_out()
    if listed < len(entries):
        missing.insert(0, f"It lists the first {listed:,} of {len(entries):,} images; results.csv has all.")
    if missing:
        page.notes.insert(0, f"This page is one file of at most {limit / 1e6:.3g} MB, so some things are left out.")
    page.notes += missing
    return page.text()


class _Page:
    """A page of some images and what has found room in it."""

    def __init__(self, title: str, entries: Sequence[Entry], fragments: Fragments):
        self.title, self.entries, self.fragments = title, entries, fragments
        self.notes: list[str] = []
        self.left = 0  # bytes that are still free
        self.thumbs: dict[int, str] = {}
        self.plain = False  # whether links for readers without JavaScript are in it
        self.blocks: dict[str, str] = {}  # data, by the id of its element
        self.inside: dict[tuple[int, int], int] = {}  # size of each file in it, by image and number in `OFFERS`
        self.missing: set[str | int] = set()  # kinds that did not fit for every image, or a number in `OFFERS`
        self.listings = [fragments.files(entry.folder) for entry in entries]
        self.offers = [
            [
                (number, sum(listing[name] for name in _files(number)))
                for number in range(len(OFFERS))
                if all(name in listing for name in _files(number))
            ]
            for listing in self.listings
        ]

    def text(self) -> str:
        """Returns the page's HTML."""
        figures = [_figures(entry.row) for entry in self.entries]
        kept = [k for k in range(len(COLUMNS)) if any(line[k] is not None for line in figures)]
        trusts = [trust_of(entry.row.metrics) or {} for entry in self.entries]
        images = [
            {
                "anchor": f"at-{one_line(entry.row.name)}",
                "name": one_line(entry.row.name),
                "status": message_line(entry.row.status),
                "remarks": _remarks(entry.row),
                "grade": trusts[k].get("grade", ""),
                "verdict": trusts[k].get("verdict", ""),
                "thumb": self.thumbs.get(k),
                "cells": [_shown(figures[k][column], COLUMNS[column][2]) for column in kept],
                "files": [(_link(f"{entry.place}/{name}"), one_line(name)) for name in self._names(k)],
            }
            for k, entry in enumerate(self.entries)
        ]
        data = {
            "columns": [[name, _COLUMN_WORDS.get(name, name), digits] for name, _, digits in COLUMNS],
            "files": [[offer.archive or offer.files[0], offer.offer, offer.files[0]] for offer in OFFERS],
            "grades": GRADES,
            "images": [
                {
                    "name": image["name"],
                    "anchor": image["anchor"],
                    "done": image["status"].split(",")[0] == _DONE,
                    "remarks": image["remarks"],
                    "place": _link(entry.place),
                    "figures": figures[k],
                    "files": [
                        [number, self.inside.get((k, number), size), (k, number) in self.inside]
                        for number, size in self.offers[k]
                    ],
                    **({"trust": trusts[k]} if trusts[k] else {}),
                }
                for k, (image, entry) in enumerate(zip(images, self.entries, strict=True))
            ],
        }
        return _template().render(
            **_frame(),
            title=one_line(self.title),
            columns=[(COLUMNS[k][0], _COLUMN_WORDS.get(COLUMNS[k][0], "")) for k in kept],
            images=images,
            grades=GRADES,
            plain=self.plain,
            notes=self.notes,
            blocks=[("page-data", "application/json", Markup(_json_text(data)))]
            + [
                (name, "text/plain" if name.startswith("file-") else "application/json", Markup(text))
                for name, text in self.blocks.items()
            ],
        )

    def bytes(self) -> int:
        """Returns the page's size."""
        return len(self.text().encode())

    def _names(self, k: int) -> list[str]:
        return [OFFERS[number].files[0] for number, _ in self.offers[k]]

    def pack(self, room: int) -> None:
        """Fills the page with what fits into that many bytes."""
        self.left = room
        there = [k for k, listing in enumerate(self.listings) if listing]
        for k in there:
            thumb = None if "thumbs" in self.missing else self.fragments.thumb(self.entries[k].folder)
            if thumb and self.left - len(thumb) - _AROUND < (1 - _FOR_THUMBS) * room:
                self.missing.add("thumbs")
            elif thumb and self._takes("thumbs", len(thumb) + _AROUND):
                self.thumbs[k] = thumb
        unreadable = 0
        for number, kind in enumerate(("model", "extras", "texture")):
            for k in there:
                if kind in self.missing or (number and f"model-{k}" not in self.blocks):
                    continue
                lines = self.fragments.lines(self.entries[k].folder)
                unreadable += lines is None
                if lines and lines[number]:
                    self._put(kind, f"{kind}-{k}", lines[number])
        if unreadable:
            self.notes.append(f"{unreadable:,} of the results could not be read, and are shown without their models.")
        without, self.plain = self.bytes(), True
        self.plain = self._takes("plain", self.bytes() - without)
        for number, offer in enumerate(OFFERS):
            for k in there if offer.inside else []:
                size = dict(self.offers[k]).get(number)
                if size is None or number in self.missing:
                    continue
                # Checked before the file is read; a ZIP archive is never smaller than this.
                if (size // 20 if offer.archive else size * 4 // 3) > self.left:
                    self.missing.add(number)
                    continue
                content = self.fragments.content(self.entries[k].folder, _files(number))
                if content and self._put(number, f"file-{k}-{number}", content):
                    self.inside[k, number] = len(content) // 4 * 3 - content[-2:].count("=")

    def _put(self, kind: str | int, name: str, text: str) -> bool:
        if not self._takes(kind, len(text) + _AROUND):
            return False
        self.blocks[name] = text
        return True

    def _takes(self, kind: str | int, count: int) -> bool:
        """Reserves room for one more of a kind; returns False and marks the kind as missing if there is too little."""
        if kind in self.missing or count > self.left:
            self.missing.add(kind)
            return False
        self.left -= count
        return True

    def left_out(self) -> list[str]:
        """Returns sentences on what did not fit; [] if everything did."""
        count = len(self.entries)
        models, extras = (sum(name.startswith(kind) for name in self.blocks) for kind in ("model-", "extras-"))
        sentences = {
            f"{len(self.thumbs):,} of {count:,} images have a small picture.": {"thumbs"},
            f"{models:,} of {count:,} images can be turned here. The meshes of the others lie in their folders, and "
            "gan2shape-jax page makes a page of any.": {"model"},
            f"{extras:,} have their reconstruction and further pictures here.": {"model", "extras"},
            "Some models have coarser colours here than in their folders.": {"texture"},
        }
        shown = [sentence for sentence, kinds in sentences.items() if kinds & self.missing]
        outside = [offer.archive or offer.files[0] for number, offer in enumerate(OFFERS) if number in self.missing]
        if outside:
            names = ", ".join(outside)
            shown.append(f"Linked beside this page, at least for some images, instead of inside it: {names}.")
        return shown


def trust_of(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what metrics say under `trust` of how far to trust a shape; None if that is nothing in words.

    Returns:
      `grade`, one of `GRADES`; `verdict`, one plain sentence; `category`, how much the picture looks like what the GAN
      draws, 0 to 1; `expected_side`, the SIDE to expect. What is unknown is absent.
    """
    said = metrics.get("trust")
    if not isinstance(said, Mapping):
        return None
    known: dict[str, Any] = {}
    if isinstance(said.get("grade"), str) and said["grade"] in GRADES:
        known["grade"] = said["grade"]
    if isinstance(said.get("verdict"), str) and said["verdict"].strip():
        known["verdict"] = message_line(said["verdict"])[:_LONGEST]
    if not known:
        return None
    for key in ("category", "expected_side"):
        if (value := figure(said, (key,))) is not None:
            known[key] = min(max(value, 0.0), 1.0) if key == "category" else value
    return known


def _files(number: int) -> tuple[str, ...]:
    """Returns the files that an offer is made from."""
    return OFFERS[number].files if OFFERS[number].archive else OFFERS[number].files[:1]


def _figures(row: Row) -> list[float | None]:
    """Returns the row's number for each column of the table, rounded to a few more digits than are shown."""
    values = [figure(row.metrics, path) for _, path, _ in COLUMNS]
    return [
        None if value is None else round(value, column[2] + 2) for value, column in zip(values, COLUMNS, strict=True)
    ]


def _remarks(row: Row) -> str:
    """Returns what has to be said of an image besides that it is done; "" if that is nothing."""
    status = message_line(row.status)
    return "" if status == _DONE else status.removeprefix(f"{_DONE}, ")


def _shortened(row: Row) -> Row:
    """Returns a row with an overlong message cut short."""
    return row if len(row.status) <= _MESSAGE else dataclasses.replace(row, status=row.status[:_MESSAGE] + " ...")


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _link(path: str) -> str:
    """Returns a path as a link, percent-encoded; bytes that are not UTF-8 as they are in the file system."""
    try:
        return urllib.parse.quote(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return urllib.parse.quote(path.encode("utf-8", "backslashreplace"))


def _json_text(value: Any) -> str:
    """Returns JSON without characters that HTML reads inside a script element."""
    text = json.dumps(finite(value), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_text("page.html"))


@functools.cache
def _frame() -> Mapping[str, str]:
    """Returns what every page contains: `style`, `three`, `viewer` and `policy`, which lets nothing else run."""
    style, three = _text("page.css"), _text("three.min.js")
    # A page is a single file, in which no module could import another: they become one.
    viewer = "\n".join(_EXPORT.sub("", _IMPORT.sub("", _text(name))) for name in _MODULES)
    for text in (three, viewer):
        if re.search(r"</script|<!--", text, re.IGNORECASE):
            raise ValueError("a script of the page holds what would end it")
    scripts, styles = (" ".join(map(_hash, texts)) for texts in ((three, viewer), (style,)))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return {"style": Markup(style), "three": Markup(three), "viewer": Markup(viewer), "policy": Markup(policy)}


def _text(name: str) -> str:
    return pathlib.Path(asset(f"viewer/{name}")).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
