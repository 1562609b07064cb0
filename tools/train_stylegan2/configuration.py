"""The configuration that comes with a trained GAN and describes it to the other commands."""

from __future__ import annotations

import pathlib
import re
import shlex

from gan2shape_jax.errors import one_line
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["NAME", "text_of", "write_once"]

NAME = "config.py"
_LARGEST = 128  # pixels; a larger GAN's images are downscaled for the shape
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


def text_of(folder: pathlib.Path, arch: Architecture) -> str:
    """Returns a Python configuration for a GAN of this architecture that lies in a folder."""
    size = min(arch.size, _LARGEST)
    return _TEXT.format(
        file=_in_text(folder / NAME),
        category=_category(folder.name),
        image_size=size,
        networks="" if size <= _SMALL else _WIDE_NETWORKS,
        gan_size=arch.size,
        style_dim=arch.style_dim,
    )


def write_once(folder: pathlib.Path, arch: Architecture) -> pathlib.Path | None:
    """Writes the configuration into the folder, unless something of that name exists; returns its path, or None."""
    path = folder / NAME
    if path.exists():
        return None
    atomic_text(path, text_of(folder.resolve(), arch))
    return path


def _category(name: str) -> str:
    """Returns a folder's name as a category: lower-case letters, digits, - and _, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-").removesuffix("_gan")
    return plain[:_LONGEST] if re.match(r"[a-z]", plain) else "own"


def _in_text(path: pathlib.Path) -> str:
    """Returns a path in a form that a shell accepts and a docstring can contain."""
    return shlex.quote(re.sub(r'["\\]', "_", one_line(str(path))))
