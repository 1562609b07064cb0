"""The summaries of a run: `results.csv`, `results.md`, `index.html`, `failures.json`, the console's table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.text import Text

from gan2shape_jax.errors import UserError, one_line, printable
from gan2shape_jax.results import Fragments, Row, load_metrics, print_table, write_page, write_table
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.trust import remarks

__all__ = ["Summaries"]

# Writing takes longer the more images there are: until the end, the pause between writes is this many times the
# duration of the last one.
_SPACING = 20


class Summaries:
    """The summaries of a run's images.

    A finished image is read only once, from its `result.json` and `page.jsonl` rather than its arrays.
    """

    def __init__(self, folder: RunFolder, stems: Sequence[str], say: Callable[[Any], None]):
        """Summaries of the images with these stems, in the given order.

        Args:
          folder: the run's folder.
          stems: the names in the list without their extensions.
          say: prints a line, given as str or, with a colour, as Text.
        """
        self.failures: dict[str, str] = {}
        self._folder = folder
        self._stems = stems
        self._say = say
        self._finished: dict[str, Row] = {}
        self._fragments = Fragments()
        self._due = 0.0  # earliest time of the next write

    def note(self, failures: dict[str, str]) -> None:
        """Reports failures, by stem, and updates the files unless they were updated recently."""
        for stem, message in failures.items():
            self._say(Text(printable(f"{one_line(stem)}: {message}"), "red"))
        self.failures |= failures
        if time.monotonic() >= self._due:
            self._write()

    def end(self) -> None:
        """Updates the files and prints the table."""
        print_table(self._rows(self._write()))

    def _write(self) -> dict[str, str]:
        """Writes summaries of the folder's current contents; returns the failures of all hosts.

        If another host has meanwhile finished an image, this host may just have overwritten its summary, so the files
        are written again: whoever writes last has seen everything.
        """
        began = time.monotonic()
        self._folder.require()
        self._look()
        while True:
            failures = self._folder.write_failures(self.failures)
            rows = self._rows(failures)
            write_table(self._folder.root, rows)
            write_page(self._folder.root, rows, fragments=self._fragments)
            if not self._look():
                self._due = time.monotonic() + _SPACING * (time.monotonic() - began)
                return failures

    def _look(self) -> bool:
        """Reads new results; returns whether there are any."""
        new = [stem for stem in self._stems if stem not in self._finished and self._folder.is_finished(stem)]
        self._finished |= {stem: self._row(stem) for stem in new}
        return bool(new)

    def _row(self, stem: str) -> Row:
        try:
            metrics = load_metrics(self._folder.result(stem))
        except UserError as error:
            return Row(stem, f"unreadable: {error}")
        return Row(stem, ", ".join(["done", *remarks(metrics)]), metrics)

    def _rows(self, failures: dict[str, Any]) -> list[Row]:
        rows = {stem: Row(stem, f"failed: {message}") for stem, message in failures.items()}
        known = self._finished | rows
        return [known[stem] for stem in self._stems if stem in known]
