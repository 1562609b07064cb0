"""Which requests are refused before Gradio reads them.

Pages tell Gradio which file was sent by giving its path. Gradio checks the path against its upload folder in
applications that it starts itself, but not in a mounted one, as here: it would copy any file of this machine for anyone
who names it, or fetch an address. It also forwards the contents of public addresses to anyone who names one after
`file=`. It limits each file of an upload, but not their number, and not other requests. So `Guard` looks first.

Gradio's answers, and the links in them, have the paths of files: visitors get `_PLACE` in place of the server's folder.
"""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from gan2shape_jax.apps.serve.visits import Limits

_PLACE = "/kept"  # what visitors see of the folder's path
_AROUND = 1 << 16  # bytes of a request beyond the file itself
_STORED = 40  # of the largest files, for all visitors together: with more on disk, no photo is accepted
_MOST_OTHER = 1 << 20  # bytes of a request without a file
_TELLING = ("application/json", "text/event-stream", "text/html")  # the answers that may name files
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


class Guard(BaseHTTPMiddleware):
    """Passes requests to an application, or refuses them."""

    def __init__(self, app: ASGIApp, folder: pathlib.Path, limits: Limits):
        """Guards an application whose uploads go to `folder`/uploads."""
        super().__init__(app)
        self._folder, self._limits = folder, limits
        self._uploads = 0

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Answers a request."""
        request.scope["path"] = request.scope["path"].replace(f"={_PLACE}/", f"={self._folder}/")
        upload = request.method == "POST" and request.scope["path"].rstrip("/").endswith("/upload")
        if refusal := await self._refusal(request, upload):
            return refusal
        self._uploads += upload
        try:
            response = await call_next(request)
        finally:
            self._uploads -= upload
        response.headers.setdefault("content-security-policy", _POLICY)
        if response.headers.get("content-type", "").startswith(_TELLING):
            del response.headers["content-length"]
            response.body_iterator = self._told(response.body_iterator)  # type: ignore[attr-defined]
        return response

    async def _told(self, parts: AsyncIterator[str | bytes]) -> AsyncIterator[bytes]:
        async for part in parts:
            part = part.encode() if isinstance(part, str) else bytes(part)
            yield part.replace(os.fsencode(self._folder), _PLACE.encode())

    async def _refusal(self, request: Request, upload: bool) -> Response | None:
        path, uploads = request.scope["path"].rstrip("/"), self._folder / "uploads"
        if (named := _NAMED.search(path)) and not _lies_in(named[2], uploads):
            return PlainTextResponse("There is no such file here.", 404)
        if request.method in ("GET", "HEAD"):
            return None
        # A server passes on no more of a request than the length that it announces.
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("A request has to say its length.", 411)
        if int(length) > (self._limits.file_bytes + _AROUND if upload else _MOST_OTHER):
            return PlainTextResponse(f"Files of at most {self._limits.file_bytes / 1e6:g} MB are taken.", 413)
        if upload and self._uploads >= self._limits.uploads:
            return PlainTextResponse("Many photos come in just now: try again in a minute.", 503)
        if upload and _stored_bytes(self._folder) > _STORED * self._limits.file_bytes:
            return PlainTextResponse("There is no room for more photos just now: try again later.", 507)
        if upload:
            return None
        shown, real = f'"{_PLACE}/'.encode(), b'"' + os.fsencode(self._folder) + b"/"
        request._body = (await request.body()).replace(shown, real)  # which the application gets
        if not (_POSTED.fullmatch(path) and _names_only(request._body, uploads)):
            return PlainTextResponse("This is not what the page sends.", 403)
        return None


def _stored_bytes(folder: pathlib.Path) -> int:
    """Returns the total size of all files below a folder; files that vanish meanwhile are not counted."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _names_only(body: bytes, uploads: pathlib.Path) -> bool:
    """Returns whether every file that a request names is in the upload folder."""
    pairs = list[tuple[str, Any]]()
    try:
        json.loads(body or b"null", object_pairs_hook=pairs.extend)
    except (ValueError, RecursionError):
        return False
    return all(_lies_in(value, uploads) for key, value in pairs if key == "path")


def _lies_in(path: Any, folder: pathlib.Path) -> bool:
    """Returns whether a path is that of a file in a folder; only absolute paths count, never addresses."""
    inside = isinstance(path, str) and os.path.isabs(path) and os.path.isfile(path)
    return inside and pathlib.Path(path).resolve().is_relative_to(folder.resolve())
