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
_START = "import sys; sys.path[:] = sys.argv[4:]; from gan2shape_jax.io import sandbox; sandbox.main(*sys.argv[1:4])"
_MARK = "\0"  # the key of an object that stands for an array or a record
# Libraries reserve address space for each thread.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclasses.dataclass(frozen=True)
class Record:
    """An object that a file holds, as data: the name of its class, which is never run, and its attributes by name."""

    class_name: str
    fields: dict[str, Any]


def run_limited(
    function: Callable[..., Any], *args: Any, memory: int = 2048 * MIB, seconds: int = 60, source: object
) -> Any:
    """Calls a function of a module in a child process with plain data (paths as text), and returns its result.

    The child has the environment and the import path of the parent, but for the current folder: a `json.py` that lies
    there is not imported. It may allocate and write `memory` bytes and take so many `seconds`; starting it takes a
    quarter of a second. Where the system has no `setrlimit`, memory is not limited.

    Raises `UserError`: the function's own, or a sentence about `source`, a path, if it failed, crashed or took more.
    """
    here = os.path.realpath(".")
    path = [place for place in sys.path if place and (os.path.realpath(place) != here or here == _ROOT)]
    path += [] if _ROOT in map(os.path.realpath, path) else [_ROOT]
    name = f"{function.__module__}:{function.__qualname__}"
    command = [sys.executable, "-P", "-c", _START, name, str(memory), str(seconds), *path]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | _ONE_THREAD
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as answer:
        _write(request, list(args))
        request.seek(0)
        try:
            streams: dict[str, Any] = {"stdin": request, "stdout": answer, "stderr": subprocess.DEVNULL}
            subprocess.run(command, **streams, timeout=seconds + _SPARE_SECONDS, env=environment)
        except subprocess.TimeoutExpired:
            raise UserError(f"{source} takes more than {seconds} s to read, or is damaged") from None
        answer.seek(0)
        try:
            kind, value = _read(answer)
        except Exception:  # whatever NumPy and its archives raise for part of an answer, or none
            limits = f"{memory / MIB:.0f} MiB and {seconds} s"
            raise UserError(f"{source} cannot be read within {limits}, or is damaged") from None
    if kind == "value":
        return value
    memory_fault = f"{source} takes more than {memory / MIB:.0f} MiB of memory to read, or is damaged"
    raise UserError({"fault": value, "memory": memory_fault}.get(kind, f"{source} cannot be read: {value}"))


def main(name: str, memory: str, seconds: str) -> None:
    """Runs in the child: calls the function with the arguments on standard input, writes the answer to the output."""
    out = os.fdopen(os.dup(1), "w+b")
    os.dup2(2, 1)  # what libraries print goes nowhere
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, 2 * (int(seconds),))
        resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (int(memory),))
        resource.setrlimit(resource.RLIMIT_AS, 2 * (int(memory) + _INTERPRETER,))
    try:
        module, _, function = name.partition(":")
        answer = ("value", getattr(importlib.import_module(module), function)(*_read(sys.stdin.buffer)))
        _write(out, answer)
    except UserError as error:
        answer = ("fault", str(error))
    except MemoryError:
        answer = ("memory", None)
    except Exception as error:
        answer = ("crash", f"{type(error).__name__}: {error}"[:300])
    if answer[0] != "value":
        out.seek(0)
        out.truncate()
        _write(out, answer)
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
