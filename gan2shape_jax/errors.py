r"""Errors meant for the user, and text by other hands shown as plain text only.

Any problem with an input (a file, a config value, a machine) is raised as `UserError`; the entry
points print its message without a traceback and exit with a non-zero status.

A terminal obeys control characters in file names and messages: they move the cursor, overwrite lines, change the
window's title. Here they are shown as Python writes them (`\x1b`), as are characters that reverse the direction of the
following text.
"""

import errno
import importlib.util
import sys
from collections.abc import Callable

# What the extra `photo` brings, by the names that it is imported by.
_APPLICATIONS = ("cv2", "filelock", "imageio_ffmpeg", "jinja2", "trimesh")
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_BREAKS = [0x2028, 0x2029]  # Unicode's line and paragraph separators
_DIRECTIONS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SURROGATES = range(0xD800, 0xE000)  # JSON may hold them unpaired; no encoding can
_LINE = {
    code: chr(code).encode("unicode_escape").decode() for code in [*_CONTROLS, *_BREAKS, *_DIRECTIONS, *_SURROGATES]
}
_TEXT = {code: shown for code, shown in _LINE.items() if chr(code) not in "\n\t"}


class UserError(Exception):
    """An error that the user can fix: the message names the file or value and says what to do."""


class ConfigError(UserError):
    """A configuration that does not exist or has unusable values: the command line is at fault, not the data."""


class ArgumentError(UserError, ValueError):
    """An argument of a public function is of the wrong type, shape or range; the message begins with its name."""


class DivergedError(UserError):
    """Training has failed beyond recovery: a loss that is not finite, or networks that have collapsed."""


class FatalRunError(UserError):
    """An error that would affect every other image too, such as a full disk: it ends the whole run."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: the machine wants this process to end."""


def io_error(error: OSError, message: str) -> UserError:
    """Returns the error to raise when the file system refused: `message`, and why it did."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FatalRunError(f"{message}: the disk is full; make room and run the same command again")
    return UserError(f"{message}: {error.strerror or error}")


def not_installed(error: ModuleNotFoundError) -> UserError | ModuleNotFoundError:
    """Returns the sentence to raise for a package that the applications need; the error itself for any other."""
    name = (error.name or "").split(".")[0]
    if name not in _APPLICATIONS:
        return error
    package = "opencv-python-headless" if name == "cv2" else name
    return UserError(f"{package} is not installed: {install('photo')} brings it")


def install(extra: str) -> str:
    """Returns how to install an extra of this package, which no index has: from the checkout."""
    return f"pip install -e '.[{extra}]' in the checkout"


def require_applications() -> None:
    """Raises `UserError` if a package is not installed that the applications need."""
    for name in _APPLICATIONS:
        if importlib.util.find_spec(name) is None:
            raise not_installed(ModuleNotFoundError(name=name))


def exit_code(action: Callable[[], int | None], *, interrupted: str = "interrupted") -> int:
    """Runs a command and returns its status: 1 after a `UserError`, 130 after Ctrl-C, 143 after SIGTERM, each reported.

    `action` returns the exit status, or None for 0; `interrupted` is the message after the latter two.
    """
    try:
        return action() or 0
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(interrupted, file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130


def printable(text: str) -> str:
    """Returns a message with control characters escaped, except line breaks and tabs."""
    return text.translate(_TEXT)


def one_line(text: str) -> str:
    """Returns a name with control characters escaped, including line breaks and tabs."""
    return text.translate(_LINE)


def message_line(text: str) -> str:
    """Returns a message in one line, with whitespace collapsed and control characters escaped."""
    return one_line(" ".join(text.split()))
