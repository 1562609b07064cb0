"""Downloads a file, resuming where an earlier download ended.

Bytes are written as they arrive, so that an interrupted download keeps what it has received. The next one requests the
rest (`Range`), on condition that the file is unchanged (`If-Range`); a server that supports neither sends the whole
file again.
"""

import dataclasses
import io
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence

import requests

from gan2shape_jax.apps.get import answers, parts
from gan2shape_jax.apps.get.answers import Cut
from gan2shape_jax.errors import DiskFullError, UserError, refused
from gan2shape_jax.io.regular_files import MIB

__all__ = ["Patience", "Report", "Wanted", "download"]

Report = Callable[[int, int | None], object]  # takes the bytes received, and those of the whole file if known

_CONNECTIONS = 200  # of one download, however much each transfers
_SPARE = 64 * MIB  # bytes of disk space that a download leaves free


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for servers.

    Attributes:
      connect: seconds to wait for a connection.
      silence: seconds without data after which a connection counts as broken.
      pauses: seconds before each further attempt, if the previous one received nothing.
    """

    connect: float = 20.0
    silence: float = 60.0
    pauses: Sequence[float] = (1.0, 4.0)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A file to download.

    Attributes:
      url: its address.
      part: where its bytes are collected, in an existing folder; it may hold a partial download.
      size: required size in bytes; None accepts any.
      most: maximum size in bytes.
      checked: whether the caller checks its hash afterwards; if not, a partial download is resumed only if the server
        says that its file has not changed.
    """

    url: str
    part: pathlib.Path
    size: int | None
    most: int
    checked: bool


def download(wanted: Wanted, *, report: Report = lambda done, total: None, patience: Patience | None = None) -> None:
    """Downloads a whole file to its part.

    Args:
      wanted: the file.
      report: called with the progress.
      patience: with slow servers.

    Raises:
      UserError: the file cannot be downloaded; what was received is kept, unless it cannot belong to the file.
    """
    patience = patience or Patience()
    failures, most = 0, parts.length_of(wanted.part)
    with requests.Session() as session:
        for _ in range(_CONNECTIONS):
            try:
                return _connect(session, wanted, report, patience)
            except Cut as cut:
                here = parts.length_of(wanted.part)
                failures, most = (0, here) if here > most else (failures + 1, most)
                if failures > len(patience.pauses):
                    raise _broken(wanted, str(cut)) from cut
                if failures:
                    time.sleep(patience.pauses[failures - 1])
    raise _broken(wanted, f"after {_CONNECTIONS} connections it is not whole")


def _broken(wanted: Wanted, why: str) -> UserError:
    kept = parts.length_of(wanted.part)
    begun = f"; {kept / MIB:,.1f} MiB of it are kept, and the same command goes on with them" if kept else ""
    return UserError(f"{wanted.url}: {why}{begun}. Or download it elsewhere, and give it with --from")


def _connect(session: requests.Session, wanted: Wanted, report: Report, patience: Patience) -> None:
    """Fetches what is missing over one connection; raises `Cut` if it ends too soon."""
    known = _begun(wanted)
    here = parts.length_of(wanted.part) if known is not None else 0
    if known is not None and here == (known.total if wanted.size is None else wanted.size):
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": "gan2shape-jax"}
    if known is not None:
        headers["Range"] = f"bytes={here}-"
        if known.condition:
            headers["If-Range"] = known.condition
    with answers.opened(session, wanted.url, headers, (patience.connect, patience.silence)) as response:
        if known is not None and response.status_code == 416:
            if answers.is_whole(response, here) and wanted.size is None and known.total is None:
                return
            parts.discard(wanted.part)
            raise Cut("the server's file is another than the one that was begun")
        answers.check_answer(response, wanted.url)
        if response.status_code == 206:
            total = answers.rest_of(response, here)
            if known is not None and total is not None and known.total not in (None, total):
                parts.discard(wanted.part)
                raise Cut("the server's file is another than the one that was begun")
        else:
            here, total = 0, answers.length_of_body(response)
        _check_total(total, here, wanted)
        if not here:
            parts.begin(wanted.part, parts.Known(wanted.url, *answers.version(response), total))
        _receive(response, wanted, here, total, report)


def _begun(wanted: Wanted) -> parts.Known | None:
    """Returns which file the part is the beginning of, or None if it cannot be resumed."""
    known = parts.read_known(wanted.part, wanted.url)
    if known is None or not (wanted.checked or known.condition):
        return None
    longest = min(bound for bound in (known.total, wanted.size, wanted.most) if bound is not None)
    return known if parts.length_of(wanted.part) <= longest else None


def _check_total(total: int | None, here: int, wanted: Wanted) -> None:
    """Raises `UserError` if the server announces a wrong size, or more than there is room for."""
    if total is None:
        return
    if wanted.size is not None and total != wanted.size:
        raise UserError(
            f"{wanted.url}: the server has a file of {total:,} bytes, where {wanted.size:,} are expected: it is "
            "another file than the one that was published"
        )
    if total > wanted.most:
        raise UserError(f"{wanted.url}: the server announces {total:,} bytes: at most {wanted.most:,} are taken")
    folder = wanted.part.parent
    missing, free = total - here, shutil.disk_usage(folder).free
    if missing + _SPARE > free:
        raise DiskFullError(
            f"{folder}: {missing / MIB:,.0f} MiB are to come and {free / MIB:,.0f} MiB are free; make room, or name "
            "another folder with --folder"
        )


def _receive(response: requests.Response, wanted: Wanted, here: int, total: int | None, report: Report) -> None:
    """Writes what follows the first `here` bytes; raises `Cut` if less arrives than was announced."""
    done, end = here, wanted.most if total is None else total
    report(done, total)
    try:
        # Unbuffered: what has been received is in the file, however this process ends.
        with open(wanted.part, "r+b" if here else "wb", buffering=0) as file:
            file.seek(here)
            for chunk in answers.chunks(response):
                if not done and chunk.lstrip()[:1] == b"<":
                    raise answers.web_page(wanted.url)
                if done + len(chunk) > end:
                    raise UserError(
                        f"{wanted.url}: the server sends more than the {end:,} bytes that it may: nothing of it is used"
                    )
                _write(file, chunk)
                done += len(chunk)
                report(done, total)
            os.fsync(file.fileno())
    except UserError:
        parts.discard(wanted.part)
        raise
    except OSError as error:
        raise refused(error, f"cannot write {wanted.part}") from error
    whole = wanted.size if total is None else total
    if whole is not None and done < whole:
        raise Cut(f"the connection ended after {done:,} of {whole:,} bytes")


def _write(file: io.FileIO, chunk: bytes) -> None:
    """Writes a whole chunk: an unbuffered file may take less at once, for instance if the disk is nearly full."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]
