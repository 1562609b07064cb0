"""The images of a run one after another: finished ones are skipped, failures stop nothing, summaries follow."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.outputs import Row, load_result, print_table, write_page, write_table
from gan2shape_jax.run.cluster import Team, meet
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.training import group_plan

__all__ = ["GroupOutcome", "attempt", "divide", "explain", "for_each_group", "for_each_image", "stem_of"]

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


def divide(config: ConfigDict, names: list[str]) -> tuple[Team, list[list[str]]]:
    """Meets the other hosts, if any, and divides the unfinished images among them; before the first computation.

    Returns:
      The hosts, and what is this host's: groups of images that were under way, and single images (on one host
      also the finished ones).

    Raises:
      UserError: see `team.meet`; or each image starts from the one before it.
    """
    folder = RunFolder(pathlib.Path(config.workdir))
    together = group_plan.begun(folder.root, names) if config.mode == "instance" else []
    spoken_for = {name for group in together for name in group}
    alone = [[name] for name in names if name not in spoken_for]
    unfinished = together + [[name] for (name,) in alone if not folder.is_finished(stem_of(name))]
    team = meet(config, names, {"unfinished": unfinished}, stay=False)
    if team.host.count == 1:
        return team, together + alone
    if config.mode == "instance" and not config.schedule.reset_weight:
        raise UserError(
            "config.schedule.reset_weight is False: each image starts from the networks of the one before "
            "it, which several hosts cannot do; set it True, or config.runtime.hosts='one'"
        )
    return team, team.host.share(team.facts["unfinished"])


@dataclasses.dataclass(frozen=True)
class GroupOutcome:
    """What has become of a group's images.

    Attributes:
      failures: what went wrong with which image, by `stem_of` its name.
      finish: writes the results of the others, and returns what went wrong with that; called in another thread
        while the next group trains. None where nothing is left to do.
    """

    failures: dict[str, str]
    finish: Callable[[], dict[str, str]] | None = None


@dataclasses.dataclass(frozen=True)
class _Summaries:
    """The table, the page and `failures.json` of a run, and the failures so far."""

    folder: RunFolder
    stems: list[str]
    say: Callable[[str], None]
    failures: dict[str, str] = dataclasses.field(default_factory=dict)

    def note(self, found: dict[str, str]) -> None:
        for stem, message in found.items():
            self.say(f"[red]{stem}: {message}[/red]")
        self.failures.update(found)
        _write_summaries(self.folder, self.stems, self.failures)

    def end(self) -> None:
        every = _write_summaries(self.folder, self.stems, self.failures)
        print_table(_rows(self.folder, self.stems, every))


def for_each_group(
    folder: RunFolder,
    names: list[str],
    say: Callable[[str], None],
    groups: list[list[str]],
    action: Callable[[list[str]], GroupOutcome],
    *,
    wait: bool = False,
) -> int:
    """Calls `action` for every group with an image without results; writes the table, the page and `failures.json`.

    Args:
      folder: of the run.
      names: of the image list.
      say: prints a line.
      groups: those that this host is to make, others being made by other hosts.
      action: reconstructs a group's images.
      wait: whether a group's results have to be written before the next one starts.

    Returns:
      0, or 1 when an image failed.

    Raises:
      DiskFullError: which no other image would escape.
    """
    summaries = _Summaries(folder, [stem_of(name) for name in names], say)
    writing: collections.deque[concurrent.futures.Future] = collections.deque()

    def heed(most: int) -> None:
        """Notes what has been written; waits while more than so many groups are still to be."""
        while writing and (len(writing) > most or writing[0].done()):
            summaries.note(writing.popleft().result())

    # One thread: results appear in the order of the list. Leaving waits for what it is doing.
    with concurrent.futures.ThreadPoolExecutor(1, "results") as background:
        for group in groups:
            finished = [stem for stem in map(stem_of, group) if folder.is_finished(stem)]
            for stem in finished:
                say(f"{stem}: finished before, skipped")
            if len(finished) == len(group):
                continue
            made = action(group)
            if made.failures:
                summaries.note(made.failures)
            if made.finish:
                writing.append(background.submit(made.finish))
            heed(0 if wait else 1)
        heed(0)
    summaries.end()
    return 1 if summaries.failures else 0


def attempt(name: str, action: Callable[[], None]) -> dict[str, str]:
    """Calls `action`; returns what went wrong with the image, by its stem, or {}.

    Raises:
      DiskFullError: which no other image would escape.
    """
    try:
        action()
    except DiskFullError:
        raise
    except FAILURES as error:
        return {stem_of(name): explain(error)}
    return {}


def for_each_image(
    folder: RunFolder,
    names: list[str],
    say: Callable[[str], None],
    action: Callable[[str], None],
    mine: list[str] | None = None,
) -> int:
    """As `for_each_group` with one image at a time; `action` makes its results, or raises.

    Args:
      folder, names, say: see there.
      action: takes a name of the list.
      mine: those that this host is to make; None means all.
    """

    def one(group: list[str]) -> GroupOutcome:
        return GroupOutcome(attempt(group[0], functools.partial(action, group[0])))

    return for_each_group(folder, names, say, [[name] for name in (names if mine is None else mine)], one)


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
