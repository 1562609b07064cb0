"""What is recorded of a training beside its GAN: the history as a table and curves, warnings, and a configuration."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan2shape_jax.errors import DivergedError, one_line
from gan2shape_jax.io.files import atomic_file, atomic_text
from gan2shape_jax.stylegan2 import Architecture

from .training import TrainingSettings

__all__ = ["WINDOW", "Row", "mean_row", "require_sound", "warning_of", "write_config", "write_curves", "write_table"]

WINDOW = 50  # iterations averaged in a row

Row = dict[str, Any]
_PANELS = (
    ("losses", ("generator_loss", "discriminator_loss")),
    ("logits", ("real_logit", "fake_logit")),
    ("augmentation, and photos taken for real", ("augmentation", "taken_for_real")),
    ("gradient penalty", ("gradient_penalty",)),
)

_WON = 0.97  # mean sign of photos' logits above which the discriminator has memorised them all
_HOPELESS = 6.0  # generator's loss: a sample is taken for a photo one time in 400
_LOSSES = ("generator_loss", "discriminator_loss")
_GONE = 1000.0  # losses are of the order of one when training goes well
_WINDOWS = 4  # in a row

CONFIG = "config.py"
_LARGEST_SHAPE = 128  # pixels; a larger GAN's images are downscaled for the shape
_SMALL = 64  # pixels that `configs/own.py` has networks for
_LONGEST = 40  # most characters of a category

_TEXT = '''\
"""The GAN beside this file. `gan2shape-jax train-gan` wrote it and leaves it alone from now on: change what you like.

1. gan2shape-jax lift --config={file}             learns shapes from what the GAN draws
2. gan2shape-jax photo PHOTO --model {file}       takes any photo of that kind
"""

import pathlib

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config

_HERE = pathlib.Path(__file__).parent

VARIANTS = ("scratch", "predict")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the configuration: a lifted model is refined on each image, taken as it is, or done without."""
    config = load_config("own").unlock()
    config.category = "{category}"  # a word for it, as messages have it
    config.workdir = str(_HERE / "results")
    config.image_size = {image_size}
{networks}    config.gan.checkpoint = str(_HERE / "gan.safetensors")
    config.gan.size = {gan_size}
    config.gan.style_dim = {style_dim}
    # Things whose left and right sides differ, such as cars in traffic: both False for every stage.
    config.schedule.flip1 = (False, False)
    config.schedule.flip3 = (True, False)
    if variant == "scratch":
        config.workdir = str(_HERE / "results_scratch")
    else:
        config.networks.pretrained = str(_HERE / "results_lift" / "model.safetensors")
    if variant == "predict":
        config.workdir = str(_HERE / "results_predict")
        config.mode = "predict"
    return config
'''
_WIDE_NETWORKS = """\
    config.networks.width = 0  # as their size asks for
    config.networks.group_base = 0
"""


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
    """Plots the rows, and the distances of samples from photos, as PNG, if matplotlib is there to do it.

    Args:
      path: the file to write.
      rows: see `mean_row`.
      distances: {"images": ..., "distance": ...}.
      name: the distance's name.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return
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


def require_sound(row: Row, *, kept: str) -> None:
    """Raises `DivergedError` if a scalar is not finite, or a loss is too large to recover from.

    Args:
      row: means over a window of iterations.
      kept: which results of the training are kept, for the message.
    """
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    told = f"{', '.join(bad)} not finite"
    if not bad:
        bad = [name for name in _LOSSES if row.get(name, 0.0) > _GONE]
        told = ", ".join(f"{name} {row[name]:.0f}" for name in bad)
    if bad:
        raise DivergedError(
            f"training has diverged: {told} after {row['images']} photos; {kept}. Begin in another folder with a "
            "smaller --rate or a larger --r1"
        )


def warning_of(rows: Sequence[Row], settings: TrainingSettings) -> str:
    """Returns a sentence on what to change if the discriminator has won; '' if it has not."""
    last = rows[-_WINDOWS:]
    if len(last) < _WINDOWS or not all(
        row["taken_for_real"] > _WON and row["generator_loss"] > _HOPELESS for row in last
    ):
        return ""
    if settings.augment == "none":
        advice = "train with --augment ada, which is for few photos"
    elif last[-1]["augmentation"] < 0.9:
        return ""  # augmentation has not yet reached its limit
    else:
        advice = "train with a larger --r1, a smaller --rate or more photos"
    return (
        f"the discriminator tells every photo from every sample (generator's loss {last[-1]['generator_loss']:.1f} "
        f"after {last[-1]['images']} photos): the generator learns nothing more from it; {advice}"
    )


def _config_text(folder: pathlib.Path, arch: Architecture) -> str:
    """Returns a Python configuration for a GAN of this architecture that lies in a folder."""
    size = min(arch.size, _LARGEST_SHAPE)
    return _TEXT.format(
        file=_in_text(folder / CONFIG),
        category=_category(folder.name),
        image_size=size,
        networks="" if size <= _SMALL else _WIDE_NETWORKS,
        gan_size=arch.size,
        style_dim=arch.style_dim,
    )


def write_config(folder: pathlib.Path, arch: Architecture) -> pathlib.Path | None:
    """Writes the configuration into the folder, unless something of that name exists; returns its path, or None."""
    path = folder / CONFIG
    if path.exists():
        return None
    atomic_text(path, _config_text(folder.resolve(), arch))
    return path


def _category(name: str) -> str:
    """Returns a folder's name as a category: lower-case letters, digits, - and _, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-").removesuffix("_gan")
    return plain[:_LONGEST] if re.match(r"[a-z]", plain) else "own"


def _in_text(path: pathlib.Path) -> str:
    """Returns a path in a form that a shell accepts and a docstring can contain."""
    return shlex.quote(re.sub(r'["\\]', "_", one_line(str(path))))
