"""Which connections and requests are refused before Gradio reads them, and how uploads are taken in.

Pages tell Gradio which file was sent by giving its path. Gradio checks the path against its upload folder in
applications that it starts itself, but not in a mounted one, as here: it would copy any file of this machine for anyone
who names it, or fetch an address. So `Guard` looks first. Uploads are not Gradio's at all, since it leaves the files of
those that break off: `Uploads` takes them in.
"""

import asyncio
import collections
import contextlib
import json
import math
import os
import pathlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from gan2shape_jax.apps.serve.visits import Limits, Visits, no_room, visitor_of

_PLACE = "/kept"  # what visitors see of the folder's path
_AROUND = 1 << 16  # bytes of a request beyond the file itself
_MOST_OTHER = 1 << 16  # bytes of a request without a file
_MOST_QUERY = 1 << 10  # bytes of an address's path, and of what follows its question mark
_LONGEST = 64  # characters by which a page may call itself or its job; Gradio's own have up to 32
_MOST_OPEN = 100  # requests of one address at a time: a page has two for as long as it is open
# A body may take `_BODY_S` seconds, and after the first `_GRACE_S` comes at this many bytes a second or more.
_BODY_S, _GRACE_S, _LEAST_RATE = 600.0, 10.0, 10_000
_MOST_CONNECTIONS = 200  # of one address: twice the requests that it may make at a time
_OTHERS, _LEAST = 32, 16  # files that stay free for what is no connection; connections that there may be all the same
# A connection that is refused is open for three turns of asyncio's loop: it is taken in the first, looked at in the
# third, and closed in the fourth, before more are taken. Each turn takes up to one more than may wait.
_TURNS = 3
_SILENT_S = 10.0  # after which a connection without a new request is closed, up to twice this long
_TELLING = ("application/json", "text/event-stream", "text/html")  # the answers that may name files
UPLOAD = "/gradio_api/upload"
# What the page asks for and where it posts to: queued work, and run/ for unqueued work. Gradio has further addresses.
_ASKED = re.compile(
    r"/|/(config|theme\.css|manifest\.json|favicon\.ico|robots\.txt)|/(assets|static|svelte|results)/.*"
    r"|/gradio_api/(queue/data|upload_progress|file=(?P<file>.*))",
    re.DOTALL,
)
_POSTED = re.compile(r"/gradio_api/(queue/join|run/\w+|cancel|reset)")
# Scripts and pictures come only from here; a browser requests nothing from other servers.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
)
# Who may show the page, or a result, in a frame of theirs: nobody, but a Hugging Face Space is seen in one.
FRAMED_BY = f"frame-ancestors 'self'{' https://huggingface.co' if 'SPACE_ID' in os.environ else ''}"
# By these a request tells under which name the page was asked for, which Gradio believes.
_FORWARDED = (b"x-forwarded-", b"x-gradio-server")
Takes = Callable[[Any, Any], bool]  # whether a handler can be called with such data, and such data of the event


