"""Weight files of StyleGAN2: whole, refused with reasons, never half-written."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from helpers.tiny_stylegan2 import TINY as _TINY
from helpers.tiny_stylegan2 import random_parameters

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import weights


@pytest.fixture(scope="module")
def tiny():
    return random_parameters()


def test_a_file_is_read_once_until_it_changes(tmp_path, tiny):
    path = tmp_path / "gan.safetensors"
    stylegan2.save(path, _TINY, tiny)
    (_, first), (_, second) = stylegan2.load(path), stylegan2.load(path)
    assert first["generator"]["input"] is second["generator"]["input"]
    first["generator"].pop("input")  # the caller's own dictionaries
    stylegan2.save(path, _TINY, jax.tree.map(lambda leaf: leaf + 1, tiny))
    _, third = stylegan2.load(path)
    jax.tree.map(np.testing.assert_array_equal, second, tiny)
    jax.tree.map(np.testing.assert_array_equal, third, jax.tree.map(lambda leaf: leaf + 1, tiny))


def test_files_of_other_kinds_name_the_conversion(tmp_path, tiny):
    (tmp_path / "gan.pt").write_bytes(b"PK garbage")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    whole = tmp_path / "whole.safetensors"
    stylegan2.save(whole, _TINY, tiny)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-10])
    tensors, header = safetensors.numpy.load_file(whole), stylegan2.read_header(whole)[1]
    tensors["strange"] = tensors.pop("generator/input")
    safetensors.numpy.save_file(tensors, whole, header)
    with pytest.raises(UserError, match="whole.safetensors.*missing: generator/input; unknown: strange"):
        stylegan2.load(whole)
    for name in ("gan.pt", "empty.safetensors", "other.safetensors", "cut.safetensors", "absent.safetensors"):
        with pytest.raises(UserError) as error:
            stylegan2.load(tmp_path / name)
        stem = str(tmp_path / name.split(".")[0])
        assert f"gan2shape-jax convert {stem}.pt {stem}.safetensors" in str(error.value)


def test_damaged_headers_are_refused(tmp_path):
    path = tmp_path / "gan.safetensors"
    for content in ("{", "[]", "{}", '{"size": 16}', "null"):
        header = {"format": weights._FORMAT, "architecture": content}
        safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, path, header)
        with pytest.raises(UserError, match="describes no StyleGAN2"):
            stylegan2.load(path)
