"""ONNX files are looked through field by field, and networks as exporters write them pass."""

import numpy as np
import pytest
from helpers.hostile import graphs

from gan2shape_jax.io.weights.budget import Refused
from gan2shape_jax.io.weights.onnx_file import check_onnx

_onnx = pytest.importorskip("onnx")
_helper, _numpy = _onnx.helper, _onnx.numpy_helper


def _model(nodes, tensors=(), **more):
    entry = _helper.make_tensor_value_info("x", 1, ("n", 3, 8, 8))
    end = _helper.make_tensor_value_info("y", 1, None)
    graph = _helper.make_graph(nodes, "network", [entry], [end], list(tensors))
    return _helper.make_model(graph, opset_imports=[_helper.make_opsetid("", 18)], **more)


def _branches():
    then = _helper.make_graph([_helper.make_node("Identity", ["x"], ["t"])], "t", [], [])
    return _model([_helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=then)])


def test_what_exporters_write_passes():
    rng = np.random.default_rng(0)
    weights = [
        _numpy.from_array(rng.standard_normal((4, 3, 3, 3)).astype(kind), "w") for kind in (np.float32, np.float16)
    ]
    weights += [
        _helper.make_tensor("typed", 1, (2, 2), [1.0, 2.0, 3.0, 4.0]),
        _helper.make_tensor("axes", 7, (2,), [2, 3]),
    ]
    weights += [_helper.make_tensor("small", 7, (300,), range(300)), _helper.make_tensor("empty", 1, (0,), [])]
    weights += [_helper.make_tensor("scalar", 1, (), [0.5]), _helper.make_tensor("flags", 9, (3,), [1, 0, 1])]
    constant = _helper.make_node("Constant", [], ["c"], value=weights[2])
    model = _model([constant, _helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], weights)
    model.metadata_props.add(key="author", value="nobody")
    for passes in (model, _branches(), _model([_helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")])):
        check_onnx(passes.SerializeToString())
    check_onnx(graphs.honest())


@pytest.mark.hostile
@pytest.mark.parametrize("place", ["initializer", "attribute", "list", "branch"])
def test_weights_in_other_files_are_refused_wherever_they_are_named(place):
    tensor = _numpy.from_array(np.ones(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = _onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model = _model([_helper.make_node("Identity", ["x"], ["y"])])
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "attribute":
        model.graph.node.append(_helper.make_node("Constant", [], ["c"], value=tensor))
    elif place == "list":
        model.graph.node[0].attribute.add(name="values", type=9).tensors.append(tensor)
    else:
        model = _branches()
        model.graph.node[0].attribute[0].g.initializer.append(tensor)
    with pytest.raises(Refused, match="weights in other files; save it as one file"):
        check_onnx(model.SerializeToString())


@pytest.mark.hostile
def test_functions_and_sparse_weights_are_refused():
    model = _model([_helper.make_node("Identity", ["x"], ["y"])])
    model.functions.add(name="f")
    with pytest.raises(Refused, match="functions"):
        check_onnx(model.SerializeToString())
    model = _model([_helper.make_node("Identity", ["x"], ["y"])])
    model.graph.sparse_initializer.add(dims=[2**40])
    with pytest.raises(Refused, match="sparse weights"):
        check_onnx(model.SerializeToString())
