"""The training photos, read once and kept as one file of pixels from which every iteration takes its batch.

    OUT/photos.bin    all photos that are trained on, uint8 (n, s, s, 3), as they are in memory
    OUT/photos.json   how many, of which size, from which source, and what was left out or looks odd

The file is memory-mapped, not loaded: training needs no more memory for many photos than for few.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from gan2shape_jax.errors import DiskFullError, UserError, refused
from gan2shape_jax.io.atomic_files import atomic_file, atomic_text
from gan2shape_jax.io.regular_files import read_text

from . import sources
from .sources import Listed
from .survey import Survey, Surveyor

__all__ = ["FEW", "Photos", "Selection", "load", "rows_of"]

FEW = 500  # photos; with fewer a GAN memorises them, or learns nothing
_PIXELS, _FACTS = "photos.bin", "photos.json"
_LARGEST_FACTS = 1 << 28
_TOLD_EVERY = 2000  # photos
_SHOWN = 5  # names per kind on the console; the file has all


class Selection(NamedTuple):
    """Which of the readable photos are trained on.

    Attributes:
      typical: the share to keep, those most like the others, in (0, 1].
      grey: whether photos without colours are kept.
    """

    typical: float = 1.0
    grey: bool = True


class Photos(NamedTuple):
    """What is trained on.

    Attributes:
      pixels: (n, s, s, 3) uint8, mapped from the file.
      facts: what photos.json says.
    """

    pixels: UInt8[np.ndarray, "n s s 3"]
    facts: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the pixels."""
        return str(self.facts["fingerprint"])


