"""The weight file: a safetensors file with the generator and discriminator, described in its header.

Tensors are named by their path in the parameters (`generator/layers/0/weight`). The header holds the architecture as
JSON, the licence note of the source and its SHA-256, so that a run can record what it used.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PRNGKeyArray

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.io.weights import convert_command, misfits, open_safetensors, safetensors_bytes
from gan2shape_jax.stylegan2.architecture import Architecture, Params, discriminator_shapes, generator_shapes

_FORMAT = "gan2shape-jax/stylegan2/1"
_FAULT = "the tensors do not make a StyleGAN2"


def parameter_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all parameters by their path, generator first."""
    both = {"generator": generator_shapes(arch), "discriminator": discriminator_shapes(arch)}
    return dict(flatten_dict(both, sep="/"))


def check_params(
    flat: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], *, source: str | os.PathLike[str]
) -> None:
    """Checks that tensors, by name, have the `shapes` of a StyleGAN2's parameters and are finite.

    Raises:
      UserError: tensors are missing, unknown, misshapen, empty or not finite; the message lists them.
    """
    if differing := misfits(flat, shapes):
        raise UserError(f"{source}: {_FAULT}: {differing}")


def save(
    path: str | os.PathLike[str],
    arch: Architecture,
    params: Params,
    *,
    license_note: str = "",
    source_sha256: str = "",
    notes: str = "",
) -> None:
    """Writes a StyleGAN2, parameters {"generator": ..., "discriminator": ...}, as a weight file; the latter may be {}.

    `license_note`, the SHA-256 of the file that it was converted from and other `notes` stand in its header.

    Raises:
      UserError: the parameters do not fit the architecture, or the file cannot be written.
    """
    flat, header = file_content(arch, params, license_note=license_note, source_sha256=source_sha256, notes=notes)
    check_params(flat, parameter_shapes(arch), source=path)
    atomic_bytes(path, safetensors_bytes(flat, header))


def file_content(arch: Architecture, params: Params, **about: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the tensors of a weight file, by their names, and its header; `about` as for `save`."""
    flat = {k: np.array(v, order="C") for k, v in flatten_dict(params, sep="/").items()}
    facts = {"license": about["license_note"], "source_sha256": about["source_sha256"], "notes": about["notes"]}
    return flat, {"format": _FORMAT, "architecture": json.dumps(dataclasses.asdict(arch)), **facts}


def _conversion(path: str | os.PathLike[str]) -> str:
    source = pathlib.Path(path)
    source = source if source.suffix in (".pt", ".pth", ".pkl") else source.with_suffix(".pt")
    return f"convert the PyTorch checkpoint (.pt, .pth, NVIDIA's .pkl) first: {convert_command(source)}"


def _architecture(path: str | os.PathLike[str], header: Mapping[str, str]) -> Architecture:
    if header.get("format") != _FORMAT:
        raise UserError(f"{path}: a safetensors file without this program's StyleGAN2 header; {_conversion(path)}")
    try:
        fields = json.loads(header["architecture"]).items()
        values: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in fields}
        return Architecture(**values)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error)[:300])}"
        raise UserError(f"{path}: its header does not describe a StyleGAN2 ({reason}); {_conversion(path)}") from error


def read_header(path: str | os.PathLike[str]) -> tuple[Architecture, dict[str, str]]:
    """Reads the architecture and the whole header (licence note, source hash), without the tensors."""
    with open_safetensors(path, _conversion(path)) as file:
        return _architecture(path, file.metadata), dict(file.metadata)


def load(path: str | os.PathLike[str]) -> tuple[Architecture, Params]:
    """Reads a converted StyleGAN2: (architecture, {"generator": params, "discriminator": params, {} if there is none}).

    Raises:
      UserError: the file is missing or is not a weight file (the message gives the conversion command), or tensors are
        missing, unknown, misshapen or not finite (the message lists them).
    """
    if not os.fspath(path):
        raise UserError("no GAN is named: gan.checkpoint is empty")
    with open_safetensors(path, _conversion(path)) as file:
        arch = _architecture(path, file.metadata)
        flat = file.read_all(parameter_shapes(arch), f"{path}: {_FAULT}")
    singles = {name: np.asarray(value, np.float32) for name, value in flat.items()}  # bundled ones are in float16
    params = {"discriminator": {}} | unflatten_dict(singles, sep="/")
    return arch, jax.device_put(params)  # jnp.asarray would compile a program for every shape


def init_params(key: PRNGKeyArray, arch: Architecture) -> Params:
    """Draws random parameters as at the start of training, with zero noise strengths and neutral biases."""
    shapes = parameter_shapes(arch)
    # One draw for all: drawing each shape separately would need a compilation each.
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    drawn = np.split(np.asarray(jax.random.normal(key, (int(ends[-1]),))), ends[:-1])
    params = {}
    for values, (path, shape) in zip(drawn, shapes.items()):
        name = path.split("/")[-1]
        if name in ("style_bias", "bias", "noise_strength", "mean_w"):
            values = np.full_like(values, name == "style_bias")
        elif "/mapping/" in path:
            values = values / arch.mapping_scale
        params[path] = jnp.asarray(values.reshape(shape))
    return dict(unflatten_dict(params, sep="/"))
