"""The page of results.

It is one self-contained HTML file with an interactive model of every image it has room for. Its template
is `assets/viewer/page.html`. Names and messages are untrusted text: the template escapes them, and a policy in the
page's head allows only its own two scripts to run and no connections.

The page keeps to a size limit. The most important things go in first, each kind for all images in order before the next
kind: names and figures; small pictures for the gallery; interactive models; further pictures and maps; links for
readers without JavaScript; files to download, in the order of `outputs`. Once a thing of some kind does not fit, no
more of that kind goes in, so that it is easy to say on the page what is missing.
"""

import base64
import bisect
import contextlib
import functools
import hashlib
import io
import json
import os
import pathlib
import re
import urllib.parse
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gan2shape_jax.errors import UserError, message_line, one_line
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_text, file_inside, parsed
from gan2shape_jax.io.image_files import open_upright
from gan2shape_jax.io.weights import listed
from gan2shape_jax.results.files import finite, open_file
from gan2shape_jax.results.outputs import FORMAT, FRAGMENT, Output, fragment_of, outputs
from gan2shape_jax.results.pictures import encoded
from gan2shape_jax.results.result import AWAITS, COLUMNS, Result, Row
from gan2shape_jax.results.tables import known_columns

PER_PAGE = 1_000  # images: more open slowly
LIMIT = 9_900_000  # bytes: e-mail allows 10 MB, a little of which it needs itself
# The grades of trust, from good to bad, and their short names for where there is no room for the verdict.
GRADES = {"trust": "reliable", "unmeasured": "not measured", "doubt": "doubtful", "no": "unreliable"}

_FOR_ROWS = 0.7  # of what the fixed parts leave, the most that names and figures may take
_FOR_THUMBS = 0.8  # of the room, the most that small pictures may take: of thousands of images, some can be turned
_FOR_NOTES = 4_000  # bytes
_AROUND = 100  # bytes of HTML around what is packed, at most
_MESSAGE = 2_000  # characters of a status that are shown
_WORDS = ("found", "shape", "photographs", "invented", "verdict")
_TRUST = ("grade", *_WORDS, "category")  # what is shown of `trust` in the metrics
_DONE = "done"
DRAWINGS = "photos/framing"  # the folder of a run with drawings of photos, which show what was detected
_DRAWN = 320  # pixels of a drawing's longer side on the page
_COLUMN = ("title", "label", "term", "words", "digits")  # what the viewer is told of a figure

# The viewer's modules, each after those that it imports from.
_MODULES = (
    *("decode.js", "geometry.js", "colours.js", "shaders.js", "meshes.js", "handling.js", "viewer.js"),
    *("light.js", "words.js", "factors.js", "telling.js", "gallery.js", "downloads.js", "main.js"),
)


@functools.cache
def offers() -> tuple[Output, ...]:
    """Returns the outputs that the page offers for download."""
    return tuple(output for output in outputs() if output.offer)


class Entry(NamedTuple):
    """One image of a page: its row, its folder, which need not exist, and that folder relative to the page's."""

    row: Row
    folder: pathlib.Path
    place: str
    sizes: Mapping[str, int] | None = None  # of the files at `place` in bytes, by name, if not all are in the folder


def _sizes(folder: pathlib.Path) -> dict[str, int]:
    """Returns the files of a result's folder with their sizes in bytes; {} if there is no such folder."""
    sizes: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError, UserError), open_file(folder, path.name) as file:
                sizes[path.name] = os.fstat(file.fileno()).st_size
    return sizes


def _fragment(folder: pathlib.Path) -> list[dict[str, Any]] | None:
    """Returns card, model and extras of a result, made from its arrays if they are not ready; None if unreadable."""
    with contextlib.suppress(OSError, ValueError, RecursionError, UserError):
        with open_file(folder, FRAGMENT) as file:
            parts = [parsed(line) for line in file.read().splitlines()]
        if [type(part) for part in parts] == [dict] * 3 and parts[0].get("format") == FORMAT:
            return parts if isinstance(parts[0].get("thumb"), str) else None
    try:
        return fragment_of(Result.load(folder))
    except (OSError, ValueError, UserError):
        return None


def _content(folder: pathlib.Path, names: Sequence[str]) -> str | None:
    """Returns a file, or several as one ZIP archive, in base64; None if one cannot be read."""
    try:
        with contextlib.ExitStack() as stack:
            contents = [stack.enter_context(open_file(folder, name)).read() for name in names]
    except (OSError, UserError):
        return None
    buffer = io.BytesIO(contents[0])
    if len(names) > 1:
        with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
            for name, content in zip(names, contents, strict=True):
                # No timestamps, so that the bytes are the same whenever it is made.
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _drawing(entry: Entry) -> str | None:
    """Returns what was detected in a photo of which there is no result, as a small JPEG in base64; None if unknown."""
    path = entry.folder.parents[1] / DRAWINGS / f"{entry.row.name}.jpg"
    if entry.row.status.split(",")[0] == _DONE or not path.is_file():
        return None
    try:
        picture = open_upright(file_inside(path.parent, path.name), least=1).picture
    except UserError:
        return None
    picture.thumbnail((_DRAWN, _DRAWN))
    return base64.b64encode(encoded(np.asarray(picture), "JPEG", quality=80)).decode("ascii")


