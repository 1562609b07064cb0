"""Moves damaged files out of the way, to where they can be inspected: nothing is ever deleted.

DAMAGED/log.txt     what was found when, and where it is now
DAMAGED/PATH        what was at BASE/PATH; a second one of that name is PATH.2, and so on
"""

import datetime
import pathlib
import sys
from collections.abc import Callable

from etils import epath

from gan2shape_jax.errors import refused

__all__ = ["Aside", "to_stderr"]


def to_stderr(line: str) -> None:
    """Prints a line to standard error and flushes it."""
    print(line, file=sys.stderr, flush=True)


class Aside:
    """Moves what is damaged to a separate folder, keeping its path relative to a base, and reports it."""

    def __init__(
        self, base: pathlib.PurePath, damaged: pathlib.PurePath | None = None, say: Callable[[str], None] = to_stderr
    ):
        """Sets up moving what is below `base`.

        Args:
          base: a local folder, or one in object storage as an `epath.Path`.
          damaged: where it goes, in the same file system; `base/damaged` by default.
          say: prints a line.
        """
        self._base = base
        self._damaged = damaged or base / "damaged"
        self._say = say

    def __call__(self, path: pathlib.PurePath, why: str, then: str) -> None:
        """Moves a file or folder, if it is there.

        Args:
          path: the file or folder, below the base.
          why: what is wrong with it, a sentence that names it; reported.
          then: how the run continues; reported.

        Raises:
          UserError: it cannot be moved.
        """
        try:
            place = self._move(path)
        except OSError as error:
            raise refused(error, f"{why}; cannot move {path} to {self._damaged}") from error
        moved = f"; it is now {place}" if place else ""
        self._tell(f"{why}{moved}; {then}")

    def _move(self, path: pathlib.PurePath) -> epath.Path | None:
        """Returns where it is now; None if there was nothing to move."""
        here, below = epath.Path(path), path.relative_to(self._base)
        if not here.exists() and not (isinstance(path, pathlib.Path) and path.is_symlink()):
            return None
        wanted = epath.Path(self._damaged / below)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        place, count = wanted, 1
        while place.exists():
            count += 1
            place = wanted.with_name(f"{wanted.name}.{count}")
        try:
            here.rename(place)
        except FileNotFoundError:  # another host has moved it
            return None
        return place

    def _tell(self, line: str) -> None:
        self._say(f"warning: {line}")
        if isinstance(self._damaged, pathlib.Path):  # object storage cannot append to a file
            try:
                self._damaged.mkdir(parents=True, exist_ok=True)
                with (self._damaged / "log.txt").open("a", encoding="utf-8") as log:
                    log.write(f"{datetime.datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n")
            except OSError as error:
                raise refused(error, f"cannot write {self._damaged / 'log.txt'}") from error
