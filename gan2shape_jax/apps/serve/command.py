"""`gan2shape-jax serve`: the photo command in a browser: page, results and guard under one address, on one port."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib.util
import ipaddress
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.serve.visits import Limits, Visits, server_folder
from gan2shape_jax.apps.serve.worker import ARCHIVE, DRAWING, Worker, performer, result_files
from gan2shape_jax.detection.weights import stored_weights
from gan2shape_jax.errors import UserError, exit_code, install, require_applications
from gan2shape_jax.io.bundled import DEFAULT, MODEL, cache, names_of
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.photos.explain import load_kind

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp

_HOST, _PORT = "127.0.0.1", 7860
_WAITING = 32  # connections that the system keeps until they are taken, see `guard`
_FAREWELL_S = 2  # for connections still open at shutdown
_BETWEEN_S = 2.0  # between checks for files that have to be removed
# Of a result, whose page contains a visitor's text and pictures, and so runs without an origin.
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Option, its bounds, the field of `Limits` and its unit, and the help.
_LIMITS = (
    ("--max-mb", 1, 200, "file_bytes", 10**6, "megabytes of a photo's file"),
    ("--max-megapixels", 1, 67, "pixels", 10**6, "million pixels of a photo"),
    ("--max-waiting", 1, 30, "waiting", 1, "photos that wait while one is computed"),
    ("--job-minutes", 1, 1440, "job_s", 60, "minutes that one photo may take"),
    ("--memory-gb", 1, 1000, "memory_bytes", 10**9, "gigabytes of memory that computing may take (Linux)"),
    ("--keep-minutes", 1, 1440, "keep_s", 60, "minutes that files are kept after a visitor's last use"),
)
_EPILOG = """\
examples:
  gan2shape-jax serve --open
  gan2shape-jax serve --model my_cats.py --port 8000
  gan2shape-jax serve --host 0.0.0.0 --keep-minutes 5 --max-waiting 3
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command until it is stopped; returns the exit status."""
    about = (
        "Serves `gan2shape-jax photo` as a page in a browser. One photo is computed at a time, others wait. Ctrl-C "
        "ends it and removes all uploads."
    )
    parser = option_types.parser("serve", about, _EPILOG)
    parser.add_argument(
        "--model", default=DEFAULT, help=f"the model chosen at first, as for photo (default: {DEFAULT}); others by name"
    )
    about = "address to listen at; 0.0.0.0 for everybody who can reach this machine (default: this machine only)"
    parser.add_argument("--host", default=_HOST, help=about)
    about, port = f"port; 0 for any that is free (default: {_PORT})", option_types.whole("--port", 0, 65535)
    parser.add_argument("--port", type=port, default=_PORT, help=about)
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    bounds = parser.add_argument_group("limits")
    for option, low, high, field, unit, about in _LIMITS:
        kind, default = option_types.whole(option, low, high), int(getattr(Limits(), field) // unit)
        help_text = f"{about} (default: {default})"
        bounds.add_argument(option, type=kind, default=default, dest=field, metavar="N", help=help_text)
    return exit_code(lambda: _run(parser.parse_args(argv)), interrupted="ended")


def _run(options: argparse.Namespace) -> None:
    if importlib.util.find_spec("gradio") is None:  # which brings FastAPI and uvicorn
        raise UserError(f"the page is drawn by Gradio, which is not installed: {install('web')}")
    require_applications()
    models = list(dict.fromkeys([options.model, *filter(_has_detector, names_of(MODEL))]))
    kinds = {pathlib.Path(model).stem: str(category_of(load_kind(model).category)) for model in models}
    door = listening(options.host, options.port)
    limits = Limits(**{field: getattr(options, field) * unit for _, _, _, field, unit, _ in _LIMITS})
    print("loading the model ...", file=sys.stderr)
    serve(models, kinds, door, limits, browser=options.open)


def _has_detector(name: str) -> bool:
    """Returns whether a model's detector is there: a visitor cannot wait for one to be trained."""
    with contextlib.suppress(UserError):  # of a model without a configuration
        config = load_kind(name)
        detector = category_of(config.category).detector
        return stored_weights(pathlib.Path(config.gan.checkpoint), detector) is not None
    return False


