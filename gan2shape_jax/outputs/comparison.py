"""The "3D" and the "GAN" version of chosen views side by side, beside the input.

All pictures are uint8 `(size, size, 3)`. A still has one row a version, the input at the left (in the GAN's row the
GAN's own image of it, which is what that row starts from); in an animation they stand beside each other.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from gan2shape_jax.outputs import layout
from gan2shape_jax.outputs.layout import Tile

__all__ = ["Comparison", "Version", "moving", "single", "still"]

_GAP = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """One version of all views.

    Attributes:
      name: "3d" or "gan".
      heading: what the version is, in words.
      start: the input, or the GAN's image of it.
      caption: of `start`.
      frames: one for each view.
    """

    name: str
    heading: str
    start: np.ndarray
    caption: str
    frames: Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """One or two versions of the same views; `captions` say what each view is, `note` how to read them."""

    title: str
    note: str
    captions: Sequence[str]
    versions: Sequence[Version]


def still(shown: Comparison, *, labels: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Returns all views in one picture; without labels a single version stands alone, without the input."""
    if labels:
        rows = [
            (
                version.heading,
                [Tile(version.start, version.caption)]
                + [Tile(frame, caption) for frame, caption in zip(version.frames, shown.captions)],
            )
            for version in shown.versions
        ]
        return np.asarray(layout.sheet(rows, title=shown.title, subtitle=shown.note))
    if len(shown.versions) == 1:
        return layout.strip([list(shown.versions[0].frames)], gap=0)
    return layout.strip([[version.start, *version.frames] for version in shown.versions], gap=_GAP)


def moving(shown: Comparison, *, labels: bool) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Returns a frame for each view."""
    if not labels and len(shown.versions) == 1:
        return list(shown.versions[0].frames)
    frames = []
    for i, caption in enumerate(shown.captions):
        tiles = [Tile(shown.versions[0].start, shown.versions[0].caption)]
        tiles += [Tile(version.frames[i], version.heading.partition(":")[0]) for version in shown.versions]
        if labels:
            frames.append(np.asarray(layout.sheet([(caption, tiles)], title=shown.title)))
        else:
            frames.append(layout.strip([[tile.picture for tile in tiles]], gap=_GAP))
    return frames


def single(shown: Comparison) -> dict[str, UInt8[np.ndarray, "size size 3"]]:
    """Returns every picture by the name of its file: `input`, and NUMBER_VERSION for each view."""
    pictures = {
        "input" if version.name == "3d" else f"input_{version.name}": version.start for version in shown.versions
    }
    for version in shown.versions:
        pictures |= {f"{i:03}_{version.name}": frame for i, frame in enumerate(version.frames)}
    return pictures
