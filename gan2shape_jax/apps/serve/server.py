"""The server: page, downloads and guard under one address, on a port that was opened beforehand."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import pathlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

import fastapi
import gradio as gr
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gan2shape_jax.apps.serve import downloads
from gan2shape_jax.apps.serve.device import Device
from gan2shape_jax.apps.serve.folders import held_folder
from gan2shape_jax.apps.serve.guard import Guard
from gan2shape_jax.apps.serve.handlers import Handlers
from gan2shape_jax.apps.serve.jobs import Jobs
from gan2shape_jax.apps.serve.limits import Limits
from gan2shape_jax.apps.serve.page import CSS, build, theme
from gan2shape_jax.apps.serve.visits import Visits
from gan2shape_jax.errors import UserError

__all__ = ["application", "listening", "serve"]

_FAREWELL_S = 2  # for connections still open at shutdown
_LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]


def listening(host: str, port: int) -> socket.socket:
    """Returns a listening socket; port 0 takes any free port.

    Raises:
      UserError: the port is taken or not permitted, or the address does not belong to this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} is taken by another program, perhaps by a server that still runs: end it, or name "
                f"another port, such as --port {port + 1 if port < 65535 else port - 1}"
            ) from error
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} may not be used by this user: name one above 1023, such as 7860") from error
        raise UserError(f"--host {host} cannot be listened at: {error.strerror or error}") from error


def application(
    folder: pathlib.Path, visits: Visits, jobs: Jobs, limits: Limits, *, kind: str, about: str, local: bool
) -> ASGIApp:
    """Returns the application: the page at /, results below /results.

    Args:
      folder: of the server, see `folders.held_folder`.
      visits: of the server.
      jobs: the queue.
      limits: what visitors may request.
      kind: of object that the model knows, in one word.
      about: a sentence about the model, HTML.
      local: whether only requests to this machine's local names are answered, not to names made up by a web page.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = fastapi.FastAPI(openapi_url=None)

    @app.get(downloads.ROUTE)
    def _download(request: Request) -> Response:
        return downloads.answer(visits, request)

    page = build(Handlers(visits, jobs, limits, kind=kind), about=about, keep_s=limits.keep_s)
    mounted: ASGIApp = gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=limits.file_bytes,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=theme(),
        css=CSS,
    )
    guarded: ASGIApp = Guard(mounted, folder, limits)
    return TrustedHostMiddleware(guarded, allowed_hosts=_LOCAL_NAMES) if local else guarded


def serve(
    command: Sequence[str],
    root: pathlib.Path,
    door: socket.socket,
    limits: Limits,
    *,
    kind: str,
    about: str,
    ready: Callable[[str], None],
) -> None:
    """Serves until the process is told to stop; leaves nothing behind.

    Args:
      command: of the worker, see `device.worker_command`.
      root: of all servers' folders.
      door: see `listening`.
      limits: what visitors may request.
      kind: of object that the model knows, in one word.
      about: a sentence about the model, HTML.
      ready: called with the address.

    Raises:
      UserError: the worker cannot be started, or the file system refuses.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(door.close)
        stack.enter_context(_ending_by_sigterm())
        folder = stack.enter_context(held_folder(root))
        device = Device(command)
        stack.callback(device.close)
        device.start()
        jobs = Jobs(device, waiting=limits.waiting, seconds=limits.job_s)
        stack.callback(jobs.close)
        visits = Visits(folder / "visits", jobs, keep_s=limits.keep_s)
        stack.callback(visits.close)
        host, port = door.getsockname()[:2]
        local = ipaddress.ip_address(host).is_loopback
        app = application(folder, visits, jobs, limits, kind=kind, about=about, local=local)
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=_FAREWELL_S, proxy_headers=True, server_header=False
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended by then
            uvicorn.Server(config).run(sockets=[door])


@contextlib.contextmanager
def _ending_by_sigterm() -> Iterator[None]:
    """Turns SIGTERM into an exception inside the block, so that what it holds is released."""

    def end(signum: int, frame: object) -> None:
        raise SystemExit(0)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
