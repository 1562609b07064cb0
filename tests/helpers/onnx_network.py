"""Tiny ONNX networks, written node by node."""

import numpy as np
import pytest

__all__ = ["write_network"]


def write_network(path, shape, *, output="mean", inputs=1):
    """An ONNX network that gives the mean colour ("mean"), its logarithm ("nan") or its sum, one number ("sum")."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    channels = 1 if shape[3] != 3 or shape[1] == 3 else 3
    axes = [2, 3] if channels == 1 else [1, 2]
    nodes = [helper.make_node("ReduceMean", ["picture", "axes"], ["colour"], keepdims=0)]
    constants = [numpy_helper.from_array(np.array(axes, np.int64), "axes")]
    last = "colour"
    if output == "nan":
        nodes.append(helper.make_node("Log", [last], ["logarithm"]))
        last = "logarithm"
    if output == "sum":
        constants.append(numpy_helper.from_array(np.array([1], np.int64), "rest"))
        nodes.append(helper.make_node("ReduceSum", [last, "rest"], ["total"], keepdims=0))
        last = "total"
    entries = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("picture", "other")[:inputs]]
    if inputs == 2:
        nodes.append(helper.make_node("Identity", ["other"], ["unused"]))
    graph = helper.make_graph(
        nodes, "network", entries, [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path
