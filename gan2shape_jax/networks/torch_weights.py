"""Exchanges weights with the original's PyTorch networks, using its tensor names.

There, the networks are sequences in which activations and upsampling are counted too (`network.17.weight`). Kernels
are (out, in, rows, columns), those of transposed convolutions (in, out, rows, columns).
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.tensors import listed, misfits, short
from gan2shape_jax.networks.modules import Encoder, Network, ResidualEncoder, param_shapes

_Path = tuple[str, ...]

# Axes of torch's tensors in the order of ours.
_CONVOLUTION = (2, 3, 1, 0)
_TRANSPOSED = (2, 3, 0, 1)
_EXPAND = (0, 2, 3, 1)
_LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def params_from_torch(module: Network, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the parameters of a network from the original's tensors by their names, as float32.

    Raises:
        UserError: any tensor is missing, unknown, misshapen or not finite, or is not a tensor; the message lists them.
    """
    if not isinstance(state, Mapping):
        raise UserError(f"no tensors by their names, but a {type(state).__name__}")
    if strange := [n for n, value in state.items() if not (isinstance(value, np.ndarray) and isinstance(n, str))]:
        raise UserError(f"no tensors by their names: {listed(map(short, strange))}")
    shapes = flatten_dict(param_shapes(module))
    names = _torch_names(module, shapes)
    expected = {name: _torch_shape(path, shapes[path].shape) for path, name in names.items()}
    if differing := misfits(state, expected):
        raise UserError(f"the tensors do not fit a {type(module).__name__} of side {module.size}: {differing}")
    ours = {path: np.asarray(state[name], np.float32).transpose(_axes(path)) for path, name in names.items()}
    return dict(unflatten_dict({path: jnp.asarray(ours[path].reshape(shapes[path].shape)) for path in ours}))


def params_to_torch(module: Network, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the original's tensors as NumPy arrays, keyed by its names: the inverse of `params_from_torch`."""
    flat = flatten_dict(params)
    names = _torch_names(module, flat)
    return {name: _to_torch(path, np.asarray(flat[path])) for path, name in names.items()}


def _torch_names(module: Network, paths: Mapping[_Path, Any]) -> dict[_Path, str]:
    """Returns the original's name of each of our parameters."""
    place = {name: index for index, name in enumerate(_sequence(module)) if name}

    def torch_name(path: _Path) -> str:
        inner = ["conv_sc" if part == "shortcut" else part for part in path[1:-1]]
        return ".".join(["network", str(place[path[0]]), *inner, _LEAF[path[-1]]])

    return {path: torch_name(path) for path in paths}


def _sequence(module: Network) -> list[str]:
    """Returns our names in the order of the original's sequence; empty where it has no weights."""
    deepest = module.size.bit_length() - 4
    if isinstance(module, ResidualEncoder):
        blocks = [f"block_{level}" for level in range(1, deepest + 1)]
        return ["stem", *blocks, "", "collapse", "", "output"]
    if isinstance(module, Encoder):
        down = [name for level in range(deepest + 1) for name in (f"down_{level}", "")]
        return [*down, "collapse", "", "output"]
    names: list[str] = []
    for level in range(deepest):
        names += [f"down_{level}", f"down_norm_{level}", ""]
    names += [f"down_{deepest}", "", "bottleneck", "", "expand", "", "widest", ""]
    for level in reversed(range(deepest)):
        names += [f"up_{level}", f"up_norm_{level}", "", f"refine_{level}", f"refine_norm_{level}", ""]
    return [*names, "", "full", "full_norm", "", "detail", "detail_norm", "", "output"]


def _axes(path: _Path) -> tuple[int, ...]:
    if path[-1] != "kernel":
        return (0,)
    if path[0] == "expand":
        return _EXPAND
    return _TRANSPOSED if path[0].startswith("up_") else _CONVOLUTION


def _to_torch(path: _Path, value: np.ndarray) -> np.ndarray:
    if path[-1] == "kernel" and value.ndim == 2:
        value = value[None, None]  # our 1x1 convolutions have no spatial axes
    return value.transpose(np.argsort(_axes(path)))


def _torch_shape(path: _Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    # A dummy that takes no memory of its own: only its shape is transposed.
    return _to_torch(path, np.broadcast_to(np.zeros(()), shape)).shape
