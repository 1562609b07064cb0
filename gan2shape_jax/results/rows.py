"""The figures of results, and an image's row in tables and pages.

Metrics are dictionaries of numbers, some nested (`prior`); what is not known, such as depth metrics without true depth,
is absent.
"""

import dataclasses
import math
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A figure of the tables."""

    title: str  # for programs
    path: tuple[str, ...]  # in the metrics
    digits: int  # after the point
    label: str  # what everybody understands
    term: str  # what the literature calls it
    words: str  # what it means
    unit: str = ""

    def of(self, metrics: Any) -> float | None:
        """Returns the figure in a result's metrics, or None if it is absent or not finite."""
        for key in self.path:
            metrics = None if metrics is None else metrics.get(key)
        return None if metrics is None or not math.isfinite(metrics) else float(metrics)

    def text(self, value: float | None) -> str:
        """Returns the value as people read it; a dash if it is not known."""
        return "–" if value is None else f"{value:.{self.digits}f}"


_START = "of the shape that the method started from"
_EXPECTED = "What the depth error was, on average, of others like it whose true shape is known"
_PHOTO, _GAN = (
    f"Mean difference between photo and {picture}: 0 is none, black to white is 2"
    for picture in ("reconstruction", "the GAN's picture")
)
COLUMNS = (
    Column("side", ("side",), 4, "depth error", "SIDE", "Error of depth, whatever its scale: 0 is exact"),
    Column("mad", ("mad",), 1, "angle error", "MAD", "Mean angle between surface normals and true ones, degrees", "°"),
    Column("mad_unit", ("mad_unit",), 1, "angle error, unit normals", "unit MAD", "The same, of unit normals", "°"),
    Column("mae", ("mae",), 4, "mean depth error", "MAE", "Mean absolute error of depth, scene units"),
    Column("mse", ("mse",), 6, "squared depth error", "MSE", "Mean squared error of depth"),
    Column("prior_side", ("prior", "side"), 4, "depth error at start", "prior SIDE", f"Depth error {_START}"),
    Column("prior_mad", ("prior", "mad"), 1, "angle error at start", "prior MAD", f"Angle error {_START}", "°"),
    Column("expected_side", ("trust", "expected_side"), 4, "expected depth error", "expected SIDE", _EXPECTED),
    Column("reconstruction_l1", ("reconstruction_l1",), 3, "differs from photo by", "recon. L1", _PHOTO),
    Column("inversion_l1", ("inversion_l1",), 3, "GAN's picture differs by", "inversion L1", _GAN),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of the table: its name, what became of it, and its metrics (empty if it failed)."""

    name: str
    status: str = "done"
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def figures(self) -> list[float | None]:
        """The value of each of `COLUMNS`, None where it is not known."""
        return [column.of(self.metrics) for column in COLUMNS]
