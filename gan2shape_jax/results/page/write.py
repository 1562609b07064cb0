"""Writes the page within its size limit, and says on it what did not fit."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.results.page import assets, markup
from gan2shape_jax.results.page.entries import FILES, Entry, column_words, facts, offers
from gan2shape_jax.results.page.packing import Packing, packed
from gan2shape_jax.results.page.stored import Fragments
from gan2shape_jax.results.page.trust import GRADES
from gan2shape_jax.results.table import COLUMNS, Row

__all__ = ["LIMIT", "page_text", "write_page"]

LIMIT = 9_900_000  # bytes: e-mail allows 10 MB, a little of which it needs itself
_FOR_ROWS = 0.7  # of what the fixed parts leave, the most that names and figures may take
_FOR_NOTES = 4_000  # bytes
_MESSAGE = 2_000  # characters of a status that are shown


def write_page(
    folder: str | os.PathLike,
    rows: Sequence[Row],
    *,
    title: str = "Reconstructions",
    results: str = "results",
    fragments: Fragments | None = None,
    limit: int = LIMIT,
) -> None:
    """Writes `folder/index.html`; the result of row `name` lies in `folder/results/name`.

    Only files that exist are shown or linked, so the page may be written at any time. No array is read.

    Args:
      folder: of the run.
      rows: the images.
      title: the page's heading.
      results: the name of the results' folder in `folder`.
      fragments: from earlier calls for the same folder; with it, only new results are read.
      limit: the largest size of the page in bytes.

    Raises:
      UserError: the file system refuses.
    """
    folder = pathlib.Path(folder)
    entries = [Entry(row, folder / results / row.name, f"{results}/{row.name}") for row in rows]
    text = page_text(entries, title=title, fragments=fragments or Fragments(), limit=limit)
    atomic_text(folder / "index.html", text)


def page_text(entries: Sequence[Entry], *, title: str, fragments: Fragments, limit: int = LIMIT) -> str:
    """Returns the page of these images: at most `limit` bytes in UTF-8, but never less than its fixed 0.7 MB."""
    fragments.begin()
    bare = len(_page(title, [], Packing(0, []), "").encode())
    listed = _listed([_shortened(entry) for entry in entries], fragments, int((limit - bare) * _FOR_ROWS))
    empty = Packing(0, [offers(fragments.files(entry.folder)) for entry in listed])
    fixed = len(_page(title, listed, empty, "").encode())
    packing = packed(listed, fragments, limit - fixed - _FOR_NOTES)
    return _page(title, listed, packing, markup.notes(_left_out(listed, packing, len(entries), limit)))


def _listed(entries: Sequence[Entry], fragments: Fragments, room: int) -> Sequence[Entry]:
    """Returns as many images as there is room for with their names and figures alone."""
    for count, entry in enumerate(entries):
        files = [(number, size, False) for number, size in offers(fragments.files(entry.folder))]
        words = markup.card(entry, count, None) + markup.table_row(entry, count, range(len(COLUMNS)))
        room -= len(words.encode()) + len(markup.json_text(facts(entry, files)))
        if room < 0:
            return entries[:count]
    return entries


def _shortened(entry: Entry) -> Entry:
    """Returns an image with an overlong message cut short."""
    if len(entry.row.status) <= _MESSAGE:
        return entry
    return dataclasses.replace(entry, row=dataclasses.replace(entry.row, status=entry.row.status[:_MESSAGE] + " ..."))


def _page(title: str, entries: Sequence[Entry], packing: Packing, notes: str) -> str:
    images = [
        facts(
            entry,
            [(number, packing.inside.get((k, number), size), (k, number) in packing.inside) for number, size in some],
        )
        for k, (entry, some) in enumerate(zip(entries, packing.files, strict=True))
    ]
    data = {
        "columns": [[name, column_words(name), digits] for name, _, digits in COLUMNS],
        "files": [[offer.name, offer.words, offer.files[0]] for offer in FILES],
        "grades": GRADES,
        "images": images,
    }
    return assets.filled(
        {
            **assets.frame(),
            "title": markup.escaped(title),
            "kind": "single" if len(entries) == 1 else "many",
            "gallery": "".join(markup.card(entry, k, packing.thumbs.get(k)) for k, entry in enumerate(entries)),
            "table": markup.table(entries),
            "plain": packing.plain,
            "notes": notes,
            "data": markup.data_block("page-data", markup.json_text(data)) + "".join(packing.blocks),
        }
    )


def _left_out(entries: Sequence[Entry], packing: Packing, everything: int, limit: int) -> list[str]:
    """Returns sentences on what did not fit; [] if everything did."""
    told = []
    count = len(entries)
    if everything > count:
        told.append(f"It lists the first {count:,} of {everything:,} images; results.csv has all.")
    if "thumbs" in packing.missing:
        told.append(f"{len(packing.thumbs):,} of {count:,} images have a small picture.")
    if "models" in packing.missing:
        told.append(
            f"{len(packing.models):,} of {count:,} images can be turned here. The meshes of the others lie in their "
            "folders, and gan2shape-jax page makes a page of any."
        )
    if packing.missing & {"models", "extras"}:
        told.append(f"{len(packing.extras):,} have their reconstruction and further pictures here.")
    if "texture" in packing.missing:
        told.append("Some models have coarser colours here than in their folders.")
    outside = [offer.name for number, offer in enumerate(FILES) if number in packing.missing]
    if outside:
        told.append(f"Linked beside this page, at least for some images, instead of inside it: {', '.join(outside)}.")
    return (
        [f"This page is one file of at most {limit / 1e6:.3g} MB, so some things are left out.", *told] if told else []
    )
