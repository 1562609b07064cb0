"""Numbers and paths on command lines, each with its bounds: `argparse` types shared by all commands.

A number out of bounds is a `UserError` that names the option; what is not a number at all, `argparse` itself rejects.
"""

import argparse
import difflib
import math
import os
import pathlib
import sys
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gan2shape_jax.config.schema import name_fault
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import GAN, weights_file
from gan2shape_jax.io.image_files import MOST_PIXELS

MOST_SEED = 2**32 - 1  # of larger ones JAX keeps the last 32 bits: another seed would give the same numbers
MOST_FRAMES = 1000  # per animation
_SHOWN = 60  # characters of a value in a message


def whole(option: str, low: int, high: int, unit: str = "") -> Callable[[str], int]:
    """Returns the type of integers from `low` to `high`, called `option` in messages."""
    return _between(int, "whole number", option, low, high, unit)


def number(option: str, low: float, high: float, unit: str = "") -> Callable[[str], float]:
    """Returns the type of numbers from `low` to `high`, called `option` in messages."""
    return _between(float, "number", option, low, high, unit)


def size(*, least: int = 1) -> Callable[[str], int]:
    """Returns the type of --size, a picture's side in pixels."""
    return whole("--size", least, MOST_PIXELS, "pixels")


def seed() -> Callable[[str], int]:
    """Returns the type of --seed."""
    return whole("--seed", 0, MOST_SEED)


def parser(command: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """Returns the parser of `gan2shape-jax COMMAND`; line breaks of an epilog, and then of the description, stay."""
    kind = argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter
    return _Parser(f"gan2shape-jax {command}", None, description, epilog, formatter_class=kind)


class _Parser(argparse.ArgumentParser):
    """A parser that says which option may have been meant by one that there is not."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As `argparse` does, which would first miss an option that is required and misspelt."""
        for argument in sys.argv[1:] if args is None else args:
            name = argument.partition("=")[0]
            if name == "--":
                break
            if name.startswith("--") and not any(option.startswith(name) for option in self._option_string_actions):
                self.error(f"unknown argument {_short(argument)!r}{meant(name, self._option_string_actions)}")
        return super().parse_known_args(args, namespace)


def meant(option: str, options: Iterable[str]) -> str:
    """Returns which of the options may have been meant by one that there is not, in brackets; '' if none is like it."""
    close = difflib.get_close_matches(option, list(options), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def add_path(parser: argparse._ActionsContainer, option: str, metavar: str, help: str) -> None:
    """Adds an option, or an argument if `option` is no `--NAME`, that is the path of a file or folder."""
    named = option if option.startswith("--") else option.lower()
    parser.add_argument(named, type=path(option), metavar=metavar, help=help)


def add_out_file(parser: argparse._ActionsContainer, metavar: str, help: str) -> None:
    """Adds `--out`, the file that a command writes, with `--overwrite`; see `files.require_file_place`."""
    add_path(parser, "--out", metavar, help)
    add_overwrite(parser)


def add_overwrite(parser: argparse._ActionsContainer) -> None:
    """Adds `--overwrite`."""
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name (default: refuse)")


def add_result(parser: argparse.ArgumentParser) -> None:
    """Adds the argument RESULT, the folder of one image's results."""
    add_path(parser, "RESULT", "RESULT", "the folder of one image's results (it contains result.json)")


def show(address: str, *, say: Callable[[str], object]) -> None:
    """Opens an address in a browser for `--open`, or says that there is none or no display to show it on."""
    gui = sys.platform != "linux" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if not (gui and webbrowser.open(address)):
        say(f"--open: {'no browser could be started' if gui else 'there is no display'} here; open {address} yourself")


def path(option: str) -> Callable[[str], pathlib.Path]:
    """Returns the type of file and folder paths."""

    def parse(text: str) -> pathlib.Path:
        if fault := name_fault(text) if text else "it is empty":
            raise UserError(f"{option} {_short(text)!r}: {fault}")
        return pathlib.Path(text)

    return parse


def add_gan(parser: argparse._ActionsContainer, option: str, about: str) -> None:
    """Adds an option that names a GAN, see `weights_file`; its value is the file."""
    about += ": a name such as cat, or a file"
    parser.add_argument(option, type=lambda text: weights_file(path(option)(text), GAN), metavar="GAN", help=about)


def _between(kind: Any, what: str, option: str, low: float, high: float, unit: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{_short(text)!r} is not a {what}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{option} {_short(text)}: must be a finite number")
        if not low <= value <= high:
            raise UserError(f"{option} {_short(text)}: must be between {low:.10g} and {high:.10g} {unit}".rstrip())
        return value

    return parse


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
