"""Networks that compute much, are damaged or refer to other files: a sentence, within memory and time."""

import numpy as np
import pytest

from gan2shape_jax.apps.evaluate import embedding
from gan2shape_jax.apps.evaluate.embedding import load_embedding
from gan2shape_jax.errors import UserError

_onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
_make, _array = _onnx.helper.make_node, _onnx.numpy_helper.from_array


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
    return load_embedding(path)(np.ones((1, 8, 8, 3), np.float32))


def test_a_network_within_its_bounds_runs(tmp_path):
    np.testing.assert_allclose(_run(_spreading(tmp_path / "x.onnx", 2**10, 2)), np.full((1, 192), 2), atol=1e-6)


def test_memory_beyond_the_bound_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"x.onnx"):
        _run(_spreading(tmp_path / "x.onnx", 2**34, 1))


def test_a_run_is_ended_after_a_while(tmp_path, monkeypatch):
    path = _spreading(tmp_path / "x.onnx", 2**22, 5000)  # minutes
    monkeypatch.setattr(embedding, "_SECONDS", 2)
    with pytest.raises(UserError, match="cannot be read within|takes more than"):
        _run(path)


def test_what_is_no_network_is_told(tmp_path):
    for content in (b"", b"no network at all", bytes(99), _spreading(tmp_path / "x.onnx", 9, 1).read_bytes()[:99]):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(UserError, match="x.onnx"):
            load_embedding(tmp_path / "x.onnx")
