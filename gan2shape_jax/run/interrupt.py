"""Ctrl-C and SIGTERM: a run stops after its current iteration, at the second Ctrl-C at once.

SIGTERM comes from Slurm, Kubernetes and spot machines shortly before they take a process away. Python raises
KeyboardInterrupt between two of its instructions. During compilation there are none for up to a minute, and inside a
callback, or while a library is imported, the exception is printed and lost. Files are written completely or not at all,
so a command may end at any moment: `watch` has a separate thread wait for the signal and end the process. In a loop
(`noted`), and where another program uses this package, the first signal only sets a flag; in a program's own loop the
first Ctrl-C ends it all the same if the iteration does not end within `_PATIENCE_S`: most likely, XLA is compiling.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from gan2shape_jax.errors import Terminated

MESSAGE = "interrupted; run the same command again to continue"
_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}  # as shells count
_PATIENCE_S = 15.0
_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar may have hidden

_watched = threading.Event()
_deferred = threading.Event()
_reached = threading.Event()  # the end of the iteration, after a signal


def watch() -> None:
    """Makes Ctrl-C and SIGTERM end this process at once with status 130 or 143, wherever Python is.

    To be called at program start.

    Nothing is unwound: files being written are left under their temporary names.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _STATUS:
        signal.signal(number, lambda signum, frame: None)  # in place of KeyboardInterrupt
    _watched.set()
    threading.Thread(target=_listen, args=(reading,), name="ctrl-c", daemon=True).start()


def _listen(reading: int) -> None:
    presses = 0
    while signals := os.read(reading, 64):
        presses += signals.count(signal.SIGINT)
        ending = presses or signal.SIGTERM in signals
        if presses > 1 or (ending and not _deferred.is_set()):
            _end(signal.SIGINT if presses else signal.SIGTERM)
        elif presses:
            patience = threading.Timer(_PATIENCE_S, _end_unless_reached)
            patience.daemon = True
            patience.start()


def _end_unless_reached() -> None:
    if not _reached.is_set():
        _end(signal.SIGINT)


def _end(number: signal.Signals) -> None:
    with contextlib.suppress(Exception):  # a closed terminal
        show = _SHOW_CURSOR if sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), f"{show}\n{MESSAGE}\n".encode())
    os._exit(_STATUS[number])


def finished() -> None:
    """Makes signals have no effect any more, so that a finished run does not end as killed while Python shuts down."""
    for number in _STATUS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def noted(*, terminate: bool = True) -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt if Ctrl-C has been pressed; to be called between iterations.

    After SIGTERM it raises `Terminated`, unless that is left to others (`terminate`): hosts that compute together have
    to stop at the same iteration. Outside the main thread, where Python allows no signal handlers, signals keep their
    usual behaviour.
    """
    received: list[int] = []

    def note(number, frame) -> None:
        if number == signal.SIGINT and number in received and not _watched.is_set():
            signal.default_int_handler(number, frame)
        received.append(number)
        again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
        print(f"\nstopping after this iteration{again}", file=sys.stderr)

    def check() -> None:
        if received:
            _reached.set()
            raise Terminated if signal.SIGTERM in received else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    numbers = list(_STATUS) if terminate else [signal.SIGINT]
    former = {number: signal.signal(number, note) for number in numbers}
    _reached.clear()
    _deferred.set()
    try:
        yield check
    finally:
        _reached.set()
        _deferred.clear()
        for number, handler in former.items():
            signal.signal(number, handler)
