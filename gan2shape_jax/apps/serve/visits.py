"""What visitors may request, their files, when these are removed, and which requests are refused.

Pages tell Gradio which file was sent by giving its path. Gradio checks the path against its upload folder in
applications that it starts itself, but not in a mounted one, as here: it would copy any file of this machine for anyone
who names it, or fetch an address. It also forwards the contents of public addresses to anyone who names one after
`file=`. It limits each file of an upload, but not their number, and not other requests. So `Guard` looks first.

A visitor is a page in a browser. Its folder has an unguessable name, which is part of the addresses of its results.

CACHE/gan2shape_jax/serving/
  NAME.lock               held by the server that owns the folder
  NAME/uploads/           photos as they come in
  NAME/visits/TOKEN/      a visitor's: photo, frame-N/, result-N/
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import filelock

from gan2shape_jax.apps.photo.photo_run import names_for
from gan2shape_jax.errors import one_line, refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_AROUND = 1 << 16  # bytes of a request beyond the file itself
_MOST_OTHER = 1 << 20  # bytes of a request without a file
# Where the page posts to: queued work, and run/ for unqueued work. Gradio has further addresses.
_POSTED = re.compile(r".*/(queue/join|run/\w+|cancel|reset)")
# Scripts and pictures come only from here; a browser requests nothing from other servers.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
# A file or another server's address embedded in an address here, which Gradio would serve or forward.
_NAMED = re.compile(r"/(file=|file/|proxy=)(.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What visitors of a server may request."""

    file_bytes: int = 50_000_000  # of a photo's file
    pixels: int = 50_000_000  # of a photo
    waiting: int = 8  # jobs, not counting the one that runs
    job_s: float = 1800.0  # seconds of a job
    keep_s: float = 1800.0  # seconds for which a visitor's files are kept after their last action
    uploads: int = 4  # at the same time

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk for all visitors together, above which no photo is accepted."""
        return 40 * self.file_bytes


@dataclasses.dataclass
class Visit:
    """One visitor's photo and what came of it."""

    folder: pathlib.Path  # of its files; its name is used in the addresses of results
    shown: str  # the photo's name, for messages: one line, but possibly with markup in it
    name: str  # under which results are filed
    used: float  # when it was last used, `time.monotonic()`
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)  # from the photo's framing
    frame: pathlib.Path | None = None  # folder of the framing
    result: pathlib.Path | None = None  # folder of the latest reconstruction

    @property
    def photo(self) -> pathlib.Path:
        """The photo's file."""
        return self.folder / "photo"

    def new_folder(self, kind: str) -> pathlib.Path:
        """Makes a folder for a job, and removes those of earlier jobs of its kind; `kind` is `frame` or `result`."""
        for former in self.folder.glob(f"{kind}-*"):
            shutil.rmtree(former, ignore_errors=True)
        folder = self.folder / f"{kind}-{secrets.token_hex(4)}"
        folder.mkdir()
        setattr(self, kind, folder)
        return folder


