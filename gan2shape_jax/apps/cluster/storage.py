"""Files wherever fsspec finds them: in folders, on S3, in Google Cloud Storage and others.

Object storage has neither locks nor folders that appear as a whole. So what belongs together is written first, and then
a record that names it; what no record names does not count, and is overwritten.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from typing import Any

import fsspec

from gan2shape_jax.errors import UserError, message_line
from gan2shape_jax.io.files import atomic_bytes

_AT_ONCE = 32  # files that are read, or removed


def is_remote(address: str | os.PathLike[str]) -> bool:
    """Returns whether an address is a URL such as s3://bucket/photos, not a path of this machine."""
    return "://" in os.fspath(address)


@contextlib.contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turns whatever the libraries behind fsspec raise, each its own, into a `UserError` that begins with `what`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {message_line(str(error)) or type(error).__name__}") from error


@dataclasses.dataclass(frozen=True)
class Storage:
    """A folder, or the objects whose names begin with a prefix; paths are relative to it, with slashes."""

    address: str  # as the user wrote it: a path, or a URL
    fs: Any  # fsspec's file system
    root: str  # the address as the file system knows it

    @classmethod
    def at(cls, address: str | os.PathLike[str]) -> "Storage":
        """Returns the storage at a path or URL; raises `UserError` if a library for it is missing."""
        address = os.fspath(address)
        with in_words(address):
            fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
        return cls(address.rstrip("/"), fs, root.rstrip("/"))

    @property
    def folder(self) -> pathlib.Path | None:
        """The folder on this machine, or one that machines share; None for object storage."""
        return None if is_remote(self.address) else pathlib.Path(self.root)

    def path(self, name: str) -> str:
        """Returns a file's path as the file system knows it."""
        return f"{self.root}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Returns the files below a folder, or the file, sorted, as paths in this storage; [] if there is none."""
        place = self.path(folder).rstrip("/")
        with in_words(f"{self.address} cannot be listed"), contextlib.suppress(FileNotFoundError):
            return sorted(path.removeprefix(f"{self.root}/") for path in self.fs.find(place))
        return []

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Returns the contents of those files that are there."""

        def read_one(name: str) -> tuple[str, bytes | None]:
            # Not `cat`, nor `rm` below, which take a name such as a[1].json for a pattern.
            try:
                return name, self.fs.cat_file(self.path(name))
            except FileNotFoundError:
                return name, None

        with in_words(f"{self.address} cannot be read"), futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            return {name: content for name, content in pool.map(read_one, names) if content is not None}

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files, each whole or not at all, in the order given or at once."""
        with in_words(f"{self.address} cannot be written"):
            if self.folder is None:
                self.fs.pipe({self.path(name): content for name, content in files.items()})
                return
            for name, content in files.items():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                atomic_bytes(self.folder / name, content)

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, and those in folders; what is not there is passed over."""
        files = [file for name in names for file in self.names(name)]
        with in_words(f"{self.address} cannot be written"), futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda file: self.fs.rm_file(self.path(file)), files))

    def records(self, folder: str) -> dict[str, dict[str, Any]]:
        """Returns the JSON objects in a folder, by their names without the ending; unreadable ones are passed over."""
        records = {}
        for name, content in self.read(name for name in self.names(folder) if name.endswith(".json")).items():
            with contextlib.suppress(ValueError):
                if isinstance(record := json.loads(content), dict):
                    records[name.removeprefix(f"{folder}/").removesuffix(".json")] = record
        return records
