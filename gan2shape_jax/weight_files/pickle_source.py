"""The bytes of a pickle: no more than are there, and long ones charged to the file's budget."""

import io

from gan2shape_jax.weight_files.budget import Budget, Refused

__all__ = ["Binary", "PickleSource", "bytes_left"]

Binary = io.BufferedReader | io.BytesIO

_LINE = 512  # bytes; lines hold names of functions, and numbers
_SHORT = 255  # bytes; what is no longer counts as the instruction that reads it


def bytes_left(file: Binary) -> int:
    """Returns how many bytes follow the file's position, which stays."""
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


class PickleSource:
    """What an unpickler reads from; as many bytes are taken from the file as are asked for."""

    def __init__(self, file: Binary, budget: Budget) -> None:
        self._file, self._budget = file, budget

    def read(self, count: int) -> bytes:
        """Returns exactly so many bytes.

        Raises:
          EOFError: that many do not follow. Memory is not taken for them before.
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
        """Returns a line with its end; raises `EOFError` where it has none, and `Refused` where it is long."""
        line = self._file.readline(_LINE)
        if not line.endswith(b"\n"):
            if len(line) == _LINE:
                raise Refused(f"a line of more than {_LINE} bytes")
            raise EOFError("a line without an end")
        return line
