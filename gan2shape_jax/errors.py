"""Errors meant for the user.

Any problem with an input (a file, a config value, a machine) is raised as `UserError`; the entry
points print its message without a traceback and exit with a non-zero status.
"""

import errno
import sys
from collections.abc import Callable

from gan2shape_jax.plain_text import printable

__all__ = [
    "ArgumentError",
    "ConfigError",
    "DiskFullError",
    "DivergedError",
    "FolderGoneError",
    "RunEndingError",
    "UserError",
    "exit_code",
    "refused",
]


class UserError(Exception):
    """An error that the user can fix: the message names the file or value and says what to do."""


class ConfigError(UserError):
    """A configuration that does not exist or has unusable values: the command line is at fault, not the data."""


class ArgumentError(UserError, ValueError):
    """An argument of a public function is of the wrong type, shape or range; the message begins with its name."""


class DivergedError(UserError):
    """Training has failed beyond recovery: a loss that is not finite, or networks that have collapsed."""


class RunEndingError(UserError):
    """An error that would affect every other image too: it ends the whole run."""


class DiskFullError(RunEndingError):
    """No disk space left to write."""


class FolderGoneError(RunEndingError):
    """The run's folder was removed or replaced during the run."""


def refused(error: OSError, message: str) -> UserError:
    """Returns the error to raise when the file system refused: `message`, and why it did."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{message}: the disk is full; make room and run the same command again")
    return UserError(f"{message}: {error.strerror or error}")


def exit_code(action: Callable[[], int | None], *, interrupted: str = "interrupted") -> int:
    """Runs a command and returns its status: 1 after a `UserError`, 130 after Ctrl-C, both reported on stderr.

    Args:
      action: returns the exit status, or None for 0.
      interrupted: message after Ctrl-C.
    """
    try:
        return action() or 0
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
