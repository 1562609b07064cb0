"""A tiny ONNX network, written node by node."""

import numpy as np
import pytest


def write_network(path, shape, *, inputs=1):
    """Writes an ONNX network of one or two inputs of this shape, which gives the mean colour of the first."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    axes = np.array([1, 2] if shape[3] == 3 and shape[1] != 3 else [2, 3], np.int64)
    nodes = [helper.make_node("ReduceMean", ["picture", "axes"], ["colour"], keepdims=0)]
    if inputs == 2:
        nodes.append(helper.make_node("Identity", ["other"], ["unused"]))
    entries = [helper.make_tensor_value_info(name, kind, shape) for name in ("picture", "other")[:inputs]]
    end = helper.make_tensor_value_info("colour", kind, None)
    graph = helper.make_graph(nodes, "network", entries, [end], [onnx.numpy_helper.from_array(axes, "axes")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path
