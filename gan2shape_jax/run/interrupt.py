"""Handling Ctrl-C at a safe point.

Python raises KeyboardInterrupt wherever it happens to be; inside a callback of JAX or of a writer thread it is
printed and lost, and the run continues. So the first Ctrl-C only sets a flag, which the loop checks between
iterations; a second one ends the program at once (`ctrl_c`), or, when another program uses this package, raises
KeyboardInterrupt as usual.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from gan2shape_jax.run import ctrl_c

__all__ = ["noted"]


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt if Ctrl-C has been pressed; to be called between iterations.

    Outside the main thread, where Python allows no signal handlers, Ctrl-C keeps its usual behaviour.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pressed = threading.Event()
    former = signal.getsignal(signal.SIGINT)

    def note(signum, frame) -> None:
        if pressed.is_set() and not ctrl_c.is_watched():
            signal.default_int_handler(signum, frame)
        pressed.set()
        print("\nstopping after this iteration; Ctrl-C again stops at once", file=sys.stderr)

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        with ctrl_c.deferred():
            yield check
    finally:
        signal.signal(signal.SIGINT, former)
