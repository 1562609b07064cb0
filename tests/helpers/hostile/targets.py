"""Everything that opens a weight file of a kind, as functions of a path; they raise `UserError` or return."""

import pathlib
from collections.abc import Callable

__all__ = ["targets"]

Target = Callable[[pathlib.Path], None]


def targets(kind: str) -> dict[str, Target]:
    """Returns what opens files of a kind, by name; imports what it takes."""
    if kind == "safetensors":
        return _of_safetensors()
    if kind == "onnx":
        return {"embedding": _onnx()}
    return {"convert": _convert()}


def _convert() -> Target:
    """What `gan2shape-jax convert` does, but for the pictures that it draws of what it has converted."""
    from tools import convert, convert_networks, convert_stylegan2

    def run(path: pathlib.Path) -> None:
        if convert._kind_of(str(path)) == "stylegan2":
            convert_stylegan2.read_checkpoint(path)
        else:
            convert_networks.convert([path])

    return run


def _of_safetensors() -> dict[str, Target]:
    import jax

    from gan2shape_jax import stylegan2
    from gan2shape_jax.io import parsing
    from gan2shape_jax.method import models, perceptual
    from gan2shape_jax.training import network_files
    from helpers.hostile.small_settings import small_settings

    settings = small_settings()
    like = jax.eval_shape(lambda key: models.init_params(key, settings), jax.random.key(0))
    return {
        "gan": lambda path: void(stylegan2.load(path)),
        "header": lambda path: void(stylegan2.read_header(path)),
        "parser": lambda path: void(parsing.load_parser(path)),
        "lpips": lambda path: void(perceptual.load_lpips(path)),
        "networks": lambda path: void(network_files.load_networks(path, like, settings)),
        "convert": _convert(),
    }


def void(_: object) -> None:
    """Forgets what was read."""


def _onnx() -> Target:
    import numpy as np
    import onnxruntime  # noqa: F401  (imported before anything is measured)

    from gan2shape_jax.apps.evaluate.embedding import load_embedding

    pictures = np.zeros((2, 8, 8, 3), np.float32)
    return lambda path: void(load_embedding(path)(pictures))
