"""Turns a checkpoint, downloaded here or by hand, into the files that a configuration names."""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence

from gan2shape_jax.apps.get import archive, fetch, places
from gan2shape_jax.apps.get.records import MOST, Archive, Entry, Given, Source
from gan2shape_jax.apps.get.transfer import Patience, Report
from gan2shape_jax.errors import RunEndingError, UserError
from gan2shape_jax.io.atomic_files import atomic_file, atomic_text
from gan2shape_jax.io.bundled import import_tool
from gan2shape_jax.io.regular_files import open_regular
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.io.weights.messages import listed

__all__ = ["obtain"]

_UNPACKED = "unpacked.json"  # exists once an archive has been unpacked

Shown = Callable[[Source], contextlib.AbstractContextManager[Report]]  # shows the download of a file


def obtain(
    entry: Entry,
    folder: pathlib.Path,
    shown: Shown,
    *,
    given: Sequence[pathlib.Path] = (),
    keep: bool = False,
    patience: Patience | None = None,
) -> dict[str, pathlib.Path]:
    """Returns the files of a checkpoint by the configuration fields that they are for.

    Args:
      entry: the checkpoint, whose licence has been agreed to.
      folder: of all checkpoints.
      shown: shows the progress of downloads.
      given: files to use instead of downloads, in the entry's order; for an archive, it may be the joined one.
      keep: whether to keep downloads after conversion.
      patience: with slow servers.

    Raises:
      UserError: a file cannot be obtained, is not the one published, or cannot be converted; no partial file is kept.
    """
    with places.held(folder):
        sources = _given(entry, given) if given else {}
        if not given and (entry.archive is None or not _is_unpacked(entry.archive, folder)):
            for source in entry.downloads:
                with shown(source) as report:
                    sources[source.file] = fetch.fetch(source, folder / "downloads", report, patience=patience)
        try:
            files = sources if entry.archive is None else _members(entry.archive, folder, list(sources.values()))
            made = _convert(entry, folder, files)
        except UserError as error:
            if not given and not isinstance(error, RunEndingError) and _forget_unchecked(entry, sources):
                raise UserError(f"{error}\nThe download, of which no hash is known, was removed.") from error
            raise
        if not given and not keep:
            for path in sources.values():
                path.unlink(missing_ok=True)
        return made


def _given(entry: Entry, paths: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Returns files downloaded by hand, by their names here; raises `UserError` if they are not the right ones."""
    names = [source.file for source in entry.downloads]
    if entry.archive is not None and len(paths) == 1:  # already joined
        return {entry.archive.name: paths[0]}
    if len(paths) != len(names):
        raise UserError(f"--from takes the {len(names)} files of {entry.name} in this order: {', '.join(names)}")
    for source, path in zip(entry.downloads, paths):
        fetch.check_file(source, path)
    return dict(zip(names, paths))


def _forget_unchecked(entry: Entry, sources: Mapping[str, pathlib.Path]) -> bool:
    """Removes downloads without a known hash, whose damage shows only in use; returns whether there are any."""
    unchecked = [sources[source.file] for source in entry.downloads if source.file in sources and not source.sha256]
    for path in unchecked:
        path.unlink(missing_ok=True)
    return bool(unchecked)


def _is_unpacked(held: Archive, folder: pathlib.Path) -> bool:
    return (folder / "unpacked" / held.name / _UNPACKED).is_file()


def _members(held: Archive, folder: pathlib.Path, parts: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Returns the archive's files by their names in it; first unpacks `parts`, if any, for all entries."""
    place = folder / "unpacked" / held.name
    targets = {name: place / pathlib.PurePosixPath(name).name for name in held.members}
    if parts:
        place.mkdir(parents=True, exist_ok=True)
        (place / _UNPACKED).unlink(missing_ok=True)
        lacks = archive.unpack(parts, targets, most=MOST)
        atomic_text(place / _UNPACKED, json.dumps({"lacks": lacks}, indent=1) + "\n")
    return targets


def _convert(entry: Entry, folder: pathlib.Path, files: Mapping[str, pathlib.Path]) -> dict[str, pathlib.Path]:
    place = folder / entry.name
    place.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for given in entry.gives:
        sources = [files[name] for name in given.made_of]
        if absent := [name for name in given.made_of if not files[name].exists()]:
            raise UserError(
                f"{entry.name}: the archive, as it was unpacked to {sources[0].parent}, lacks {listed(absent)}"
            )
        hashes.update({name: sha256(path) for name, path in zip(given.made_of, sources)})
        _make(given, sources, place / given.file, f"{entry.licence.title}, {entry.licence.url}")
    places.record(entry, folder, hashes)
    made = places.found(entry, folder)
    if made is None:
        raise UserError(f"{place}: its files have gone while they were made")
    return made


def _make(given: Given, sources: Sequence[pathlib.Path], target: pathlib.Path, licence: str) -> None:
    """Writes one file in the form that the program reads."""
    if not given.converter:
        atomic_file(target, lambda part: _copy(sources[0], part))
        return
    converter = import_tool(f"convert_{given.converter}.__main__")
    drawn = "--no-samples" if given.converter == "stylegan2" else "--no-sheet"
    converter.run([*map(str, sources), str(target), drawn, "--license-note", licence])


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    with open_regular(source, limit=MOST) as content, open(target, "wb") as file:
        shutil.copyfileobj(content, file)
