"""`gan2shape-jax serve`: the photo command in a browser."""

from __future__ import annotations

import argparse
import functools
import html
import importlib.util
import os
import sys
import webbrowser
from collections.abc import Sequence

from gan2shape_jax.apps.photo import sources
from gan2shape_jax.apps.serve.visits import Limits
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.io import option_types
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.categories import category_of

__all__ = ["limits_of", "main", "parser"]

_NEEDED = ("gradio", "fastapi", "uvicorn")
_INSTALL = "the page is drawn by Gradio, which is not installed: pip install 'gan2shape-jax[web]'"
_HOST, _PORT = "127.0.0.1", 7860
_EPILOG = """\
examples:
  gan2shape-jax serve --open
  gan2shape-jax serve --model my_cats.py --port 8000
  gan2shape-jax serve --host 0.0.0.0 --keep-minutes 5 --max-waiting 3
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command until it is stopped; returns the exit status."""
    return exit_code(lambda: _run(parser().parse_args(argv)), interrupted="ended")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    limits = Limits()
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax serve",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serves a page that takes photos and gives their shapes: `gan2shape-jax photo` in a browser. One "
        "photo is computed at a time, others wait. Ctrl-C ends it and removes all that was sent.",
    )
    parser.add_argument(
        "--model", default=sources.DEFAULT, help=f"what the photos show, as for photo (default: {sources.DEFAULT})"
    )
    parser.add_argument(
        "--host",
        default=_HOST,
        help="address to listen at; 0.0.0.0 lets everybody in who can reach this machine (default: this machine only)",
    )
    parser.add_argument(
        "--port",
        type=option_types.whole("--port", 0, 65535),
        default=_PORT,
        help=f"port; 0 for any that is free (default: {_PORT})",
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    bounds = parser.add_argument_group("limits")
    for option, low, high, default, about in (
        ("--max-mb", 1, 200, limits.file_bytes // 10**6, "megabytes of a photo's file"),
        ("--max-megapixels", 1, 67, limits.pixels // 10**6, "million pixels of a photo"),
        ("--max-waiting", 1, 1000, limits.waiting, "photos that wait while one is computed"),
        ("--job-minutes", 1, 1440, int(limits.job_s // 60), "minutes that one photo may take"),
        ("--keep-minutes", 1, 1440, int(limits.keep_s // 60), "minutes that files are kept after a visitor's last use"),
    ):
        bounds.add_argument(
            option,
            type=option_types.whole(option, low, high),
            default=default,
            metavar="N",
            help=f"{about} (default: {default})",
        )
    return parser


def limits_of(options: argparse.Namespace) -> Limits:
    """Returns the limits set by the options."""
    return Limits(
        file_bytes=options.max_mb * 10**6,
        pixels=options.max_megapixels * 10**6,
        waiting=options.max_waiting,
        job_s=60.0 * options.job_minutes,
        keep_s=60.0 * options.keep_minutes,
    )


def _run(options: argparse.Namespace) -> int:
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise UserError(_INSTALL)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported
    kind = str(category_of(sources.load_kind(options.model).category))
    from gan2shape_jax.apps.serve import server, tasks

    door = server.listening(options.host, options.port)
    print("loading the model ...", file=sys.stderr)

    def ready(address: str) -> None:
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if options.open:
            webbrowser.open(address)

    about = f"The model knows {html.escape(kind)}s as its GAN draws them; of other things the shape is a guess."
    load = functools.partial(tasks.performer, options.model)
    server.serve(load, cache("serving"), door, limits_of(options), kind=kind, about=about, ready=ready)
    return 0
