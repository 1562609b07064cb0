"""Reads checkpoints of PyTorch and NVIDIA without either, and without running any code in them.

A torch file is a pickle, a small program that may name any function to call, plus raw storages: in a zip archive
(PyTorch 1.6 and later) or one after another (earlier versions). NVIDIA's network pickles are pickles of records alone.
Only a closed list of names is known (`pickles`), and the file is parsed in a child process with a limit on memory and
time (`child`).
"""

import os
import pathlib
import zipfile
from typing import Any, BinaryIO

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.child import MIB, run_limited
from gan2shape_jax.io.files import open_regular
from gan2shape_jax.io.weights import families
from gan2shape_jax.io.weights.messages import LIMIT, Refused, printable
from gan2shape_jax.io.weights.pickles import Storage, StorageType, Unpickler, as_data, read_legacy
from gan2shape_jax.io.weights.safetensors_file import open_safetensors

__all__ = ["parse_checkpoint", "read_checkpoint"]

_MEMORY, _MULTIPLE = 512 * MIB, 6  # what reading may take: this, and a multiple of the file's size
_SECONDS, _BYTES_A_SECOND = 60, 10 * MIB


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Returns what a checkpoint of PyTorch or a network pickle of NVIDIA holds, whatever its file extension.

    Tensors become NumPy arrays (bfloat16 as float32), objects `child.Record`s; dictionaries, lists, tuples and plain
    values are unchanged.

    Raises:
      UserError: the file is missing, truncated or of another kind, asks for something outside the closed list, which
        the message names, or takes more memory or time than such a file needs.
    """
    try:
        with open_regular(path, limit=LIMIT) as file:
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    return run_limited(
        parse_checkpoint,
        os.fspath(path),
        memory=_MEMORY + _MULTIPLE * size,
        seconds=_SECONDS + size // _BYTES_A_SECOND,
        source=path,
    )


def parse_checkpoint(path: str) -> Any:
    """Does what `read_checkpoint` does in this process, without limits: only for files of one's own."""
    try:
        with open_regular(path) as file:
            _check_start(path, file)
            if zipfile.is_zipfile(file):
                return as_data(_read_zip(file))
            file.seek(0)
            legacy = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" in file.read(32)  # the number that it begins with
            file.seek(0)
            return as_data(read_legacy(file) if legacy else Unpickler(file).load())
    except (UserError, MemoryError):
        raise
    except Refused as error:
        raise UserError(_refusal(path, error)) from error
    except Exception as error:  # a damaged pickle can raise anything
        told = f"{type(error).__name__}: {printable(str(error), 100)}"
        raise UserError(f"{path}: damaged, truncated or not a PyTorch file ({told})") from error


def _read_zip(file: BinaryIO) -> Any:
    """Reads what PyTorch wrote as a zip archive."""
    with zipfile.ZipFile(file) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        names = [name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            raise Refused("an archive without a single data.pkl")
        root = names[0].split("/")[0]
        if f"{root}/byteorder" in sizes and archive.read(f"{root}/byteorder") != b"little":
            raise Refused("big-endian storages")
        storages: dict[tuple[str, StorageType], Storage] = {}

        def storage(kind: StorageType, key: str, count: int) -> Storage:
            name = f"{root}/data/{key}"
            if sizes.get(name) != count * kind.dtype.itemsize:
                raise Refused(f"a storage {key!r:.40} of {count} values that is not there")
            if (key, kind) not in storages:
                storages[key, kind] = Storage(kind, archive.read(name))
            return storages[key, kind]

        with archive.open(names[0]) as pickled:
            return Unpickler(pickled, storage).load()  # type: ignore[arg-type]


def _check_start(path: str, file: BinaryIO) -> None:
    """Raises `UserError` if the first bytes show that this is not a checkpoint, or only part of one."""
    head = file.read(16)
    if not head:
        raise UserError(f"{path}: the file is empty")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 * MIB:  # a length, then JSON
        raise UserError(_safetensors(path))
    if head.lstrip().startswith(b"<"):
        raise UserError(f"{path} is a web page (HTML), not a checkpoint: its download has failed; fetch it again")
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(file):
        raise UserError(f"{path}: a truncated archive (its directory is missing); fetch it again")
    file.seek(0)


def _safetensors(path: str) -> str:
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


def _refusal(path: str, error: Refused) -> str:
    known = families.recognise_global(error.name)
    advice = (
        families.explain(known, path)
        if known is not None
        else "save it anew as plain tensors if you trust where it came from"
    )
    return (
        f"{pathlib.Path(path)}: refused, for it holds {error}. Only tensors and plain values in lists and dictionaries "
        f"are read, and nothing is ever run; {advice}"
    )
