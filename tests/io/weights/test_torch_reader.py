"""The restricted reader: nothing that a file names is run, what is malformed or damaged is refused."""

import argparse
import builtins
import collections
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.torch_reader import Record, read_torch


def _archive(path, content: bytes, storages=(), *, compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, data in storages:
            archive.writestr(f"archive/data/{key}", data)
    return path


class _Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


_STORAGE = (
    b"(X\x07\x00\x00\x00storage" + _global("torch.FloatStorage") + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)


def _tensor(offset: bytes, size: bytes, stride: bytes) -> bytes:
    """The pickle of a tensor of four stored float32 values; arguments are opcodes."""
    return (
        b"\x80\x02"
        + _global("torch._utils._rebuild_tensor_v2")
        + b"("
        + _STORAGE
        + offset
        + size
        + stride
        + b"\x89"
        + _global("collections.OrderedDict")
        + b")RtR."
    )


_VALUES = np.arange(4, dtype="<f4")

_HOSTILE = {
    "posix.system": _Call(os.system, "echo ran > {mark}"),
    "builtins.eval": _Call(eval, "open('{mark}', 'w')"),
    "builtins.exec": _Call(exec, "open('{mark}', 'w')"),
    "builtins.__import__": _Call(builtins.__import__, "antigravity"),
    "builtins.getattr": _Call(getattr, "", "format"),
    "subprocess.Popen": _Call(subprocess.Popen, ["touch", "{mark}"]),
    "io.open": _Call(open, "{mark}", "w"),
}


@pytest.mark.parametrize("name", _HOSTILE)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_hostile_calls_are_refused_by_name(tmp_path, name, nested, legacy):
    mark = tmp_path / "mark"
    call = _HOSTILE[name]
    function, args = call.call
    args = tuple(
        a.format(mark=mark) if isinstance(a, str) else [x.format(mark=mark) for x in a] if isinstance(a, list) else a
        for a in args
    )
    bad = _Call(function, *args)
    content = {"g_ema": collections.OrderedDict(a=[1, (2, bad)])} if nested else bad
    path = tmp_path / "bad.pt"
    if legacy:
        path.write_bytes(
            b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, []))
        )
    else:
        _archive(path, pickle.dumps(content, 4))
    with pytest.raises(UserError, match="refused") as error:
        read_torch(path)
    # Protocol 2, which the older format has, calls modules by their names in Python 2.
    told = name.rpartition(".")[2] if legacy else name
    assert told in str(error.value) and "bad.pt" in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    [
        "torch._utils._rebuild_tensor_v2.__globals__",
        "torch.load",
        "torch._utils.warnings",
        "collections.OrderedDict.__init__",
        "numpy.core.multiarray._reconstruct",
        "copyreg._reconstructor",
        "argparse.Namespace.__init__",
        "torch.storage._load_from_bytes",
        "functools.partial",
    ],
)
def test_names_beside_the_closed_list_are_refused(tmp_path, name):
    module, _, attribute = name.partition(".") if name.count(".") == 1 else name.rpartition(".")
    for content in (
        _global(name) + b".",
        b"\x80\x04" + b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, attribute)) + b"\x93.",
    ):
        path = _archive(tmp_path / "bad.pt", content)
        with pytest.raises(UserError, match="refused") as error:
            read_torch(path)
        assert name in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        # State set on a function, on a class, on an array; calls with arguments of the wrong kind.
        _global("torch._utils._rebuild_tensor_v2") + b"}X\x01\x00\x00\x00aK\x01sb.",
        _global("argparse.Namespace") + b"}X\x01\x00\x00\x00aK\x01sb.",
        _tensor(b"K\x00", b"K\x04\x85", b"K\x01\x85")[:-1] + b"}b.",
        _global("torch._utils._rebuild_tensor_v2") + b"(K\x01K\x01K\x01K\x01tR.",
        _global("torch._utils._rebuild_tensor_v2") + b"(tR.",
        _global("collections.OrderedDict") + b"(X\x01\x00\x00\x00atR.",
        b"X\x01\x00\x00\x000Q.",  # a persistent object of another kind
        b"}" + b")" + b"\x85" * 200_000 + b"K\x01s.",  # hashing this would overflow the stack
        b"(" * 10 + b".",
        b"",
        b"\x80\x02",
        b"garbage",
        b"\x80\x02N",
        b"\x80\x02(lp0\n\x8f(K\x01\x90.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_malformed_pickles_are_refused(tmp_path, content):
    with pytest.raises(UserError, match="bad.pt"):
        read_torch(_archive(tmp_path / "bad.pt", content, [("0", _VALUES.tobytes())]))


