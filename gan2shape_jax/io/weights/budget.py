"""What reading one weight file may cost: a single budget of memory and work, opened with the file.

Checking every tensor by itself sets no bound: a few kilobytes can describe thousands of tensors of a megabyte each, or
refer to the same bytes again and again. Therefore all costs of reading, including nested files, are charged to one
budget, and the file is refused once it is spent.

The memory budget is a fixed allowance plus a multiple of the file's size. An honest file is charged, per byte: 1 for
reading it, 1 more if it lies inside a pickle (NVIDIA's) or 2 if bfloat16 becomes float32, as much again if a tensor
has to be made contiguous, and for each of a tensor's names its size as float32. That makes 2 or 3 for float32, and 7
in the rarest case. The allowance is for small files: expanded tensors, text.

Steps are pickle instructions and members of copied containers. NVIDIA's pickle for 1024 pixels takes 78,000; a thousand
parameters with their optimizer state take 202,000, or 420,000 in the older format.
"""

from gan2shape_jax.io.regular_files import MIB
from gan2shape_jax.io.weights.messages import printable

__all__ = ["LIMIT", "STEPS", "Budget", "Refused"]

LIMIT = 4096 * MIB  # maximum bytes of a weight file; StyleGAN2 for 1024 pixels with its optimizers has 830 MB
STEPS = 600_000  # about a second

_ALLOWANCE = 64 * MIB
_MULTIPLE = 8


class Refused(Exception):
    """The file asks for something no honest file needs: a function outside the closed list, more than its budget, ...

    Attributes:
      name: the name of the function or class that it asks for, or "".
    """

    name: str = ""

    @classmethod
    def call(cls, name: str) -> "Refused":
        """Returns the error for a file that names a function or class outside the list."""
        error = cls(printable(name, 200))
        error.name = name
        return error


class Budget:
    """The budget of one opened file.

    Attributes:
      steps: the steps left; if negative, the next `step` refuses the file.
    """

    def __init__(self, size: int) -> None:
        """Sets up the budget.

        Args:
          size: the file's size in bytes.
        """
        self._size = size
        self._limit = self._memory = _ALLOWANCE + _MULTIPLE * size
        self.steps = STEPS

    def take(self, count: int) -> None:
        """Charges bytes of memory; raises `Refused` if the budget is exceeded."""
        self._memory -= count
        if self._memory < 0:
            raise Refused(
                f"more than {self._limit / MIB:.0f} MiB of tensors and values, which a file of {_readable(self._size)} "
                "cannot need"
            )

    def step(self, count: int = 1) -> None:
        """Charges steps of work; raises `Refused` if the budget is exceeded."""
        self.steps -= count
        if self.steps < 0:
            raise Refused(f"more than {STEPS:,} instructions and values, which no checkpoint needs")


def _readable(size: int) -> str:
    return f"{size / MIB:.0f} MiB" if size >= MIB else f"{size / 1024:.1f} KiB"
