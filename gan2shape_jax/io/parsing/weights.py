"""The weight file of a parser: safetensors whose header describes it.

Tensors are named as in `architecture`. The header holds the architecture as JSON, the licence note of the
source and its SHA-256.
"""

import json
import os
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.parsing.architecture import Architecture, parameter_shapes
from gan2shape_jax.io.weights.messages import Refused, listed, printable, short
from gan2shape_jax.io.weights.safetensors_file import Unread, open_safetensors

__all__ = ["FORMAT", "header_of", "load_parser"]

FORMAT = "gan2shape-jax/parser/1"
_ADVICE = "convert the published weights with `gan2shape-jax convert networks` (docs/how-to/converting-weights.md)"


def header_of(arch: Architecture) -> dict[str, str]:
    """Returns the header of a weight file."""
    return {"format": FORMAT, "architecture": json.dumps(arch.to_dict())}


def load_parser(path: str | os.PathLike) -> tuple[Architecture, dict[str, jax.Array]]:
    """Reads a converted parser: its architecture and its parameters.

    Raises:
        UserError: the file is missing, damaged, not a parser, or its tensors do not match its header.
    """
    try:
        with open_safetensors(path) as file:
            arch = _architecture(path, file.metadata)
            tensors = file.read_wanted(parameter_shapes(arch))
    except FileNotFoundError as error:
        raise UserError(f"parser weights {path} do not exist (config.parsing.weights); {_ADVICE}") from error
    except (OSError, Refused) as error:
        raise UserError(f"parser weights {path} cannot be read ({error}); {_ADVICE}") from error
    _check(tensors, parameter_shapes(arch), path)
    return arch, {name: jnp.asarray(value, jnp.float32) for name, value in tensors.items()}


def _architecture(path: str | os.PathLike, header: Mapping[str, str]) -> Architecture:
    if header.get("format") != FORMAT:
        raise UserError(
            f"{path} holds no parser (its format is {short(header.get('format', 'not stated'))}); {_ADVICE}"
        )
    try:
        return Architecture.from_dict(json.loads(header["architecture"]))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {printable(str(error), 300)}"
        raise UserError(f"{path}: its header describes no parser ({told}); {_ADVICE}") from error


def _check(
    tensors: Mapping[str, np.ndarray | Unread], shapes: Mapping[str, tuple[int, ...]], path: str | os.PathLike
) -> None:
    both = shapes.keys() & tensors.keys()
    fitting = {k for k in both if tensors[k].shape == shapes[k]}
    wrong = {
        "missing": sorted(shapes.keys() - tensors.keys()),
        "unknown": sorted(tensors.keys() - shapes.keys()),
        "misshapen": sorted(f"{k} is {tensors[k].shape} instead of {shapes[k]}" for k in both - fitting),
        "with NaN or infinity": sorted(k for k in fitting if not np.isfinite(tensors[k]).all()),
    }
    if any(wrong.values()):
        told = "; ".join(f"{what}: {listed(names, 8)}" for what, names in wrong.items() if names)
        raise UserError(f"parser weights {path} are not what their header says: {told}; {_ADVICE}")
