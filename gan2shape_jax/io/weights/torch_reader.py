"""Reads PyTorch's .pt and .pth files without PyTorch, and without running any code in them.

A torch file is a pickle, a small program that may name any function to call, plus raw storages: in a zip archive
(PyTorch 1.6 and later) or one after another (earlier versions). The reader here knows a closed list of names: tensors,
their storages, containers, and `argparse.Namespace` as an inert record. Anything else is refused by name. Sizes,
strides and offsets are checked against the available bytes, and all costs of reading are charged to one budget, so a
small file cannot take up a lot of memory or time.
"""

import contextlib
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any, cast

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.regular_files import open_regular
from gan2shape_jax.io.weights import families
from gan2shape_jax.io.weights.budget import LIMIT, Budget, Refused
from gan2shape_jax.io.weights.messages import printable
from gan2shape_jax.io.weights.pickle_source import Binary
from gan2shape_jax.io.weights.safetensors_file import open_safetensors
from gan2shape_jax.io.weights.torch_containers import read_legacy, read_zip
from gan2shape_jax.io.weights.torch_unpickler import Record

__all__ = ["Record", "opened", "read_torch"]


def read_torch(path: str | os.PathLike[str]) -> Any:
    """Reads what `torch.save` wrote, with NumPy arrays for tensors (bfloat16 as float32).

    Dictionaries, lists, tuples and plain values are unchanged; an `argparse.Namespace` becomes a `Record`.

    Raises:
      UserError: the file is missing, truncated or not from PyTorch, or it asks for something outside the closed list,
        which the message names.
    """
    with opened(path) as (file, budget):
        if zipfile.is_zipfile(file):
            return read_zip(file, budget)
        file.seek(0)
        return read_legacy(file, budget)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[Binary, Budget]]:
    """Opens a file and its budget; any error while it is read becomes a `UserError` that names the file."""
    path = pathlib.Path(path)
    try:
        with cast(Binary, open_regular(path, limit=LIMIT)) as file:
            _check_start(path, file)
            yield file, Budget(os.fstat(file.fileno()).st_size)
    except UserError:
        raise
    except Refused as error:
        raise UserError(_refusal(path, error)) from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged pickle can raise anything
        told = f"{type(error).__name__}: {printable(str(error), 100)}"
        raise UserError(f"{path}: damaged, truncated or not a PyTorch file ({told})") from error


def _refusal(path: pathlib.Path, error: Refused) -> str:
    known = families.recognise_global(error.name)
    advice = (
        families.explain(known, path)
        if known is not None
        else "save it anew as plain tensors if you trust where it came from"
    )
    return (
        f"{path}: refused, for it holds {error}. Only tensors and plain values in lists and dictionaries "
        f"are read, and nothing is ever run; {advice}"
    )


def _safetensors(path: pathlib.Path) -> str:
    try:
        with open_safetensors(path) as file:
            known = families.recognise(file.shapes)
    except (Refused, OSError):
        known = None
    if known is not None and known.tool is None:
        return families.explain(known, path)
    return (
        f"{path} is a safetensors file; PyTorch's files and NVIDIA's pickles are converted, and what "
        "this program has converted is used as it is"
    )


def _check_start(path: pathlib.Path, file: Binary) -> None:
    """Raises `UserError` if the first bytes show that this is not a checkpoint, or only part of one."""
    head = file.read(16)
    file.seek(0)
    if not head:
        raise UserError(f"{path}: the file is empty")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 * 2**20:  # a length, then JSON
        raise UserError(_safetensors(path))
    if head.lstrip().startswith(b"<"):
        raise UserError(f"{path} is a web page (HTML), not a checkpoint: its download has failed; fetch it again")
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(file):
        raise UserError(f"{path}: a truncated archive (its directory is missing); fetch it again")
    file.seek(0)
