"""Which images are reconstructed together, and how a restart finds the groups that were under way.

    WORKDIR/.groups/group-XXXXXXXX.json      names of the images of a group that is being trained

A group's checkpoints hold the state of all its images, so that a group goes on as it was begun, whatever number of
images at once or of hosts the run is started with the next time. The file is removed with the checkpoints, which say
themselves which images they are of, should it be lost before.
"""

from __future__ import annotations

import json
import pathlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from gan2shape_jax.atomic_files import atomic_text
from gan2shape_jax.errors import UserError
from gan2shape_jax.json_files import read_json

__all__ = ["begun", "choose_size", "damaged_notes", "finish", "key_of", "plan", "record"]

_FOLDER = ".groups"
# Of the memory that is free when the first group starts; the rest is for the compiler's guesses and for outputs.
_SHARE = 0.8
# More images at once make each step longer without making the whole shorter.
_MOST_A_DEVICE = 64


def key_of(names: Sequence[str]) -> str:
    """Returns the group's name: of its checkpoints, and of the file that lists its images."""
    return f"group-{zlib.crc32(chr(10).join(names).encode()):08x}"


def record(root: pathlib.Path, names: Sequence[str]) -> None:
    """Notes that these images of the list are being trained together."""
    atomic_text(root / _FOLDER / f"{key_of(names)}.json", json.dumps(list(names)) + "\n")


def finish(root: pathlib.Path, names: Sequence[str]) -> None:
    """Forgets a group whose results are written."""
    (root / _FOLDER / f"{key_of(names)}.json").unlink(missing_ok=True)


def begun(root: pathlib.Path, names: Sequence[str]) -> list[list[str]]:
    """Returns the groups under way all of whose images are in the list; a damaged note counts as none."""
    groups = [_read(path) for path in _notes(root)]
    return [group for group in groups if group and set(group) <= set(names)]


def damaged_notes(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the notes that do not list a group: a note's name is the checksum of what it lists."""
    return [path for path in _notes(root) if not _read(path)]


def _notes(root: pathlib.Path) -> list[pathlib.Path]:
    return sorted((root / _FOLDER).glob("group-*.json"))


def _read(path: pathlib.Path) -> list[str]:
    """Returns the images of a note; [] where it is damaged."""
    try:
        group = read_json(path, "a group's images")
    except (OSError, UserError):
        return []
    listed = isinstance(group, list) and all(isinstance(name, str) for name in group)
    return group if listed and key_of(group) == path.stem else []


def plan(units: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Returns the groups to be made: those of several images as they are, single images put together by `size`."""
    single = [name for unit in units if len(unit) == 1 for name in unit]
    whole = [list(unit) for unit in units if len(unit) > 1]
    return whole + [single[i : i + size] for i in range(0, len(single), size)]


def choose_size(asked: int, images: int, devices: Sequence[Any], bytes_of_one: Callable[[], int]) -> int:
    """Chooses how many images are reconstructed at once.

    Args:
      asked: what the configuration says; 0 leaves it to this function.
      images: how many there are.
      devices: of this host (`jax.local_devices()`).
      bytes_of_one: how much memory one image needs; asked only where it decides something.

    Returns:
      On CPU 1 unless asked otherwise: the cores are busy with one image; and never more than there are devices,
      which are at most as many as cores: beyond that, images only take each other's cache (docs/reports/speed.md).
      Elsewhere what the free memory of the devices holds.
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
    """Returns the bytes that may still be allocated; None where the device does not tell."""
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
