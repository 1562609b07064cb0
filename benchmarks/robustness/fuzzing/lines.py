"""Which lines of the readers a file executes: a file that reaches new ones is worth mutating further."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Lines"]

_FOLDERS = ("/gan2shape_jax/", "/tools/convert")


class Lines:
    """The lines of the package and of the converters that have been reached so far."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()
        self._new = False
        self._of_interest: dict[str, bool] = {}

    def reaches_new(self, action: Callable[[], Any]) -> bool:
        """Runs something, whatever it raises; returns whether it reached a line for the first time."""
        self._new = False
        sys.settrace(self._enter)
        try:
            action()
        except Exception:
            pass
        finally:
            sys.settrace(None)
        return self._new

    def __len__(self) -> int:
        return len(self._seen)

    def _enter(self, frame: FrameType, event: str, argument: Any):
        name = frame.f_code.co_filename
        if name not in self._of_interest:
            self._of_interest[name] = any(folder in name for folder in _FOLDERS)
        return self._line if self._of_interest[name] else None

    def _line(self, frame: FrameType, event: str, argument: Any):
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place not in self._seen:
            self._seen.add(place)
            self._new = True
        return self._line