class Guard(BaseHTTPMiddleware):
    """Passes requests to an application, or refuses them."""

    def __init__(self, app: ASGIApp, folder: pathlib.Path, limits: Limits, handlers: Mapping[int, Takes]):
        """Guards an application whose uploads are in `folder`/uploads, as Gradio's pictures are.

        `handlers` are what the page may have done, by number.
        """
        super().__init__(app)
        self._folder, self._limits, self._handlers = folder, limits, handlers
        self._open: collections.Counter[str] = collections.Counter()  # requests by visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; a body that comes too slowly, or is longer than announced, counts as broken off."""
        if scope["type"] != "http":
            return await super().__call__(scope, receive, send)
        visitor = visitor_of(scope.get("client"))
        if self._open[visitor] >= _MOST_OPEN:
            return await PlainTextResponse("Too many requests: try again later.", 429)(scope, receive, send)
        self._open[visitor] += 1
        try:
            await super().__call__(scope, _received(receive, _announced(scope)), send)
        finally:
            self._open[visitor] -= 1
            if not self._open[visitor]:
                del self._open[visitor]

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Answers a request."""
        try:
            request.scope["path"] = request.scope["path"].replace(f"={_PLACE}/", f"={self._folder}/")
            if refusal := await self._refusal(request):
                return refusal
            response = await call_next(request)
        except ClientDisconnect:
            broken = "This request was too slow, or longer than it said."
            return PlainTextResponse(broken, 408, headers={"Connection": "close"})
        response.headers.setdefault("content-security-policy", _POLICY + FRAMED_BY)
        if response.headers.get("content-type", "").startswith(_TELLING):
            del response.headers["content-length"]
            response.body_iterator = self._told(response.body_iterator)  # type: ignore[attr-defined]
        return response

    async def _told(self, parts: AsyncIterator[str | bytes]) -> AsyncIterator[bytes]:
        async for part in parts:
            part = part.encode() if isinstance(part, str) else bytes(part)
            yield part.replace(os.fsencode(self._folder), _PLACE.encode())

    async def _refusal(self, request: Request) -> Response | None:
        path = request.scope["path"].rstrip("/")
        if max(len(request.scope["path"]), len(request.scope["query_string"])) > _MOST_QUERY:
            return PlainTextResponse("This address is too long.", 414)
        # Beside this header another length counts for nothing, and a body may have any.
        if "transfer-encoding" in request.headers:
            return PlainTextResponse("A request must state its length.", 411, headers={"Connection": "close"})
        if request.method in ("GET", "HEAD"):
            asked = _ASKED.fullmatch(path or "/")
            if not asked or (asked["file"] is not None and not _lies_in(asked["file"], self._folder / "uploads")):
                return PlainTextResponse("There is no such file here.", 404)
            if path.endswith("/upload_progress"):  # Gradio's does not know of uploads here, and would wait for one
                return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")
            return None
        if not _from_here(request.headers):
            return PlainTextResponse("This request comes from another site.", 403)
        upload, length = path == UPLOAD, _announced(request.scope)
        if upload and length > self._limits.upload_bytes + _AROUND:
            return PlainTextResponse(f"At most {self._limits.upload_bytes / 1e6:g} MB are accepted at once.", 413)
        if not upload and length > _MOST_OTHER:
            return PlainTextResponse("This request is too long.", 413)
        if upload:
            return None
        shown, real = f'"{_PLACE}/'.encode(), b'"' + os.fsencode(self._folder) + b"/"
        request._body = (await request.body()).replace(shown, real)  # which the application gets
        posted, uploads = _POSTED.fullmatch(path), self._folder / "uploads"
        starts = posted is not None and posted[1] not in ("cancel", "reset")
        if not posted or not _is_modest(request._body, uploads, self._handlers, starts=starts):
            return PlainTextResponse("This request is not one of the page's.", 403)
        return None


class Uploads:
    """Takes in uploads, in place of Gradio; what is not complete has no name on the disk, so nothing can stay of it."""

    def __init__(self, visits: Visits, limits: Limits):
        """Takes photos for `visits`."""
        self._visits, self._limits = visits, limits
        self._coming: collections.Counter[str] = collections.Counter()  # by visitor

    async def take(self, request: Request) -> Response:
        """Takes in photos; returns their paths in a list, as Gradio's page expects, or a sentence that says why not."""
        visitor, size = visitor_of(request.client), int(request.headers["content-length"])
        most = self._limits.uploads
        if self._coming[visitor] >= self._limits.share(most) or self._coming.total() >= most:
            return PlainTextResponse("Many photos are being uploaded: try again in a minute.", 503)
        if not self._visits.has_room(visitor, size):
            return PlainTextResponse("There is no space for more photos now: try again later.", 507)
        self._coming[visitor] += 1
        tokens, kept = [self._visits.expect(visitor, size)], False
        try:
            async with request.form(max_files=self._limits.together, max_fields=0) as form:
                sent = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
                if not sent:
                    return PlainTextResponse("This request holds no file.", 400)
                if any((one.size or 0) > self._limits.file_bytes for one in sent):
                    return PlainTextResponse(
                        f"Files of at most {self._limits.file_bytes / 1e6:g} MB are accepted.", 413
                    )
                self._visits.drop(tokens.pop())
                tokens += [self._visits.expect(visitor, one.size or 0) for one in sent]
                paths = [
                    str(await run_in_threadpool(self._visits.keep, token, one.filename or "", one.file))
                    for token, one in zip(tokens, sent, strict=True)
                ]
            kept = True
            return JSONResponse(paths)
        except OSError as error:
            return PlainTextResponse(str(no_room(error, "The photo")), 507)
        finally:
            self._coming[visitor] -= 1
            self._coming += collections.Counter()  # without those of whom nothing comes
            for token in () if kept else tokens:
                self._visits.drop(token)


