"""Goes through the images of a run: skips finished ones, continues after failures, updates the summaries."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import errno
import functools
from collections.abc import Callable

import jax

from gan2shape_jax.errors import RunEndingError, UserError, refused
from gan2shape_jax.io.image_names import stem_of
from gan2shape_jax.run.report import Summaries
from gan2shape_jax.run.run_folder import RunFolder

__all__ = ["FAILURES", "GroupOutcome", "failure_of", "for_each_group", "for_each_image", "in_words", "stem_of"]

# Errors caused by one image, its files or its numbers, that do not affect the others.
FAILURES = (UserError, OSError, FloatingPointError, jax.errors.JaxRuntimeError)


def in_words(error: Exception) -> str:
    """Returns a one-line, human-readable description of an error."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return f"the device gave up: {str(error).splitlines()[0]}"
    return str(error) or type(error).__name__


def failure_of(name: str, error: Exception) -> dict[str, str]:
    """Returns what went wrong with an image, by its stem; to be called where one of `FAILURES` was caught.

    Raises:
      RunEndingError: the error would affect every other image too.
    """
    if isinstance(error, RunEndingError):
        raise error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise refused(error, f"{stem_of(name)}: {error.filename or 'its files'} cannot be written") from error
    return {stem_of(name): in_words(error)}


@dataclasses.dataclass(frozen=True)
class GroupOutcome:
    """The outcome of a group's training.

    Attributes:
      failures: what went wrong, by the image's stem.
      finish: writes the results of the other images and returns what went wrong with that; called in another thread
        while the next group trains. None if there is nothing to write.
    """

    failures: dict[str, str]
    finish: Callable[[], dict[str, str]] | None = None


def for_each_group(
    folder: RunFolder,
    names: list[str],
    say: Callable[[str], None],
    groups: list[list[str]],
    reconstruct: Callable[[list[str]], GroupOutcome],
    *,
    wait: bool = False,
    ahead: int = 1,
) -> int:
    """Calls `reconstruct` for every group with an unfinished image, and keeps the run's summaries up to date.

    Args:
      folder: the run's folder.
      names: the names in the image list.
      say: prints a line.
      groups: this host's groups; other hosts process the others.
      reconstruct: trains a group's networks.
      wait: whether a group's results must be written before the next one starts.
      ahead: the maximum number of groups whose results may be waiting to be written if `wait` is False.

    Returns:
      0, or 1 if an image failed.

    Raises:
      RunEndingError: an error that would affect every other image too.
    """
    summaries = Summaries(folder, [stem_of(name) for name in names], say)
    # One thread: results appear in the order of the list. Leaving the block waits for it to finish.
    with concurrent.futures.ThreadPoolExecutor(1, "results") as background:
        writing: collections.deque[concurrent.futures.Future[dict[str, str]]] = collections.deque()
        for group in groups:
            folder.require()
            if not _has_unfinished(folder, group, say):
                continue
            outcome = reconstruct(group)
            if outcome.failures:
                summaries.note(outcome.failures)
            if outcome.finish:
                writing.append(background.submit(outcome.finish))
            _note_written(writing, summaries, most=0 if wait else ahead)
        _note_written(writing, summaries, most=0)
    summaries.end()
    return 1 if summaries.failures else 0


def _has_unfinished(folder: RunFolder, group: list[str], say: Callable[[str], None]) -> bool:
    """Reports which images of a group are finished; returns whether there are others."""
    finished = [stem for stem in map(stem_of, group) if folder.is_finished(stem)]
    for stem in finished:
        say(f"{stem}: finished before, skipped")
    return len(finished) < len(group)


def _note_written(
    writing: collections.deque[concurrent.futures.Future[dict[str, str]]], summaries: Summaries, *, most: int
) -> None:
    """Notes groups whose results have been written; waits until at most `most` are pending."""
    while writing and (len(writing) > most or writing[0].done()):
        summaries.note(writing.popleft().result())


def for_each_image(
    folder: RunFolder,
    names: list[str],
    say: Callable[[str], None],
    make: Callable[[str], Callable[[], None] | None],
    mine: list[str] | None = None,
    *,
    ahead: int = 1,
) -> int:
    """Does the same as `for_each_group`, with one image at a time.

    Args:
      folder: the run's folder.
      names: the names in the image list.
      say: prints a line.
      make: computes the results of one image, by name, or raises one of `FAILURES`. The function that it returns writes
        them, in another thread while the next image is under way, and may raise the same; None: nothing to write.
      mine: the names of the images that this host processes; None means all.
      ahead: the maximum number of images whose results may be waiting to be written.
    """

    def reconstruct(group: list[str]) -> GroupOutcome:
        (name,) = group
        try:
            write = make(name)
        except FAILURES as error:
            return GroupOutcome(failure_of(name, error))
        return GroupOutcome({}, write and functools.partial(_written, name, write))

    groups = [[name] for name in (names if mine is None else mine)]
    return for_each_group(folder, names, say, groups, reconstruct, ahead=ahead)


def _written(name: str, write: Callable[[], None]) -> dict[str, str]:
    """Writes an image's results; returns what went wrong, by its stem."""
    try:
        write()
    except FAILURES as error:
        return failure_of(name, error)
    return {}
