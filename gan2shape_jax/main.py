"""The command line: `gan2shape-jax --config=NAME`, also `python -m gan2shape_jax.main ...`.

Exit codes: 0 success; 1 something is wrong with the data or the machine, or an image failed; 2 the command line or the
configuration is wrong; 130 interrupted; 143 ended by SIGTERM; 141 nobody reads the output any more.
"""

import atexit
import contextlib
import ctypes
import errno
import functools
import importlib
import io
import os
import pathlib
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gan2shape_jax
from gan2shape_jax import extensions
from gan2shape_jax.config import apply_overrides, command_line, load_config, names
from gan2shape_jax.config.schema import LIFTS
from gan2shape_jax.errors import ConfigError, Terminated, UserError, not_installed, one_line, printable
from gan2shape_jax.run import interrupt

# Errors due to the machine: a full disk, a folder that cannot be written.
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
# Read when JAX is imported: commands compute in float32, and mix types and ranks as NumPy does.
_NUMBERS = {"ENABLE_X64": "0", "NUMPY_DTYPE_PROMOTION": "standard", "NUMPY_RANK_PROMOTION": "allow"}

# The commands besides reconstruction: module, with `:FUNCTION` if that is not `main`, and line in the help, which
# begins with the sub-commands, as one|two.
_COMMANDS = {
    "photo": ("apps.photo.command", "PHOTO ...: reconstructs any photo in 3D"),
    "serve": ("apps.serve.command", "the same in a browser, for yourself or for others"),
    "render": ("apps.edit:render", "RESULT ...: new views of a saved result"),
    "edit": ("apps.edit", "RESULT ...: rotation and relighting, by the mesh and by the GAN"),
    "export": ("apps.export.command", "print|texture|usdz|blender|spread|web RESULT ...: results for other programs"),
    "evaluate": ("apps.evaluate", "[identity] RESULTS ...: errors of finished runs, side by side"),
    "get": ("apps.get", "NAME: published weights, downloaded, checked and converted"),
    "page": ("apps.page", "RESULT ...: saved results as one self-contained HTML file"),
    "sample": ("apps.sample", "--config=NAME --out FOLDER: new images of a GAN, with their latents"),
    "convert": ("apps.convert.command", "IN OUT: converts other programs' weights"),
    "train-gan": ("apps.train_gan.command", "PHOTOS --out GAN: trains a GAN on a folder of photos"),
}
_OF_EVALUATE = {"identity": "apps.evaluate_identity"}  # it imports networks, which the rest of `evaluate` does not need


