"""Measures what opening a file takes: processor seconds, and memory beyond what the process had before.

Memory is the peak of resident memory, which Linux resets on request; elsewhere it is the peak since the process began.
"""

import contextlib
import dataclasses
import gc
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["MIB", "Measured", "bounded_address_space", "measured"]

MIB = 2**20
_PATIENCE = 30  # seconds by the clock after which a file is given up


@dataclasses.dataclass(frozen=True)
class Measured:
    """What became of a file: "read", "refused", or the name of an error that nobody should see."""

    outcome: str
    message: str
    seconds: float
    mebibytes: float


class _TooLong(BaseException):
    """Not an `Exception`: readers turn those into errors of the file."""


def measured(open_file: Callable[[pathlib.Path], None], path: pathlib.Path) -> Measured:
    """Opens a file and measures it."""
    from gan2shape_jax.errors import UserError

    gc.collect()
    _forget_peak()
    before, start = _resident(), time.process_time()
    outcome, message = "read", ""
    try:
        with _patience():
            open_file(path)
    except UserError as error:
        outcome, message = "refused", str(error)
        if "MemoryError" in message or "RecursionError" in message and "header" not in message:
            outcome = "out of memory or stack"
    except BaseException as error:
        outcome, message = type(error).__name__, str(error)[:300]
    return Measured(outcome, message, time.process_time() - start, (_peak() - before) / MIB)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise _TooLong

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def bounded_address_space(beyond: int) -> None:
    """Lets this process have no more than so many bytes beyond what it has: what is not bounded fails then."""
    if sys.platform == "linux":
        import resource

        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + beyond
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The largest resident memory since it was forgotten, bytes."""
    with contextlib.suppress(OSError):
        return _status("VmHWM:")
    return 0


def _resident() -> int:
    with contextlib.suppress(OSError):
        return _status("VmRSS:")
    return 0


def _status(field: str) -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0
