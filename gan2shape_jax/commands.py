"""What every command line of the project does alike: errors of the input are one line and an exit status."""

import sys
from collections.abc import Callable

from gan2shape_jax.errors import UserError

__all__ = ["exit_code"]


def exit_code(action: Callable[[], int | None], *, interrupted: str = "interrupted") -> int:
    """Runs a command's work; returns its status, or 1 after a `UserError` and 130 after Ctrl-C, both told on stderr.

    Args:
      action: returns the exit status, or None for 0.
      interrupted: what is said after Ctrl-C.
    """
    try:
        return action() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
