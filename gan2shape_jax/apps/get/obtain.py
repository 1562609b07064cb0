"""Turns a checkpoint, downloaded here or by hand, into the files that a configuration names, in the user's cache.

CACHE/gan2shape_jax/weights/
  NAME/               the files made from a checkpoint; record.json, which is written last, lists them
  downloads/          what is being downloaded, or is kept
  unpacked/ARCHIVE/   files of an archive that serves several names; unpacked.json is written last
  .lock               held by the process that modifies any of this
"""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

import filelock

from gan2shape_jax.apps.get.fetch import MOST, check_file, fetch, unpack
from gan2shape_jax.apps.get.table import Archive, Entry, Given
from gan2shape_jax.errors import RunEndingError, UserError, refused
from gan2shape_jax.io.bundled import import_tool
from gan2shape_jax.io.child import run_limited
from gan2shape_jax.io.files import atomic_file, atomic_text, folder_fault, open_regular, read_object, sha256
from gan2shape_jax.io.weights.tensors import listed

__all__ = ["found", "locked", "obtain"]

_RECORD, _UNPACKED = "record.json", "unpacked.json"
_SECONDS = 1800  # of unpacking


def found(entry: Entry, folder: pathlib.Path) -> dict[str, pathlib.Path] | None:
    """Returns the files of a checkpoint by the fields that they are for; None unless all of them exist."""
    place = folder / entry.name
    try:
        sizes = read_object(place / _RECORD, "the record of a checkpoint").get("sizes")
    except (FileNotFoundError, UserError):
        return None
    files = {given.field: place / given.file for given in entry.gives}
    whole = isinstance(sizes, dict) and all(
        path.is_file() and path.stat().st_size == sizes.get(path.name) for path in files.values()
    )
    return files if whole else None


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Creates a folder if it is missing, and keeps other processes from changing it inside the block.

    Raises:
      UserError: another process changes it, or it is not writable.
    """
    if fault := folder_fault(folder):
        raise UserError(f"{folder} {fault}, or name a folder with --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock", blocking=False):
            yield
    except filelock.Timeout:
        raise UserError(
            f"another process is getting a checkpoint in {folder}: wait for it, or name another --folder"
        ) from None
    except OSError as error:
        raise refused(error, f"cannot write below {folder} (--folder names another)") from error


def obtain(
    entry: Entry, folder: pathlib.Path, *, given: Sequence[pathlib.Path] = (), keep: bool = False
) -> dict[str, pathlib.Path]:
    """Returns the files of a checkpoint by the configuration fields that they are for.

    Args:
      entry: the checkpoint, whose licence has been agreed to.
      folder: of all checkpoints.
      given: files to use instead of downloads, in the entry's order; for an archive, it may be the joined one.
      keep: whether to keep downloads after conversion.

    Raises:
      UserError: a file cannot be obtained, is not the one published, or cannot be converted; no partial file is kept.
    """
    with locked(folder):
        sources = _given(entry, given) if given else {}
        if not given and not (entry.archive and (_place(entry.archive, folder) / _UNPACKED).is_file()):
            sources = {source.file: fetch(source, folder / "downloads") for source in entry.downloads}
        try:
            files = _members(entry.archive, folder, list(sources.values())) if entry.archive else sources
            made = _convert(entry, folder, files)
        except UserError as error:
            # Damage to a download without a known hash shows only in use.
            unchecked = [sources[one.file] for one in entry.downloads if one.file in sources and not one.sha256]
            if given or isinstance(error, RunEndingError) or not unchecked:
                raise
            for path in unchecked:
                path.unlink(missing_ok=True)
            raise UserError(f"{error}\nThe download, of which no hash is known, was removed.") from error
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
        check_file(source, path)
    return dict(zip(names, paths))


def _place(archive: Archive, folder: pathlib.Path) -> pathlib.Path:
    return folder / "unpacked" / archive.name


def _members(archive: Archive, folder: pathlib.Path, parts: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Returns the archive's files by their names in it; first unpacks `parts`, if any, for all entries."""
    place = _place(archive, folder)
    targets = {name: place / pathlib.PurePosixPath(name).name for name in archive.members}
    if parts:
        place.mkdir(parents=True, exist_ok=True)
        (place / _UNPACKED).unlink(missing_ok=True)
        names, places = [str(path) for path in parts], {name: str(path) for name, path in targets.items()}
        try:
            lacks = run_limited(unpack, names, places, memory=MOST, seconds=_SECONDS, source=parts[0])
        except UserError:
            shutil.rmtree(place)
            raise
        atomic_text(place / _UNPACKED, json.dumps({"lacks": lacks}, indent=1) + "\n")
    return targets


def _convert(entry: Entry, folder: pathlib.Path, files: Mapping[str, pathlib.Path]) -> dict[str, pathlib.Path]:
    """Writes the files of an entry in the form that the program reads, and its record."""
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
    record = {
        "name": entry.name,
        "licence": {"title": entry.licence.title, "url": entry.licence.url},
        "made_of": hashes,
        "sizes": {given.file: (place / given.file).stat().st_size for given in entry.gives},
    }
    atomic_text(place / _RECORD, json.dumps(record, indent=1, ensure_ascii=True) + "\n")
    return {given.field: place / given.file for given in entry.gives}


def _make(given: Given, sources: Sequence[pathlib.Path], target: pathlib.Path, licence: str) -> None:
    if not given.converter:
        atomic_file(target, lambda part: _copy(sources[0], part))
        return
    converter = import_tool(f"convert_{given.converter}.__main__")
    no_pictures = "--no-samples" if given.converter == "stylegan2" else "--no-sheet"
    converter.run([*map(str, sources), str(target), no_pictures, "--license-note", licence])


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    with open_regular(source, limit=MOST) as content, open(target, "wb") as file:
        shutil.copyfileobj(content, file)
