"""The restricted reader: nothing that a file names is run, and what is malformed or damaged ends in a sentence."""

import argparse
import io
import pickle
import struct
import zipfile

import jax
import numpy as np
import pytest
from helpers.pickles import Call, Storage, dumps, network_record

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import checkpoints
from gan2shape_jax.io.checkpoints import TENSORFLOW, parse_checkpoint, read_checkpoint
from gan2shape_jax.io.sandbox import Record

pytestmark = pytest.mark.process
_VALUES = np.arange(4, dtype=np.float32)

# Calls that would run code, and names beside the closed list.
_FORBIDDEN = [
    *("os.system", "posix.system", "builtins.eval", "__builtin__.getattr", "subprocess.Popen", "pickle.loads"),
    *("importlib.import_module", "operator.attrgetter", "functools.partial", "torch.load", "torch.hub.load"),
    *("numpy.load", "numpy.core.multiarray.fromfile", "torch._utils._rebuild_tensor_v3"),
    *("collections.OrderedDict.__init__", "argparse.Namespace.__class__"),
]


def _archive(path, content, storages=(), compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, data in storages:
            archive.writestr(f"archive/data/{key}", data)
    return path


def _legacy(path, content):
    head = b"".join(dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(head + content + dumps([], 2))
    return path


_CONTAINERS = {"zip": _archive, "legacy": _legacy, "pickle": lambda path, content: path.write_bytes(content) and path}


@pytest.mark.parametrize("container", _CONTAINERS)
def test_what_would_run_code_is_refused_by_name_wherever_it_lies(tmp_path, container):
    mark = tmp_path / "ran"
    for name in _FORBIDDEN:
        call = Call(name, f"touch {mark}")
        inside = Call("torch.storage._load_from_bytes", dumps(call, 2))
        for value in (call, {"g_ema": [1, {"x": call}]}, inside, network_record("Generator", x=call)):
            path = _CONTAINERS[container](tmp_path / "bad.pt", dumps(value, 2))
            with pytest.raises(UserError, match="refused") as error:
                parse_checkpoint(str(path))
            assert name.rpartition(".")[2] in str(error.value) or value is inside
    assert not mark.exists()


@pytest.mark.parametrize("container", _CONTAINERS)
def test_calls_of_names_in_the_list_with_anything_else_are_refused(tmp_path, container):
    calls = [
        Call("torch._utils._rebuild_tensor_v2", 1, 0, (1,), (1,)),
        Call("torch.FloatStorage", 10**12),
        Call("numpy.dtype", "O8"),
        Call("numpy.dtype", "V1000000000"),
        Call("numpy.core.multiarray._reconstruct", list, (0,), b"b"),
        Call("numpy.core.multiarray.scalar", Call("numpy.dtype", "f8"), b"short"),
        Call("_codecs.encode", "x", "rot13"),
        Call("torch.storage._load_from_bytes", b"no storage"),
        Call("torch_utils.persistence._reconstruct_persistent_obj", {"type": "function"}),
        Call("argparse.Namespace", state=[1]),
        Call(TENSORFLOW, state=3),
        Call("builtins.set", 5),
    ]
    for call in calls:
        with pytest.raises(UserError, match="bad.pt"):
            parse_checkpoint(str(_CONTAINERS[container](tmp_path / "bad.pt", dumps(call, 2))))


@pytest.mark.parametrize("name", checkpoints._KNOWN)
def test_a_pickle_holds_nothing_live_that_it_could_change_for_what_is_read_later(name):
    """Sets a state (BUILD) on each name of the list, and on what comes of a call that takes it apart."""
    named = b"c" + b"\n".join(name.encode().rsplit(b".", 1)) + b"\n"
    taken_apart = b"ctorch._utils\n_rebuild_parameter\n" + named + b"R"
    of_a_dtype, defaults = (3, ">", None, None, None, 8, 8, 0), (None, {"__defaults__": ("F",)})
    for state in (of_a_dtype, defaults, {"content": 1}, (None, {"content": 1})):
        for pushed in (named, taken_apart):
            body = b"\x80\x02" + pushed + pickle.dumps(state, 2)[2:-1] + b"b."
            with pytest.raises((checkpoints._Refused, pickle.UnpicklingError, TypeError, AttributeError)):
                checkpoints._Unpickler(io.BytesIO(body)).load()
    kinds = np.dtype(checkpoints._TYPES["BFloat16"]), np.dtype("f4")
    assert [(kind.itemsize, kind.byteorder) for kind in kinds] == [(2, "="), (4, "=")]


def test_arrays_are_none_while_a_pickle_is_read():
    call = Call("numpy.core.numeric._frombuffer", b"abcd", Call("numpy.dtype", "u1"), (4,), "C")
    for made in (call, Call("numpy.dtype", "f4")):
        read = checkpoints._Unpickler(io.BytesIO(dumps(made, 2))).load()
        assert not isinstance(read, np.ndarray | np.dtype)


def _tensor(*layout, count=4):
    """An offset, a size and strides, in a storage of so many values."""
    return Call("torch._utils._rebuild_tensor_v2", Storage("0", count), *layout, False, {})


def test_tensors_are_read_from_the_whole_storage_that_they_name(tmp_path):
    path, good, stored = tmp_path / "x.pt", (1, (3,), (1,)), [("0", _VALUES.tobytes())]
    np.testing.assert_array_equal(parse_checkpoint(str(_archive(path, dumps(_tensor(*good), 2), stored))), [1, 2, 3])
    outside = [(1, (4,), (1,)), (0, (5,), (1,)), (0, (2, 2), (3, 1)), (-1, (1,), (1,)), (0, (4,), (-1,))]
    for layout, storages in [(layout, stored) for layout in outside] + [(good, []), (good, [("0", bytes(8))])]:
        with pytest.raises(UserError, match=r"x\.pt"):
            parse_checkpoint(str(_archive(path, dumps(_tensor(*layout), 2), storages)))


def test_a_namespace_is_a_record_and_sharing_is_not_unfolded_without_end(tmp_path):
    content = {"args": argparse.Namespace(size=64, latent=512), "n": 3}
    read = read_checkpoint(_archive(tmp_path / "a.pt", pickle.dumps(content, 2)))
    assert read["args"] == Record("argparse.Namespace", {"size": 64, "latent": 512}) and read["n"] == 3
    nested = [1]
    for _ in range(50):
        nested = [nested, nested]
    with pytest.raises(UserError, match="values"):
        parse_checkpoint(str(_archive(tmp_path / "x.pt", pickle.dumps(nested, 2))))


@pytest.mark.parametrize(
    ("bomb", "data"),
    [
        (_tensor(0, (1,), (1,), count=10**11), bytes(10**8)),
        (_tensor(0, (2**40,), (0,)), _VALUES.tobytes()),
    ],
)
def test_what_takes_more_memory_than_such_a_file_needs_is_ended(tmp_path, bomb, data):
    path = tmp_path / "bomb.pt"
    _archive(path, dumps(bomb, 2), [("0", data)], zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"bomb\.pt"):
        read_checkpoint(path)


def test_foreign_truncated_and_damaged_files_are_named(tmp_path, golden_path):
    whole = golden_path("stylegan2.pt").read_bytes()
    contents = [b"", b"<html>", b"\x00" * 100, pickle.dumps(print), whole[:100], whole[: len(whole) // 2], whole[:-1]]
    for content in contents:
        (tmp_path / "some.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"some\.pt"):
            parse_checkpoint(str(tmp_path / "some.pt"))
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_checkpoint(path)
    generator, outcomes = np.random.default_rng(0), set()
    good = _archive(tmp_path / "good.pt", dumps({"x": [1, "a", 2.5], "y": Call("torch.Size", (1, 2))}, 2)).read_bytes()
    for _ in range(300):
        damaged = bytearray(good)
        damaged[generator.integers(len(damaged))] = generator.integers(256)
        (tmp_path / "damaged.pt").write_bytes(damaged)
        try:
            parse_checkpoint(str(tmp_path / "damaged.pt"))
            outcomes.add("read")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_writes_comes_back(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32)
    module = torch.nn.Conv2d(2, 3, 1)
    content = {
        **{
            kind: torch.tensor([[1, 0], [3, 4]]).to(getattr(torch, kind))
            for kind in ("float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
        },
        "transposed": base.reshape(4, 6).T,
        "part": base[5:9],
        "expanded": base[:3, None].expand(3, 2),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": module.weight,
        "state": module.state_dict(),
        "list": [base, base[::2], 1.5, None, "x", [True]],
        "args": argparse.Namespace(size=64),
        "size": base.reshape(2, 12).shape,
    }
    path = tmp_path / "x.pt"
    torch.save(content | {"half": torch.tensor([1.5, -2]).bfloat16()}, path, _use_new_zipfile_serialization=not legacy)
    read = read_checkpoint(path)
    np.testing.assert_array_equal(read.pop("half"), np.array([1.5, -2], np.float32))
    assert read.pop("args").fields == {"size": 64} and read.pop("size") == [2, 12]

    def compare(theirs, ours):
        if isinstance(theirs, torch.Tensor):
            theirs = theirs.detach().numpy()
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)

    del content["args"], content["size"]
    jax.tree.map(compare, content | {"state": dict(content["state"])}, read)


def test_a_legacy_file_that_overstates_its_storage_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save(torch.ones(4), buffer, _use_new_zipfile_serialization=False)
    content, length = buffer.getvalue(), struct.pack("<q", 4)
    at = content.rindex(length)
    for bad in (
        content[:-3],
        content[:at] + struct.pack("<q", 2**40) + content[at + 8 :],
        content.replace(b"K\x04N", b"J\x00\x00\x00\x7fN"),
    ):
        (tmp_path / "bad.pt").write_bytes(bad)
        with pytest.raises(UserError, match="bad.pt"):
            read_checkpoint(tmp_path / "bad.pt")
