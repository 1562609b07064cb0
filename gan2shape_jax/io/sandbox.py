"""The wall around files from strangers: they are parsed in a child process with a limit on memory and time.

Weights to convert, archives of photos, uploads and pictures in formats of video (HEIC, AVIF) may be made to do harm. A
parser that is fooled, crashes, or takes all memory does so in the child, and the parent gets a sentence:

    content = run_limited(read_content, path, memory=2048 * MIB, seconds=60, source=path)

What crosses the wall, in both directions, is data: arrays of numbers, in an archive of NumPy's, and the rest as JSON,
where tuples and sets become lists, bytes and keys of dictionaries text; `Record`s come back. Nothing is pickled.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB

_ROOT = str(pathlib.Path(os.path.realpath(__file__)).parents[2])  # where the package is imported from
_INTERPRETER = 1024 * MIB  # address space of Python and its libraries before anything is read
_SPARE_SECONDS = 10  # of waiting beyond the limit on the processor's time
_START = "import sys; sys.path[:] = sys.argv[1:]; from gan2shape_jax.io import sandbox; sandbox.main()"
_MARK = "\0"  # the key of an object that stands for an array or a record
# Libraries reserve address space for each thread.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclasses.dataclass(frozen=True)
class Record:
    """An object that a file holds, as data: the name of its class, which is never run, and its attributes by name."""

    class_name: str
    fields: dict[str, Any]


def run_limited(function: Callable[..., Any], *args: Any, memory: int, seconds: int, source: object) -> Any:
    """Calls a function of a module in a child process with plain data (paths as text), and returns its result.

    The child has the environment and the import path of the parent, but for the current folder: a `json.py` that lies
    there is not imported. It may allocate and write `memory` bytes and take so many `seconds`; starting it takes a
    quarter of a second. Where the system has no `setrlimit`, memory is not limited.

    Raises `UserError`: the function's own, or a sentence about `source`, a path, if it failed, crashed or took more.
    """
    here = os.path.realpath(".")
    path = [place for place in sys.path if place and (os.path.realpath(place) != here or here == _ROOT)]
    path += [] if _ROOT in map(os.path.realpath, path) else [_ROOT]
    request = [f"{function.__module__}:{function.__qualname__}", list(args), memory, seconds, str(source)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | _ONE_THREAD
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answer:
        _write(asked, request)
        asked.seek(0)
        streams: dict[str, Any] = {"stdin": asked, "stdout": answer, "stderr": subprocess.DEVNULL}
        try:
            command = [sys.executable, "-P", "-c", _START, *path]
            subprocess.run(command, **streams, timeout=seconds + _SPARE_SECONDS, env=environment)
        except subprocess.TimeoutExpired:
            raise UserError(f"{source} takes more than {seconds} s to read, or is damaged") from None
        answer.seek(0)
        try:
            done, value = _read(answer)
        except Exception:  # whatever NumPy and its archives raise for part of an answer, or none
            limits = f"{memory / MIB:.0f} MiB and {seconds} s"
            raise UserError(f"{source} cannot be read within {limits}, or is damaged") from None
    if not done:
        raise UserError(value)
    return value


def main() -> None:
    """Runs in the child: calls the function that standard input names, and writes its result or an error's sentence."""
    out = os.fdopen(os.dup(1), "w+b")
    os.dup2(2, 1)  # what libraries print goes nowhere
    name, args, memory, seconds, source = _read(sys.stdin.buffer)
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
        resource.setrlimit(resource.RLIMIT_AS, (memory + _INTERPRETER, memory + _INTERPRETER))
    module, _, function = name.partition(":")
    try:
        _write(out, [True, getattr(importlib.import_module(module), function)(*args)])
    except Exception as error:
        fault = f"{source} cannot be read: {type(error).__name__}: {error}"[:500]
        if isinstance(error, MemoryError):
            fault = f"{source} takes more than {memory / MIB:.0f} MiB of memory to read, or is damaged"
        out.seek(0)
        out.truncate()
        _write(out, [False, str(error) if isinstance(error, UserError) else fault])
    out.flush()
    os._exit(0)  # libraries need not clean up


def _write(file: BinaryIO, value: Any) -> None:
    arrays: dict[str, np.ndarray] = {}

    def marked(value: Any) -> Any:
        """Returns what stands for a value that JSON has no form for."""
        if isinstance(value, np.ndarray):
            arrays[name := f"array{len(arrays)}"] = value
            return {_MARK: name}
        if isinstance(value, Record):
            return {_MARK: value.class_name, "fields": value.fields}
        if isinstance(value, set):
            return list(value)
        if isinstance(value, bytes):
            return value.decode("latin1")
        raise TypeError(f"a {type(value).__name__} is not data")

    tree = json.dumps(value, default=marked, skipkeys=True).encode()
    np.savez(file, tree=np.frombuffer(tree, np.uint8), allow_pickle=False, **arrays)  # type: ignore[arg-type]
    file.flush()


def _read(file: BinaryIO) -> Any:
    with np.load(file, allow_pickle=False) as archive:

        def unmarked(item: dict[str, Any]) -> Any:
            if "fields" in item and _MARK in item:
                return Record(item[_MARK], item["fields"])
            return archive[item[_MARK]] if _MARK in item else item

        return json.loads(archive["tree"].tobytes(), object_hook=unmarked)
