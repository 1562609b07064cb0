"""A substitute for a lock where files cannot be locked, as in object storage: a file renewed every few seconds.

A process that was killed leaves the file behind, so the next start has to watch for a while to see whether it is being
renewed. What counts is whether its content changes, not what any clock says. Two starts in the same second may both
succeed.
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
_SETTLE_S = 1.0  # after which the last of several simultaneous writers has won


class Heartbeat:
    """A file that this process renews in a separate thread; see `take`."""

    def __init__(self, path: epath.Path, content: Mapping[str, Any], interval_s: float):
        """Prepares to renew what `take` writes."""
        self._path = path
        self._content = dict(content)
        self._interval_s = interval_s
        self._beats = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)

    @classmethod
    def take(cls, path: epath.Path, content: Mapping[str, Any], *, interval_s: float) -> Heartbeat | None:
        """Returns the file, renewed from now on; None if another process renews it.

        Args:
          path: the file; its folder must exist.
          content: identifies this process; different for any two starts.
          interval_s: seconds between renewals.

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
        """Returns whether the file is still there and belongs to this process."""
        try:
            return {**json.loads(self._path.read_text()), "beats": 0} == {**self._content, "beats": 0}
        except (OSError, ValueError, TypeError, RecursionError):
            return False

    def write(self, content: Mapping[str, Any]) -> None:
        """Replaces what the file says about this process; raises `OSError` if there is no space."""
        self._content = dict(content)
        self._write()

    def release(self) -> None:
        """Ends the renewals and removes the file, if it still belongs to this process."""
        self._ended.set()
        self._thread.join()
        if self.in_place():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _write(self) -> None:
        self._beats += 1
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text(json.dumps(self._content | {"beats": self._beats}) + "\n")
        part.replace(self._path)  # so that nobody reads half of it

    def _renew(self) -> None:
        while not self._ended.wait(self._interval_s):
            if not self.in_place():  # taken over, or gone: the run finds out by itself
                continue
            with contextlib.suppress(OSError):  # a temporarily full disk should not end the run here
                self._write()


def _is_renewed(path: epath.Path, patience_s: float, step_s: float) -> bool:
    """Watches whether somebody is renewing a file; returns False as soon as it does not exist."""
    try:
        before = path.read_text()
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            time.sleep(step_s)
            if path.read_text() != before:
                return True
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:  # no process writes such a file
        return False
    return False
