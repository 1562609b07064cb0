"""What the page says about each image: words and figures, ready for JSON and HTML, and the files that it offers."""

import dataclasses
import pathlib
import urllib.parse
from collections.abc import Sequence
from typing import Any

from gan2shape_jax.results.page.stored import Listing
from gan2shape_jax.results.page.trust import Trust, trust_of
from gan2shape_jax.results.table import COLUMNS, Row, figure
from gan2shape_jax.errors import message_line, one_line

__all__ = ["FILES", "Entry", "Offer", "anchor", "column_words", "facts", "figures", "link", "offers", "remarks"]


@dataclasses.dataclass(frozen=True)
class Offer:
    """One thing to download.

    Attributes:
      name: of the file that is saved.
      words: what it is.
      files: the files in the result's folder that it is made from: one, or those that go into a ZIP archive.
      inside: whether it goes into the page if there is room.
    """

    name: str
    words: str
    files: tuple[str, ...]
    inside: bool = True


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


def _file(name: str, words: str, *, inside: bool = True) -> Offer:
    return Offer(name, words, (name,), inside)


# In the order in which they go into the page while there is room: the most useful first.
FILES = (
    _file("mesh.glb", "3D model (GLB)"),
    _file("camera.json", "Camera, view and light"),
    _file("metrics.json", "All figures"),
    _file("depth.npy", "Depth (NumPy)"),
    Offer("mesh_obj.zip", "3D model (OBJ)", ("mesh.obj", "mesh.mtl", "mesh_albedo.png")),
    _file("print.3mf", "To print in 3D (3MF)"),
    _file("print.stl", "To print in 3D (STL)"),
    _file("overview.png", "Overview picture", inside=False),
    _file("turntable.mp4", "Film: turned", inside=False),
    _file("relight.mp4", "Film: relit", inside=False),
    _file("turntable_gan.mp4", "Film: turned by the GAN", inside=False),
    _file("relight_gan.mp4", "Film: relit by the GAN", inside=False),
)
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
_DONE = "done"


def column_words(title: str) -> str:
    """Returns what a column of the table is, in words."""
    return _COLUMN_WORDS.get(title, title)


def figures(row: Row) -> list[float | None]:
    """Returns the row's number for each column of the table, rounded to a few more digits than are shown."""
    values = []
    for _, path, digits in COLUMNS:
        try:
            value = figure(row.metrics, path)
        except TypeError:  # text, or a list, in a file that another program wrote
            value = None
        values.append(None if value is None else round(value, digits + 2))
    return values


def remarks(row: Row) -> str:
    """Returns what has to be said of an image besides that it is done; "" if that is nothing."""
    status = message_line(row.status)
    if status == _DONE:
        return ""
    return status.removeprefix(f"{_DONE}, ")


def offers(listing: Listing) -> list[tuple[int, int]]:
    """Returns the number in `FILES` and the size in bytes of each offer whose files exist."""
    return [
        (number, sum(listing[name] for name in offer.files))
        for number, offer in enumerate(FILES)
        if all(name in listing for name in offer.files)
    ]


def anchor(row: Row) -> str:
    """Returns the id of an image's place in the page."""
    return f"at-{one_line(row.name)}"


def link(path: str) -> str:
    """Returns a path as a link, percent-encoded."""
    return urllib.parse.quote(path.encode("utf-8", "surrogateescape" if _encodes(path) else "backslashreplace"))


def facts(entry: Entry, files: Sequence[tuple[int, int, bool]]) -> dict[str, Any]:
    """Returns what the page's script knows about an image, as JSON values.

    Args:
      entry: the image.
      files: number in `FILES` and size in bytes of each offer, and whether the page holds it.
    """
    row = entry.row
    trust = trust_of(row.metrics)
    known: dict[str, Any] = {
        "name": one_line(row.name),
        "anchor": anchor(row),
        "done": message_line(row.status).split(",")[0] == _DONE,
        "remarks": remarks(row),
        "place": link(entry.place),
        "figures": figures(row),
        "files": [list(file) for file in files],
    }
    return known | ({"trust": _told(trust)} if trust else {})


def _told(trust: Trust) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(trust).items() if value not in (None, "")}


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
