"""Which parser is for which category's objects, what input it expects, and what its labels mean.

The values are those of the published implementation. Labels of the face parser (CelebAMask-HQ): 0
background, 1 skin, 2-3 brows, 4-5 eyes, 6 glasses, 7-8 ears, 9 earring, 10 nose, 11 mouth, 12-13 lips, 14
neck, 15 necklace, 16 cloth, 17 hair, 18 hat. VOC: 7 car, 8 cat, 13 horse. ADE20K: 1 building.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from gan2shape_jax.errors import UserError

if TYPE_CHECKING:  # the networks import jax, which merely checking a configuration should not wait for
    from gan2shape_jax.io.parsing.architecture import Architecture

__all__ = ["PARSERS", "Parser", "parser_of"]


@dataclasses.dataclass(frozen=True)
class Parser:
    """The parser for one category, and the input it expects.

    Attributes:
        family: the network's family.
        data: the dataset it was trained on, which determines what its labels mean.
        classes: number of labels.
        side: side of its input, pixels.
        normalize: True subtracts ImageNet's mean and divides by its deviation, as the network was trained;
            False passes pictures in [-1, 1], which the published implementation does for all but cars
            and cats.
        values: the mask's value for each label that is part of the object; 0 for all others.
        file: its weights' name in the release of the published implementation.
        home: where else to get them.
    """

    family: Literal["bisenet", "pspnet"]
    data: str
    classes: int
    side: int
    normalize: bool
    values: Mapping[int, float]
    file: str
    home: str

    def __str__(self) -> str:
        name = "BiSeNet" if self.family == "bisenet" else "PSPNet"
        return f"{name} of {self.data} ({self.classes} labels)"

    def table(self) -> Float[np.ndarray, " classes"]:
        """Returns the mask's value for every label."""
        table = np.zeros(self.classes, np.float32)
        table[list(self.values)] = list(self.values.values())
        return table

    def fits(self, arch: Architecture) -> bool:
        """Whether a network of this architecture has these labels."""
        return (arch.family, arch.classes) == (self.family, self.classes)


def _face() -> dict[int, float]:
    """Returns the mask's values: 1 on the face, 0.5 on the rest of the head (neck, hair and hat, but not cloth)."""
    return {label: 1.0 if label <= 13 else 0.5 for label in range(1, 19) if label != 16}


def _faces(values: Mapping[int, float]) -> Parser:
    home = "https://github.com/zllrunning/face-parsing.PyTorch (79999_iter.pth)"
    return Parser("bisenet", "CelebAMask-HQ", 19, 512, False, values, "parsing/bisenet.pth", home)


def _things(data: str, classes: int, label: int, *, normalize: bool) -> Parser:
    home = f"https://github.com/hszhao/semseg (pspnet50 of {data})"
    file = f"parsing/pspnet_{data.lower()}.pth"
    return Parser("pspnet", data, classes, 473, normalize, {label: 1.0}, file, home)


PARSERS: dict[str, Parser] = {
    "face": _faces(_face()),
    "synface": _faces(dict.fromkeys(range(1, 15), 1.0)),
    "car": _things("VOC", 21, 7, normalize=True),
    "cat": _things("VOC", 21, 8, normalize=True),
    "horse": _things("VOC", 21, 13, normalize=False),
    "church": _things("ADE20K", 150, 1, normalize=False),
}


def parser_of(category: str) -> Parser:
    """Returns the parser for a category; raises `UserError` if there is none."""
    if category not in PARSERS:
        raise UserError(
            f"there is no parser that finds objects of the category {category!r}, only for "
            f"{', '.join(PARSERS)}: give object masks as files (--config.data.mask_root=FOLDER) or in the "
            "images' alpha channel"
        )
    return PARSERS[category]
