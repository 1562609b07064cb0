"""Ctrl-C for a process whose files are written completely or not at all, so that it may end at any moment.

Python raises KeyboardInterrupt between two of its instructions. During compilation there are none for up to a minute,
and inside a callback, or while a library is imported, the exception is printed and lost. So a separate thread waits for
the signal and ends the process, except where `deferred` says that the first Ctrl-C is handled otherwise.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

__all__ = ["MESSAGE", "deferred", "finished", "is_watched", "watch"]

MESSAGE = "interrupted; run the same command again to go on"
_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar may have hidden

_watched = threading.Event()
_deferred = threading.Event()


def watch() -> None:
    """Makes Ctrl-C end this process at once with status 130, wherever Python is; to be called at program start.

    Nothing is unwound: files being written are left under their temporary names.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda signum, frame: None)  # in place of KeyboardInterrupt
    _watched.set()
    threading.Thread(target=_listen, args=(heard,), name="ctrl-c", daemon=True).start()


def finished() -> None:
    """Makes Ctrl-C have no effect any more: the work is done, and Python takes a second to shut down.

    Otherwise Python restores the default signal handler as it shuts down, and a finished run would end as killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def is_watched() -> bool:
    """Returns whether a second Ctrl-C ends this process by itself."""
    return _watched.is_set()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Leaves the first Ctrl-C in the block to the block's own handler; the second one ends the process."""
    _deferred.set()
    try:
        yield
    finally:
        _deferred.clear()


def _listen(heard: int) -> None:
    presses = 0
    while signals := os.read(heard, 64):
        presses += signals.count(signal.SIGINT)
        if presses > 1 or (presses and not _deferred.is_set()):
            _end()


def _end() -> None:
    with contextlib.suppress(Exception):  # a closed terminal
        os.write(sys.stderr.fileno(), f"{_SHOW_CURSOR if sys.stderr.isatty() else ''}\n{MESSAGE}\n".encode())
    os._exit(130)