def test_a_well_formed_tensor_is_read(tmp_path):
    path = _archive(tmp_path / "x.pt", _tensor(b"K\x01", b"K\x03\x85", b"K\x01\x85"), [("0", _VALUES.tobytes())])
    np.testing.assert_array_equal(read_torch(path), [1, 2, 3])


@pytest.mark.parametrize(
    "offset, size, stride",
    [
        (b"K\x02", b"K\x03\x85", b"K\x01\x85"),  # beyond the end
        (b"J\xff\xff\xff\xff", b"K\x03\x85", b"K\x01\x85"),  # before the start
        (b"K\x00", b"K\x03\x85", b"K\x02\x85"),  # strides beyond
        (b"K\x00", b"K\x03\x85", b"J\xff\xff\xff\xff\x85"),  # a negative stride
        (b"K\x00", b"K\x04\x85", b"K\x01K\x01\x86"),  # ranks differ
        (b"K\x00", b"J\x00\x00\x00\x7f\x85", b"K\x00\x85"),  # two billion copies of one value
        (b"K\x00", b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x85", b"K\x00\x85"),  # 2 ** 64
        (b"K\x00", b"X\x01\x00\x00\x004\x85", b"K\x01\x85"),
    ],
)  # a size that is text
def test_tensors_outside_their_storage_are_refused(tmp_path, offset, size, stride):
    path = _archive(tmp_path / "bad.pt", _tensor(offset, size, stride), [("0", _VALUES.tobytes())])
    with pytest.raises(UserError, match="refused"):
        read_torch(path)


def test_storages_of_other_lengths_and_compressed_archives_are_refused(tmp_path):
    content = _tensor(b"K\x00", b"K\x04\x85", b"K\x01\x85")
    for storages in ([], [("0", b"\x00" * 8)], [("0", b"\x00" * 17)]):
        with pytest.raises(UserError, match="not there"):
            read_torch(_archive(tmp_path / "short.pt", content, storages))
    bomb = _archive(tmp_path / "bomb.pt", content, [("0", b"\x00" * 10**7)], compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        read_torch(bomb)


def test_missing_empty_foreign_and_truncated_files_are_named(tmp_path, golden_path):
    whole = golden_path("stylegan2.pt").read_bytes()
    cases = {
        "empty.pt": b"",
        "text.pt": b"hello, this is no checkpoint\n",
        "zeros.pt": bytes(999),
        "short.pt": whole[:4],
        "half.pt": whole[: len(whole) // 2],
        "cut.pt": whole[:-1],
        "other.zip": _archive(tmp_path / "z", b"N.").read_bytes().replace(b".pkl", b".txt"),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_torch(tmp_path / name)
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_torch(path)


def test_flipped_bytes_never_raise_anything_else(tmp_path):
    """A damaged file gives a UserError or some content, and no other error."""
    content = pickle.dumps({"a": [1, 2.5, "b"], "c": collections.OrderedDict(d=(True, None))}, 2)
    generator, outcomes = np.random.default_rng(0), set()
    for _ in range(300):
        damaged = bytearray(content)
        damaged[generator.integers(len(damaged))] = generator.integers(256)
        try:
            read_torch(_archive(tmp_path / "damaged.pt", bytes(damaged)))
            outcomes.add("read")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_namespace_is_an_inert_record(tmp_path):
    for protocol in (2, 4):
        content = {"args": argparse.Namespace(size=64, latent=512), "n": 3}
        record = read_torch(_archive(tmp_path / "a.pt", pickle.dumps(content, protocol)))
        assert type(record["args"]) is Record
        assert record["args"].fields == {"size": 64, "latent": 512} and record["n"] == 3


def test_sharing_is_not_unfolded_for_a_message(tmp_path):
    """What is refused is named without printing it: this size would print for ages."""
    size = b")" + b"".join(b"2\x86" for _ in range(60))  # pairs of the same pair
    path = _archive(tmp_path / "bad.pt", _tensor(b"K\x00", size, b"K\x01\x85"), [("0", _VALUES.tobytes())])
    with pytest.raises(UserError, match="refused"):
        read_torch(path)


def test_sharing_does_not_multiply_what_is_read(tmp_path):
    """Lists that hold each other twice, fifty levels deep, are read without being unfolded."""
    nested: list = [1]
    for _ in range(50):
        nested = [nested, nested]
    read = read_torch(_archive(tmp_path / "x.pt", pickle.dumps(nested, 2)))
    assert read[0] is read[1]
