"""NVIDIA's older pickles, of TensorFlow: arrays and networks in them are data, those of another form are refused."""

import struct

import numpy as np
import pytest
from helpers.pickles import Call, Global
from helpers.pickles import double as _double
from helpers.pickles import write as _write

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.nvidia_pickle import NumpyArray, read_checkpoint


def _array(*state) -> Call:
    """An array of NumPy's, by its state."""
    return Call("numpy.core.multiarray._reconstruct", Global("numpy.ndarray"), (0,), b"b", state=state)


_DOUBLE, _BYTES = Call("numpy.dtype", "f8"), np.arange(6.0).tobytes()


def test_arrays_of_numbers_are_read(tmp_path):
    content = {
        "rows": _array(1, (2, 3), _DOUBLE, False, _BYTES),
        "columns": _array(1, (2, 3), _DOUBLE, True, _BYTES),
        "5": Call("numpy._core.numeric._frombuffer", bytearray(_BYTES), _DOUBLE, (3, 2), "C"),
        "python 2": _array(1, (2, 3), _DOUBLE, False, _BYTES.decode("latin1")),
    }
    found = read_checkpoint(_write(tmp_path / "x.pkl", content, 5))
    assert all(isinstance(array, NumpyArray) for array in found.values())
    np.testing.assert_array_equal(found["rows"].values, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(found["columns"].values, np.arange(6.0).reshape(3, 2).T)
    np.testing.assert_array_equal(found["5"].values, np.arange(6.0).reshape(3, 2))
    assert found["python 2"].values is None


@pytest.mark.parametrize(
    "array",
    [
        _array(1, (2, 4), _DOUBLE, False, _BYTES),
        _array(1, (2**70, 2**70), _DOUBLE, False, _BYTES),
        _array(1, (0, 2**70), _DOUBLE, False, _BYTES),
        _array(1, (-1, 6), _DOUBLE, False, _BYTES),
        _array(1, (6.0,), _DOUBLE, False, _BYTES),
        _array(1, 6, _DOUBLE, False, _BYTES),
        _array(1, (1,) * 40, _DOUBLE, False, _BYTES),
        _array(1, (6,), "f8", False, _BYTES),
        _array(1, (6,), _DOUBLE, False),
        Call("numpy.core.numeric._frombuffer", _BYTES, _DOUBLE, (7,), "C"),
        Call("numpy.core.numeric._frombuffer", _BYTES, _DOUBLE, (6,), "A"),
        Call("numpy.core.numeric._frombuffer", [1], _DOUBLE, (6,), "C"),
        Call("numpy.core.numeric._frombuffer", _BYTES),
        Call("numpy.core.multiarray.scalar"),
    ],
)
def test_arrays_whose_shape_is_not_that_of_their_bytes_are_refused(tmp_path, array):
    with pytest.raises(UserError, match="bad.pkl: refused"):
        read_checkpoint(_write(tmp_path / "bad.pkl", [array]))


def test_an_array_without_bytes_may_have_no_length(tmp_path):
    assert read_checkpoint(_write(tmp_path / "x.pkl", _array(1, (0, 5), _DOUBLE, False, b""))).values.shape == (0, 5)


def _network(**state) -> Call:
    return Call("dnnlib.tflib.network.Network", state={"version": 4, "build_func_name": "G_main", **state})


def test_networks_of_tensorflow_are_data(tmp_path):
    array = _array(1, (2, 3), _DOUBLE, False, _BYTES)
    state = {"build_module_src": "raise SystemExit", "static_kwargs": {"size": 8}, "name": "G", "else": 1}
    network = read_checkpoint(
        _write(tmp_path / "x.pkl", _network(variables=[("w", array), ("n", _double(0.5)), ("x", "y")], **state))
    )
    assert network.fields == {"version": 4, "build_func_name": "G_main", "static_kwargs": {"size": 8}, "name": "G"}
    assert list(network.variables) == ["w", "n", "x"] and network.variables["x"] is None
    assert network.variables["n"] == 0.5 and network.variables["w"].shape == (2, 3)


@pytest.mark.parametrize(
    "network",
    [
        Call("dnnlib.tflib.network.Network", state=[1]),
        Call("dnnlib.tflib.network.Network", 1, state={"version": 4}),
        _network(variables="w"),
        _network(variables=[("w", 1.0, 2)]),
        _network(variables=[(1, 1.0)]),
        _network(variables=[("w" * 2000, 1.0)]),
        _network(variables=[("w", 1.0), ("w", 1.0)]),
    ],
)
def test_networks_of_tensorflow_with_another_state_are_refused(tmp_path, network):
    with pytest.raises(UserError, match="bad.pkl"):
        read_checkpoint(_write(tmp_path / "bad.pkl", network))


def test_what_a_pickle_does_to_a_list_of_variables_afterwards_changes_nothing(tmp_path):
    """Lists may grow after a network has taken them, for a pickle can name them again."""
    name, call = b"X\x01\0\0\0", b"cdnnlib.tflib.network\nNetwork\n)R"
    pickled = b"\x80\x04]q\0(" + name + b"wG" + struct.pack(">d", 1.0) + b"\x86e0"
    pickled += call + b"}X\x09\0\0\0variablesh\0sb"
    pickled += b"h\0" + name + b"vG" + struct.pack(">d", 2.0) + b"\x86a0."
    (tmp_path / "x.pkl").write_bytes(pickled)
    assert list(read_checkpoint(tmp_path / "x.pkl").variables) == ["w"]
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04" + call + b"}X\x04\0\0\0nameNsb}b.")
    with pytest.raises(UserError, match="the state of a network"):
        read_checkpoint(tmp_path / "x.pkl")
