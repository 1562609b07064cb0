"""Faces whose true depth is known, and what networks predict for them: for the scripts beside this one.

A folder of faces has the folders `image`, `mask`, `depth` and `latents`, as the bundled faces do.
"""

import pathlib
import tempfile
from collections.abc import Iterable

import jax
from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.run import prepare
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files


def config_of(data: pathlib.Path, name: str = "ictface:scratch") -> ConfigDict:
    """Returns a bundled configuration for a folder of faces, unlocked."""
    config = load_config(name).unlock()
    for root, folder in (("image", "image"), ("mask", "mask"), ("depth", "depth"), ("latent", "latents")):
        config.data[f"{root}_root"] = str(data / folder)
    return config


def faces_of(data: pathlib.Path, numbers: Iterable[int]) -> tuple[list[PreparedImage], FrozenModels]:
    """Returns the faces of a folder by their numbers, and the frozen networks."""
    config = config_of(data).lock()
    architecture, frozen = prepare.load_frozen(resolve(config))
    return prepared(config, numbers, architecture, frozen), frozen


def prepared(
    config: ConfigDict, numbers: Iterable[int], architecture: Architecture, frozen: FrozenModels
) -> list[PreparedImage]:
    """Returns the faces of a configuration by their numbers."""
    with tempfile.TemporaryDirectory() as kept:
        return [
            prepare.load_image(resolve(config), f"{number:03d}.png", architecture, frozen, pathlib.Path(kept))
            for number in numbers
        ]


def predictions(networks: pathlib.Path, faces: list[PreparedImage], frozen: FrozenModels) -> list[Prediction]:
    """Returns what the networks in a file predict for faces, feed-forward."""
    settings = faces[0].settings
    like = models.init_params(jax.random.key(0), settings)
    params = network_files.load_networks(networks, like, settings)
    return [reconstruction.predict(params, face.example, frozen, settings) for face in faces]
