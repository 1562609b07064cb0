"""The records of a conversion: the file that was read, and what it was converted to."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.weights import NETWORKS, Family, listed, recognise, short, tensor_names

_WRAPPER = "module."  # the prefix that data-parallel training puts before every name


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint that was read.

    Attributes:
        path: the file.
        content: what it holds, with NumPy arrays for tensors.
        family: the checkpoint's family, or None if its names are unknown.
        sha256: the file's hash.
    """

    path: pathlib.Path
    content: Any
    family: Family | None
    sha256: str


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted checkpoint.

    Attributes:
        summary: what it is, in one line.
        tensors: by their names in the file to be written.
        header: the content of its header, including the weights' licence and the hash of the source.
        suffix: extension of the file to be written.
        ignored: names in the source that nothing here needs.
        notes: what the user has to know, one sentence each.
        draw: draws what the converted weights do with a square picture, for visual inspection.
    """

    summary: str
    tensors: dict[str, np.ndarray]
    header: dict[str, str]
    draw: Callable[[Image.Image], Image.Image]
    suffix: str = ".safetensors"
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def ignored_in_short(self) -> str:
        """Returns the ignored names, grouped by the module that they belong to, with counts."""
        groups: dict[str, int] = {}
        for name in self.ignored:
            place = re.sub(r"^.*\.num_batches_tracked$", "*.num_batches_tracked", name)
            place = place if place.startswith("*") else place.split(".")[0] + (".*" if "." in place else "")
            groups[place] = groups.get(place, 0) + 1
        return listed(f"{name} ({count})" if count > 1 else name for name, count in groups.items())


def read_source(path: str | os.PathLike, content: Any = None) -> Source:
    """Reads a checkpoint without running any code in it; `content` is what it holds, if it has been read already.

    Raises:
        UserError: it is missing, damaged, or holds something other than tensors; the message names what was expected.
    """
    path = pathlib.Path(path)
    content = read_checkpoint(path) if content is None else content
    family = recognise(tensor_names(content))
    if family is not None and family.tool == NETWORKS and not isinstance(content, Mapping):
        raise UserError(f"{path}: {family.title} in a {type(content).__name__}; a dictionary of tensors is needed")
    return Source(path, content, family, sha256(path))


def tensors_of(content: Mapping[str, Any], path: pathlib.Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the tensors of one network, and the names of what is stored beside them.

    The network is the dictionary itself or its entry `state_dict`; a prefix `module.` is removed. Raises `UserError` if
    one of its entries is not a tensor.
    """
    state, beside = content, list[str]()
    if isinstance(content.get("state_dict"), Mapping):
        state = content["state_dict"]
        beside = [str(name) for name in content if name != "state_dict"]
    strange = [
        short(name)
        for name, value in state.items()
        if not (isinstance(name, str) and isinstance(value, np.ndarray) and value.dtype.kind in "fiub")
    ]
    if strange:
        raise UserError(f"{path}: holds values that are not tensors: {listed(strange, 8)}")
    wrapped = all(name.startswith(_WRAPPER) for name in state)
    return {name.removeprefix(_WRAPPER) if wrapped else name: value for name, value in state.items()}, beside


def plotted(panels: Sequence[Callable[[Any], object]], width: float) -> Image.Image:
    """Returns a picture of plots side by side, each `width` inches wide and drawn on matplotlib's axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * len(panels), 3.5), dpi=100)
    FigureCanvasAgg(figure)
    for place, draw in enumerate(panels, 1):
        draw(figure.add_subplot(1, len(panels), place))
    figure.tight_layout()
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())  # type: ignore[attr-defined]
