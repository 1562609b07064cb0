"""The networks D, A, V and L as one ONNX file: from a picture to its factors, for `export web`.

The nodes are written one by one, channels first, as runtimes want them: a converter's translation of the layers' own
form (channels last, transposed convolutions in phases) has several times as many nodes, most of which move numbers.
Weights are float16, or int8 with a scale for every channel, and become float32 in the graph; all else is float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gan2shape_jax.errors import UserError, install
from gan2shape_jax.method import models
from gan2shape_jax.method.factors import BORDER_WEIGHT, on_border
from gan2shape_jax.method.models import MIRRORED
from gan2shape_jax.networks.layers import EPSILON, LEAK, Layer

if TYPE_CHECKING:
    import onnx

    from gan2shape_jax.photos.explain import Predictor

_OPSET, _IR = 17, 8
OUTPUTS = ("depth", "albedo", "view", "light")


class _Graph:
    """Nodes and tensors of a graph, each named as it is added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def weight(self, values: np.ndarray, *, bits: int, axis: int) -> str:
        """Adds a kernel whose output channels are along `axis`; returns its values in float32."""
        if bits == 16:
            return self.add("Cast", self.constant(values, np.float16), to=1)
        others = tuple(k for k in range(values.ndim) if k != axis)
        scale = np.maximum(np.abs(values).max(axis=others), 1e-12) / 127
        shape = [-1 if k == axis else 1 for k in range(values.ndim)]
        steps = self.constant(np.rint(values / scale.reshape(shape)), np.int8)
        return self.add(
            "DequantizeLinear", steps, self.constant(scale), self.constant(np.zeros_like(scale), np.int8), axis=axis
        )

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = attributes.pop("name", f"n{len(self.nodes)}")
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name


class _Network:
    """Adds a network's layers to a graph, as `networks.layers` says them; no residual blocks."""

    def __init__(self, graph: _Graph, params: Mapping[str, Any], bits: int):
        self.graph, self.params, self.bits = graph, params, bits

    def layers(self, x: str, layers: Sequence[Layer]) -> str:
        """Adds the layers of a network in order; returns what the last one gives."""
        for layer in layers:
            x = self.layer(x, layer)
        return x

    def layer(self, x: str, layer: Layer) -> str:
        add = self.graph.add
        if layer.kind in ("relu", "tanh"):
            return add({"relu": "Relu", "tanh": "Tanh"}[layer.kind], x)
        if layer.kind == "leaky_relu":
            return add("LeakyRelu", x, alpha=LEAK)
        if layer.kind == "norm":
            return self.normed(x, layer)
        kernel = np.asarray(self.params[layer.name]["kernel"], np.float32)
        if layer.kind == "pointwise":
            x = add("Flatten", x)
            return add("MatMul", x, self.graph.weight(kernel, bits=16, axis=1))
        if layer.kind == "expand":
            return add("ConvTranspose", x, self.graph.weight(kernel.transpose(0, 3, 1, 2), bits=self.bits, axis=1))
        if layer.kind == "twice":
            return self.twice(x, kernel)
        if layer.kind == "upsample":
            return self.twice(x, _doubling(kernel))
        stride, pad = 2 if layer.kind == "half" else 1, 0 if layer.kind == "collapse" else (layer.side - 1) // 2
        weight = self.graph.weight(kernel.transpose(3, 2, 0, 1), bits=self.bits, axis=0)
        return add("Conv", x, weight, strides=[stride] * 2, pads=[pad] * 4)

    def twice(self, x: str, kernel: np.ndarray) -> str:
        """Adds a transposed 4x4 convolution of stride 2; `kernel` is (4, 4, in, out)."""
        weight = self.graph.weight(kernel.transpose(2, 3, 0, 1), bits=self.bits, axis=1)
        return self.graph.add("ConvTranspose", x, weight, strides=[2, 2], pads=[1] * 4)

    def normed(self, x: str, layer: Layer) -> str:
        graph, (scale, bias) = self.graph, (np.asarray(self.params[layer.name][key]) for key in ("scale", "bias"))
        count = len(scale)
        side = graph.add("Shape", x)
        flat = graph.add("Reshape", x, graph.constant([0, layer.groups, -1], np.int64))
        ones, zeros = graph.constant(np.ones(layer.groups)), graph.constant(np.zeros(layer.groups))
        flat = graph.add("InstanceNormalization", flat, ones, zeros, epsilon=EPSILON)
        x = graph.add("Mul", graph.add("Reshape", flat, side), graph.constant(scale.reshape(1, count, 1, 1)))
        return graph.add("Add", x, graph.constant(bias.reshape(1, count, 1, 1)))


