"""Which images are reconstructed together, and how a restarted run finds its unfinished groups.

    WORKDIR/.groups/group-XXXXXXXX.json      names of the images of a group that is being trained

A group's checkpoints hold the state of all its images, so a group is resumed with the same images even if the run is
restarted with another group size or number of hosts. The file is removed together with the checkpoints, which
themselves record their images in case the file is lost earlier.
"""

from __future__ import annotations

import json
import pathlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.json_files import read_json

__all__ = ["begun", "choose_size", "damaged_notes", "finish", "key_of", "plan", "record"]

_FOLDER = ".groups"
# Share of the memory that is free when the first group starts; the rest covers estimation errors and outputs.
_SHARE = 0.8
# Beyond this, more images at once lengthen each step without shortening the whole run.
_MOST_A_DEVICE = 64


def key_of(names: Sequence[str]) -> str:
    """Returns the group's name, used for its checkpoints and for the file that lists its images."""
    return f"group-{zlib.crc32(chr(10).join(names).encode()):08x}"


def record(root: pathlib.Path, names: Sequence[str]) -> None:
    """Records that these images are being trained together."""
    atomic_text(root / _FOLDER / f"{key_of(names)}.json", json.dumps(list(names)) + "\n")


def finish(root: pathlib.Path, names: Sequence[str]) -> None:
    """Removes the record of a group whose results have been written."""
    (root / _FOLDER / f"{key_of(names)}.json").unlink(missing_ok=True)


def begun(root: pathlib.Path, names: Sequence[str]) -> list[list[str]]:
    """Returns the unfinished groups whose images are all in the list; damaged records are ignored."""
    groups = [_read(path) for path in _notes(root)]
    return [group for group in groups if group and set(group) <= set(names)]


def damaged_notes(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the damaged records: those whose file name is not the checksum of the images they list."""
    return [path for path in _notes(root) if not _read(path)]


def _notes(root: pathlib.Path) -> list[pathlib.Path]:
    return sorted((root / _FOLDER).glob("group-*.json"))


def _read(path: pathlib.Path) -> list[str]:
    """Returns the images that a record lists; [] if it is damaged."""
    try:
        group = read_json(path, "a group's images")
    except (OSError, UserError):
        return []
    listed = isinstance(group, list) and all(isinstance(name, str) for name in group)
    return group if listed and key_of(group) == path.stem else []


def plan(units: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Returns the groups to train: units of several images unchanged, single images in groups of up to `size`."""
    single = [name for unit in units if len(unit) == 1 for name in unit]
    whole = [list(unit) for unit in units if len(unit) > 1]
    return whole + [single[i : i + size] for i in range(0, len(single), size)]


def choose_size(asked: int, images: int, devices: Sequence[Any], bytes_of_one: Callable[[], int]) -> int:
    """Chooses how many images are reconstructed at once.

    Args:
      asked: the configured number; 0 leaves the choice to this function.
      images: the number of images.
      devices: this host's devices (`jax.local_devices()`).
      bytes_of_one: returns the memory that one image needs; called only if the answer matters.

    Returns:
      On CPU, 1 unless asked otherwise, because one image keeps the cores busy; never more than the number of devices,
      which is at most the number of cores: beyond that, images only compete for cache (docs/reports/speed.md).
      Elsewhere, as many as fit in the devices' free memory.
    """
    on_cpu = devices[0].platform == "cpu"
    if asked:
        return max(1, min(asked, images, len(devices) if on_cpu else asked))
    if images <= 1 or on_cpu:
        return 1
    free = [_free_bytes(device) for device in devices]
    told = [free_bytes for free_bytes in free if free_bytes is not None]
    if len(told) < len(free):
        return min(images, len(devices))
    each = int(_SHARE * min(told) / max(bytes_of_one(), 1))
    return min(images, len(devices) * max(1, min(each, _MOST_A_DEVICE)))


def _free_bytes(device: Any) -> int | None:
    """Returns the bytes that can still be allocated; None if the device does not report them."""
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