def write_page(
    folder: str | os.PathLike, rows: Sequence[Row], *, title: str = "Reconstructions", limit: int = LIMIT
) -> None:
    """Writes `folder/index.html` of at most `limit` bytes; the result of row `name` lies in `folder/results/name`.

    From 1,000 images on there are further pages. Only files that exist are shown or linked, so the pages may be written
    at any time.
    """
    folder = pathlib.Path(folder)
    for number, part in enumerate(parts := in_pages(rows)):
        entries = [Entry(row, folder / "results" / row.name, f"results/{row.name}") for row in part]
        text = page_text(entries, title=title, limit=limit, pages=(number, len(parts), len(rows)))
        atomic_text(folder / page_name(number), text)


def in_pages(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Returns the rows of each page; one page without any if there are none."""
    return [rows[first : first + PER_PAGE] for first in range(0, max(len(rows), 1), PER_PAGE)]


def page_name(number: int) -> str:
    """Returns the file of a page, numbered from 0."""
    return f"page-{number + 1}.html" if number else "index.html"


def page_text(
    entries: Sequence[Entry], *, title: str, limit: int = LIMIT, pages: tuple[int, int, int] = (0, 1, 0)
) -> str:
    """Returns the page of these images: at most `limit` bytes in UTF-8, but never less than its fixed 0.7 MB.

    `pages` are the page's number, from 0, among how many, and the number of images on all of them.
    """
    listings = [_sizes(entry.folder) if entry.sizes is None else entry.sizes for entry in entries]

    def page_of(count: int) -> _Page:
        return _Page(title, entries[:count], listings, pages)

    bare, listed = page_of(0).size(), len(entries)
    room = bare + (limit - bare) * _FOR_ROWS
    if page_of(listed).size() > room:  # the most images for whose names and figures there is room
        listed = max(bisect.bisect_right(range(listed), room, key=lambda count: page_of(count).size()) - 1, 0)
    page = page_of(listed)
    left_out = page.pack(limit - page.size() - _FOR_NOTES)
    if listed < len(entries):
        left_out.insert(0, f"It lists the first {listed:,} of {len(entries):,} images; results.csv has all.")
    if left_out:
        page.notes.insert(0, f"This page is one file of at most {limit / 1e6:.3g} MB, so some things are left out.")
    page.notes += left_out
    return page.text()


class _Page:
    """A page of some images and the files that fit into it."""

    def __init__(
        self,
        title: str,
        entries: Sequence[Entry],
        listings: Sequence[Mapping[str, int]],
        pages: tuple[int, int, int] = (0, 1, 0),
    ):
        self.title, self.entries, self.listings, self.pages = title, entries, listings, pages
        self.notes: list[str] = []
        self.left = 0  # bytes that are still free
        self.missing: set[str | int] = set()  # kinds that did not fit for every image, or a number in `offers`
        self.plain = False  # whether links for readers without JavaScript are in it
        self.thumbs: dict[int, str] = {}
        self.blocks: dict[str, str] = {}  # data, by the id of its element
        self.there = [k for k in range(len(entries)) if listings[k]]
        self.offers = [  # of each image, the size of each download by its number in `offers`
            {
                number: sum(listing[name] for name in names)
                for number, offer in enumerate(offers())
                if (names := offer.offered(listing))
            }
            for listing in listings[: len(entries)]
        ]

    def text(self) -> str:
        images = [self._image(k, entry) for k, entry in enumerate(self.entries)]
        columns = known_columns([entry.row for entry in self.entries])
        data = {
            "columns": [{key: getattr(column, key) for key in _COLUMN} for column in COLUMNS],
            "files": [[offer.archive or offer.files[0], offer.offer, offer.files[0]] for offer in offers()],
            "grades": GRADES,
            "images": [{key: value for key, value in image.items() if key != "status"} for image in images],
        }
        number, count, total = self.pages
        return _template().render(
            title=one_line(self.title),
            pages=[page_name(k) for k in range(count)] if count > 1 else [],
            page=number,
            part=f"{number * PER_PAGE + 1:,} to {min((number + 1) * PER_PAGE, total):,} of {total:,} images",
            columns=[(k, COLUMNS[k]) for k in columns],
            offers=offers(),
            images=images,
            thumbs=self.thumbs,
            grades=GRADES,
            plain=self.plain,
            notes=self.notes,
            blocks={"page-data": _json_text(data)} | self.blocks,
        )

    def _image(self, k: int, entry: Entry) -> dict[str, Any]:
        """Returns what the page says of an image; its figures have a few more digits than are shown."""
        row = entry.row
        status = message_line(row.status if len(row.status) <= _MESSAGE else f"{row.status[:_MESSAGE]} ...")
        figures = zip(COLUMNS, row.figures, strict=True)
        image: dict[str, Any] = {
            "name": one_line(row.name),
            "anchor": f"at-{one_line(row.name)}",
            "status": status,
            "done": status.split(",")[0] == _DONE,
            "remarks": "" if status == _DONE else status.removeprefix(f"{_DONE}, "),
            "awaits": bool(row.metrics.get(AWAITS)),
            # Names in a list need not be names of files; those of folders are bytes, UTF-8 or not.
            "place": urllib.parse.quote(os.fsencode(entry.place)) if self.offers[k] else "",
            "figures": [None if value is None else round(value, column.digits + 2) for column, value in figures],
            "files": [[n, size, f"file-{k}-{n}" in self.blocks] for n, size in self.offers[k].items()],
        }
        if said := row.metrics.get("trust"):
            told = {key: said_value for key in _TRUST if (said_value := said.get(key)) is not None}
            image["trust"] = told | {key: message_line(str(told[key])) for key in _WORDS if key in told}
        return image

    def size(self) -> int:
        return len(self.text().encode())

    def pack(self, room: int) -> list[str]:
        """Fills the page with what fits into that many bytes; returns sentences on what does not."""
        self.left = room
        unreadable: set[int] = set()
        for number, kind in enumerate(("thumb", "model", "extras")):
            for k in self.there:
                if kind in self.missing or k in unreadable or (kind == "extras" and f"model-{k}" not in self.blocks):
                    continue
                parts = _fragment(self.entries[k].folder)
                if parts is None:
                    unreadable.add(k)
                elif kind == "thumb":
                    if self._takes(kind, len(thumb := parts[0][kind]) + _AROUND, (1 - _FOR_THUMBS) * room):
                        self.thumbs[k] = thumb
                elif self._takes(kind, len(text := _json_text(parts[number])) + _AROUND):
                    self.blocks[f"{kind}-{k}"] = text
        for k, entry in enumerate(self.entries):
            if k not in self.thumbs and (drawn := _drawing(entry)):
                if self._takes("thumb", len(drawn) + _AROUND, (1 - _FOR_THUMBS) * room):
                    self.thumbs[k] = drawn
        if unreadable:
            names = listed([one_line(self.entries[k].row.name) for k in sorted(unreadable)], 10)
            self.notes.append(f"Could not be read, and are shown without their models: {names}.")
        without, self.plain = self.size(), True
        self.plain = self._takes("plain", self.size() - without)
        for number, offer in enumerate(offers()):
            for k in self.there if offer.inside else []:
                if number in self.missing or number not in self.offers[k]:
                    continue
                content = _content(self.entries[k].folder, offer.offered(self.listings[k]))
                if content and self._takes(number, len(content) + _AROUND):
                    self.blocks[f"file-{k}-{number}"] = content
                    self.offers[k][number] = len(content) // 4 * 3 - content[-2:].count("=")
        return self._left_out()

    def _takes(self, kind: str | int, count: int, least: float = 0) -> bool:
        """Reserves room for one more of a kind, leaving `least`; if there is too little, the kind is missing."""
        if kind in self.missing or self.left - count < least:
            self.missing.add(kind)
            return False
        self.left -= count
        return True

    def _left_out(self) -> list[str]:
        count = len(self.entries)
        models, extras = (sum(name.startswith(kind) for name in self.blocks) for kind in ("model-", "extras-"))
        outside = ", ".join(offer.archive or offer.files[0] for k, offer in enumerate(offers()) if k in self.missing)
        said = (
            ("thumb" in self.missing, f"{len(self.thumbs):,} of {count:,} images have a thumbnail."),
            (
                "model" in self.missing,
                f"{models:,} of {count:,} images have an interactive model here. The meshes of the others are in their "
                "folders, and gan2shape-jax page makes a page of any.",
            ),
            ({"model", "extras"} & self.missing, f"{extras:,} have their reconstruction and further pictures here."),
            (outside, f"Linked, not embedded, for at least some images: {outside}."),
        )
        return [text for applies, text in said if applies]


def _json_text(value: Any) -> str:
    """Returns JSON without characters that HTML reads inside a script element."""
    text = json.dumps(finite(value), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@functools.cache
def _template() -> Any:
    """Returns the template, with what every page contains: style, scripts and a policy that lets nothing else run."""
    import jinja2  # here, as it belongs to the extra `photo`

    style, three = _text("page.css"), _text("three.min.js")
    # A page is a single file, in which no module could import another: they become one.
    modules = "\n".join(re.sub(r"^import\b[^;]*;\n", "", _text(name), flags=re.MULTILINE) for name in _MODULES)
    viewer = re.sub(r"^export (?=(?:async )?function |const |let )", "", modules, flags=re.MULTILINE)
    digests = (hashlib.sha256(text.encode()).digest() for text in (three, viewer, style))
    script, other, styles = (f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
    policy = f"default-src 'none'; script-src {script} {other}; style-src {styles}; img-src data:; base-uri 'none'; "
    parts = {"style": style, "three": three, "viewer": viewer, "policy": policy + "form-action 'none'"}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    return environment.from_string(_text("page.html"), parts)


def _text(name: str) -> str:
    return pathlib.Path(asset(f"viewer/{name}")).read_text(encoding="utf-8")
