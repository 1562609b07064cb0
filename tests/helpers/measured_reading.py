"""What reading files takes: seconds and memory, by one process for many files."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

__all__ = ["MOST_MIB", "MOST_SECONDS", "Reading", "read_all"]

MOST_MIB = 512.0  # over the idle process
MOST_SECONDS = 2.0  # of processor time


@dataclasses.dataclass(frozen=True)
class Reading:
    """One file: "read", "refused" (a `UserError`) or an exception's name, what was told, and what it took."""

    outcome: str
    told: str
    seconds: float
    mib: float

    @property
    def harm(self) -> str:
        """What is wrong, '' where all is well: anything but a `UserError` came out, or it took more than a file may."""
        took = f"{self.mib:.0f} MiB and {self.seconds:.1f} s: {self.told}"
        if self.outcome not in ("read", "refused"):
            return f"{self.outcome}: {self.told}"
        return took if self.mib > MOST_MIB or self.seconds > MOST_SECONDS else ""


def read_all(files: Mapping[str, tuple[str, pathlib.Path]], folder: pathlib.Path) -> dict[str, Reading]:
    """Reads files in one process.

    Args:
        files: a reader of `reading_program` and a path, by the name of the case.
        folder: one of tests, for what the process reads to warm up.
    """
    pytest.importorskip("resource", reason="memory is not told here")
    asked: Sequence[tuple[str, str]] = [(reader, str(path)) for reader, path in files.values()]
    program = pathlib.Path(__file__).with_name("reading_program.py")
    done = subprocess.run(
        [sys.executable, program, folder],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, f"the process ended with {done.returncode}: {done.stderr[-2000:]}"
    answers = json.loads(done.stdout.splitlines()[-1])
    return {name: Reading(**answer) for name, answer in zip(files, answers, strict=True)}
