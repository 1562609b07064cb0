"""Examines the image results left by earlier starts: every byte of them, once per start."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from gan2shape_jax.errors import UserError
from gan2shape_jax.results import folder_record, load_result

__all__ = ["Survey", "look_through"]

_THREADS = min(8, 2 * (os.cpu_count() or 1))  # checksums and disk reads run in parallel


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
      finished: stems of the images whose results are intact.
      damaged: what is wrong with the results of others, by stem.
      unrecorded: finished images whose folder, from an earlier version, has no record of its files.
      together: groups of images that were trained at once, by their names in the list.
      broken: names of the images that failed in such a group.
    """

    finished: frozenset[str] = frozenset()
    damaged: dict[str, str] = dataclasses.field(default_factory=dict)
    unrecorded: tuple[str, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    broken: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class _One:
    """What was found of one image; `harm` is None if there are no results at all."""

    harm: str | None
    made_with: Any = None
    recorded: bool = True


def look_through(stems: Sequence[str], folder_of: Callable[[str], pathlib.Path], *, made_by: str, told: bool) -> Survey:
    """Reads all files of all results.

    Args:
      stems: the images' stems.
      folder_of: maps a stem to its results folder.
      made_by: the hash of this run's configuration.
      told: whether the run's folder records that it has this configuration; results that do not record one themselves
        are then assumed to share it.

    Raises:
      UserError: results were made with another configuration, or by a later version of this program.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS, "survey") as pool:
        found = dict(zip(stems, pool.map(lambda stem: _look_at(folder_of(stem), stems, stem), stems), strict=True))
    for stem, one in found.items():
        if one.harm == "" and one.made_with.get("configuration") not in (None, made_by):
            raise UserError(
                f"{folder_of(stem)} was made with another configuration than this one; choose another "
                "--config.workdir or move that folder away"
            )
    harms = {stem: one.harm for stem, one in found.items() if one.harm}
    foreign = [stem for stem, one in found.items() if one.harm == "" and not one.recorded and not told]
    harms |= dict.fromkeys(foreign, "nothing tells which configuration made it")
    groups = dict.fromkeys(group for one in found.values() if (group := _names(one.made_with, "together")))
    return Survey(
        finished=frozenset(stem for stem, one in found.items() if one.harm == "" and stem not in harms),
        damaged={stem: f"{folder_of(stem)} is damaged ({harm})" for stem, harm in harms.items()},
        unrecorded=tuple(stem for stem, one in found.items() if not one.recorded and stem not in harms),
        together=tuple(groups),
        broken=frozenset(name for one in found.values() for name in _names(one.made_with, "broken")),
    )


def _look_at(folder: pathlib.Path, stems: Sequence[str], stem: str) -> _One:
    if not os.path.lexists(folder):
        return _One(None)
    if not folder.is_dir():
        return _One("it is no folder")
    if not any(path.is_file() for path in folder.iterdir()):  # images in subfolders may have their results in it
        return _One(None) if any(other.startswith(f"{stem}/") for other in stems) else _One("it is empty")
    if not (folder / "result.json").is_file():
        return _One("result.json is missing", folder_record.examine(folder).made_with)
    examined = folder_record.examine(folder)
    if examined.recorded:
        return _One(examined.harm, examined.made_with)
    try:
        load_result(folder)
    except UserError as error:
        return _One(str(error), recorded=False)
    return _One("", {}, recorded=False)


def _names(made_with: Any, key: str) -> tuple[str, ...]:
    names = made_with.get(key) if isinstance(made_with, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()
