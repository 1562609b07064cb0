"""Safetensors files give what the library has written; what differs is listed; messages are short."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.tensors import listed, misfits, open_safetensors, short
from gan2shape_jax.method.perceptual import load_lpips


def test_what_the_library_writes_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "a/kernel": rng.standard_normal((3, 3, 2, 5)).astype(np.float32),
        "a/half": rng.standard_normal((7,)).astype(np.float16),
        "b/double": rng.standard_normal((2, 1)),
        "scalar": np.array(3, np.float32),
        "empty": np.zeros((0, 4), np.float32),
    }
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(tensors, path, {"format": "é", "notes": ""})
    with open_safetensors(path) as file:
        assert file.metadata == {"format": "é", "notes": ""}
        assert file.shapes == {name: value.shape for name, value in tensors.items()}
        for name, value in tensors.items():
            found = file.read(name)
            assert found.dtype == value.dtype and found.flags.writeable
            np.testing.assert_array_equal(found, value)
    safetensors.numpy.save_file({}, path)
    with open_safetensors(path) as file:
        assert file.shapes == {} and file.metadata == {}


def test_tensors_that_differ_are_listed_and_not_read(tmp_path):
    found = {"a": np.zeros(2), "b": np.full(3, np.nan), "c": np.zeros((1, 4)), "d": np.zeros(0)}
    shapes = {"b": (3,), "c": (4,), "d": (0,), "e": (1,)}
    assert misfits(found, shapes) == (
        "missing: e; unknown: a; misshapen: c is (1, 4) instead of (4,); without numbers: d; with NaN or infinity: b"
    )
    assert misfits({"b": (3,)}, {"b": (3,)}) == ""
    # The tensors would take 4 GiB: the header is all that there is of them.
    header = {"shift": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}}
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(UserError, match="cannot be read"):
        load_lpips(tmp_path / "x.safetensors")


def test_messages_are_short_whatever_files_hold():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(100)), 3) == "0, 1, 2 and 97 more"
    assert len(listed(["x" * 10**6] * 1000)) < 10_000
    nested: list = [1]
    for _ in range(100):
        nested = [nested, nested]
    assert short(nested) == "a list" and short({"a": nested}) == "a dict"
    assert short("relu") == "'relu'" and short(3.5) == "3.5" and short(None) == "None"
    assert len(short("x" * 10**6)) < 200 and len(short(10**4000)) < 300
