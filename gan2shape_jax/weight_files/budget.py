"""What reading one weight file may take: a single account of memory and of work, opened with the file.

A check of every tensor by itself is no bound: kilobytes can hold thousands of tensors of a megabyte each, or name the
same bytes again and again. So whatever reading takes is charged to one account, nested files included, and the file is
refused once that is spent.

The memory is a fixed allowance and a multiple of the file's size. Per byte of an honest file are charged: 1 as it is
read, 1 more where it lies inside a pickle (NVIDIA's) or 2 where bfloat16 becomes float32, as much again where a tensor
has to be put in order, and under each of its names a tensor as the float32 that it becomes. That makes 2 or 3 for
float32 and 7 for what is rarest. The allowance is for small files: expanded tensors, text.

The steps are instructions of a pickle, and members of containers that are copied. NVIDIA's pickle of 1024 pixels takes
78,000; a thousand parameters with the state of their optimizer take 202,000, and 420,000 in the older format.
"""

from gan2shape_jax.regular_files import MIB
from gan2shape_jax.weight_files.messages import printable

__all__ = ["LIMIT", "STEPS", "Budget", "Refused"]

LIMIT = 4096 * MIB  # bytes of a weight file; StyleGAN2 of 1024 pixels with its optimizers has 830 MB
STEPS = 600_000  # about a second

_ALLOWANCE = 64 * MIB
_MULTIPLE = 8


class Refused(Exception):
    """The file asks for what no honest file needs: a function outside the closed list, more than its budget, ...

    Attributes:
      name: of the function or class that it asks for, or "".
    """

    name: str = ""

    @classmethod
    def call(cls, name: str) -> "Refused":
        """Returns the error for a file that names a function or class outside the list."""
        error = cls(printable(name, 200))
        error.name = name
        return error


class Budget:
    """The account of one opened file.

    Attributes:
      steps: that are left; below 0 the next `step` refuses the file.
    """

    def __init__(self, size: int) -> None:
        """Opens the account.

        Args:
          size: of the file, bytes.
        """
        self._size = size
        self._limit = self._memory = _ALLOWANCE + _MULTIPLE * size
        self.steps = STEPS

    def take(self, count: int) -> None:
        """Charges bytes of memory; raises `Refused` where they are not left."""
        self._memory -= count
        if self._memory < 0:
            raise Refused(
                f"more than {self._limit / MIB:.0f} MiB of tensors and values, which a file of {_readable(self._size)} "
                "cannot need"
            )

    def step(self, count: int = 1) -> None:
        """Charges steps of work; raises `Refused` where they are not left."""
        self.steps -= count
        if self.steps < 0:
            raise Refused(f"more than {STEPS:,} instructions and values, which no checkpoint needs")


def _readable(size: int) -> str:
    return f"{size / MIB:.0f} MiB" if size >= MIB else f"{size / 1024:.1f} KiB"
