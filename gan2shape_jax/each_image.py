"""The images of a run one after another: finished ones are skipped, failures stop nothing, summaries follow."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import jax

from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.outputs import Row, load_result, print_table, write_page, write_table
from gan2shape_jax.run_folder import RunFolder

__all__ = ["explain", "for_each_image", "stem_of"]

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


def for_each_image(
    folder: RunFolder,
    names: list[str],
    say: Callable[[str], None],
    action: Callable[[str, pathlib.Path | None], None],
) -> int:
    """Calls `action` for every image without results, and writes the table, the page and `failures.json`.

    Args:
      folder: of the run.
      names: of the image list.
      say: prints a line.
      action: makes the results of an image, given its name in the list and the results folder of the image
        before it (None for the first).

    Returns:
      0, or 1 when an image failed.

    Raises:
      DiskFullError: which no other image would escape.
    """
    failures: dict[str, str] = {}
    stems = [stem_of(name) for name in names]
    previous: pathlib.Path | None = None
    for name, stem in zip(names, stems, strict=True):
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
    _write_summaries(folder, stems, failures)
    print_table(_rows(folder, stems, failures))
    return 1 if failures else 0


def _rows(folder: RunFolder, names: list[str], failures: dict[str, str]) -> list[Row]:
    found = []
    for name in names:
        if name in failures:
            found.append(Row(name, f"failed: {failures[name]}"))
        elif folder.is_finished(name):
            found.append(Row(name, metrics=load_result(folder.result(name)).metrics))
    return found


def _write_summaries(folder: RunFolder, names: list[str], failures: dict[str, str]) -> None:
    found = _rows(folder, names, failures)
    write_table(folder.root, found)
    write_page(folder.root, found)
    folder.write_failures(failures)