def listening(host: str, port: int) -> socket.socket:
    """Returns a listening socket; port 0 takes any free port. Raises `UserError` if it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_WAITING)
    except OSError as error:
        raise UserError(
            f"cannot listen at --host {host} --port {port}: {error.strerror or error}; if another program has the "
            "port, perhaps another server that is still running, end it or choose another --port"
        ) from error


def result_response(visits: Visits, token: str, folder: str, name: str, *, download: bool) -> Response:
    """Returns a file of a visitor's result, or 404 if it is no longer kept, belongs to another, or never existed."""
    from starlette.responses import FileResponse, PlainTextResponse

    from gan2shape_jax.apps.serve.guard import FRAMED_BY

    headers = _HEADERS | {"Content-Security-Policy": f"sandbox allow-scripts allow-downloads; {FRAMED_BY}"}
    visit = visits.by_token(token)
    if visit is not None and visit.result is not None and visit.result.name == folder:
        files = result_files(visit.result, visit.name)
        files |= {kept: visit.result / kept for kept in (DRAWING, ARCHIVE)}
        if name in files and files[name].is_file():
            kind = "inline" if name.endswith((".html", ".png", ".jpg")) and not download else "attachment"
            filename = f"{visit.name}-{files[name].name}"
            return FileResponse(files[name], headers=headers, filename=filename, content_disposition_type=kind)
    return PlainTextResponse("There is no such file here, or it has been deleted.", 404, headers=headers)


def application(
    folder: pathlib.Path, visits: Visits, worker: Worker, limits: Limits, *, kinds: dict[str, str], local: bool
) -> ASGIApp:
    """Returns the application: the page at /, results at results/TOKEN/FOLDER/NAME.

    With `local`, only requests to this machine's local names are answered, not to names made up by a web page.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported
    import fastapi
    import gradio as gr
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from gan2shape_jax.apps.serve import page
    from gan2shape_jax.apps.serve.guard import UPLOAD, Guard, Uploads

    app = fastapi.FastAPI(openapi_url=None)
    app.add_route(UPLOAD, Uploads(visits, limits).take, methods=["POST"])  # before Gradio's own

    @app.get("/results/{token}/{folder}/{name:path}", response_model=None)
    async def _result(token: str, folder: str, name: str, download: str | None = None) -> Response:
        return result_response(visits, token, folder, name, download=download is not None)

    blocks = page.Page(visits, worker, limits, kinds=kinds).blocks
    handlers = {number: functools.partial(page.takes, handler) for number, handler in blocks.fns.items()}
    app.add_middleware(Guard, folder=folder, limits=limits, handlers=handlers)
    if local:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]"])
    fonts = ["system-ui", "sans-serif"]  # the reader's own: none is requested from elsewhere
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=limits.file_bytes,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=_theme(gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])),
        css=page.CSS,
        head=page.HEAD,
    )


def _theme(theme: Any) -> Any:
    """Returns Gradio's theme with a button whose words can be read: white on a darker orange, 5 to 1."""
    colours = {"": "*primary_700", "_hover": "*primary_800"}
    names = {f"button_primary_background_fill{state}": colour for state, colour in colours.items()}
    return theme.set(**names, **{f"{name}_dark": colour for name, colour in names.items()})


def serve(models: Sequence[str], kinds: dict[str, str], door: socket.socket, limits: Limits, *, browser: bool) -> None:
    """Serves on a listening socket until the process ends; leaves nothing behind. `browser`: whether to open the page.

    `kinds` are as for `Page`, one for each of `models`, of which the first is loaded at once and others when they are
    chosen. Prints the address when the model is loaded.
    """
    import uvicorn

    from gan2shape_jax.apps.serve.guard import forwarded, limited_connections

    host, port = door.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def run() -> None:
        worker = Worker(performer, *models, limits=limits)
        visits = Visits(folder, limits)
        app = application(folder, visits, worker, limits, kinds=kinds, local=ipaddress.ip_address(host).is_loopback)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_FAREWELL_S, server_header=False)
        trusted, config.proxy_headers = config.forwarded_allow_ips, False  # `forwarded` is in uvicorn's place
        config.app, config.http = forwarded(app, trusted), limited_connections(trusted, _WAITING)
        config.ws, config.backlog = "none", _WAITING
        tidying = asyncio.create_task(_tidy(visits))
        try:
            await worker.start()
            print(f"{address}  (Ctrl-C ends it)", flush=True)
            if browser:
                option_types.show(address, say=functools.partial(print, file=sys.stderr))
            await uvicorn.Server(config).serve(sockets=[door])
        finally:
            tidying.cancel()
            worker.close()

    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))  # an exception, which lets go of all of these
    with door, server_folder(cache("serving")) as folder, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


async def _tidy(visits: Visits) -> None:
    while True:
        await asyncio.sleep(_BETWEEN_S)
        await asyncio.to_thread(visits.tidy)