def rows_of(count: int, batch: int, number: int, seed: int) -> np.ndarray:
    """Returns the photos of iteration `number`: every photo once before any is repeated, reshuffled in each epoch."""
    places = np.arange(number * batch, (number + 1) * batch)
    orders = {i: np.random.default_rng([seed, i]).permutation(count) for i in np.unique(places // count)}
    return np.asarray([orders[place // count][place % count] for place in places])


def load(
    source: pathlib.Path, out: pathlib.Path, size: int, selection: Selection, *, say: Callable[[str], None]
) -> Photos:
    """Returns the photos of a source, from the file of an earlier start if nothing has changed since.

    Args:
      source: folder, zip file or list.
      out: existing folder that the file is kept in.
      size: side of the photos as trained on, in pixels.
      selection: which of them are trained on.
      say: called with what was left out and what looks odd.

    Raises:
      UserError: there are no photos, hardly any can be read, or the file system fails.
    """
    listed = sources.find(source)
    told = hashlib.sha256(json.dumps([[p.name, p.mark] for p in listed]).encode()).hexdigest()
    asked = {"source": told, "size": size, "typical": selection.typical, "grey": selection.grey}
    kept = _kept(out, asked)
    if kept is None:
        _require_room(out, len(listed) * size * size * 3)
        kept = _pack(listed, out, size, selection, asked, say)
    _tell(kept.facts, out / _FACTS, say)
    return kept


def _kept(out: pathlib.Path, asked: dict[str, Any]) -> Photos | None:
    try:
        facts = json.loads(read_text(out / _FACTS, limit=_LARGEST_FACTS))
        if facts["asked"] != asked:
            return None
        pixels = _mapped(out, facts["photos"], asked["size"])
        return Photos(pixels, facts) if _fingerprint(pixels) == facts["fingerprint"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _mapped(out: pathlib.Path, count: int, size: int) -> np.ndarray:
    shape = (count, size, size, 3)
    if (out / _PIXELS).stat().st_size != int(np.prod(shape)):
        raise ValueError("another size")
    return np.memmap(out / _PIXELS, np.uint8, "r", shape=shape)


def _fingerprint(pixels: np.ndarray) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(pixels), 256):
        digest.update(np.ascontiguousarray(pixels[start : start + 256]).tobytes())
    return digest.hexdigest()


def _pack(
    listed: list[Listed],
    out: pathlib.Path,
    size: int,
    selection: Selection,
    asked: dict[str, Any],
    say: Callable[[str], None],
) -> Photos:
    surveyor, names, small = Surveyor(), [], []
    unreadable: list[str] = []
    spare = out / f".{_PIXELS}.all"
    try:
        with spare.open("wb") as file:
            reading = sources.read(listed, size, refused=lambda photo, why: unreadable.append(why))
            for number, photo, side in reading:
                if side < size / 2:
                    unreadable.append(f"{listed[number].name} is only {side} pixels wide: {size} are trained on")
                    continue
                small += [listed[number].name] * (side < size)
                surveyor.see(photo)
                file.write(photo.tobytes())
                names.append(listed[number].name)
                if len(names) % _TOLD_EVERY == 0:
                    say(f"photos: {len(names)} of {len(listed)} read")
        if not names:
            raise UserError(f"none of {len(listed)} photos can be used; the first: {unreadable[0]}")
        survey = surveyor.survey()
        chosen = _chosen(survey, len(names), selection)
        atomic_file(out / _PIXELS, lambda part: _write(part, spare, chosen, size))
    except OSError as error:
        raise refused(error, f"cannot write {out / _PIXELS}") from error
    finally:
        spare.unlink(missing_ok=True)
    pixels = _mapped(out, len(chosen), size)
    facts = {
        "asked": asked,
        "photos": len(chosen),
        "found": len(listed),
        "fingerprint": _fingerprint(pixels),
        "left out": {
            "unreadable or too small": unreadable,
            "copies": {names[i]: names[first] for i, first in survey.copies.items()},
            "grey": [names[i] for i in np.nonzero(survey.grey)[0]] if not selection.grey else [],
            "unlike the others": _dropped(survey, names, chosen, selection),
        },
        "enlarged": small,
        "odd": [names[i] for i in survey.odd if i in set(chosen)],
    }
    atomic_text(out / _FACTS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return Photos(pixels, facts)


def _chosen(survey: Survey, count: int, selection: Selection) -> list[int]:
    """Returns the positions of the photos to train on, in order."""
    left = [i for i in range(count) if i not in survey.copies and (selection.grey or not survey.grey[i])]
    if not left:
        raise UserError("every photo is grey: train without --no-grey")
    most = max(1, round(len(left) * selection.typical))
    return sorted(sorted(left, key=lambda i: (survey.unlikeness[i], i))[:most])


def _dropped(survey: Survey, names: list[str], chosen: list[int], selection: Selection) -> list[str]:
    taken = set(chosen) | set(survey.copies)
    return [name for i, name in enumerate(names) if i not in taken and (selection.grey or not survey.grey[i])]


def _write(path: pathlib.Path, spare: pathlib.Path, chosen: list[int], size: int) -> None:
    photos = np.memmap(spare, np.uint8, "r").reshape(-1, size * size * 3)
    with path.open("wb") as file:
        for i in chosen:
            file.write(photos[i].tobytes())


def _require_room(out: pathlib.Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if 2 * needed > free:
        raise DiskFullError(
            f"the photos take {2 * needed / 2**30:.1f} GiB while they are read, {out} has {free / 2**30:.1f} GiB free: "
            "make room, or name another folder with --out"
        )


def _tell(facts: dict[str, Any], where: pathlib.Path, say: Callable[[str], None]) -> None:
    left = facts["left out"]
    told = {
        "cannot be read, or are too small": left["unreadable or too small"],
        "are there before": [f"{name} is {first} again" for name, first in left["copies"].items()],
        "are grey": left["grey"],
        "are the least like the others": left["unlike the others"],
    }
    for what, lines in told.items():
        if lines:
            say(f"{len(lines)} of {facts['found']} photos {what} and are left out:")
            _list(lines, where, say)
    if facts["odd"]:
        say(f"{len(facts['odd'])} photos look unlike the others; --typical would leave such photos out:")
        _list(facts["odd"], where, say)
    if facts["enlarged"]:
        say(f"{len(facts['enlarged'])} photos are smaller than the GAN's images and were enlarged")
    say(f"{facts['photos']} photos are trained on")
    if facts["photos"] < FEW:
        say(
            f"warning: fewer than {FEW} photos: expect samples that repeat a few of them, or that no shape can be "
            "learnt from; some thousands are usual, and going on from a GAN of a similar kind (--start) helps"
        )


def _list(lines: list[str], where: pathlib.Path, say: Callable[[str], None]) -> None:
    for line in lines[:_SHOWN]:
        say(f"  {line}")
    if len(lines) > _SHOWN:
        say(f"  ... and {len(lines) - _SHOWN} more, all in {where}")
