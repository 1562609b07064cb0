"""Projected samples on disk, so that a resumed phase need not compute them again.

    FOLDER/PHASE-FACTORS-IMAGE.samples    CRC-32, then a safetensors file: images (float16), masks (bytes)

PHASE is the phase's number and FACTORS a checksum of all images' factors, from which the samples are drawn. Samples
are rounded to the files' precision even when they were just computed, so an interruption does not change a single bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.io import regular_files
from gan2shape_jax.io.atomic_files import atomic_bytes
from gan2shape_jax.method.state import ProjectedSamples, TrainState

__all__ = ["NOWHERE", "PROJECTED", "KeptSamples"]

PROJECTED = ".projected"  # subfolder of a run's folder

_ENDING = ".samples"
_DIGITS = 8  # of the checksum
_HEADER = 1 << 16  # maximum bytes besides images and masks


@dataclasses.dataclass(frozen=True)
class KeptSamples:
    """Keeps the projected samples of one phase in a folder; without a folder they are computed every time."""

    folder: pathlib.Path | None = None

    def of(
        self, name: str, phase: int, state: TrainState, count: int, make: Callable[[], ProjectedSamples]
    ) -> ProjectedSamples:
        """Returns the samples of an image, computing and storing them if they are not on disk.

        Args:
          name: the image's name.
          phase: the phase's number.
          state: the state at any iteration of the phase; holds the factors of all images.
          count: the number of samples.
          make: computes the samples; only images and masks are kept.

        Raises:
          UserError: the file system refuses the write.
        """
        if self.folder is None:
            return _rounded(make())
        path = self.folder / f"{self._prefix(phase, state)}-{name}{_ENDING}"
        side = state.mask.shape[-1]
        found = _read(path, (count, side, side))
        if found is None:
            found = _rounded(make())
            arrays: dict[str, np.ndarray] = {"images": np.asarray(found.images, np.float16)}
            arrays["masks"] = np.asarray(found.masks, np.uint8)
            content = safetensors.numpy.save(arrays)
            try:
                self.folder.mkdir(exist_ok=True)
                atomic_bytes(path, _checksum(content) + content)
            except OSError as error:
                raise refused(error, f"cannot write {path}") from error
        return found

    def _prefix(self, phase: int, state: TrainState) -> str:
        leaves = jax.tree.leaves(jax.device_get(state.factors))
        return f"{phase}-{_checksum(b''.join(np.asarray(leaf).tobytes() for leaf in leaves)).decode()}"

    def forget_all_but(self, phase: int) -> None:
        """Removes the samples kept for other phases; files that cannot be removed stay."""
        for path in self.folder.glob(f"*{_ENDING}") if self.folder is not None else ():
            if not path.name.startswith(f"{phase}-"):
                with contextlib.suppress(OSError):
                    path.unlink()


NOWHERE = KeptSamples()


def _checksum(content: bytes) -> bytes:
    return f"{zlib.crc32(content):08x}".encode()


def _rounded(samples: ProjectedSamples) -> ProjectedSamples:
    """Returns samples, on the host, rounded as in a file."""
    images, masks = np.float16(samples.images), np.uint8(np.asarray(samples.masks) > 0.5)
    return _samples(images, masks)


def _samples(images: Any, masks: Any) -> ProjectedSamples:
    return ProjectedSamples(images=images.astype(np.float32), masks=masks.astype(np.float32))


def _read(path: pathlib.Path, shape: tuple[int, ...]) -> ProjectedSamples | None:
    """Returns a file's samples; None if the file is absent or differs from what was written."""
    try:
        with regular_files.open_regular(path, limit=7 * math.prod(shape) + _HEADER) as file:
            checksum, content = file.read(_DIGITS), file.read()
        if checksum != _checksum(content):
            return None
        kept = safetensors.numpy.load(content)
        images, masks = kept["images"], kept["masks"]
    except (OSError, UserError, KeyError, ValueError, safetensors.SafetensorError):
        return None
    if (images.shape, images.dtype, masks.shape, masks.dtype) != ((*shape, 3), np.float16, shape, np.uint8):
        return None
    return _samples(images, masks)