def _doubling(kernel: np.ndarray) -> np.ndarray:
    """Returns the kernel of a transposed 4x4 convolution that doubles pixels and then convolves with a 3x3 kernel.

    As in `convolution.upsample_convolve`.
    """
    taps = kernel[::-1, ::-1]
    for axis in (0, 1):
        first, last = [(0, 0)] * 4, [(0, 0)] * 4
        first[axis], last[axis] = (0, 1), (1, 0)
        taps = np.pad(taps, first) + np.pad(taps, last)
    return taps


def factors_model(predictor: Predictor, *, bits: Mapping[str, int]) -> onnx.ModelProto:
    """Returns the networks as an ONNX model: `picture` (1, 3, S, S) in [-1, 1] to the factors of `OUTPUTS`.

    Depth (S, S) has its border blended; albedo is (3, S, S); views and lights are averaged with what the networks see
    in the mirror image, where the method does so. `bits` of weights, 8 or 16, are by network. `UserError` without the
    package onnx.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError:
        raise UserError(f"networks are written by onnx, which is not installed: {install('export-web')}") from None
    settings, params, camera = predictor.settings, predictor.params, predictor.settings.camera
    size, modules = settings.image_size, models.modules(settings)
    graph = _Graph()
    add, constant = graph.add, graph.constant

    def network(name: str, x: str) -> str:
        return _Network(graph, params[name], bits[name]).layers(x, modules[name].layers())

    raw = network("depth", "picture")
    unit = add("Tanh", add("Sub", raw, add("ReduceMean", raw, axes=[2, 3], keepdims=1)))
    middle, half = (camera.max_depth + camera.min_depth) / 2, (camera.max_depth - camera.min_depth) / 2
    share = np.where(np.asarray(on_border(size)), BORDER_WEIGHT, 0.0)
    own = add("Add", add("Mul", unit, constant(half * (1 - share))), constant(middle * (1 - share)))
    far = 0.7 * camera.max_depth + 0.3 * camera.min_depth
    depth = add("Add", own, constant(share * far))
    add("Reshape", depth, constant([size, size], np.int64), name="depth")
    add("Reshape", network("albedo", "picture"), constant([3, size, size], np.int64), name="albedo")
    pictures = "picture"
    if settings.mirrored:
        back = [constant([one], np.int64) for one in (-1, -(1 << 31), 3, -1)]
        pictures = add("Concat", "picture", add("Slice", "picture", *back), axis=0)
    added = {
        "view": predictor.frozen.view_mean if settings.add_mean_V else np.zeros(6),
        "light": predictor.frozen.light_mean if settings.add_mean_L else np.zeros(4),
    }
    scales = {"view": (settings.view_range.units(), np.zeros(6)), "light": ([0.5, 0.5, 1, 1], [0.5, 0.5, 0, 0])}
    for name, (factor, offset) in scales.items():
        output = add("Add", network(name, pictures), constant(added[name]))
        output = add("Add", add("Mul", output, constant(factor)), constant(offset))
        if settings.mirrored:
            output = add("Mul", output, constant(np.stack([np.ones(len(MIRRORED[name])), MIRRORED[name]])))
        add("ReduceMean", output, axes=[0], keepdims=0, name=name)
    shapes = {"depth": [size, size], "albedo": [3, size, size], "view": [6], "light": [4]}
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"picture": [1, 3, size, size], **shapes}.items()
    ]
    made = helper.make_graph(graph.nodes, "gan2shape_jax", ends[:1], ends[1:], graph.tensors)
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(made, opset_imports=opset, ir_version=_IR, producer_name="gan2shape_jax")
    checker.check_model(model)
    return model
