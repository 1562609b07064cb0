"""Initial parameters of several networks from a single draw.

A module's own `init` draws every kernel separately, and XLA compiles the random generator anew for
each, which takes a long time on CPU. One long draw, split up and scaled, compiles in about a second.
The distribution is the same: torch's default (see `layers`).
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike, PRNGKeyArray

from gan2shape_jax.io.weights import flat_names
from gan2shape_jax.networks.encoder import Encoder
from gan2shape_jax.networks.encoder_decoder import EncoderDecoder
from gan2shape_jax.networks.residual_encoder import ResidualEncoder

__all__ = ["Network", "initial_params", "param_shapes"]

Network = EncoderDecoder | Encoder | ResidualEncoder

_Path = tuple[str, ...]


def initial_params(
    key: PRNGKeyArray,
    modules: Mapping[str, Network],
    *,
    dtype: DTypeLike = jnp.float32,
) -> dict[str, Any]:
    """Draws the initial parameters of several networks.

    Args:
        key: determines all of them, together with the modules' names and sizes.
        modules: networks by name.
        dtype: dtype of the parameters.

    Returns:
        The modules' `params` collections by name.
    """
    shapes: dict[_Path, tuple[int, ...]] = {}
    for name, module in sorted(modules.items()):
        shapes |= {(name, *path): leaf.shape for path, leaf in param_shapes(module, dtype).items()}
    drawn = [path for path in sorted(shapes) if not _of_norm(path)]
    sizes = [math.prod(shapes[path]) for path in drawn]
    values = jax.random.uniform(key, (sum(sizes),), dtype, -1.0, 1.0)
    params = {path: jnp.full(shape, path[-1] == "scale", dtype) for path, shape in shapes.items() if _of_norm(path)}
    begin = 0
    for path, size in zip(drawn, sizes, strict=True):
        part = values[begin : begin + size].reshape(shapes[path])
        params[path] = part / math.sqrt(_fan_in(path, shapes))
        begin += size
    return flat_names.nested(params)


def param_shapes(module: Network, dtype: DTypeLike = jnp.float32) -> dict[_Path, jax.ShapeDtypeStruct]:
    """Returns the shape and dtype of every parameter of a network by its path, without computing any."""
    shape = (1, module.size, module.size, 3)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros(shape, dtype)))
    return flat_names.by_path(variables["params"])


def _of_norm(path: _Path) -> bool:
    """Whether a parameter is the scale or the bias of a normalisation."""
    return path[-2].endswith("_norm") or "_norm_" in path[-2]


def _fan_in(path: _Path, shapes: Mapping[_Path, tuple[int, ...]]) -> int:
    """Number of inputs per output; for a transposed convolution, torch counts the outputs instead."""
    shape = shapes[(*path[:-1], "kernel")]
    if path[-2] == "expand" or path[-2].startswith("up_"):
        return 16 * shape[-1]
    return math.prod(shape[:-1])
