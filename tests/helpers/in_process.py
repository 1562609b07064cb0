"""What `io.sandbox` runs in a child process, run in this one: starting Python anew takes longer than what tests read.

Tests of the child itself (its limits, and files that do harm) are marked `process`, and start it.
"""

import tempfile
from typing import Any

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import sandbox

_limited = sandbox.run_limited


def _here(function, *args, memory, seconds, source) -> Any:
    """Takes and returns what comes through the pipes, and raises what the parent does."""
    args = _as_sent(list(args))
    try:
        result = function(*args)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{source} cannot be read: {type(error).__name__}: {error}"[:500]) from None
    return _as_sent(result)


def _as_sent(value: Any) -> Any:
    with tempfile.TemporaryFile() as file:
        sandbox._write(file, value)
        file.seek(0)
        return sandbox._read(file)


class InProcess:
    """A plugin of pytest: decides for each test, with the fixtures that are made for it."""

    def __init__(self) -> None:
        self._child = False
        sandbox.run_limited = self._run  # before any module takes it from there

    def _run(self, *args: Any, **limits: Any) -> Any:
        return (_limited if self._child else _here)(*args, **limits)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._child = item.get_closest_marker("process") is not None
        return (yield)
