"""The "3D" and the "GAN" version of chosen views, side by side with the input.

All pictures are uint8 `(size, size, 3)`. A still has one row per version, with the input at the left (in the GAN's row,
the GAN's own image of it, from which that row starts); in an animation the versions stand side by side.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from gan2shape_jax.results import pictures
from gan2shape_jax.results.pictures import Tile

__all__ = ["Comparison", "Version", "moving", "moving_size", "single", "still", "still_size"]

_GAP = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """One version of all views.

    Attributes:
      name: "3d" or "gan".
      heading: what the version is, in words.
      start: the input, or the GAN's image of it.
      caption: the caption of `start`.
      frames: one for each view, generated one by one and only once.
    """

    name: str
    heading: str
    start: np.ndarray
    caption: str
    frames: Iterable[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """One or two versions of the same views; `captions` say what each view is, `note` how to read them."""

    title: str
    note: str
    captions: Sequence[str]
    versions: Sequence[Version]


def still(shown: Comparison, *, labels: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Returns all views in one picture; without labels, a single version is shown alone, without the input."""
    if labels:
        rows = [
            (
                version.heading,
                [Tile(version.start, version.caption)]
                + [Tile(frame, caption) for frame, caption in zip(version.frames, shown.captions)],
            )
            for version in shown.versions
        ]
        return np.asarray(pictures.sheet(rows, title=shown.title, subtitle=shown.note))
    side, views = shown.versions[0].start.shape[0], len(shown.captions)
    if len(shown.versions) == 1:
        return pictures.pasted([shown.versions[0].frames], columns=views, side=side, gap=0)
    each = [itertools.chain([version.start], version.frames) for version in shown.versions]
    return pictures.pasted(each, columns=views + 1, side=side, gap=_GAP)


def still_size(versions: int, views: int, side: int, *, labels: bool, note: bool) -> tuple[int, int]:
    """Returns the width and height of `still` in pixels, given the numbers of versions and views and a view's side."""
    if labels:
        return pictures.sheet_size(side, views + 1, [True] * versions, subtitle=note)
    if versions == 1:
        return views * side, side
    return (views + 1) * (side + _GAP) - _GAP, versions * (side + _GAP) - _GAP


def moving(shown: Comparison, *, labels: bool) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields a frame for each view."""
    if not labels and len(shown.versions) == 1:
        yield from shown.versions[0].frames
        return
    start = Tile(shown.versions[0].start, shown.versions[0].caption)
    headings = [version.heading.partition(":")[0] for version in shown.versions]
    for caption, *drawn in zip(shown.captions, *(version.frames for version in shown.versions)):
        tiles = [start, *(Tile(picture, heading) for picture, heading in zip(drawn, headings))]
        if labels:
            yield np.asarray(pictures.sheet([(caption, tiles)], title=shown.title))
        else:
            yield pictures.strip([[tile.picture for tile in tiles]], gap=_GAP)


def moving_size(versions: int, side: int, *, labels: bool) -> tuple[int, int]:
    """Returns the width and height of the frames of `moving` in pixels."""
    if labels:
        return pictures.sheet_size(side, versions + 1, [True])
    return (side, side) if versions == 1 else ((versions + 1) * (side + _GAP) - _GAP, side)


def single(shown: Comparison) -> Iterator[tuple[str, UInt8[np.ndarray, "size size 3"]]]:
    """Yields every picture, preceded by its file name: `input`, and NUMBER_VERSION for each view."""
    for version in shown.versions:
        yield "input" if version.name == "3d" else f"input_{version.name}", version.start
    for version in shown.versions:
        for i, frame in enumerate(version.frames):
            yield f"{i:03}_{version.name}", frame