def main(argv: Sequence[str]) -> int:
    """Runs the program with its arguments (without the program's name); returns its exit code."""
    warnings.showwarning = _warning_printer()
    os.environ.update({f"JAX_{name}": value for name, value in _NUMBERS.items()})
    gan2shape_jax.silence_xla()
    try:
        action, page = _action(list(argv))
        code = action() or 0
        if page is not None and page.is_file():
            print(one_line(f"page: {page}"))
        return code
    except (UserError, OSError, RuntimeError, AssertionError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError):
            error = not_installed(error)
        if isinstance(error, (RuntimeError, AssertionError)):
            error = importlib.import_module("gan2shape_jax.platforms").no_device(error)  # imports jax
        if isinstance(error, ModuleNotFoundError) or (isinstance(error, OSError) and error.errno not in _MACHINE):
            raise
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt as error:
        print(f"\n{interrupt.MESSAGE}", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130


def console() -> None:
    """Runs the program as a console command."""
    keep_freed_memory()
    succeeded = threading.Event()
    # Called last. By then threads have ended, and libraries have closed what they opened; Python would go on for half a
    # second to take itself and JAX apart, and to free memory that ends with the process.
    atexit.register(lambda: _leave() if succeeded.is_set() else None)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have letters missing from a console's or file's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    if _is_run(sys.argv[1:]):
        interrupt.watch()  # a run may end anywhere; other commands clean up what they write to a user's folders
    try:
        try:
            code = main(sys.argv[1:])
        finally:
            print(end="", flush=True)  # while a closed pipe can still be noticed
    except BrokenPipeError:  # `| head` has read enough; what is left in Python's buffer would raise again
        os._exit(141)
    if code:
        # Everything is closed by now, but callbacks in the checkpoint library's threads may still print tracebacks
        # while Python shuts down; after an error or Ctrl-C they would hide the one line that matters.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    interrupt.finished()
    sys.stderr.flush()
    succeeded.set()


def _leave() -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads any more
        print(end="", flush=True)  # what threads and libraries have said last
    os._exit(0)


def _is_run(argv: list[str]) -> bool:
    try:
        return not argv or argv[0] == "photo" or argv[0] not in (*_COMMANDS, *extensions.names("command"))
    except UserError:  # which `main` reports
        return False


def keep_freed_memory() -> None:
    """Makes glibc keep up to 1 GiB of what this process frees, where an iteration would wait for cleared pages."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, value in ((-8, 1), (-4, 0), (-1, 1 << 30)):  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD
            libc.mallopt(option, value)


def _action(argv: list[str]) -> tuple[Callable[[], int | None], pathlib.Path | None]:
    """Returns the call that the arguments request, which returns the exit code, and the page that it leaves, if any."""
    if not argv:
        return functools.partial(print, command_line.SUMMARY), None
    added = extensions.names("command", _COMMANDS)
    if argv[0] in added:
        return functools.partial(extensions.load("command", argv[0]), argv[1:]), None
    if argv[0] not in _COMMANDS and command_line.means_photos(argv):
        argv = ["photo", *argv]
    if argv[0] in _COMMANDS:
        module, words = _COMMANDS[argv[0]][0], argv[1:]
        if argv[0] == "evaluate" and words and words[0] in _OF_EVALUATE:
            module, words = _OF_EVALUATE[words[0]], words[1:]
        module, _, function = module.partition(":")
        # It imports jax: --help should not wait for it.
        run = getattr(importlib.import_module(f"gan2shape_jax.{module}"), function or "main")
        return functools.partial(run, words), None
    arguments = command_line.parse(argv, commands=(*_COMMANDS, *added))
    if arguments.version:
        return functools.partial(print, f"gan2shape-jax {gan2shape_jax.__version__}"), None
    if arguments.help is not None:
        about = {name: line for name, (_, line) in _COMMANDS.items()}
        about |= {name: extensions.about("command", name).rstrip(".") for name in added}
        return functools.partial(print, command_line.help_text(arguments.help, arguments.spec, commands=about)), None
    if not arguments.spec:
        raise ConfigError(f"name a configuration: --config=NAME (bundled are: {', '.join(names())})")
    config = apply_overrides(load_config(arguments.spec), arguments.overrides)
    if arguments.check:
        from gan2shape_jax.run import preflight  # --help should not wait for what this imports

        return functools.partial(preflight.run_preflight, config), None
    page = None if config.recipe in LIFTS else pathlib.Path(config.workdir, "index.html")
    if arguments.cluster:
        from gan2shape_jax.apps.cluster import engine

        return functools.partial(engine.run_images, config), page
    from gan2shape_jax.run import experiment

    experiment.require_one_process(config)
    return functools.partial(experiment.run_experiment, config), page


def _warning_printer() -> Callable[..., None]:
    """Returns a function that prints warnings: about user data once and in one line, from libraries as Python does.

    A run reads some images more than once, and would warn about them each time.
    """
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **_: Any) -> None:
        if category is not UserWarning:
            sys.stderr.write(warnings.formatwarning(message, category, *where[:2]))
        elif str(message) not in printed:
            printed.add(str(message))
            print(f"warning: {printable(str(message))}", file=sys.stderr)

    return show


if __name__ == "__main__":
    console()
