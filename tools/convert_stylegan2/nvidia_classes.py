"""Conditional networks: a class is chosen once, and what it contributes becomes part of the biases.

Once the class is fixed, its embedding is a constant. In the generator it enters the first mapping layer
beside z, where it adds a constant to the bias; in the discriminator the logit is the inner product of
the last layer with the class's mapped vector, which reduces it to a single output. The resulting networks
are unconditional and behave exactly as the conditional ones do for that class.
"""

import math

import numpy as np

from gan2shape_jax.errors import UserError

from .nvidia_network import Network

__all__ = ["choose_class", "classes"]


def classes(network: Network) -> int:
    """Returns a network's number of classes; 0 if it is unconditional."""
    return network.count("", "c_dim")


def choose_class(generator: Network, discriminator: Network, index: int | None) -> str:
    """Fixes the class of both networks in place; returns a note, '' for unconditional ones.

    Args:
      generator: with or without classes.
      discriminator: from the same training.
      index: the class, counted from 0, or None.

    Raises:
      UserError: a conditional network without a class, an unconditional one with a class, or no such class.
    """
    counts = {net.key: classes(net) for net in (generator, discriminator) if classes(net)}
    if not counts:
        if index is not None:
            raise UserError(
                f"{generator.source}: --class {index} is for conditional networks; this one "
                "has no classes, leave the option out"
            )
        return ""
    count = min(counts.values())
    if index is None or not 0 <= index < count:
        refused = "" if index is None else f", not {index}"
        raise UserError(
            f"{generator.source}: a conditional network with {count} classes. What is "
            f"converted draws one of them: choose it with --class 0 to --class {count - 1}"
            f"{refused} (the order is that of the labels in training)"
        )
    if generator.key in counts:
        _fix_generator(generator, index)
    if discriminator.key in counts:
        _fix_discriminator(discriminator, index)
    return f"Class {index} of {count}, fixed at conversion."


def _take(network: Network, name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = network.tensors.get(name)
    if value is None or value.shape != shape or not np.isfinite(value).all():
        fault = "is missing" if value is None else f"is {value.shape}, not {shape}, or not finite"
        raise UserError(f"{network.source}: the tensor {network.full(name)} of the class conditioning {fault}")
    return value.astype(np.float64)


def _linear(network: Network, module: str, x: np.ndarray) -> np.ndarray:
    """Applies a linear layer of the conditioning, with its own gains."""
    weight = network.tensors.get(f"{module}.weight")
    outputs = weight.shape[0] if weight is not None and weight.ndim == 2 else 0
    gains = [network.setting(module, name) for name in ("weight_gain", "bias_gain")]
    kind = network.setting(module, "activation")
    if kind not in ("linear", "lrelu") or not all(isinstance(gain, (int, float)) for gain in gains):
        raise UserError(f"{network.source}: {network.full(module)} has settings that are not supported")
    out = (
        _take(network, f"{module}.weight", (outputs, len(x))) @ x * gains[0]
        + _take(network, f"{module}.bias", (outputs,)) * gains[1]
    )
    return out if kind == "linear" else np.where(out >= 0, out, 0.2 * out) * math.sqrt(2)


def _embedded(network: Network, index: int) -> np.ndarray:
    """Returns a class's embedding, normalised to a mean square of one."""
    outputs, inputs = network.shape("mapping.embed.weight", 2)
    if not outputs or inputs != classes(network):  # the number of classes is a claim, the tensor is there
        raise UserError(f"{network.source}: {network.full('mapping.embed')} is none of {classes(network)} classes")
    one_hot = np.zeros(inputs)
    one_hot[index] = 1
    embedding = _linear(network, "mapping.embed", one_hot)
    return embedding / np.sqrt(np.mean(embedding**2) + 1e-8)


def _replace(network: Network, gone: str, **values: np.ndarray) -> None:
    for name in [n for n in network.tensors if n.startswith(gone)]:
        del network.tensors[name]
    for name, value in values.items():
        network.tensors[name.replace("__", ".")] = value


def _fix_generator(network: Network, index: int) -> None:
    """Makes the first mapping layer depend on z alone.

    It is W (z, y) / sqrt(n) + b with y constant: y's contribution goes into the bias, and the weight of z is rescaled,
    since a layer of z alone is divided by the square root of fewer inputs.
    """
    y, width = _embedded(network, index), network.count("", "w_dim")
    weight = _take(network, "mapping.fc0.weight", (width, width + len(y)))
    bias = _take(network, "mapping.fc0.bias", (width,))
    _replace(
        network,
        "mapping.embed.",
        mapping__fc0__weight=weight[:, :width] * math.sqrt(width / weight.shape[1]),
        mapping__fc0__bias=bias + weight[:, width:] @ y / math.sqrt(weight.shape[1]),
    )


def _fix_discriminator(network: Network, index: int) -> None:
    """Turns the logit (W h + b) . c / sqrt(n), whose mapped class c is constant, into one row c W and one bias."""
    mapped = _embedded(network, index)
    for i in range(network.count("mapping", "num_layers")):
        mapped = _linear(network, f"mapping.fc{i}", mapped)
    inputs = network.shape("b4.out.weight", 2)[1]
    weight = _take(network, "b4.out.weight", (len(mapped), inputs))
    bias = _take(network, "b4.out.bias", (len(mapped),))
    scale = 1 / math.sqrt(len(mapped))
    _replace(
        network, "mapping.", b4__out__weight=scale * mapped[None] @ weight, b4__out__bias=scale * (mapped @ bias)[None]
    )
