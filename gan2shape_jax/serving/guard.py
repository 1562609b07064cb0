"""What stands before every request: uploads that are too large or too many are refused before they fill the disk."""

import pathlib

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gan2shape_jax.serving.folders import stored_bytes
from gan2shape_jax.serving.limits import Limits

__all__ = ["Guard"]

_AROUND = 1 << 16  # bytes of a request that are not the file's
_MOST_OTHER = 1 << 20  # bytes of a request that brings no file
# Scripts and pictures come from here alone; a browser asks nothing of other servers.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)


class _TooLargeError(Exception):
    pass


class Guard:
    """Passes requests on to an application, or refuses them."""

    def __init__(self, app: ASGIApp, folder: pathlib.Path, limits: Limits):
        """Guards an application.

        Args:
          app: the application.
          folder: of the server.
          limits: on what comes in.
        """
        self._app, self._folder, self._limits = app, folder, limits
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        upload = scope["path"].rstrip("/").endswith("/upload")
        most = self._limits.file_bytes + _AROUND if upload else _MOST_OTHER
        refusal = self._refusal(scope, most, upload)
        if refusal is not None:
            return await refusal(scope, receive, send)
        self._uploads += upload
        try:
            await self._app(scope, _counted(receive, most), _with_policy(send))
        except _TooLargeError:
            await self._too_large(scope, receive, send)
        finally:
            self._uploads -= upload

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


def _counted(receive: Receive, most: int) -> Receive:
    """Returns what reads a request whose length was not announced truly, and breaks off where it is too long."""
    taken = 0

    async def count():
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise _TooLargeError
        return message

    return count


def _with_policy(send: Send) -> Send:
    async def add(message):
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            if b"content-security-policy" not in names:
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
        await send(message)

    return add