def _announced(scope: Scope) -> int:
    """Returns how many bytes a request's body has by its headers."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else 0


def _received(receive: Receive, announced: int) -> Receive:
    """Returns what receives a request, and takes it for broken off when its body comes too slowly or is too long."""
    now = asyncio.get_running_loop().time
    began, received, whole = now(), 0, False

    async def checked() -> Message:
        nonlocal received, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(began + min(_BODY_S, _GRACE_S + received / _LEAST_RATE)):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        received += len(message.get("body", b""))
        whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message if received <= announced else {"type": "http.disconnect"}

    return checked


def _from_here(headers: Mapping[str, str]) -> bool:
    """Returns whether a request comes from a page of this server, or from no page at all.

    Browsers say so themselves where the connection is safe; elsewhere they tell which host the page is of.
    """
    if site := headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    hosts = [headers.get("host"), headers.get("x-forwarded-host")]
    return "origin" not in headers or headers["origin"].partition("://")[2] in hosts


def _is_modest(body: bytes, uploads: pathlib.Path, handlers: Mapping[int, Takes], *, starts: bool) -> bool:
    """Returns whether a request names only files in the upload folder, and pages and jobs by short names.

    One that `starts` something has to name a handler, and to give it what it takes.
    """
    pairs = list[tuple[str, Any]]()

    def collected(members: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.extend(members)
        return dict(members)

    try:
        request = json.loads(body or b"{}", object_pairs_hook=collected)
    except (ValueError, RecursionError):
        return False
    names = (value for key, value in pairs if key in ("session_hash", "event_id") and value is not None)
    if not isinstance(request, dict) or not all(isinstance(name, str) and len(name) <= _LONGEST for name in names):
        return False
    if starts or "fn_index" in request:
        number = request.get("fn_index")
        if type(number) is not int or number not in handlers:
            return False
        if starts and not handlers[number](request.get("data"), request.get("event_data")):
            return False
    return all(_lies_in(value, uploads) for key, value in pairs if key == "path")


def _lies_in(path: Any, folder: pathlib.Path) -> bool:
    """Returns whether a path is that of a file in a folder; only absolute paths count, never addresses."""
    inside = isinstance(path, str) and os.path.isabs(path) and os.path.isfile(path)
    return inside and pathlib.Path(path).resolve().is_relative_to(folder.resolve())


def forwarded(app: ASGIApp, trusted: list[str] | str) -> ASGIApp:
    """Returns an application behind proxies, whose addresses are `trusted`, as uvicorn knows them.

    Of theirs alone it is believed whom a request comes from, by which protocol, and, where the server's owner has
    named them, under which name the page is known to browsers: Gradio puts that into the page.
    """
    behind = ProxyHeadersMiddleware(cast(Any, app), trusted)
    named = "FORWARDED_ALLOW_IPS" in os.environ

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = scope.get("client")
            believed = peer and peer[0] in behind.trusted_hosts
            hidden = (b"x-gradio-server", *(() if named else (b"x-forwarded-host",))) if believed else _FORWARDED
            scope["headers"] = [pair for pair in scope["headers"] if not pair[0].startswith(hidden)]
        await behind(cast(Any, scope), cast(Any, receive), cast(Any, send))

    return call


def limited_connections(trusted: list[str] | str, waiting: int) -> type[asyncio.Protocol]:
    """Returns uvicorn's protocol with limits: how many connections an address may hold, and for how long in silence.

    `trusted` are the proxies' addresses, as uvicorn knows them: their connections are their visitors', and may be many.
    `waiting` is how many connections the system keeps until they are taken.
    """
    proxies: Any = ProxyHeadersMiddleware(cast(Any, None), trusted).trusted_hosts
    held: collections.Counter[str] = collections.Counter()  # by visitor
    most = _most_open(waiting)

    class Limited(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """One connection."""

        def connection_made(self, transport: Any) -> None:
            """Counts a connection, and ends one too many."""
            super().connection_made(transport)
            peer = transport.get_extra_info("peername")
            self._visitor = visitor_of(peer)
            held[self._visitor] += 1
            self._watch = self.loop.call_later(_SILENT_S, self._close_silent, None)
            many = held[self._visitor] > _MOST_CONNECTIONS and not (peer and peer[0] in proxies)
            if many or held.total() > most:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forgets a connection."""
            self._watch.cancel()
            held[self._visitor] -= 1
            if not held[self._visitor]:
                del held[self._visitor]
            super().connection_lost(exc)

        def _close_silent(self, before: Any) -> None:
            """Closes a connection whose latest request is over and was so when this was last looked at."""
            over = self.cycle is None or self.cycle.response_complete
            if over and self.cycle is before:
                self.transport.close()
            else:
                self._watch = self.loop.call_later(_SILENT_S, self._close_silent, self.cycle)

    return Limited


def _most_open(waiting: int) -> float:
    """Returns how many connections there is room for among the files that this process may open.

    Without any left, asyncio would write a traceback for each connection that it cannot take, and take none.
    """
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        if (files := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) != resource.RLIM_INFINITY:
            return max(files - _TURNS * (waiting + 1) - _OTHERS, _LEAST)
    return math.inf
