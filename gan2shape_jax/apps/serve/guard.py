"""Checks every request: those that are too large, too many, or name files that were never uploaded are refused.

Pages tell Gradio which file was sent by giving its path. Gradio checks the path against its upload folder in
applications that it starts itself, but not in a mounted one, as here: it would copy any file of this machine for anyone
who names it, or fetch an address. It also forwards the contents of public addresses to anyone who names one after
`file=`. It limits each file of an upload, but not their number, and not other requests.
"""

import json
import os
import pathlib
import re
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
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
        path, length = scope["path"].rstrip("/"), Headers(scope=scope).get("content-length", "")
        upload = path.endswith("/upload")
        most = self._limits.file_bytes + _AROUND if upload else _MOST_OTHER
        too_large = PlainTextResponse(f"Files of at most {self._limits.file_bytes / 1e6:g} MB are taken.", 413)
        named, refusal = _NAMED.search(path), None
        if named and not _lies_in(named[2], self._folder / "uploads"):
            refusal = PlainTextResponse("There is no such file here.", 404)
        elif length.isdigit() and int(length) > most:
            refusal = too_large
        elif upload and self._uploads >= self._limits.uploads:
            refusal = PlainTextResponse("Many photos come in just now: try again in a minute.", 503)
        elif upload and stored_bytes(self._folder) > self._limits.stored_bytes:
            refusal = PlainTextResponse("There is no room for more photos just now: try again later.", 507)
        if refusal is not None:
            return await refusal(scope, receive, send)
        taken, answered, read = 0, False, list[Message]()

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
                    return await PlainTextResponse("This is not what the page sends.", 403)(scope, receive, send)
                read.append({"type": "http.request", "body": body, "more_body": False})
            await self._app(scope, limited, answer)
        except _TooLargeError:
            pass
        finally:
            self._uploads -= upload
        if taken > most:
            await too_large(scope, receive, send)


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
