"""Tables and pictures of identity under rotation."""

import dataclasses
import pathlib
import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from gan2shape_jax.apps.evaluate.identity import METHODS, Turned
from gan2shape_jax.apps.evaluate.intervals import mean_interval
from gan2shape_jax.apps.evaluate.report import csv_text, interval_text, markdown_table
from gan2shape_jax.results import layout, pictures
from gan2shape_jax.results.cells import markdown_cell
from gan2shape_jax.results.result import Result

__all__ = ["Turn", "markdown", "picture_name", "title", "views_csv", "write_picture"]

_SHOWN = 7  # views per row in the picture
_LONGEST_NAME = 60  # characters, of up to four bytes
_MEANING = """\
The mean over the views of an image, then over images, with 95% intervals (Student's t); the least similar view; the
yaws that the image's own view network sees, how far they are from those asked for, and how many the direction reached.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
    """One image turned by one method.

    Attributes:
        run, name: of the image.
        method: one of `METHODS`.
        how: the direction that was used, in words, or "".
        yaws_deg: (n,) requested yaws.
        seen_deg: (n,) yaws that the view network sees in the pictures.
        reached: (n,) whether the calibration reached the yaw.
        similarity: (n,) cosine to the input's embedding.
    """

    run: str
    name: str
    method: str
    how: str
    yaws_deg: np.ndarray
    seen_deg: np.ndarray
    reached: np.ndarray
    similarity: np.ndarray


def title(network: str | None) -> str:
    """Returns what the figures mean, given the embedding's file name; None stands for the stand-in."""
    if network is None:
        return (
            "Stand-in, NOT identity: cosine between mean features of the GAN's discriminator. It tells how alike "
            "two\npictures look to the GAN, not whose face they show."
        )
    return f"Cosine between the embeddings ({markdown_cell(network)}) of the input and of its turned views."


def markdown(turns: Sequence[Turn], problems: Mapping[str, str], heading: str) -> str:
    """Returns a table with a row per method: mean similarity over images with its interval, and the yaws seen."""
    by_method = {method: [turn for turn in turns if turn.method == method] for method in METHODS}
    rows = [[method, *_row(some)] for method, some in by_method.items() if some]
    titles = ["method", "images", "similarity", "least similar view", "yaw seen, degrees", "off by", "reached"]
    lines = [heading, _MEANING, markdown_table(titles, rows) if rows else "nothing was turned\n"]
    ways = [f"{turn.run}: {turn.name}: {turn.method} along {turn.how}" for turn in turns if turn.how]
    ways = [f"- {markdown_cell(way)}" for way in ways]
    wrong = [f"- {markdown_cell(f'{name}: {reason}')}" for name, reason in problems.items()]
    return "\n".join([*lines, *ways, *(["", "Left out:", "", *wrong] if wrong else []), ""])


def _row(turns: Sequence[Turn]) -> list[str]:
    means = mean_interval([float(turn.similarity.mean()) for turn in turns])
    worst = mean_interval([float(turn.similarity.min()) for turn in turns])
    low, high = (np.mean([end(turn.seen_deg) for turn in turns]) for end in (np.min, np.max))
    error = np.mean([np.abs(turn.seen_deg - turn.yaws_deg).mean() for turn in turns])
    reached = np.mean([turn.reached.mean() for turn in turns])
    return [
        str(len(turns)),
        interval_text(means, 3),
        interval_text(worst, 3),
        f"{low:.1f} to {high:.1f}",
        f"{error:.1f}",
        f"{100 * reached:.0f}%",
    ]


def views_csv(turns: Sequence[Turn]) -> str:
    """Returns a CSV with a row per view."""
    rows = [
        [turn.run, turn.name, turn.method, float(yaw), float(seen), bool(reached), float(alike)]
        for turn in turns
        for yaw, seen, reached, alike in zip(turn.yaws_deg, turn.seen_deg, turn.reached, turn.similarity, strict=True)
    ]
    return csv_text(["run", "name", "method", "yaw_deg", "seen_yaw_deg", "reached", "similarity"], rows)


def picture_name(run: str, name: str) -> str:
    """Returns the name of the picture's file: `RUN_NAME.png`, with a checksum if other names could collide."""
    plain = f"{run}_{name}"
    kept = re.sub(r"[^\w.-]", "_", plain).lstrip(".")[:_LONGEST_NAME]
    if kept == plain and "_" not in name:
        return f"{kept}.png"
    both = f"{run}\0{name}".encode(errors="surrogatepass")
    return f"{kept}-{zlib.crc32(both):08x}.png"


def write_picture(path: pathlib.Path, result: Result, turned: Sequence[Turned]) -> None:
    """Writes a picture with a row per method: some of the views from left to right, the input above them."""
    chosen = np.linspace(0, len(turned[0].pictures) - 1, _SHOWN).round().astype(int)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [pictures.to_uint8(result.image[None]), *(pictures.to_uint8(each.pictures[chosen]) for each in turned)]
    pictures.write_png(path, layout.strip(rows))
