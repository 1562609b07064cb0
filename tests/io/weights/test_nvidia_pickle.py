"""NVIDIA's pickles are read as data: what they hold comes back, nothing in them is ever run."""

import pickle
import zipfile

import numpy as np
import pytest
from helpers.pickles import Call, Global, Storage, dumps, legacy_storage, network_record, tensor
from helpers.pickles import double as _double
from helpers.pickles import write as _write

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.nvidia_pickle import PersistentRecord, read_checkpoint
from gan2shape_jax.io.weights.torch_reader import read_torch

_VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_records_tensors_and_settings_come_back(tmp_path, protocol):
    settings = Call("dnnlib.util.EasyDict")  # filled below as pickles of dictionaries' subclasses are
    layer = network_record(
        "SynthesisLayer",
        parameters={"weight": tensor(_VALUES)},
        up=2,
        weight_gain=_double(0.25),
        names={"a", "b"},
        clamp=None,
        settings=settings,
    )
    path = _write(
        tmp_path / "x.pkl",
        {"G_ema": network_record("Generator", modules={"conv0": layer}), "training_set_kwargs": None},
        protocol,
    )
    content = read_checkpoint(path)
    assert list(content) == ["G_ema", "training_set_kwargs"] and content["training_set_kwargs"] is None
    record = content["G_ema"].fields["_modules"]["conv0"]
    assert type(record) is PersistentRecord and record.class_name == "SynthesisLayer"
    assert record.fields["up"] == 2 and record.fields["clamp"] is None
    assert record.fields["weight_gain"] == 0.25 and record.fields["names"] == {"a", "b"}
    np.testing.assert_array_equal(record.fields["_parameters"]["weight"], _VALUES)


def test_source_code_in_a_record_never_runs(tmp_path):
    mark = tmp_path / "mark"
    hostile = f"import pathlib\npathlib.Path({str(mark)!r}).write_text('ran')\nclass Generator: pass\n"
    compile(hostile, "module_src", "exec")  # it would run
    path = _write(tmp_path / "x.pkl", {"G_ema": network_record("Generator", source=hostile)})
    assert read_checkpoint(path)["G_ema"].class_name == "Generator"
    assert not mark.exists()
    exec(hostile, {})  # and would leave this mark
    assert mark.exists()


def _hostile(mark):
    """Name of what is asked for -> a value that asks for it."""
    touch = f"open({str(mark)!r}, 'w')"
    bad = Call("os.system", f"touch {mark}")
    return {
        "os.system": bad,
        "posix.system": Call("posix.system", f"touch {mark}"),
        "builtins.eval": Call("builtins.eval", touch),
        "builtins.exec": network_record("Generator", modules={"mapping": Call("builtins.exec", touch)}),
        "subprocess.Popen": network_record("Generator", state_hook=Call("subprocess.Popen", ["touch", str(mark)])),
        "builtins.getattr": Call(
            "builtins.getattr", Global("torch_utils.persistence._reconstruct_persistent_obj"), "__globals__"
        ),
        "torch_utils.persistence._src_to_module": Call("torch_utils.persistence._src_to_module", touch),
        "dnnlib.util.call_func_by_name": Call("dnnlib.util.call_func_by_name", "os.system", f"touch {mark}"),
        "torch.load": Call("torch.load", str(mark)),
        "os.mkdir": Call(
            "torch.storage._load_from_bytes",
            b"".join(dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}, Call("os.mkdir", str(mark)), [])),
        ),
        "os.remove": Call("torch.storage._load_from_bytes", dumps(Call("os.remove", str(mark)), 2)),
        "numpy.dtype of 'O8'": Call(
            "numpy.core.multiarray._reconstruct",
            Global("numpy.ndarray"),
            (0,),
            b"b",
            state=(1, (1,), Call("numpy.dtype", "O8", False, True), False, [bad]),
        ),
        "numpy.load": Call("numpy.load", str(mark)),
    }


_NAMES = list(_hostile("x"))


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_would_run_code_is_refused_by_name(tmp_path, name, protocol):
    mark = tmp_path / "mark"
    path = _write(tmp_path / "bad.pkl", {"G_ema": _hostile(mark)[name]}, protocol)
    with pytest.raises(UserError, match="refused") as error:
        read_checkpoint(path)
    assert name in str(error.value) and "bad.pkl" in str(error.value)
    assert not mark.exists()


def test_nested_bytes_are_named_as_such(tmp_path):
    path = _write(tmp_path / "bad.pkl", _hostile(tmp_path / "mark")["os.mkdir"])
    with pytest.raises(UserError, match="os.mkdir .inside torch.storage._load_from_bytes"):
        read_checkpoint(path)


