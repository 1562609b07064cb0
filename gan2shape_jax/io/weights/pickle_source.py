"""Reads the bytes of a pickle: never more than the file has, and charging long reads to its budget."""

import io

from gan2shape_jax.io.weights.budget import Budget, Refused

__all__ = ["Binary", "PickleSource", "bytes_left"]

Binary = io.BufferedReader | io.BytesIO

_LINE = 512  # bytes; lines hold function names and numbers
_SHORT = 255  # bytes; shorter reads are covered by the charge for the instruction


def bytes_left(file: Binary) -> int:
    """Returns the number of bytes after the file's position, which does not change."""
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


class PickleSource:
    """What an unpickler reads from; reads exactly the requested bytes from the file, without reading ahead."""

    def __init__(self, file: Binary, budget: Budget) -> None:
        self._file, self._budget = file, budget

    def read(self, count: int) -> bytes:
        """Returns exactly `count` bytes.

        Raises:
          EOFError: fewer bytes follow; no memory is allocated for them first.
          Refused: the budget is spent.
        """
        if count > _SHORT:
            if count > (left := bytes_left(self._file)):
                raise EOFError(f"{count} bytes are announced where {left} follow")
            self._budget.take(count)
        content = self._file.read(count)
        if len(content) < count:
            raise EOFError("the file ends within an instruction")
        return content

    def readline(self) -> bytes:
        """Returns a line with its newline; raises `EOFError` if it has none and `Refused` if it is too long."""
        line = self._file.readline(_LINE)
        if not line.endswith(b"\n"):
            if len(line) == _LINE:
                raise Refused(f"a line of more than {_LINE} bytes")
            raise EOFError("a line without an end")
        return line
