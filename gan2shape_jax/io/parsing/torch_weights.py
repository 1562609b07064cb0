"""Converts the original parsers' tensors to ours: sizes from shapes, normalisation folded in.

The original's kernels are (out, in, rows, columns). A convolution `a` followed by batch normalisation
`b` is `a.weight`, `b.weight`, `b.bias`, `b.running_mean`, `b.running_var`.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.parsing.architecture import Architecture, Convolution, convolutions
from gan2shape_jax.io.weights.messages import listed

__all__ = ["ignored_names", "infer_architecture", "params_from_torch", "torch_shapes"]

State = Mapping[str, np.ndarray]
# What batch normalisation adds to a variance before taking its square root (torch's default).
_EPSILON = 1e-5
_NORM = ("weight", "bias", "running_mean", "running_var")
# Tensors that the labels do not depend on: counters, and heads used only in training.
_IGNORED = re.compile(r"\.num_batches_tracked$|^aux\.|^conv_out(16|32)\.|^criterion\.")


def ignored_names(names: Iterable[str]) -> list[str]:
    """Returns the names of tensors that the labels do not depend on, sorted."""
    return sorted(name for name in names if _IGNORED.search(name))


def infer_architecture(state: State) -> Architecture | None:
    """Returns the parser that these tensors look like, by their names and a few shapes; None for others."""
    for family, stem, output, layer in (
        ("bisenet", "cp.resnet.conv1.weight", "conv_out.conv_out.weight", "cp.resnet.layer"),
        ("pspnet", "layer0.0.weight", "cls.4.weight", "layer"),
    ):
        if stem in state and output in state:
            blocks = tuple(_count(state, f"{layer}{stage}.") for stage in range(1, 5))
            try:
                return Architecture(
                    family=family,  # type: ignore[arg-type]
                    classes=state[output].shape[0],
                    width=state[stem].shape[0],
                    blocks=blocks,
                )
            except (IndexError, ValueError):
                return None
    return None


def torch_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the tensors that `params_from_torch` takes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in convolutions(arch):
        shapes[f"{conv.torch}.weight"] = (conv.outputs, conv.inputs, conv.size, conv.size)
        if conv.bias:
            shapes[f"{conv.torch}.bias"] = (conv.outputs,)
        if conv.norm:
            shapes |= {f"{conv.norm}.{part}": (conv.outputs,) for part in _NORM}
    return shapes


def params_from_torch(arch: Architecture, state: State) -> dict[str, np.ndarray]:
    """Returns the parameters of a parser from the original's tensors.

    Args:
        arch: the parser.
        state: NumPy arrays by the original's names; those of `ignored_names` may be present.

    Raises:
        UserError: any tensor is missing, unknown, misshapen or not finite; the message lists all.
    """
    state = {name: value for name, value in state.items() if not _IGNORED.search(name)}
    _check(arch, state)
    params: dict[str, np.ndarray] = {}
    for conv in convolutions(arch):
        kernel, bias = _folded(conv, state)
        params[f"{conv.name}/kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0), np.float32)
        if conv.norm or conv.bias:
            params[f"{conv.name}/bias"] = np.asarray(bias, np.float32)
    return params


def _folded(conv: Convolution, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel and bias of a convolution with its normalisation folded in, in float64."""
    kernel = np.asarray(state[f"{conv.torch}.weight"], np.float64)
    bias = np.zeros(conv.outputs)
    if conv.bias:
        bias = np.asarray(state[f"{conv.torch}.bias"], np.float64)
    if conv.norm:
        weight, shift, mean, variance = (np.asarray(state[f"{conv.norm}.{part}"], np.float64) for part in _NORM)
        factor = weight / np.sqrt(variance + _EPSILON)
        kernel = kernel * factor[:, None, None, None]
        bias = (bias - mean) * factor + shift
    return kernel, bias


def _count(state: State, prefix: str) -> int:
    """Returns one more than the largest number that follows `prefix`."""
    matches = (re.match(re.escape(prefix) + r"(\d{1,9})\.", name) for name in state)
    return max((int(match.group(1)) + 1 for match in matches if match), default=0)


def _check(arch: Architecture, state: State) -> None:
    shapes = torch_shapes(arch)
    both = [name for name in shapes if name in state]
    fitting = [name for name in both if tuple(state[name].shape) == shapes[name]]
    wrong = {
        "missing": [name for name in shapes if name not in state],
        "unknown": [name for name in state if name not in shapes],
        "misshapen": [
            f"{name} is {tuple(state[name].shape)} instead of {shapes[name]}"
            for name in both
            if tuple(state[name].shape) != shapes[name]
        ],
        "with NaN or infinity": [name for name in fitting if not np.isfinite(state[name]).all()],
        "with a negative variance": [
            name for name in fitting if name.endswith("running_var") and (state[name] < 0).any()
        ],
    }
    if any(wrong.values()):
        told = "; ".join(f"{what}: {listed(names)}" for what, names in wrong.items() if names)
        raise UserError(f"the tensors do not make a {arch.family} of {arch.classes} classes: {told}")
