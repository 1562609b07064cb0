"""The images of a run one after another: finished ones are skipped, failures stop nothing, summaries follow."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.outputs import Row, load_result, print_table, write_page, write_table
from gan2shape_jax.run_folder import RunFolder
from gan2shape_jax.team import Team, meet

__all__ = ["divide", "explain", "for_each_image", "stem_of"]

# What may be wrong with one image, its files or its numbers, and leaves the others alone.
FAILURES = (UserError, OSError, FloatingPointError, jax.errors.JaxRuntimeError)


def stem_of(name: str) -> str:
    """A name of the image list without its ending: what results are filed under."""
    return pathlib.PurePath(name).with_suffix("").as_posix()


def explain(error: Exception) -> str:
    """An error in a line for people."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return f"the device gave up: {str(error).splitlines()[0]}"
    return str(error) or type(error).__name__


def divide(config: ConfigDict, names: list[str]) -> tuple[Team, list[str]]:
    """Meets the other hosts, if any, and divides the unfinished images among them; before the first computation.

    Returns:
      The hosts, and the images that are this host's (all of the list where there is one host).

    Raises:
      UserError: see `team.meet`; or each image starts from the one before it.
    """
    folder = RunFolder(pathlib.Path(config.workdir))
    unfinished = [name for name in names if not folder.is_finished(stem_of(name))]
    team = meet(config, names, {"unfinished": unfinished}, stay=False)
    if team.host.count == 1:
        return team, names
    if config.mode == "instance" and not config.schedule.reset_weight:
        raise UserError("config.schedule.reset_weight is False: each image starts from the networks of the one before "
                        "it, which several hosts cannot do; set it True, or config.runtime.hosts='one'")
    return team, team.host.share(team.facts["unfinished"])


def for_each_image(
    folder: RunFolder,
    names: list[str],
    say: Callable[[str], None],
    action: Callable[[str, pathlib.Path | None], None],
    mine: list[str] | None = None,
) -> int:
    """Calls `action` for every image without results, and writes the table, the page and `failures.json`.

    Args:
      folder: of the run.
      names: of the image list.
      say: prints a line.
      action: makes the results of an image, given its name in the list and the results folder of the image
        before it (None for the first).
      mine: those that this host is to make, others being made by other hosts; None means all.

    Returns:
      0, or 1 when an image failed.

    Raises:
      DiskFullError: which no other image would escape.
    """
    failures: dict[str, str] = {}
    stems = [stem_of(name) for name in names]
    previous: pathlib.Path | None = None
    for name in names if mine is None else mine:
        stem = stem_of(name)
        if folder.is_finished(stem):
            say(f"{stem}: finished before, skipped")
        else:
            try:
                action(name, previous)
            except DiskFullError:
                raise
            except FAILURES as error:
                failures[stem] = explain(error)
                say(f"[red]{stem}: {failures[stem]}[/red]")
                continue
        previous = folder.result(stem)
        _write_summaries(folder, stems, failures)
    every = _write_summaries(folder, stems, failures)
    print_table(_rows(folder, stems, every))
    return 1 if failures else 0


def _rows(folder: RunFolder, names: list[str], failures: dict[str, str]) -> list[Row]:
    found = []
    for name in names:
        if name in failures:
            found.append(Row(name, f"failed: {failures[name]}"))
        elif folder.is_finished(name):
            found.append(Row(name, metrics=load_result(folder.result(name)).metrics))
    return found


def _write_summaries(folder: RunFolder, names: list[str], failures: dict[str, str]) -> dict[str, str]:
    """Writes what the folder holds now; returns the failures of all hosts.

    Where another host has finished an image meanwhile, whose summary may just have been overwritten by this one, it
    is done again: whoever writes last has seen everything.
    """
    while True:
        seen = [folder.is_finished(name) for name in names]
        every = folder.write_failures(failures)
        found = _rows(folder, names, every)
        write_table(folder.root, found)
        write_page(folder.root, found)
        if seen == [folder.is_finished(name) for name in names]:
            return every
