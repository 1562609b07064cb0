"""What is recorded of a training beside its GAN: history, curves, distances, warnings, and a configuration.

Samples and photos are compared by the kernel distance of features (KID, Binkowski et al., 2018), unbiased. Features are
those of a network that the user provides as ONNX, such as Inception without its classifier, or else those of another
GAN's discriminator, averaged over each picture. The second kind may or may not rank states of one training as KID does,
and its numbers are not KID's: it is called "discriminator distance".
"""

from __future__ import annotations

import functools
import importlib.util
import math
import pathlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, UInt8

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.embedding import Preparation, load_embedding
from gan2shape_jax.apps.train_gan.training import TrainingSettings, to_pixels
from gan2shape_jax.errors import DivergedError, UserError, one_line
from gan2shape_jax.io.files import atomic_file, atomic_text
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.latents import random_images_in_parts

WINDOW = 50  # iterations averaged in a row

HistoryRow = dict[str, Any]
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

_TOGETHER = 32  # pictures whose features are computed at a time
_DEGREE = 3

CONFIG = "config.py"
_LARGEST_SHAPE = 128  # pixels; a larger GAN's images are downscaled for the shape
_SMALL = 64  # pixels that `configs/own.py` has networks for
_LONGEST = 40  # most characters of a category

_TEXT = '''\
"""The GAN beside this file. `gan2shape-jax train-gan` wrote it once and does not change it: edit it as you like.

1. gan2shape-jax lift --config={file}             learns shapes from what the GAN draws
2. gan2shape-jax photo PHOTO --model {file}       reconstructs any photo of that kind
"""

import pathlib

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config

_HERE = pathlib.Path(__file__).parent


def get_config() -> ConfigDict:
    """Returns the configuration, by which a lifted model is refined on each image."""
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
    config.recipe = "refine"
    config.networks.pretrained = str(_HERE / "results_lift" / "model.safetensors")
    return config
'''
_WIDE_NETWORKS = """\
    config.networks.width = 0  # as their size asks for
    config.networks.group_base = 0
"""


def mean_row(images: int, window: Sequence[Mapping[str, float]]) -> HistoryRow:
    """Returns the means of the iterations' scalars, each over the iterations that have it, after `images` photos."""
    names = sorted({name for metrics in window for name in metrics})
    means = {name: float(np.mean([metrics[name] for metrics in window if name in metrics])) for name in names}
    return {"images": images, **means}


