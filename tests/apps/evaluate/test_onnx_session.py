"""Networks that compute much: memory and time of a run are bounded, whatever the graph asks for."""

import time

import numpy as np
import pytest

from gan2shape_jax.apps.evaluate import embedding
from gan2shape_jax.apps.evaluate.embedding import open_session, run_session
from gan2shape_jax.errors import UserError

_onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
_make, _array = _onnx.helper.make_node, _onnx.numpy_helper.from_array

pytestmark = pytest.mark.hostile


def _spreading(path, values: int, times: int):
    """A network that spreads the mean of pictures to so many values, and takes their mean, so often; then adds it."""
    nodes = [_make("ReduceMean", ["x"], ["m0"], keepdims=0)]
    for number in range(times):
        nodes.append(_make("Expand", [f"m{number}", "size"], [f"big{number}"]))
        nodes.append(_make("ReduceMean", [f"big{number}"], [f"m{number + 1}"], keepdims=0))
    nodes.append(_make("Add", ["x", f"m{times}"], ["y"]))
    entry = _onnx.helper.make_tensor_value_info("x", 1, ("n", 3, 8, 8))
    end = _onnx.helper.make_tensor_value_info("y", 1, None)
    sizes = [_array(np.array([values], np.int64), "size")]
    graph = _onnx.helper.make_graph(nodes, "network", [entry], [end], sizes)
    model = _onnx.helper.make_model(graph, opset_imports=[_onnx.helper.make_opsetid("", 18)], ir_version=9)
    _onnx.save(model, str(path))
    return path


def _run(path):
    return run_session(open_session(path), {"x": np.ones((1, 3, 8, 8), np.float32)}, path)


def test_a_network_within_its_bounds_runs(tmp_path):
    np.testing.assert_array_equal(_run(_spreading(tmp_path / "x.onnx", 2**10, 2)), np.full((1, 3, 8, 8), 2))


def test_memory_beyond_the_bound_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"x.onnx does not run on pictures of shape \(1, 3, 8, 8\)"):
        _run(_spreading(tmp_path / "x.onnx", 2**28, 1))


def test_each_network_has_its_own_bound(tmp_path, monkeypatch):
    path = _spreading(tmp_path / "x.onnx", 2**22, 1)  # 16 MiB
    monkeypatch.setattr(embedding, "_ALLOWANCE", 2**20)
    with pytest.raises(UserError, match="does not run"):
        _run(path)
    monkeypatch.undo()
    _run(path)


def test_nothing_is_computed_while_a_network_is_opened(tmp_path):
    """Sizes that only constants decide would be computed then, without any bound."""
    path = _spreading(tmp_path / "x.onnx", 2**32, 1)
    begin = time.process_time()
    open_session(path)
    assert time.process_time() - begin < 2


def test_a_run_is_ended_after_a_while(tmp_path, monkeypatch):
    path = _spreading(tmp_path / "x.onnx", 2**22, 500)  # seconds
    monkeypatch.setattr(embedding, "_SECONDS", 0.3)
    session = open_session(path)
    with pytest.raises(UserError, match="longer than 0.3 s"):
        run_session(session, {"x": np.ones((1, 3, 8, 8), np.float32)}, path)
