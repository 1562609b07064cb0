"""Our reader of safetensors gives what the library has written, and reads no tensor that is not wanted."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from helpers.opened_files import counted

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.safetensors_file import Unread, open_safetensors
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


def test_a_file_without_metadata_and_one_without_tensors_are_read(tmp_path):
    safetensors.numpy.save_file({"a": np.ones(2, np.float32)}, tmp_path / "x")
    safetensors.numpy.save_file({}, tmp_path / "y")
    with open_safetensors(tmp_path / "x") as file:
        assert file.metadata == {} and list(file.shapes) == ["a"]
    with open_safetensors(tmp_path / "y") as file:
        assert file.shapes == {}


def test_only_what_is_wanted_is_read(tmp_path):
    tensors = {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32), "c": np.ones(4, np.float32)}
    safetensors.numpy.save_file(tensors, tmp_path / "x")
    with open_safetensors(tmp_path / "x") as file:
        found = file.read_wanted({"a": (2,), "b": (9,), "absent": (1,)})
    np.testing.assert_array_equal(found.pop("a"), 1)
    assert found == {"b": Unread((3,)), "c": Unread((4,))}


def test_a_file_is_opened_once(tmp_path):
    """What has been looked at is what is read: another file of that name does not come in between."""
    safetensors.numpy.save_file({"a": np.ones(2, np.float32)}, tmp_path / "x")
    with counted() as opened, open_safetensors(tmp_path / "x") as file:
        file.read("a")
    assert sum(count for name, count in opened.items() if str(name).endswith("x")) <= 1


def test_tensors_of_other_shapes_are_refused_without_reading_them(tmp_path):
    """The tensors would take 4 GiB: the header is all that there is of them."""
    size = 2**32
    header = {"shift": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(UserError, match="cannot be read"):
        load_lpips(path)
