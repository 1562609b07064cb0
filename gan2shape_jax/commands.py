"""What every command line of the project does alike: errors of the input are one line and an exit status."""

import sys
from collections.abc import Callable

from gan2shape_jax.errors import UserError

__all__ = ["exit_code"]


def exit_code(action: Callable[[], None]) -> int:
    """Runs a command's work; returns 0, or 1 after a `UserError` and 130 after Ctrl-C, both told on stderr."""
    try:
        action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
