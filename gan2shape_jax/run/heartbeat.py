"""What stands for a lock where no files are locked, as in object storage: a file that is renewed every few seconds.

A process that was killed leaves it behind, so that the next start has to watch for a while whether it is renewed. What
counts is that its content changes, not what any clock says. Two starts in the same second may both go on.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

__all__ = ["INTERVAL_S", "Heartbeat"]

INTERVAL_S = 10.0
_PATIENCE = 3.5  # intervals without a renewal after which a file counts as left behind
_SETTLE_S = 1.0  # after which the last of several that wrote at once has won


class Heartbeat:
    """A file that this process renews, in a thread of its own; see `take`."""

    def __init__(self, path: epath.Path, content: Mapping[str, Any], interval_s: float):
        """Begins to renew what `take` has written."""
        self._path = path
        self._content = dict(content)
        self._interval_s = interval_s
        self._beats = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)

    @classmethod
    def take(cls, path: epath.Path, content: Mapping[str, Any], *, interval_s: float) -> Heartbeat | None:
        """Returns the file, renewed from now on; None where another process renews it.

        Args:
          path: the file; its folder is there.
          content: who this is; different for any two starts.
          interval_s: seconds from renewal to renewal.

        Raises:
          OSError: the file cannot be written.
        """
        if _is_renewed(path, _PATIENCE * interval_s, interval_s / 10):
            return None
        beat = cls(path, content, interval_s)
        beat._write()
        time.sleep(min(_SETTLE_S, interval_s))
        if not beat.in_place():
            return None
        beat._thread.start()
        return beat

    def in_place(self) -> bool:
        """Returns whether the file is still there and this process's own."""
        try:
            return {**json.loads(self._path.read_text()), "beats": 0} == {**self._content, "beats": 0}
        except (OSError, ValueError, TypeError, RecursionError):
            return False

    def write(self, content: Mapping[str, Any]) -> None:
        """Replaces what the file says of this process; raises `OSError` where there is no room."""
        self._content = dict(content)
        self._write()

    def release(self) -> None:
        """Ends the renewals and removes the file, if it is still this process's own."""
        self._ended.set()
        self._thread.join()
        if self.in_place():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _write(self) -> None:
        self._beats += 1
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text(json.dumps(self._content | {"beats": self._beats}) + "\n")
        part.replace(self._path)  # nobody reads half of it

    def _renew(self) -> None:
        while not self._ended.wait(self._interval_s):
            if not self.in_place():  # taken over, or gone: the run finds out by itself
                continue
            with contextlib.suppress(OSError):  # a disk that is full for a while ends no run by this
                self._write()


def _is_renewed(path: epath.Path, patience_s: float, step_s: float) -> bool:
    """Watches a file that somebody may be renewing; returns False as soon as it is not there."""
    try:
        before = path.read_text()
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            time.sleep(step_s)
            if path.read_text() != before:
                return True
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:  # nobody writes such a file
        return False
    return False
