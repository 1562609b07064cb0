"""The training history: scalars averaged over windows of iterations, as rows, a table and curves."""

from __future__ import annotations

import csv
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan2shape_jax.io.atomic_files import atomic_file, atomic_text

__all__ = ["WINDOW", "Row", "mean_row", "write_curves", "write_table"]

WINDOW = 50  # iterations averaged in a row

Row = dict[str, Any]
_PANELS = (
    ("losses", ("generator_loss", "discriminator_loss")),
    ("logits", ("real_logit", "fake_logit")),
    ("augmentation, and photos taken for real", ("augmentation", "taken_for_real")),
    ("gradient penalty", ("gradient_penalty",)),
)


def mean_row(images: int, window: Sequence[Mapping[str, float]]) -> Row:
    """Returns the means of the iterations' scalars, each over the iterations that have it, after `images` photos."""
    names = sorted({name for told in window for name in told})
    means = {name: float(np.mean([told[name] for told in window if name in told])) for name in names}
    return {"images": images, **means}


def write_table(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Writes rows as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _short(value) for name, value in row.items()} for row in rows)
    atomic_text(path, text.getvalue())


def write_curves(path: pathlib.Path, rows: Sequence[Row], distances: Sequence[Row], name: str) -> None:
    """Plots the rows, and the distances of samples from photos, as PNG.

    Args:
      path: the file to write.
      rows: see `mean_row`.
      distances: {"images": ..., "distance": ...}.
      name: the distance's name.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    panels = [*_PANELS, (name, ("distance",))] if distances else list(_PANELS)
    figure = Figure(figsize=(9, 2 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, names) in zip(figure.subplots(len(panels), 1, sharex=True), panels, strict=True):
        for what in names:
            drawn = [(row["images"] / 1000, row[what]) for row in (*rows, *distances) if what in row]
            axes.plot(*zip(*drawn), label=what.replace("_", " ")) if drawn else None
        axes.set_title(title, fontsize=9, loc="left")
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize=8)
    axes.set_xlabel("photos shown, in thousands")
    atomic_file(path, lambda part: figure.savefig(part, dpi=90))


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else value
