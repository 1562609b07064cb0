"""Published files: downloaded by pooch, compared with their hash, and unpacked from archives."""

import contextlib
import gzip
import pathlib
import shutil
import sys
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast
from urllib.parse import urljoin

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from gan2shape_jax.apps.get.table import Source
from gan2shape_jax.errors import UserError, one_line, refused
from gan2shape_jax.io.files import MIB, atomic_file, open_regular, sha256
from gan2shape_jax.io.weights.tensors import listed

__all__ = ["MOST", "check_file", "fetch", "require_fetchable", "unpack"]

MOST = 4096 * MIB  # bytes of a download, or of a file in an archive: the most that readers of weight files accept
_MOST_UNPACKED = 32 * 1024 * MIB  # bytes of all files in an archive together
_CHUNK = MIB  # bytes
_SILENCE = (20, 60)  # seconds to wait for a connection, and for further bytes
_INSTALL = "downloads are made by pooch, which is not installed: pip install 'gan2shape-jax[get]', or use --from"


def fetch(source: Source, folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of a published file; downloads it if it is missing or differs from the one published.

    Args:
      source: the file.
      folder: of the file; the caller has exclusive access to it.

    Raises:
      UserError: the file cannot be downloaded, or is not the one published: then nothing of it is kept.
    """
    require_fetchable([source])
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


def require_fetchable(sources: Sequence[Source]) -> None:
    """Raises `UserError` if a file has to be downloaded by hand."""
    for source in sources:
        if source.by_hand:
            raise UserError(
                f"{source.file} has to be downloaded by hand ({source.by_hand}): open {source.url} in a browser, and "
                "give the file with --from"
            )


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


def unpack(parts: Sequence[str], targets: Mapping[str, str], most: int = MOST) -> list[str]:
    """Writes files of a gzipped tar archive in parts, each atomically and to a path that we name; returns missing ones.

    The archive is read to its end, where its checksum is; after an error, nothing that was written stays. For archives
    from others, this is called by `run_limited`.

    Args:
      parts: of the archive, in order.
      targets: where each file is written, by its name in the archive; the folders must exist.
      most: maximum size of a file, in bytes.

    Raises:
      UserError: the parts are no such archive, or it is damaged, has none of the files or is too large; or the file
        system refuses.
    """
    about = ", ".join(pathlib.Path(path).name for path in parts)
    missing, names, total = {name: pathlib.Path(path) for name, path in targets.items()}, list[str](), 0
    try:
        with contextlib.ExitStack() as stack:
            joined = _Joined([stack.enter_context(open_regular(path)) for path in parts])
            plain = stack.enter_context(gzip.GzipFile(fileobj=cast(IO[bytes], joined), mode="rb"))
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    names.append(one_line(name[:200]))
                    total += member.size
                    if total > _MOST_UNPACKED:
                        raise UserError(f"{about}: unpacks to more than any archive of weights has")
                    if name in missing:
                        _write(archive, member, missing.pop(name), most)
            while plain.read(_CHUNK):  # to the checksum
                pass
    except BaseException as error:
        for target in targets.values():
            pathlib.Path(target).unlink(missing_ok=True)
        if isinstance(error, (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError)):
            raise UserError(f"{about}: damaged, truncated or no gzipped tar archive ({error})") from error
        if isinstance(error, OSError):
            raise refused(error, f"cannot read {about}") from error
        raise
    if len(missing) == len(targets):
        raise UserError(f"{about}: the archive has none of {listed(list(missing))}; it has {listed(names, 20) or '-'}")
    return list(missing)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: pathlib.Path, most: int) -> None:
    content = archive.extractfile(member) if member.isreg() else None
    if content is None or member.size > most:
        raise UserError(f"{target.name}: in the archive it is no plain file of at most {most / MIB:,.0f} MiB")
    with content:
        atomic_file(target, lambda part: _copy(content, part))


def _copy(content: Any, target: pathlib.Path) -> None:
    with open(target, "wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)


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
