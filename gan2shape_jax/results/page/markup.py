"""The page's HTML: gallery, table, and what readers without JavaScript get. Everything from outside is escaped."""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from gan2shape_jax.results.page.entries import FILES, Entry, anchor, column_words, figures, link, remarks
from gan2shape_jax.results.page.trust import GRADES, trust_of
from gan2shape_jax.results.table import COLUMNS
from gan2shape_jax.errors import message_line, one_line

__all__ = ["card", "data_block", "escaped", "json_text", "notes", "plain_section", "script_safe", "table", "table_row"]


def escaped(words: str) -> str:
    """Returns a name or message escaped for the page's text and for quoted attributes."""
    return html.escape(one_line(words))


def card(entry: Entry, index: int, thumb: dict[str, str] | None) -> str:
    """Returns an image's place in the gallery."""
    row = entry.row
    name, target = escaped(row.name), html.escape(anchor(row))
    picture = f'<img src="data:image/{thumb["kind"]};base64,{thumb["data"]}" alt="" decoding="async">' if thumb else ""
    trust = trust_of(row.metrics)
    badge = ""
    if trust and trust.grade:
        badge = f'<span class="badge {trust.grade}">{GRADES[trust.grade]}</span>'
    elif told := remarks(row):
        badge = f'<span class="badge told">{escaped(told)}</span>'
    return (
        f'<li id="{target}" data-index="{index}"><a href="#{link(anchor(row))}"><span class="thumb">{picture}</span>'
        f'<span class="name">{name}</span>{badge}</a></li>\n'
    )


def table(entries: Sequence[Entry]) -> str:
    """Returns the table of figures; columns without any known value are left out."""
    values = [figures(entry.row) for entry in entries]
    kept = [k for k in range(len(COLUMNS)) if any(line[k] is not None for line in values)]
    head = "".join(
        f'<th scope="col"><abbr title="{escaped(column_words(COLUMNS[k][0]))}">{COLUMNS[k][0]}</abbr></th>'
        for k in kept
    )
    lines = "".join(table_row(entry, index, kept) for index, entry in enumerate(entries))
    return (
        f'<thead><tr><th scope="col">name</th>{head}<th scope="col">status</th></tr></thead>\n'
        f'<tbody id="rows">\n{lines}</tbody>'
    )


def table_row(entry: Entry, index: int, columns: Iterable[int]) -> str:
    """Returns an image's row of the table with these columns."""
    values = figures(entry.row)
    cells = "".join(f"<td>{_shown(values[k], COLUMNS[k][2])}</td>" for k in columns)
    return (
        f'<tr data-index="{index}"><th scope="row"><a href="#{link(anchor(entry.row))}">{escaped(entry.row.name)}'
        f"</a></th>{cells}<td>{escaped(message_line(entry.row.status))}</td></tr>\n"
    )


def plain_section(entry: Entry, files: Sequence[tuple[int, int]]) -> str:
    """Returns an image for readers without JavaScript: what there is to say about it, and links to its files."""
    row = entry.row
    trust = trust_of(row.metrics)
    told = [words for words in (trust.verdict if trust else "", remarks(row)) if words]
    links = " · ".join(
        f'<a href="{link(f"{entry.place}/{name}")}">{escaped(name)}</a>'
        for number, _ in files
        for name in FILES[number].files[:1]
    )
    return (
        f"<h2>{escaped(row.name)}</h2>" + "".join(f"<p>{escaped(words)}</p>" for words in [*told]) + f"<p>{links}</p>\n"
    )


def notes(sentences: Sequence[str]) -> str:
    """Returns the section on what is not in the page; "" if that is nothing."""
    told = " ".join(escaped(sentence) for sentence in sentences)
    return f'<section class="notes"><p>{told}</p></section>' if told else ""


def data_block(name: str, text: str, *, kind: str = "application/json") -> str:
    """Returns text as a data block of the page, which is never run; `text` must be `script_safe`."""
    return f'<script type="{kind}" id="{name}">{text}</script>\n'


def json_text(value: Any) -> str:
    """Returns JSON that may stand in a data block."""
    return script_safe(json.dumps(value, separators=(",", ":"), allow_nan=False))


def script_safe(text: str) -> str:
    """Returns JSON without characters that HTML reads inside a script element."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
