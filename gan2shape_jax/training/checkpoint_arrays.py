"""Reads the arrays of a checkpoint that Orbax wrote, by TensorStore itself.

Orbax's own reader starts all reads at once and gives up at the first that fails, while TensorStore's threads go on with
the others: what these handed over later has brought the interpreter down (a segmentation fault in one of some thousand
damaged checkpoints). Here every read is waited for, whatever becomes of the others.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorstore

from gan2shape_jax.records import Damaged

__all__ = ["Kind", "read"]

# Shape and name of the dtype.
Kind = tuple[tuple[int, ...], str]
# Reads under way at a time: object storage takes long to answer, and memory is for so many arrays only.
_AT_ONCE = 16


def read(folder: pathlib.PurePath, kinds: Mapping[str, Kind]) -> Iterator[np.ndarray]:
    """Yields arrays of a checkpoint, in the order they are asked for.

    Args:
      folder: of the arrays as Orbax writes them (zarr arrays in an OCDBT store), local or in object storage.
      kinds: what they are by their names, which Orbax makes of their place in the tree: "params.depth.kernel".

    Raises:
      Damaged: there is no array of such a name, or it is of another kind.
      ValueError: by TensorStore, for what it cannot read.
    """
    stored = {"driver": "ocdbt", "base": _base(f"{folder}/")}
    context = tensorstore.Context()  # the store's index is read once
    names = iter(kinds.items())
    while some := list(itertools.islice(names, _AT_ONCE)):
        stores = _results(
            tensorstore.open(
                {"driver": "zarr", "kvstore": stored | {"path": f"{name}/"}}, open=True, read=True, context=context
            )
            for name, _ in some
        )
        for store, (name, kind) in zip(stores, some, strict=True):
            if (store.shape, store.dtype.name) != kind or _takes_more(store):
                raise Damaged(f"{folder} is damaged: {name} is not the array it should be")
        yield from map(np.asarray, _results(store.read() for store in stores))


def _base(place: str) -> str | dict[str, str]:
    """Returns what TensorStore takes for a folder: a URL of object storage as it is."""
    return place if "://" in place else {"driver": "file", "path": f"{pathlib.Path(place).absolute()}/"}


def _takes_more(store: tensorstore.TensorStore) -> bool:
    """Whether reading takes more memory than the array: a chunk is decoded as a whole."""
    chunk = store.chunk_layout.read_chunk.shape or ()
    return any((taken or 0) > max(side, 1) for taken, side in zip(chunk, store.shape, strict=False))


def _results(reads: Iterable[tensorstore.Future]) -> list[Any]:
    """Returns what TensorStore reads; raises the first error, when all have ended."""
    under_way = list(reads)
    for one in under_way:
        one.exception()  # waits
    return [one.result() for one in under_way]
