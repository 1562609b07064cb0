"""The weight file: safetensors that hold generator, discriminator and, in the header, what they
are.

Tensors are named by their path in the parameters (`generator/layers/0/weight`). The header holds
the architecture as JSON, the licence note of the source and its SHA-256, so that a run can say what
it used.
"""

import json
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import PRNGKeyArray

from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2.architecture import Architecture, Params, discriminator_shapes, generator_shapes
from gan2shape_jax.weight_files import families

__all__ = ["check_params", "init_params", "load", "parameter_shapes", "read_header", "save", "write_atomically"]

_FORMAT = "gan2shape-jax/stylegan2/1"


def parameter_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters by their path, generator first."""
    tree = {"generator": generator_shapes(arch), "discriminator": discriminator_shapes(arch)}
    return _flatten(tree)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        path = prefix + name
        flat.update(_flatten(value, path + "/") if isinstance(value, Mapping) else {path: value})
    return flat


def _nest(flat: Mapping[str, Any]) -> Params:
    tree: Params = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def check_params(flat: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], *, source: str | os.PathLike) -> None:
    """Raises UserError, listing each, on missing, extra, misshapen and non-finite tensors."""
    misshapen = [
        f"{k} {tuple(flat[k].shape)}, not {wanted[k]}"
        for k in wanted
        if k in flat and tuple(flat[k].shape) != wanted[k]
    ]
    broken = [k for k in wanted if k in flat and not np.isfinite(flat[k]).all()]
    faults = {
        "missing": [k for k in wanted if k not in flat],
        "extra": [k for k in flat if k not in wanted],
        "misshapen": misshapen,
        "with NaN or infinity": broken,
    }
    lines = [f"  {what}: {', '.join(names)}" for what, names in faults.items() if names]
    if lines:
        raise UserError(f"{source}: the tensors do not make a StyleGAN2:\n" + "\n".join(lines))


def write_atomically(path: str | os.PathLike, write: Callable[[str], None]) -> None:
    """Calls `write` with a temporary name beside `path`, then renames: nothing half-written
    remains.

    Raises UserError where the folder cannot be written or is full.
    """
    target = pathlib.Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.stem + ".", suffix=target.suffix)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror})") from error
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{target}: cannot be written ({error})") from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def save(
    path: str | os.PathLike,
    arch: Architecture,
    params: Params,
    *,
    license_note: str = "",
    source_sha256: str = "",
    notes: str = "",
) -> None:
    """Writes {"generator": ..., "discriminator": ...} and what the header says of them."""
    flat = {k: np.array(v, order="C") for k, v in _flatten(params).items()}
    check_params(flat, parameter_shapes(arch), source=path)
    header = {
        "format": _FORMAT,
        "architecture": json.dumps(arch.to_dict()),
        "license": license_note,
        "source_sha256": source_sha256,
        "notes": notes,
    }
    write_atomically(path, lambda name: safetensors.numpy.save_file(flat, name, header))


def _conversion(path: str | os.PathLike) -> str:
    source = pathlib.Path(path)
    source = source if source.suffix in (".pt", ".pth", ".pkl") else source.with_suffix(".pt")
    return f"convert the PyTorch checkpoint (.pt, .pth, NVIDIA's .pkl) first: {families.command('stylegan2', source)}"


def _open(path: str | os.PathLike):
    if not pathlib.Path(path).is_file():
        raise UserError(f"{path}: no such file; {_conversion(path)}")
    try:
        return safetensors.safe_open(str(path), "np")
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); {_conversion(path)}") from error


def _architecture(path: str | os.PathLike, header: Mapping[str, str]) -> Architecture:
    if header.get("format") != _FORMAT:
        raise UserError(f"{path}: a safetensors file without this program's StyleGAN2 header; {_conversion(path)}")
    try:
        return Architecture.from_dict(json.loads(header["architecture"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its header describes no StyleGAN2 ({error}); {_conversion(path)}") from error


def read_header(path: str | os.PathLike) -> tuple[Architecture, dict[str, str]]:
    """The architecture, and the whole header (licence note, source hash), without the tensors."""
    with _open(path) as file:
        header = dict(file.metadata() or {})
    return _architecture(path, header), header


def load(path: str | os.PathLike) -> tuple[Architecture, Params]:
    """Reads a converted StyleGAN2: (architecture, {"generator": params, "discriminator": params}).

    Raises UserError naming the file, with the command that converts, where it is absent or no such
    file, and with the lists where tensors are missing, extra, misshapen or not finite.
    """
    with _open(path) as file:
        arch = _architecture(path, file.metadata() or {})
        try:
            flat = {name: file.get_tensor(name) for name in file.keys()}
        except (safetensors.SafetensorError, TypeError) as error:
            raise UserError(f"{path}: its tensors cannot be read ({error})") from error
    check_params(flat, parameter_shapes(arch), source=path)
    return arch, jax.tree.map(jnp.asarray, _nest(flat))


def init_params(key: PRNGKeyArray, arch: Architecture) -> Params:
    """Random parameters as at the start of training (noise strengths are zero, biases neutral)."""
    shapes = parameter_shapes(arch)
    # One draw for all: a draw for each shape takes a compilation each.
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
    return _nest(params)
