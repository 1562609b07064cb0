"""The run's page: one `index.html` with overviews, figures and meshes; plain HTML, no scripts."""

import html
import os
import pathlib
import urllib.parse
from collections.abc import Iterable, Sequence

from gan2shape_jax.atomic_files import atomic_text
from gan2shape_jax.outputs.table import COLUMNS, Row, figure
from gan2shape_jax.plain_text import message_line, one_line

__all__ = ["write_page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 2rem auto; padding: 0 1rem;
color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; }
img.overview { width: 100%; border: 1px solid #ddd; }
img.turn { height: 256px; }
.failed { color: #a00; }
"""
_LINKS = (
    ("mesh.glb", "mesh (GLB)"),
    ("mesh.obj", "mesh (OBJ)"),
    ("turntable.mp4", "turntable (MP4)"),
    ("relight.mp4", "relighting (MP4)"),
    ("depth.npy", "depth (NumPy)"),
    ("camera.json", "camera"),
    ("metrics.json", "metrics"),
)
_MAPS = ("input.png", "normals.png", "depth.png", "canonical.png")  # in place of the overview
_MOVING = ("turntable.gif", "relight.gif", "turntable_gan.gif", "relight_gan.gif")


def write_page(
    folder: str | os.PathLike,
    rows: Sequence[Row],
    *,
    title: str = "Reconstructions",
    results: str = "results",
) -> None:
    """Writes `folder/index.html`; the result of row `name` lies in `folder/results/name`.

    Only files that exist are linked, so the page may be written at any time.
    """
    folder = pathlib.Path(folder)
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}"
        f"</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>",
        _table(rows),
    ]
    parts += [_section(folder, f"{results}/{row.name}", row) for row in rows]
    atomic_text(folder / "index.html", "\n".join(parts) + "\n</body></html>\n")


def _table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{title}</th>" for title, _, _ in COLUMNS)
    lines = [f"<table><tr><th>name</th>{head}<th>status</th></tr>"]
    for row in rows:
        cells = "".join(f"<td>{_cell(row, path, digits)}</td>" for _, path, digits in COLUMNS)
        name = _text(row.name)
        lines.append(
            f"<tr><td><a href='#{urllib.parse.quote(row.name)}'>{name}</a></td>{cells}"
            f"<td>{_text(message_line(row.status))}</td></tr>"
        )
    return "\n".join([*lines, "</table>"])


def _text(words: str) -> str:
    """Returns a name or message as text of the page, and of an attribute in quotation marks."""
    return html.escape(one_line(words))


def _cell(row: Row, path: Sequence[str], digits: int) -> str:
    value = figure(row.metrics, path)
    return "–" if value is None else f"{value:.{digits}f}"


def _section(folder: pathlib.Path, place: str, row: Row) -> str:
    def exists(name: str) -> bool:
        return (folder / place / name).is_file()

    def link(name: str) -> str:
        return urllib.parse.quote(f"{place}/{name}")

    name = _text(row.name)
    parts = [f"<h2 id='{name}'>{name}</h2>"]
    if row.status != "done":
        parts.append(f"<p class='failed'>{_text(message_line(row.status))}</p>")
    if exists("overview.png"):
        parts.append(
            f"<p><a href='{link('overview.png')}'><img class='overview' loading='lazy' "
            f"src='{link('overview.png')}' alt='overview of {name}'></a></p>"
        )
    else:
        parts.append(_pictures(f"src='{link(f)}' alt='{f}'" for f in _MAPS if exists(f)))
    parts.append(_pictures(f"src='{link(f)}' alt='{f}'" for f in _MOVING if exists(f)))
    parts.append("<p>" + " · ".join(f"<a href='{link(f)}'>{text}</a>" for f, text in _LINKS if exists(f)) + "</p>")
    return "\n".join(parts)


def _pictures(attributes: Iterable[str]) -> str:
    return "<p>" + " ".join(f"<img class='turn' loading='lazy' {one}>" for one in attributes) + "</p>"
