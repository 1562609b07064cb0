"""Turns a published checkpoint into the files that a configuration names, in the user's cache.

Files are downloaded by pooch, or by hand, compared with their hash, unpacked from archives and converted.

CACHE/gan2shape_jax/weights/
  NAME/               the files made from a checkpoint; record.json, which is written last, lists them
  downloads/          what is being downloaded, or is kept
  unpacked/ARCHIVE/   files of an archive that serves several names; unpacked.json is written last
  .lock               held by the process that modifies any of this
"""

import contextlib
import gzip
import json
import pathlib
import shutil
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, cast
from urllib.parse import urljoin

import filelock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from gan2shape_jax.apps.get.table import ARCHIVE, MEMBERS, Entry, Given, Source
from gan2shape_jax.errors import RunEndingError, UserError, one_line, refused
from gan2shape_jax.io.bundled import import_tool
from gan2shape_jax.io.child import run_limited
from gan2shape_jax.io.files import MIB, atomic_file, atomic_text, folder_fault, open_regular, sha256
from gan2shape_jax.io.weights.tensors import listed

__all__ = ["MOST", "check_file", "fetch", "found", "locked", "obtain", "require_fetchable", "unpack"]

MOST = 4096 * MIB  # bytes of a download, or of a file in an archive: the most that readers of weight files accept
_UNPACKING = 1800  # seconds
_CHUNK = MIB
_SILENCE = (20, 60)  # seconds to wait for a connection, and for further bytes
_RECORD, _UNPACKED = "record.json", "unpacked.json"
_INSTALL = "downloads are made by pooch, which is not installed: pip install 'gan2shape-jax[get]', or use --from"


