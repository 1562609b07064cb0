"""Checks every request: those that are too large, too many, or name files that were never uploaded are refused.

Pages tell Gradio which file was sent by giving its path. Gradio checks the path against its upload folder in
applications that it starts itself, but not in a mounted one, as here: it would copy any file of this machine for anyone
who names it, or fetch an address. It also forwards the contents of public addresses to anyone who names one after
`file=`.
"""

import json
import os
import pathlib
import re
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gan2shape_jax.apps.serve.visits import Limits, stored_bytes

__all__ = ["Guard"]

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
_NOT_SENT = PlainTextResponse("This is not what the page sends.", 403)
_NOT_THERE = PlainTextResponse("There is no such file here.", 404)


class _TooLargeError(Exception):
    pass


class Guard:
    """Passes requests to an application, or refuses them."""

    def __init__(self, app: ASGIApp, folder: pathlib.Path, limits: Limits):
        """Guards an application.

        Args:
          app: the application.
          folder: of the server, with `uploads` in it.
          limits: on requests.
        """
        self._app, self._folder, self._limits = app, folder, limits
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"].rstrip("/")
        upload = path.endswith("/upload")
        most = self._limits.file_bytes + _AROUND if upload else _MOST_OTHER
        named = _NAMED.search(path)
        if named and not _lies_in(named[2], self._folder / "uploads"):
            return await _NOT_THERE(scope, receive, send)
        refusal = self._refusal(scope, most, upload)
        if refusal is not None:
            return await refusal(scope, receive, send)
        taken = _Taken(receive, most)
        self._uploads += upload
        try:
            if scope["method"] == "POST" and not upload:
                body = await taken.whole()
                if not _POSTED.fullmatch(path) or not _names_only(body, self._folder / "uploads"):
                    return await _NOT_SENT(scope, receive, send)
            await self._app(scope, taken, taken.unless_too_large(_with_policy(send)))
        except _TooLargeError:
            pass
        finally:
            self._uploads -= upload
        if taken.too_large:
            await self._too_large(scope, receive, send)

    def _refusal(self, scope: Scope, most: int, upload: bool) -> PlainTextResponse | None:
        if _announced(scope) > most:
            return self._too_large
        if upload and self._uploads >= self._limits.uploads:
            return PlainTextResponse("Many photos come in just now: try again in a minute.", 503)
        if upload and stored_bytes(self._folder) > self._limits.stored_bytes:
            return PlainTextResponse("There is no room for more photos just now: try again later.", 507)
        return None

    @property
    def _too_large(self) -> PlainTextResponse:
        return PlainTextResponse(f"Files of at most {self._limits.file_bytes / 1e6:g} MB are taken.", 413)


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


class _Taken:
    """Reads a request, whose announced length may be wrong, and aborts if it is too long."""

    def __init__(self, receive: Receive, most: int):
        self._receive, self._most = receive, most
        self._bytes = 0
        self._read: list[Message] = []
        self.too_large = False

    async def __call__(self) -> Message:
        """Returns the next part of the request."""
        return self._read.pop(0) if self._read else await self._next()

    async def whole(self) -> bytes:
        """Returns the whole request, which can then be read again."""
        read: list[Message] = []
        while not read or read[-1].get("more_body"):
            read.append(await self._next())
        self._read = read
        return b"".join(message.get("body", b"") for message in read)

    def unless_too_large(self, send: Send) -> Send:
        """Returns a `send` that suppresses the application's own answer to a request that was aborted."""
        begun = False

        async def pass_on(message: Message) -> None:
            nonlocal begun
            if begun or not self.too_large:
                begun = True
                await send(message)

        return pass_on

    async def _next(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most:
            self.too_large = True
            raise _TooLargeError
        return message


def _names_only(body: bytes, uploads: pathlib.Path) -> bool:
    """Returns whether every file that a request names is in the upload folder."""
    if not body:
        return True
    try:
        parts: list[Any] = [json.loads(body)]
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
        return (
            isinstance(path, str)
            and os.path.isabs(path)
            and pathlib.Path(path).resolve().is_relative_to(folder.resolve())
            and os.path.isfile(path)
        )
    except (OSError, ValueError):
        return False


def _with_policy(send: Send) -> Send:
    async def add(message):
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            if b"content-security-policy" not in names:
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
        await send(message)

    return add
