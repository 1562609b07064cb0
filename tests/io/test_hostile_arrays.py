"""Latents, depths and statistics made to do harm: refused in words or honestly read, at once and in little memory."""

import os
import warnings

import numpy as np
import pytest
from helpers import hostile_arrays
from helpers.measured_reading import read_all

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import data
from gan2shape_jax.io.npy_files import Header, read_npy, read_npz

_NPY, _NPZ = hostile_arrays.npy_files(), hostile_arrays.npz_files()
# What is as good as any other, however oddly it is written.
_USABLE = ("latent shape 25 (512L,)", "statistics bombs beside", "statistics larger than it is", "statistics twice")


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """What came of every file, by reader and description."""
    folder = tmp_path_factory.mktemp("arrays")
    cases = {}
    for reader, files, ending in (("latent", _NPY, ".npy"), ("depth", _NPY, ".npy"), ("statistics", _NPZ, ".npz")):
        inside = folder / reader
        inside.mkdir()
        paths = hostile_arrays.write_files(files, inside, ending)
        cases |= {f"{reader} {name}": (reader, path) for name, path in paths.items()}
    for reader, ending in (("latent", ".npy"), ("latent", ".pt"), ("depth", ".npy"), ("statistics", ".npz")):
        pipe, device = folder / f"{reader} pipe{ending}", folder / f"{reader} device{ending}"
        os.mkfifo(pipe)
        device.symlink_to("/dev/zero")
        cases |= {f"{reader} a pipe {ending}": (reader, pipe), f"{reader} a device {ending}": (reader, device)}
    for ending in (".npy", ".pt"):  # without any blocks on the disk
        large = folder / f"large{ending}"
        large.write_bytes(hostile_arrays.announced("(1, 2097152, 512)"))
        os.truncate(large, 2**32 + 1000)
        cases[f"latent of 4 GiB {ending}"] = ("latent", large)
    return read_all(cases, folder)


def test_there_are_many_of_them():
    assert len(_NPY) >= 150 and len(_NPZ) >= 100


def test_no_file_does_harm(readings):
    assert {name: reading.harm for name, reading in readings.items() if reading.harm} == {}


def test_what_is_none_of_the_kind_is_refused_by_name(readings):
    read = {name for name, reading in readings.items() if reading.outcome == "read"}
    assert {name for name in read if "mutated" not in name} == set(_USABLE)
    unnamed = [
        name for name, reading in readings.items() if reading.outcome == "refused" and "/arrays" not in reading.told
    ]
    assert not unnamed
    assert max(len(reading.told) for reading in readings.values()) < 600


def test_special_files_are_called_what_they_are(readings):
    told = {name: reading.told for name, reading in readings.items() if " a pipe" in name or " a device" in name}
    assert len(told) == 8
    for name, text in told.items():
        assert ("a named pipe, not a file" if " a pipe" in name else "a device, not a file") in text


# Honest files


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i2", ">i8", "|u1"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_order_of_bytes_and_axes_is_read_as_numpy_reads_it(dtype, order, version, tmp_path):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype, order=order)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    seen: list[Header] = []
    found = read_npy(tmp_path / "a.npy", seen.append)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype and seen == [Header((2, 3, 4), array.dtype, order == "F")]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_are_read_as_numpy_reads_them(save, tmp_path):
    arrays = {"mean": np.arange(6.0), "cov": np.eye(6, dtype=np.float32, order="F"), "beside": np.zeros(())}
    save(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz", ("mean", "cov", "absent"), lambda name, header: None)
    assert found.keys() == {"mean", "cov"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, arrays[name])


def test_what_is_not_wanted_is_not_read(tmp_path):
    def refuse(header):
        raise UserError(f"{header.nbytes} bytes are not wanted")

    np.save(tmp_path / "a.npy", np.zeros(10))
    with pytest.raises(UserError, match="80 bytes are not wanted"):
        read_npy(tmp_path / "a.npy", refuse)


# What a torch file may hold instead of a tensor


@pytest.mark.parametrize(
    "content",
    [
        [[1.0, 2.0], [3.0]],
        [[[1.0]], 2.0],
        "text",
        None,
        {"w": 1},
        {},
        [],
        [10**400] * 4,
        [1e308] * 4,
        [float("nan")] * 4,
        [1j] * 4,
        [True] * 4,
        ["1", "2", "3", "4"],
        3.0,
    ],
)
def test_a_torch_latent_that_is_no_array_is_refused_by_name(content, tmp_path):
    torch = pytest.importorskip("torch")
    for whole in (content, {"latent": content}):
        torch.save(whole, tmp_path / "w.pt")
        with pytest.raises(UserError, match=r"w\.pt"):
            data.load_latent(tmp_path / "w.pt", 4)
    torch.save({"mean": content, "cov": content}, tmp_path / "v.pth")
    with pytest.raises(UserError, match=r"v\.pth"):
        data.load_mvn(tmp_path / "v.pth")


def test_no_warning_escapes_from_numbers_beyond_32_bits(tmp_path):
    np.save(tmp_path / "w.npy", np.full(4, 1e300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="not finite"):
            data.load_latent(tmp_path / "w.npy", 4)
