"""Reads the arrays of an Orbax checkpoint directly with TensorStore.

Orbax's own reader starts all reads at once and gives up at the first failure while TensorStore's threads continue with
the others; their late results have crashed the interpreter (a segmentation fault in one of about a thousand damaged
checkpoints). Here every read is waited for, even if others fail.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorstore

from gan2shape_jax.io.records import Damaged

__all__ = ["Kind", "read"]

# Shape and dtype name.
Kind = tuple[tuple[int, ...], str]
# Concurrent reads: hides the latency of object storage while bounding the number of arrays in memory.
_AT_ONCE = 16


def read(folder: pathlib.PurePath, kinds: Mapping[str, Kind]) -> Iterator[np.ndarray]:
    """Yields arrays of a checkpoint in the requested order.

    Args:
      folder: the arrays' folder as Orbax writes it (zarr arrays in an OCDBT store), local or in object storage.
      kinds: the expected shape and dtype by name; Orbax names arrays by tree path: "params.depth.kernel".

    Raises:
      Damaged: an array does not have the expected shape and dtype.
      ValueError: raised by TensorStore for what it cannot read.
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
    """Returns TensorStore's specification of a folder; an object-storage URL is returned unchanged."""
    return place if "://" in place else {"driver": "file", "path": f"{pathlib.Path(place).absolute()}/"}


def _takes_more(store: tensorstore.TensorStore) -> bool:
    """Whether reading needs more memory than the array itself: chunks are decoded whole."""
    chunk = store.chunk_layout.read_chunk.shape or ()
    return any((taken or 0) > max(side, 1) for taken, side in zip(chunk, store.shape, strict=False))


def _results(reads: Iterable[tensorstore.Future]) -> list[Any]:
    """Returns the results of TensorStore reads; raises the first error once all have finished."""
    under_way = list(reads)
    for one in under_way:
        one.exception()  # waits
    return [one.result() for one in under_way]
