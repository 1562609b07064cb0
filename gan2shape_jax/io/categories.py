"""Kinds of objects: what of the method depends on them, as the record `CATEGORY` of a configuration file.

    CATEGORY = Category("car", box="ground", parser=scene_parser("VOC", 21, 7, normalize=True), max_yaw_deg=45)

A kind without a record has the values that `Category` starts from. Labels of the face parser (CelebAMask-HQ): 0
background, 1 skin, 2-3 brows, 4-5 eyes, 6 glasses, 7-8 ears, 9 earring, 10 nose, 11 mouth, 12-13 lips, 14
neck, 15 necklace, 16 cloth, 17 hair, 18 hat. VOC: 7 car, 8 cat, 13 horse. ADE20K: 1 building.
"""

from __future__ import annotations

import dataclasses
import functools
import runpy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from gan2shape_jax import extensions
from gan2shape_jax.io.bundled import configs

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict

    # the networks import jax, which merely checking a configuration should not wait for
    from gan2shape_jax.networks.parsing import ParserArchitecture


@dataclasses.dataclass(frozen=True)
class Parser:
    """The network that finds a category's object masks, and the input it expects; values as in the published code."""

    family: Literal["bisenet", "pspnet"]
    data: str  # the dataset it was trained on, which determines what its labels mean
    classes: int  # number of labels
    side: int  # side of its input, pixels
    # True subtracts ImageNet's mean and divides by its deviation, as the network was trained; False passes pictures in
    # [-1, 1], which the published implementation does for all but cars and cats.
    normalize: bool
    values: Mapping[int, float]  # the mask's value for each label that is part of the object; 0 for all others
    file: str  # its weights' name in the release of the published implementation
    home: str  # where else to get them

    def __str__(self) -> str:
        return f"{'BiSeNet' if self.family == 'bisenet' else 'PSPNet'} of {self.data} ({self.classes} labels)"

    def fits(self, arch: ParserArchitecture) -> bool:
        """Whether a network of this architecture has these labels."""
        return (arch.family, arch.classes) == (self.family, self.classes)


def face_parser(values: Mapping[int, float]) -> Parser:
    """Returns BiSeNet of CelebAMask-HQ, with the mask's value for each label of the object."""
    home = "https://github.com/zllrunning/face-parsing.PyTorch (79999_iter.pth)"
    return Parser("bisenet", "CelebAMask-HQ", 19, 512, False, values, "parsing/bisenet.pth", home)


def scene_parser(data: str, classes: int, label: int, *, normalize: bool) -> Parser:
    """Returns PSPNet of a dataset, VOC or ADE20K, one of whose labels is the object."""
    home = f"https://github.com/hszhao/semseg (pspnet50 of {data})"
    return Parser("pspnet", data, classes, 473, normalize, {label: 1.0}, f"parsing/pspnet_{data.lower()}.pth", home)


@dataclasses.dataclass(frozen=True)
class Category:
    """A kind of object.

    Attributes:
        name: its name, as in `config.category`.
        box: how the ellipsoid prior's box differs from the mask's: 'forehead' is a sixth higher, 'ground' a sixth
            lower, 'neck' reaches the lower edge of the picture and is a sixth narrower, 'none' is the mask's.
        parser: the network that finds object masks; None if there is none.
        max_yaw_deg: how far pictures of a result turn to either side: objects with deep sides less far.
        detector: what finds such objects in photos, see `detection`: 'face' people's faces, 'gan' any other kind, by
            what the GAN's samples teach.
        prior: a prior of its own, for `config.prior.shape="category"`: takes the object mask (s, s) in [0, 1] and the
            configuration, returns depth (s, s) in scene units; None if it has none.
        word: what pictures show, for sentences such as the verdict; '' means the name.
    """

    name: str
    box: Literal["forehead", "neck", "ground", "none"] = "none"
    parser: Parser | None = None
    max_yaw_deg: float = 70.0
    detector: Literal["face", "gan"] = "gan"
    prior: Callable[[np.ndarray, ConfigDict], np.ndarray] | None = None
    word: str = ""

    def __str__(self) -> str:
        return self.word or self.name or "object"


class NameWithRecord(str):
    """The name of a category that a user's configuration file describes, as `config.category`: it has the record."""

    record: Category | None = None  # `ConfigDict` turns names that are assigned later into this class


@functools.cache
def categories() -> dict[str, Category]:
    """Returns the records of the bundled configurations, and of those that other packages add, by name."""
    modules = {path.stem: runpy.run_path(str(path)) for path in configs().glob("[a-z]*.py")}
    modules |= {name: vars(extensions.load("category", name)) for name in extensions.names("category")}
    records = ((name, module.get("CATEGORY")) for name, module in modules.items())
    return {name: record for stem, record in sorted(records) if record for name in (stem, record.name)}


def category_of(name: str) -> Category:
    """Returns the record of a category; for a word of the user's own without a record, the values it starts from."""
    return getattr(name, "record", None) or categories().get(name) or Category(name)


def parsers() -> dict[str, Parser]:
    """Returns the parsers by category."""
    return {name: record.parser for name, record in categories().items() if record.parser is not None}