def write_table(path: pathlib.Path, rows: Sequence[HistoryRow]) -> None:
    """Writes rows as CSV, finite numbers with six digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [
        {k: f"{v:.6g}" if isinstance(v, float) and math.isfinite(v) else str(v) for k, v in r.items()} for r in rows
    ]
    lines = [names, *([row.get(name, "") for name in names] for row in shown)]
    atomic_text(path, "".join(",".join(line) + "\n" for line in lines))


def write_curves(path: pathlib.Path, rows: Sequence[HistoryRow], distances: Sequence[HistoryRow], name: str) -> None:
    """Plots the rows, and the distances {"images", "distance"} called `name`, as PNG, if matplotlib is there."""
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


def require_sound(row: HistoryRow, *, kept: str) -> None:
    """Raises `DivergedError`, saying which results are kept, if a mean is not finite or a loss too large to recover."""
    bad = [f"{name} not finite" for name, value in row.items() if not math.isfinite(value)]
    bad = bad or [f"{name} {row[name]:.0f}" for name in _LOSSES if row.get(name, 0.0) > _GONE]
    if bad:
        raise DivergedError(
            f"training has diverged: {', '.join(bad)} after {row['images']} photos; {kept}. Start in another folder "
            "with a smaller --rate or a larger --r1"
        )


def warning_of(rows: Sequence[HistoryRow], settings: TrainingSettings) -> str:
    """Returns a sentence on what to change if the discriminator has won; '' if it has not."""
    last = rows[-_WINDOWS:]
    if len(last) < _WINDOWS or not all(
        row["taken_for_real"] > _WON and row["generator_loss"] > _HOPELESS for row in last
    ):
        return ""
    if settings.augment == "none":
        advice = "train with --augment ada, for few photos"
    elif last[-1]["augmentation"] < 0.9:
        return ""  # augmentation has not yet reached its limit
    else:
        advice = "train with a larger --r1, a smaller --rate or more photos"
    return (
        f"the discriminator separates every photo from every sample (generator's loss {last[-1]['generator_loss']:.1f} "
        f"after {last[-1]['images']} photos): the generator learns nothing more; {advice}"
    )


def write_config(folder: pathlib.Path, arch: Architecture) -> pathlib.Path | None:
    """Writes the configuration into the folder, unless something of that name exists; returns its path, or None."""
    path = folder / CONFIG
    if path.exists():
        return None
    size, place = min(arch.size, _LARGEST_SHAPE), folder.resolve()
    # Lower-case letters, digits, - and _, beginning with a letter.
    category = re.sub(r"[^a-z0-9_-]+", "_", place.name.lower()).strip("_-").removesuffix("_gan")[:_LONGEST]
    text = _TEXT.format(
        file=shlex.quote(re.sub(r'["\\]', "_", one_line(str(place / CONFIG)))),  # which a docstring can contain
        category=category if re.match(r"[a-z]", category) else "own",
        image_size=size,
        networks="" if size <= _SMALL else _WIDE_NETWORKS,
        gan_size=arch.size,
        style_dim=arch.style_dim,
    )
    atomic_text(path, text)
    return path


class Features(NamedTuple):
    """What pictures are compared by.

    Attributes:
      name: the distance's name, as printed and plotted.
      of: from pictures (n, s, s, 3) uint8 to vectors (n, d).
    """

    name: str
    of: Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, "n d"]]


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Returns the unbiased squared distance of two sets of two vectors or more under the kernel (x.y / d + 1)^3."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** _DEGREE

    def within(x: np.ndarray) -> float:
        values, count = kernel(x, x), len(x)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def drawn_samples(
    key: PRNGKeyArray, arch: Architecture, generator: Params, *, count: int
) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns untruncated samples of a generator; the same for the same key."""
    nothing = jnp.zeros((1, arch.style_dim))
    parts = random_images_in_parts(key, generator, arch=arch, count=count, truncation=1.0, mean=nothing)
    return np.concatenate([to_uint8(images) for images, _ in parts])


def load_features(path: pathlib.Path, *, side: int = 0) -> Features:
    """Returns the features defined by a file: a network (.onnx), or a GAN whose discriminator is used (.safetensors).

    An ONNX network takes RGB pictures in [-1, 1], of `side` pixels if its input does not say so, and returns a vector
    for each. Raises `UserError` for other files.
    """
    if path.suffix.lower() == ".onnx":
        try:
            embed = load_embedding(path, Preparation(size=side))
        except UserError as error:
            raise UserError(str(error).replace("--size", "--features-side")) from error
        return Features("KID", lambda pictures: embed(pictures / np.float32(127.5) - 1))
    arch, params = stylegan2.load(path)

    averaged = functools.partial(_averaged, params["discriminator"], arch=arch)
    return Features(
        "discriminator distance", lambda pictures: np.asarray(in_batches(averaged, pictures, size=_TOGETHER))
    )


@functools.partial(jax.jit, static_argnames="arch")
def _averaged(params: Params, pictures: jax.Array, *, arch: Architecture) -> jax.Array:
    side = arch.discriminator_size
    images = to_pixels(pictures)
    if images.shape[1] != side:
        images = jax.image.resize(images, (len(images), side, side, 3), "linear")
    maps = stylegan2.discriminator_features(params, images, arch=arch)
    return jnp.concatenate([jnp.mean(x, axis=(1, 2)) for x in maps], axis=1)