def test_storages_inside_storages_are_refused(tmp_path):
    inner = Call("torch.storage._load_from_bytes", legacy_storage(_VALUES))
    nested = b"".join(dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}, inner, []))
    path = _write(tmp_path / "bad.pkl", Call("torch.storage._load_from_bytes", nested))
    with pytest.raises(UserError, match="refused.*torch.storage._load_from_bytes"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "value",
    [
        Call(
            "torch_utils.persistence._reconstruct_persistent_obj", {"type": "function", "class_name": "f", "state": {}}
        ),
        Call("torch_utils.persistence._reconstruct_persistent_obj", {"type": "class", "class_name": 3, "state": {}}),
        Call("torch_utils.persistence._reconstruct_persistent_obj", {"type": "class", "class_name": "G", "state": [1]}),
        Call("torch_utils.persistence._reconstruct_persistent_obj"),
        Call("torch.storage._load_from_bytes", "text"),
        Call("torch.storage._load_from_bytes", legacy_storage(_VALUES)[:-3]),
        Call(
            "torch.storage._load_from_bytes",
            b"".join(dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}, {"no": "storage"}, [])),
        ),
        Call("numpy.core.multiarray.scalar", "f8", b"12345678"),
        Call("numpy.core.multiarray.scalar", Call("numpy.dtype", "f8"), b"123"),
        Call("numpy.dtype", "f8", state=(3, ">", None)),
        Call("numpy.dtype", "V8"),
        Call("numpy.dtype", [("a", "O")]),
        Call("_codecs.encode", "text", "rot13"),
        Call("builtins.set", [(1, 2)]),
        Call("dnnlib.util.EasyDict", {"a": 1}),
        Call("numpy.core.multiarray._reconstruct", Global("builtins.set")),
        network_record("G", extra=Call("torch._utils._rebuild_tensor_v2", Storage("0", 4), 0, (4,), (1,))),
    ],
)
def test_malformed_records_are_refused(tmp_path, value):
    with pytest.raises(UserError, match="bad.pkl"):
        read_checkpoint(_write(tmp_path / "bad.pkl", value, 2))


def test_state_set_on_records_and_functions_is_refused(tmp_path):
    for value in (
        Call("torch.storage._load_from_bytes", legacy_storage(_VALUES), state={"x": 1}),
        Call("builtins.set", [1], state={"x": 1}),
    ):
        with pytest.raises(UserError, match="refused"):
            read_checkpoint(_write(tmp_path / "bad.pkl", value))


def test_the_same_bytes_are_one_storage_however_often_they_are_named(tmp_path):
    data = legacy_storage(np.zeros(100_000, np.float32))
    shared = Global("torch.storage._load_from_bytes")

    class Again:
        def __reduce__(self):
            return shared, (data,)

    path = _write(tmp_path / "x.pkl", [Again() for _ in range(3000)])
    assert path.stat().st_size < 2 * len(data)
    content = read_checkpoint(path)  # 1.2 GB, were they copied
    assert len(content) == 3000 and all(item is content[0] for item in content)


def test_truncated_empty_and_foreign_files_are_named(tmp_path):
    whole = dumps({"G_ema": network_record("Generator", parameters={"w": tensor(_VALUES)})})
    cases = {"empty.pkl": b"", "page.pkl": b"<!DOCTYPE html><html>", "zeros.pkl": bytes(500)}
    cases |= {f"cut{i}.pkl": whole[: len(whole) * i // 5] for i in range(1, 5)}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_checkpoint(tmp_path / name)
    with pytest.raises(UserError, match="web page"):
        read_checkpoint(tmp_path / "page.pkl")
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pkl")


def test_truncated_archives_are_told(tmp_path, golden_path):
    whole = golden_path("stylegan2.pt").read_bytes()
    for read in (read_checkpoint, read_torch):
        for count in (100, len(whole) // 2, len(whole) - 1):
            (tmp_path / "cut.pt").write_bytes(whole[:count])
            with pytest.raises(UserError, match="cut.pt: a truncated archive.*fetch it again"):
                read(tmp_path / "cut.pt")


def test_flipped_bytes_never_raise_anything_else(tmp_path):
    content = dumps({"G": network_record("Generator", parameters={"w": tensor(_VALUES)}, gain=_double(2.0))})
    generator, outcomes = np.random.default_rng(1), set()
    for _ in range(400):
        damaged = bytearray(content)
        damaged[generator.integers(len(damaged))] = generator.integers(256)
        (tmp_path / "damaged.pkl").write_bytes(damaged)
        try:
            read_checkpoint(tmp_path / "damaged.pkl")
            outcomes.add("read")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_the_content_tells_the_container_not_the_name(tmp_path, golden_path):
    content = golden_path("stylegan2.pt").read_bytes()
    (tmp_path / "renamed.pkl").write_bytes(content)
    assert zipfile.is_zipfile(tmp_path / "renamed.pkl")
    assert list(read_checkpoint(tmp_path / "renamed.pkl")) == ["g_ema", "d"]
    legacy = b"".join(dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}, {"a": 1}, []))
    (tmp_path / "old.pkl").write_bytes(legacy)
    assert read_checkpoint(tmp_path / "old.pkl") == {"a": 1}


def test_the_plain_reader_names_the_tool_for_nvidia_files(tmp_path):
    path = _write(tmp_path / "net.pkl", {"G": network_record("Generator")})
    with pytest.raises(UserError, match="refused.*torch_utils.persistence.*gan2shape-jax convert .*net.pkl"):
        read_torch(path)
    path = _write(tmp_path / "old.pkl", (Call("dnnlib.tflib.network.Network", state={"version": 4}),) * 3)
    with pytest.raises(UserError, match="refused.*dnnlib.tflib.*gan2shape-jax convert .*old.pkl"):
        read_torch(path)


def test_pickles_of_this_file_are_what_pickle_reads():
    """The hand-written pickles call what they say: here a harmless function."""
    assert pickle.loads(dumps([Call("builtins.len", (1, 2, 3)), Call("math.sqrt", 9.0)])) == [3, 3.0]
