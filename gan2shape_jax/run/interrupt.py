"""Ctrl-C: a run stops after its current iteration, at the second press at once.

Python raises KeyboardInterrupt between two of its instructions. During compilation there are none for up to a minute,
and inside a callback, or while a library is imported, the exception is printed and lost. Files are written completely
or not at all, so a command may end at any moment: `watch` has a separate thread wait for the signal and end the
process. In a loop (`noted`), and where another program uses this package, the first press only sets a flag.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

MESSAGE = "interrupted; run the same command again to go on"
_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar may have hidden

_watched = threading.Event()
_deferred = threading.Event()


def watch() -> None:
    """Makes Ctrl-C end this process at once with status 130, wherever Python is; to be called at program start.

    Nothing is unwound: files being written are left under their temporary names.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda signum, frame: None)  # in place of KeyboardInterrupt
    _watched.set()
    threading.Thread(target=_listen, args=(reading,), name="ctrl-c", daemon=True).start()


def _listen(reading: int) -> None:
    presses = 0
    while signals := os.read(reading, 64):
        presses += signals.count(signal.SIGINT)
        if presses > 1 or (presses and not _deferred.is_set()):
            with contextlib.suppress(Exception):  # a closed terminal
                show = _SHOW_CURSOR if sys.stderr.isatty() else ""
                os.write(sys.stderr.fileno(), f"{show}\n{MESSAGE}\n".encode())
            os._exit(130)


def finished() -> None:
    """Makes Ctrl-C have no effect any more, so that a finished run does not end as killed while Python shuts down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt if Ctrl-C has been pressed; to be called between iterations.

    Outside the main thread, where Python allows no signal handlers, Ctrl-C keeps its usual behaviour.
    """
    pressed = threading.Event()

    def note(signum, frame) -> None:
        if pressed.is_set() and not _watched.is_set():
            signal.default_int_handler(signum, frame)
        pressed.set()
        print("\nstopping after this iteration; Ctrl-C again stops at once", file=sys.stderr)

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    former = signal.signal(signal.SIGINT, note)
    _deferred.set()
    try:
        yield check
    finally:
        _deferred.clear()
        signal.signal(signal.SIGINT, former)
