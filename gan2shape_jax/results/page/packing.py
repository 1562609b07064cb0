"""What goes into a page while there is room, and what is left out first.

The most important things go in first, each kind for all images in order before the next kind: small pictures for the
gallery; interactive models; further pictures and maps; finer colours; links for readers without JavaScript; files to
download, in the order of `entries.FILES`. Once a thing of some kind does not fit, no more of that kind goes in, so that
it is easy to say what is missing.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from gan2shape_jax.results.page import markup
from gan2shape_jax.results.page.entries import FILES, Entry, offers
from gan2shape_jax.results.page.stored import Fragments

__all__ = ["Packing", "packed"]

_AROUND = 100  # bytes of HTML around what is packed, at most
_FOR_THUMBS = 0.8  # of the room, the most that small pictures may take: of thousands of images, some can be turned


@dataclasses.dataclass
class Packing:
    """What a page holds.

    Attributes:
      left: bytes that are still free.
      files: for each image, the number in `FILES` and the size in bytes of what its folder offers.
      thumbs: small pictures, by image.
      models: images whose models, or the pictures that stand in for them, are in the page.
      extras: images whose further pictures and maps are in the page.
      inside: size in bytes of each file that is in the page, by image and number in `FILES`.
      plain: HTML for readers without JavaScript.
      blocks: the data blocks of all this.
      missing: kinds that did not fit for every image: "thumbs", "models", "extras", "texture", "plain", or a number in
        `FILES`.
    """

    left: int
    files: Sequence[Sequence[tuple[int, int]]]
    thumbs: dict[int, dict[str, str]] = dataclasses.field(default_factory=dict)
    models: set[int] = dataclasses.field(default_factory=set)
    extras: set[int] = dataclasses.field(default_factory=set)
    inside: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    plain: str = ""
    blocks: list[str] = dataclasses.field(default_factory=list)
    missing: set[str | int] = dataclasses.field(default_factory=set)

    def takes(self, kind: str | int, count: int) -> bool:
        """Reserves room for one more of a kind; returns False and marks the kind as missing if there is too little."""
        if kind in self.missing or count > self.left:
            self.missing.add(kind)
            return False
        self.left -= count
        return True


def packed(entries: Sequence[Entry], fragments: Fragments, room: int) -> Packing:
    """Returns what fits of these images.

    Args:
      entries: the images.
      fragments: reads their folders.
      room: bytes.
    """
    packing = Packing(room, [offers(fragments.files(entry.folder)) for entry in entries])
    there = [k for k, entry in enumerate(entries) if fragments.files(entry.folder)]
    for k in there:
        thumb = fragments.thumb(entries[k].folder)
        if thumb is None or "thumbs" in packing.missing:
            continue
        size = len(thumb["data"]) + _AROUND
        if packing.left - size < (1 - _FOR_THUMBS) * room:
            packing.missing.add("thumbs")
        elif packing.takes("thumbs", size):
            packing.thumbs[k] = thumb
    for k in there:
        _pack_model(packing, k, entries[k], fragments)
    for k in sorted(packing.models):
        _pack_part(packing, k, "extras", fragments.extras, entries[k].folder)
    for k in sorted(packing.models):
        _pack_part(packing, k, "texture", fragments.texture, entries[k].folder)
    plain = "".join(markup.plain_section(entry, some) for entry, some in zip(entries, packing.files, strict=True))
    if packing.takes("plain", len(plain.encode())):
        packing.plain = plain
    for number, offer in enumerate(FILES):
        for k in there if offer.inside else []:
            _pack_file(packing, k, number, entries[k], fragments)
    return packing


def _pack_model(packing: Packing, k: int, entry: Entry, fragments: Fragments) -> None:
    if "models" in packing.missing:  # it is then not even checked whether there is one
        return
    model = fragments.model(entry.folder) or fragments.stills(entry.folder)
    if model is None:
        return
    block = markup.data_block(f"model-{k}", markup.script_safe(model))
    if packing.takes("models", len(block)):
        packing.models.add(k)
        packing.blocks.append(block)


def _pack_part(
    packing: Packing, k: int, kind: str, read: Callable[[pathlib.Path], str | None], folder: pathlib.Path
) -> None:
    if kind in packing.missing:
        return
    part = read(folder)
    if part is None:
        return
    block = markup.data_block(f"{kind}-{k}", markup.script_safe(part))
    if packing.takes(kind, len(block)):
        packing.blocks.append(block)
        if kind == "extras":
            packing.extras.add(k)


def _pack_file(packing: Packing, k: int, number: int, entry: Entry, fragments: Fragments) -> None:
    names = FILES[number].files
    size = dict(packing.files[k]).get(number)
    if size is None or number in packing.missing:
        return
    # Checked before the file is read; a ZIP archive is never smaller than this.
    least = size * 4 // 3 if len(names) == 1 else size // 20
    if least > packing.left:
        packing.missing.add(number)
        return
    content = fragments.content(entry.folder, names)
    if content is None:
        return
    block = markup.data_block(f"file-{k}-{number}", content, kind="text/plain")
    if packing.takes(number, len(block)):
        packing.inside[k, number] = len(content) // 4 * 3 - content[-2:].count("=")
        packing.blocks.append(block)