class Visits:
    """All visitors of a server, by browser page; used by the server's event loop alone."""

    def __init__(self, root: pathlib.Path, *, keep_s: float):
        """Starts without visitors; their folders will be in `root`, and are kept `keep_s` seconds after a last use."""
        self._root, self._keep_s = root, keep_s
        self._visits: dict[str, Visit] = {}

    def find(self, session: str) -> Visit | None:
        """Returns a browser page's visit, which counts as used, or None if there is none, or no longer."""
        visit = self._visits.get(session)
        if visit is not None:
            visit.used = time.monotonic()
        return visit

    def by_token(self, token: str) -> Visit | None:
        """Returns the visit with a token, which counts as used, or None."""
        for session, visit in self._visits.items():
            if secrets.compare_digest(visit.folder.name.encode(), token.encode()):
                return self.find(session)
        return None

    def new(self, session: str, upload: pathlib.Path) -> Visit:
        """Begins a page's visit with a copy of a photo that it has sent; the previous one is forgotten."""
        self.forget(session)
        folder, shown = self._root / secrets.token_urlsafe(24), one_line(upload.name)
        visit = Visit(folder, shown, names_for([pathlib.Path(upload.name)], {})[0], time.monotonic())
        try:
            folder.mkdir(mode=0o700)
            shutil.copyfile(upload, visit.photo)
        except OSError as error:
            raise refused(error, f"{shown} cannot be taken in") from error
        self._visits[session] = visit
        return visit

    def forget(self, session: str) -> None:
        """Forgets a visit; `tidy` removes its files."""
        self._visits.pop(session, None)

    def tidy(self) -> None:
        """Forgets visits that were not used for too long, and removes all files that belong to none."""
        for session, visit in list(self._visits.items()):
            if time.monotonic() - visit.used > self._keep_s:
                self.forget(session)
        kept = {visit.folder for visit in list(self._visits.values())}
        for folder in self._root.iterdir():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def server_folder(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new private folder in `root`, removed at the end; first removes those of servers that crashed."""
    folder = root / secrets.token_hex(8)
    lock = filelock.FileLock(folder.with_suffix(".lock"), blocking=False)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in root.glob("*.lock"):  # the system releases the lock of a server that ends, however it does
            with contextlib.suppress(filelock.Timeout), filelock.FileLock(left, blocking=False):
                shutil.rmtree(left.with_suffix(""), ignore_errors=True)
                left.unlink(missing_ok=True)
        lock.acquire()
        folder.mkdir(mode=0o700)
        for inside in ("uploads", "visits"):
            (folder / inside).mkdir()
    except OSError as error:
        raise refused(error, f"{root} cannot hold the server's files") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        folder.with_suffix(".lock").unlink(missing_ok=True)


def stored_bytes(folder: pathlib.Path) -> int:
    """Returns the total size of all files below a folder; files that vanish meanwhile are not counted."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


class _TooLargeError(Exception):
    pass


class Guard:
    """Passes requests to an application, or refuses them."""

    def __init__(self, app: ASGIApp, folder: pathlib.Path, limits: Limits):
        """Guards an application whose uploads go to `folder`/uploads."""
        self._app, self._folder, self._limits = app, folder, limits
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import PlainTextResponse

        async def refuse(text: str, status: int) -> None:
            await PlainTextResponse(text, status)(scope, receive, send)

        path, length = scope["path"].rstrip("/"), Headers(scope=scope).get("content-length", "")
        upload = path.endswith("/upload")
        most = self._limits.file_bytes + _AROUND if upload else _MOST_OTHER
        too_large = f"Files of at most {self._limits.file_bytes / 1e6:g} MB are taken."
        if (named := _NAMED.search(path)) and not _lies_in(named[2], self._folder / "uploads"):
            return await refuse("There is no such file here.", 404)
        if length.isdigit() and int(length) > most:
            return await refuse(too_large, 413)
        if upload and self._uploads >= self._limits.uploads:
            return await refuse("Many photos come in just now: try again in a minute.", 503)
        if upload and stored_bytes(self._folder) > self._limits.stored_bytes:
            return await refuse("There is no room for more photos just now: try again later.", 507)
        taken, answered, read = 0, False, list[dict[str, Any]]()

        async def limited() -> Message:
            """Reads a request, whose announced length may be wrong, and breaks it off if it is too long."""
            nonlocal taken
            if read:
                return read.pop()
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise _TooLargeError
            return message

        async def answer(message: Message) -> None:
            """Sends an answer, but not the application's own to a request that was broken off."""
            nonlocal answered
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("content-security-policy", _POLICY)
            if answered or taken <= most:
                answered = True
                await send(message)

        self._uploads += upload
        try:
            if scope["method"] == "POST" and not upload:
                body, more = b"", True
                while more:
                    message = await limited()
                    body, more = body + message.get("body", b""), message.get("more_body", False)
                if not _POSTED.fullmatch(path) or not _names_only(body, self._folder / "uploads"):
                    return await refuse("This is not what the page sends.", 403)
                read.append({"type": "http.request", "body": body, "more_body": False})
            await self._app(scope, limited, answer)
        except _TooLargeError:
            pass
        finally:
            self._uploads -= upload
        if taken > most:
            await refuse(too_large, 413)


def _names_only(body: bytes, uploads: pathlib.Path) -> bool:
    """Returns whether every file that a request names is in the upload folder."""
    try:
        parts: list[Any] = [json.loads(body or b"null")]
    except (ValueError, RecursionError):
        return False
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if "path" in part and not _lies_in(part["path"], uploads):
                return False
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return True


def _lies_in(path: Any, folder: pathlib.Path) -> bool:
    """Returns whether a path is that of a file in a folder; only absolute paths count, never addresses."""
    try:
        inside = isinstance(path, str) and os.path.isabs(path) and os.path.isfile(path)
        return inside and pathlib.Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False
