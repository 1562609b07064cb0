"""Processes a batch a few images at a time, where the working memory of all would exceed the processor's cache.

Only for functions that treat each image independently and contain no convolution: the chunks go through a loop, in
which XLA on CPU runs convolutions slowly. GPU and TPU take whole batches.
"""

from collections.abc import Callable

import jax
from jaxtyping import PyTree

from gan2shape_jax.platforms import by_platform

__all__ = ["map_in_chunks", "chunk_of"]

# Vertices the rasteriser takes at once on a CPU: 20 images of 64 pixels, 5 of 128
_MOST = 20 * 64 * 64


def chunk_of(batch: int, size: int, *, most: int = _MOST) -> int:
    """Returns how many of `batch` images of `size` vertices form a chunk: the largest divisor within `most`, or 1."""
    return max(n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * size <= most))


def map_in_chunks(
    function: Callable[[PyTree], PyTree], images: PyTree, *, size: int, in_chunks: bool | None = None
) -> PyTree:
    """Calls `function` on chunks of images, one after another, and joins the results.

    Args:
      function: from arrays to arrays, all with a leading image axis.
      images: its argument for the whole batch.
      size: vertices per image.
      in_chunks: overrides the choice by kind of device; for tests and benchmarks only.
    """
    batch = jax.tree.leaves(images)[0].shape[0]
    chunk = chunk_of(batch, size) if batch else batch

    def one_by_one(images: PyTree) -> PyTree:
        split = jax.tree.map(lambda x: x.reshape(batch // chunk, chunk, *x.shape[1:]), images)
        results = jax.lax.map(function, split)
        return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), results)

    if chunk == batch:
        return function(images)
    return by_platform(images, cpu=one_by_one, other=function, choice=in_chunks)
