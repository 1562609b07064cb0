"""The training photos, read once and kept as one file of pixels from which every iteration takes its batch.

    OUT/photos.bin    all photos that are trained on, uint8 (n, s, s, 3), as they are in memory
    OUT/photos.json   how many, of which size, from which source, and what was left out or looks odd

The file of pixels is memory-mapped: training needs no more memory for many photos than for few.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan2shape_jax.errors import UserError, io_error, one_line
from gan2shape_jax.io.files import MIB, atomic_file, atomic_text, open_regular, read_object, read_text, sha256
from gan2shape_jax.io.image_files import ENDINGS, central_square, open_upright, pictures_in
from gan2shape_jax.io.weights import listed
from gan2shape_jax.method.streams import Stream, generator_of, run_key

FEW = 500  # photos; with fewer a GAN memorises them, or learns nothing
_PIXELS, _FACTS = "photos.bin", "photos.json"
_LARGEST_TEXT = 256 * MIB  # of a list of photos, and of photos.json
_LARGEST_MEMBER = 128 * MIB  # of one picture in a zip file
_LEAST_SIDE = 8  # pixels; whether a photo is too small for its GAN is checked later
_REPORTED_EVERY = 2000  # photos
_SHOWN = 5  # names per kind on the console; the file has all

_SIDE = 16  # pixels of the pictures that are compared: where eyes, nose and outline are, and nothing finer
_COMPONENTS, _EACH = 6, 200  # at most 6, and one per 200 photos: with fewer photos each, they would fit the odd ones
_FITTED = 5000  # photos, at most, that the components are fitted to
_GREY = 3.0  # levels: mean difference of a photo's channels up to which it counts as grey
_FAR = 4.0  # robust standard deviations from which a photo counts as unlike the others
_FEWEST = 50  # photos needed to judge likeness


class Selection(NamedTuple):
    """Which of the readable photos are used."""

    typical: float = 1.0  # the share to keep, those most like the others, in (0, 1]
    grey: bool = True  # whether photos without colours are kept


class Photos(NamedTuple):
    """What is trained on."""

    pixels: UInt8[np.ndarray, "n s s 3"]  # mapped from the file
    facts: dict[str, Any]  # what photos.json says, with the pixels' `fingerprint`


class _Listed(NamedTuple):
    """A photo not read yet: its name in messages, a mark that changes with it, its file, or its place in a zip file."""

    name: str
    mark: str
    path: pathlib.Path
    member: int = -1


# A photo's pixels and original side; or None and why there are none.
_Read = tuple[Any, int, str]


def rows_of(count: int, batch: int, number: int, seed: int) -> np.ndarray:
    """Returns the photos of iteration `number`: every photo once before any is repeated, reshuffled in each epoch."""
    places = np.arange(number * batch, (number + 1) * batch)
    epochs = np.unique(places // count).tolist()
    orders = {i: generator_of(run_key(seed), Stream.GAN_PHOTOS, i).permutation(count) for i in epochs}
    return np.asarray([orders[place // count][place % count] for place in places.tolist()])


def load(
    source: pathlib.Path, out: pathlib.Path, size: int, selection: Selection, *, log: Callable[[str], None]
) -> Photos:
    """Returns the photos of a folder, zip file or list, from the file of an earlier start if nothing has changed since.

    `out` is the folder that the file is kept in, `size` their side as trained on in pixels; `log` is called with what
    was left out and what looks odd. Raises `UserError` if there are no photos, hardly any can be read, or the file
    system fails.
    """
    found, others = _find(source)
    if others:
        names = listed(others, _SHOWN)
        log(f"{source}: {len(others)} that are not pictures were skipped: {names}")
    marks = hashlib.sha256(json.dumps([[p.name, p.mark] for p in found]).encode()).hexdigest()
    request = {"source": marks, "size": size, "typical": selection.typical, "grey": selection.grey}
    photos = _kept(out, request)
    if photos is None:
        photos = _pack(found, out, selection, request, log)
    _report(photos.facts, out / _FACTS, log)
    return photos


def _find(source: pathlib.Path) -> tuple[list[_Listed], list[str]]:
    """Returns the photos of a folder, zip file or list (.txt, one name a line), by name or in its order; and others."""
    ending, others = source.suffix.lower(), list[str]()
    if source.is_dir():
        paths, others = pictures_in(source, below=True)
        found = [_file(path, str(path.relative_to(source))) for path in paths]
    elif not source.is_file():  # a named pipe would be waited for
        raise UserError(f"{source} does not exist: name a folder of photos, a zip file of photos, or a list (.txt)")
    elif ending == ".txt":
        try:
            lines = read_text(source, limit=_LARGEST_TEXT, encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise UserError(f"{source} cannot be read as a list of photos: {error}") from error
        names = filter(None, map(str.strip, lines))
        found = [_file(source.parent / name, name) for name in names if not name.startswith("#")]
    elif ending == ".zip":
        with _opened(source) as archive:
            every = [
                (entry.filename, f"{entry.file_size} {entry.CRC}", number)
                for number, entry in enumerate(archive.infolist())
                if not entry.is_dir() and not pathlib.PurePosixPath(entry.filename).name.startswith(".")
            ]
        members = sorted(member for member in every if member[0].lower().endswith(ENDINGS))
        found = [_Listed(one_line(name)[:300], mark, source, number) for name, mark, number in members]
        others = [name for name, _, _ in every if not name.lower().endswith(ENDINGS)]
    else:
        raise UserError(f"{source} is neither a folder nor a zip file nor a list (.txt) of photos")
    if not found:
        raise UserError(f"{source} holds no photos: files ending in {', '.join(ENDINGS)} are looked for")
    return found, others


def _file(path: pathlib.Path, name: str) -> _Listed:
    try:
        facts = path.stat()
        mark = f"{facts.st_size} {facts.st_mtime_ns}"
    except (OSError, ValueError):
        mark = "absent"  # which is reported on reading
    return _Listed(one_line(name)[:300], mark, path)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_regular(path))))
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise UserError(f"{path} is not a readable zip file: {error}") from error
        yield archive


def _read(path: pathlib.Path, name: str, size: int) -> _Read:
    """Returns the upright central square of a photo at `size` pixels and its original side, or why there is none."""
    try:
        picture = central_square(open_upright(path, least=_LEAST_SIDE).picture)
    except UserError as error:
        return None, 0, str(error).replace(str(path), name)
    if picture.width < size / 2:
        return None, 0, f"{name} is only {picture.width} pixels wide: {size} are needed"
    square = picture if picture.width == size else picture.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(square), picture.width, ""


def _all_read(found: list[_Listed], size: int) -> Iterator[_Read]:
    if found[0].member < 0:
        for photo in found:
            read = _read(photo.path, photo.name, size)
            changed = not read[2] and _file(photo.path, photo.name) != photo
            yield (None, 0, f"{photo.name} changed while it was read") if changed else read
        return
    with _opened(found[0].path) as archive, tempfile.TemporaryDirectory() as folder:
        members = archive.infolist()
        for photo in found:
            member = members[photo.member]
            # The name in the archive is never used as a file name.
            place = pathlib.Path(folder, f"photo{pathlib.PurePosixPath(member.filename).suffix.lower()}")
            try:
                with archive.open(member) as file:
                    content = file.read(_LARGEST_MEMBER + 1)  # never more, whatever the archive claims
                if len(content) > _LARGEST_MEMBER:
                    raise ValueError(f"it holds more than {_LARGEST_MEMBER // MIB} MiB")
            except Exception as error:  # a damaged archive can raise anything
                yield None, 0, f"{photo.name} cannot be unpacked: {error}"
                continue
            place.write_bytes(content)
            yield _read(place, photo.name, size)


def _kept(out: pathlib.Path, request: dict[str, Any]) -> Photos | None:
    """Returns the photos that an earlier start has kept; None if there are none, or others, or damaged ones."""
    with contextlib.suppress(OSError, ValueError, KeyError, UserError):
        facts = read_object(out / _FACTS, "facts about photos", limit=_LARGEST_TEXT)
        if facts["asked"] == request and sha256(out / _PIXELS) == facts["fingerprint"]:
            return Photos(_mapped(out, facts["photos"], request["size"]), facts)
    return None


def _mapped(out: pathlib.Path, count: int, size: int) -> np.ndarray:
    return np.memmap(out / _PIXELS, np.uint8, "r", shape=(count, size, size, 3))


def _pack(
    found: list[_Listed], out: pathlib.Path, selection: Selection, request: dict[str, Any], log: Callable[[str], None]
) -> Photos:
    size = request["size"]
    surveyor, names, small, unreadable = _Surveyor(), list[str](), list[str](), list[str]()
    digest = hashlib.sha256()
    try:
        # Without a name: nothing of it is left, however this process ends, and nothing is overwritten.
        with tempfile.TemporaryFile(dir=out) as file:
            for photo, (pixels, side, why) in zip(found, _all_read(found, size), strict=True):
                if why:
                    unreadable.append(why)
                    continue
                small += [photo.name] * (side < size)
                surveyor.see(pixels)
                file.write(pixels.tobytes())
                names.append(photo.name)
                if len(names) % _REPORTED_EVERY == 0:
                    log(f"photos: {len(names)} of {len(found)} read")
            if not names:
                raise UserError(f"none of {len(found)} photos can be used; the first: {unreadable[0]}")
            unlikeness = surveyor.unlikeness()
            grey = set() if selection.grey else {i for i, grey in enumerate(surveyor.grey) if grey}
            fitting = [i for i in range(len(names)) if i not in surveyor.copies and i not in grey]
            if not fitting:
                raise UserError("every photo is grey: train without --no-grey")
            most = max(1, round(len(fitting) * selection.typical))
            chosen = sorted(sorted(fitting, key=lambda i: (unlikeness[i], i))[:most])

            def write(path: pathlib.Path) -> None:
                file.flush()
                photos = np.memmap(file, np.uint8, "r").reshape(-1, size * size * 3)
                with path.open("wb") as target:
                    for i in chosen:
                        digest.update(photos[i].tobytes())
                        target.write(photos[i].tobytes())

            atomic_file(out / _PIXELS, write)
    except OSError as error:
        raise io_error(error, f"cannot write {out / _PIXELS}") from error
    taken = set(chosen)
    odd = [int(i) for i in np.argsort(-unlikeness, kind="stable") if unlikeness[i] > _FAR]
    facts = {
        "asked": request,
        "photos": len(chosen),
        "found": len(found),
        "fingerprint": digest.hexdigest(),
        "left out": {
            "unreadable or too small": unreadable,
            "copies": {names[i]: names[first] for i, first in surveyor.copies.items()},
            "grey": [names[i] for i in sorted(grey)],
            "unlike the others": [names[i] for i in fitting if i not in taken],
        },
        "enlarged": small,
        "odd": [names[i] for i in odd if i in taken],
    }
    atomic_text(out / _FACTS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return Photos(_mapped(out, len(chosen), size), facts)


def _report(facts: dict[str, Any], where: pathlib.Path, log: Callable[[str], None]) -> None:
    left, of_all = facts["left out"], f"of {facts['found']} photos"
    copies = [f"{name} is a copy of {first}" for name, first in left["copies"].items()]
    for lines, sentence in (
        (left["unreadable or too small"], f"{of_all} cannot be read, or are too small and are left out:"),
        (copies, f"{of_all} are duplicates and are left out:"),
        (left["grey"], f"{of_all} are grey and are left out:"),
        (left["unlike the others"], f"{of_all} are the least like the others and are left out:"),
        (facts["odd"], "photos look unlike the others; --typical leaves such photos out:"),
    ):
        if lines:
            log(f"{len(lines)} {sentence}")
            for line in lines[:_SHOWN]:
                log(f"  {line}")
            if len(lines) > _SHOWN:
                log(f"  ... and {len(lines) - _SHOWN} more, all in {where}")
    if facts["enlarged"]:
        log(f"{len(facts['enlarged'])} photos are smaller than the GAN's images and were enlarged")
    log(f"{facts['photos']} photos are used")
    if facts["photos"] < FEW:
        log(
            f"warning: fewer than {FEW} photos: expect samples that repeat a few of them, or that no shape can be "
            "learnt; a few thousand are usual, and starting from another GAN (--start) helps"
        )


class _Surveyor:
    """Takes photos one by one, keeping little of each.

    Likeness is measured on small grey pictures without their coarse shading, by their distance from the others' mean
    and first principal components: photos framed differently from the rest stand out.
    """

    def __init__(self) -> None:
        self.copies: dict[int, int] = {}  # positions of photos with the same pixels as an earlier one, and that one's
        self.grey: list[bool] = []  # whether each photo has no colours
        self._hashes: dict[bytes, int] = {}
        self._small: list[np.ndarray] = []

    def see(self, photo: UInt8[np.ndarray, "s s 3"]) -> None:
        """Takes the next photo."""
        position = len(self.grey)
        first = self._hashes.setdefault(hashlib.blake2b(photo.tobytes(), digest_size=16).digest(), position)
        if first != position:
            self.copies[position] = first
        levels = photo.astype(np.int16)
        self.grey.append(float((levels.max(axis=2) - levels.min(axis=2)).mean()) < _GREY)
        small = Image.fromarray(photo).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        grey = np.asarray(small, np.float32)
        coarse = Image.fromarray(grey).resize((_SIDE // 4, _SIDE // 4), Image.Resampling.BOX)
        detail = grey - np.asarray(coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
        self._small.append((detail / (detail.std() + 0.1)).ravel())  # the same contrast for all

    def unlikeness(self) -> Float[np.ndarray, " n"]:
        """Returns each photo's distance from the others, in robust standard deviations about the median.

        It is 0 for all if there are too few to judge.
        """
        pictures = np.asarray(self._small, np.float32)
        if len(pictures) < _FEWEST:
            return np.zeros(len(pictures), np.float32)
        fitted = pictures[:: max(1, len(pictures) // _FITTED)]
        mean = fitted.mean(axis=0)
        _, _, components = np.linalg.svd(fitted - mean, full_matrices=False)
        components = components[: min(_COMPONENTS, len(pictures) // _EACH)]
        rest = pictures - mean
        rest = rest - (rest @ components.T) @ components
        distance = np.linalg.norm(rest, axis=1)
        deviation = 1.4826 * np.median(np.abs(distance - np.median(distance))) + 1e-6
        return ((distance - np.median(distance)) / deviation).astype(np.float32)