def found(entry: Entry, folder: pathlib.Path) -> dict[str, pathlib.Path] | None:
    """Returns the files of a checkpoint by the fields that they are for; None unless all of them exist."""
    files = {given.field: folder / entry.name / given.file for given in entry.gives}
    try:
        sizes = json.loads((folder / entry.name / _RECORD).read_bytes())["sizes"]
        return files if all(path.stat().st_size == sizes[path.name] for path in files.values()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Creates a folder if it is missing, and keeps other processes from changing it inside the block."""
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
        sources: dict[str, pathlib.Path] = {}
        if given:
            sources = _given(entry, given)
        elif not (entry.archived and (folder / "unpacked" / ARCHIVE / _UNPACKED).is_file()):
            sources = {source.file: fetch(source, folder / "downloads") for source in entry.sources}
        try:
            files = _members(folder / "unpacked" / ARCHIVE, list(sources.values())) if entry.archived else sources
            converted = _convert(entry, folder / entry.name, files)
        except UserError as error:
            # Damage to a download without a known hash shows only in use.
            unchecked = [sources[one.file] for one in entry.sources if one.file in sources and not one.sha256]
            if given or isinstance(error, RunEndingError) or not unchecked:
                raise
            for path in unchecked:
                path.unlink(missing_ok=True)
            raise UserError(f"{error}\nThe download, of which no hash is known, was removed.") from error
        if not given and not keep:
            for path in sources.values():
                path.unlink(missing_ok=True)
        return converted


def _given(entry: Entry, paths: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Returns files downloaded by hand, by their names here; raises `UserError` if they are not the right ones."""
    if entry.archived and len(paths) == 1:  # already joined
        return {ARCHIVE: paths[0]}
    names = [source.file for source in entry.sources]
    if len(paths) != len(names):
        raise UserError(f"--from takes the {len(names)} files of {entry.name} in this order: {', '.join(names)}")
    for source, path in zip(entry.sources, paths):
        check_file(source, path)
    return dict(zip(names, paths))


def check_file(source: Source, path: pathlib.Path) -> None:
    """Raises `UserError` if a file downloaded by hand is not the one published; the file is left as it is."""
    try:
        open_regular(path, limit=MOST).close()
        if source.sha256 and sha256(path) != source.sha256:
            raise UserError(_another(source, str(path), "it is not used"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise refused(error, f"cannot read {path}") from error


def require_fetchable(sources: Sequence[Source]) -> None:
    """Raises `UserError` if a file has to be downloaded by hand."""
    for source in sources:
        if source.by_hand:
            raise UserError(
                f"{source.file} has to be downloaded by hand ({source.by_hand}): open {source.url} in a browser, and "
                "give the file with --from"
            )


def fetch(source: Source, folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of a published file in `folder`; downloads it if it is missing or another one.

    Raises `UserError` if it cannot be downloaded, or is not the one published: then nothing of it is kept.
    """
    try:
        import pooch
        import requests
    except ImportError as error:
        raise UserError(_INSTALL) from error
    pooch.get_logger().setLevel("WARNING")  # hashes and progress are reported here
    known = f"sha256:{source.sha256}" if source.sha256 else None
    bar = _Bar(source)
    get = pooch.HTTPDownloader(
        progressbar=bar,
        chunk_size=_CHUNK,
        timeout=_SILENCE,
        headers={"Accept-Encoding": "identity", "User-Agent": "gan2shape-jax"},
        hooks={"response": _check_response},
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("tmp*"):  # pooch's, of a killed process
            left.unlink()
        return pathlib.Path(pooch.retrieve(source.url, known, fname=source.file, path=folder, downloader=get))
    except requests.exceptions.RequestException as error:  # also an OSError
        raise UserError(f"{source.url}: {error}. Or download it elsewhere, and give it with --from") from error
    except OSError as error:
        raise refused(error, f"cannot write below {folder}") from error
    except ValueError as error:  # the hash differs
        raise UserError(_another(source, source.url, "nothing of it is kept")) from error
    finally:
        bar.close()


def _another(source: Source, where: str, then: str) -> str:
    return (
        f"{where} is another file than the one published: its SHA-256 is not {source.sha256}, as found in public "
        f"repositories; {then}. If you trust it all the same, download it by hand, and convert it with gan2shape-jax "
        "convert"
    )


def _check_response(response: Any, **_: Any) -> None:
    """Raises `UserError` for a response that is not https, or leads to what is not, or is a web page."""
    url = urljoin(response.url, response.headers.get("Location", "") if response.is_redirect else "")
    if not url.startswith("https://"):
        raise UserError(f"{one_line(response.url[:200])} leads to {one_line(url[:200])}: only https is followed")
    if response.ok and not response.is_redirect and "html" in response.headers.get("Content-Type", "").lower():
        raise UserError(
            f"{url}: the server sends a web page (HTML) in place of the file: it wants a person to confirm or to log "
            "in, or the file has moved. Open the address in a browser, and give what you download with --from"
        )


class _Bar:
    """A progress bar for pooch, on a terminal; ends a download that is too large."""

    def __init__(self, source: Source):
        self.total, self._source, self._done = source.size or 0, source, 0
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
        speed = (TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, *speed, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(source.file)
        self._progress.start()
        if not console.is_terminal:
            print(f"downloading {source.file}", file=sys.stderr)

    def update(self, count: int) -> None:
        """Takes the number of bytes received since the last call."""
        self._done += count
        if max(self._done - _CHUNK, self.total) > MOST:
            raise UserError(f"{self._source.url}: the server sends more than {MOST / MIB:,.0f} MiB: nothing is used")
        self._progress.update(self._task, completed=self._done, total=self.total or None)

    def reset(self) -> None:
        """Starts counting anew."""
        self._done = 0

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._progress.stop()


def _members(place: pathlib.Path, parts: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Returns the archive's files by their names in it; first unpacks `parts`, if any, for all entries."""
    targets = {name: place / pathlib.PurePosixPath(name).name for name in MEMBERS}
    if parts:
        place.mkdir(parents=True, exist_ok=True)
        (place / _UNPACKED).unlink(missing_ok=True)
        names, places = [str(path) for path in parts], {name: str(path) for name, path in targets.items()}
        try:
            lacks = run_limited(unpack, names, places, memory=MOST, seconds=_UNPACKING, source=parts[0])
        except UserError:
            shutil.rmtree(place)
            raise
        atomic_text(place / _UNPACKED, json.dumps({"lacks": lacks}, indent=1) + "\n")
    return targets


def unpack(parts: Sequence[str], targets: Mapping[str, str]) -> list[str]:
    """Writes files of a gzipped tar archive in parts to paths that we name; returns the names that are missing.

    The archive is read to its end, where its checksum is. Called by `run_limited`, which limits what is written and
    turns the errors of damaged archives into sentences. `targets` says where each file is written, by its name.
    """
    missing, names = dict(targets), list[str]()
    with contextlib.ExitStack() as stack:
        joined = _Joined([stack.enter_context(open_regular(path)) for path in parts])
        plain = stack.enter_context(gzip.GzipFile(fileobj=cast(IO[bytes], joined), mode="rb"))
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                names = [*names, one_line(name[:200])][:21]
                if name in missing:
                    content = archive.extractfile(member) if member.isreg() else None
                    if content is None:
                        raise UserError(f"{one_line(name)}: in the archive it is no plain file")
                    with content, open(missing.pop(name), "wb") as file:
                        shutil.copyfileobj(content, file, _CHUNK)
        while plain.read(_CHUNK):  # to the checksum
            pass
    if len(missing) == len(targets):
        about = ", ".join(pathlib.Path(path).name for path in parts)
        raise UserError(f"{about}: the archive has none of {listed(list(missing))}; it has {listed(names, 20) or '-'}")
    return list(missing)


class _Joined:
    """Several files, read as one."""

    def __init__(self, files: Sequence[Any]):
        self._files = list(files)

    def read(self, count: int) -> bytes:
        """Returns the next bytes, b"" at the end."""
        while self._files:
            if content := self._files[0].read(count):
                return content
            self._files.pop(0)
        return b""


def _convert(entry: Entry, place: pathlib.Path, files: Mapping[str, pathlib.Path]) -> dict[str, pathlib.Path]:
    """Writes the files of an entry in the form that the program reads, and its record."""
    place.mkdir(parents=True, exist_ok=True)
    parts = {name: files[name] for given in entry.gives for name in given.made_of}
    if absent := [name for name, path in parts.items() if not path.exists()]:
        where = parts[absent[0]].parent
        raise UserError(f"{entry.name}: the archive, as it was unpacked to {where}, lacks {listed(absent)}")
    hashes = {name: sha256(path) for name, path in parts.items()}
    for given in entry.gives:
        sources = [files[name] for name in given.made_of]
        _make(given, sources, place / given.file, f"{entry.licence.title}, {entry.licence.url}")
    targets = {given.field: place / given.file for given in entry.gives}
    record = {
        "name": entry.name,
        "licence": {"title": entry.licence.title, "url": entry.licence.url},
        "made_of": hashes,
        "sizes": {path.name: path.stat().st_size for path in targets.values()},
    }
    atomic_text(place / _RECORD, json.dumps(record, indent=1, ensure_ascii=True) + "\n")
    return targets


def _make(given: Given, sources: Sequence[pathlib.Path], target: pathlib.Path, licence: str) -> None:
    if target.suffix != ".safetensors":
        atomic_file(target, lambda part: shutil.copyfile(sources[0], part))
        return
    gan = given.field == "gan.checkpoint"
    converter = import_tool(f"convert_{'stylegan2' if gan else 'networks'}.__main__")
    no_pictures = "--no-samples" if gan else "--no-sheet"
    converter.run([*map(str, sources), str(target), no_pictures, "--license-note", licence])
