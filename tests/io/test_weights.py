"""Weight files: families told apart by their names, tensors that differ listed, messages short."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from helpers.pickles import Call, dumps, network_record

from gan2shape_jax import load_model, stylegan2
from gan2shape_jax.apps.convert.stylegan2 import convert
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.weights import FAMILIES, listed, misfits, recognise, safetensors_bytes, short
from gan2shape_jax.method.perceptual import load_lpips


def test_a_file_has_the_same_bytes_whenever_it_is_written():
    tensors, texts = {"b": np.arange(3.0), "a": np.zeros((2, 2), np.float16)}, {f"name {k}": str(k) for k in range(9)}
    first, *others = {safetensors_bytes(tensors, texts) for _ in range(20)}  # the library orders them at random
    assert not others
    read = safetensors.numpy.load(first)
    assert all(np.array_equal(read[name], value) and read[name].dtype == value.dtype for name, value in tensors.items())


def test_tensors_that_differ_are_listed_and_not_read(tmp_path):
    actual = {"a": np.zeros(2), "b": np.full(3, np.nan), "c": np.zeros((1, 4)), "d": np.zeros(0)}
    shapes = {"b": (3,), "c": (4,), "d": (0,), "e": (1,)}
    assert misfits(actual, shapes) == (
        "missing: e; unknown: a; misshapen: c is (1, 4) instead of (4,); without numbers: d; with NaN or infinity: b"
    )
    assert misfits({"b": (3,)}, {"b": (3,)}) == ""
    # The tensors would take 4 GiB: the header is all that there is of them.
    header = {"shift": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}}
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(UserError, match="cannot be read"):
        load_lpips(tmp_path / "x.safetensors")


def _place(first, last, shape=(16,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [first, last]}


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"a": _place(0, 64), "b": _place(0, 64)}, id="overlap"),
        pytest.param({"a": _place(64, 0)}, id="backwards"),
        pytest.param({"a": _place(-64, 0)}, id="before"),
        pytest.param({"a": _place(0, 64, (2**62, 2**62))}, id="overflow"),
        pytest.param({"__metadata__": {"x": 5}, "a": _place(0, 64)}, id="number"),
        pytest.param({str(k): _place(0, 0, (0,)) for k in range(200_000)}, id="many"),
    ],
)
def test_headers_that_no_weights_have_are_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    for read in (load_lpips, stylegan2.load, load_model):
        with pytest.raises(UserError, match="x.safetensors cannot be read as a safetensors file"):
            read(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"version https://git-lfs.github.com/spec/v1\nsize 1\n", "pointer of Git LFS"), (b"<!DOCTYPE html>", "web page")],
)
def test_what_stands_for_weights_is_not_told_to_be_converted(tmp_path, content, told):
    (tmp_path / "x.safetensors").write_bytes(content)
    for read in (load_lpips, stylegan2.load, load_model):
        with pytest.raises(UserError, match=told) as caught:
            read(tmp_path / "x.safetensors")
        assert "convert" not in str(caught.value)


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


_X = np.zeros(2, np.float32)
_RESNET = {f"layer{i}.0.conv1.weight" for i in range(1, 5)}

# Names as the published files have them: a few of each are enough.
_NAMES = {
    "stylegan2-rosinality": {"g_ema.input.input", "g_ema.conv1.conv.weight", "d.convs.0.0.weight", "g.style.1.weight"},
    "stylegan2-nvidia": {"Generator", "SynthesisBlock", "DiscriminatorBlock", "G_ema.synthesis.b4.const"},
    "stylegan3": {"Generator", "SynthesisInput", "DiscriminatorBlock", "G_ema.synthesis.input.freqs"},
    "stylegan2-tensorflow": {"dnnlib.tflib.network.Network", "tf:G_main"},
    "tensorflow": {"dnnlib.tflib.network.Network", "tf:G_paper", "tf:D_paper"},
    "stylegan1": {"dnnlib.tflib.network.Network", "tf:G_style", "tf:D_basic"},
    "stylegan2-lucidrains": {"GAN.S.net.0.weight", "GAN.G.blocks.0.to_style1.weight", "GAN.D.blocks.0.conv_res.weight"},
    "gan2shape": {f"net{kind}.network.0.weight" for kind in ("D", "A", "V", "L", "Enc")}
    | {"optimizerD.state.0.exp_avg"},
    "unsup3d": {f"net{kind}.network.0.weight" for kind in "DAVLC"} | {"optimizerA.state.0.exp_avg"},
    "lpips": {"lin0.model.1.weight", "lin4.model.1.weight"},
    "vgg16": {"features.0.weight", "features.28.weight", "classifier.6.bias"},
    "bisenet": {"cp.resnet.conv1.weight", "cp.arm16.conv.conv.weight", "ffm.convblk.conv.weight"},
    "pspnet": {"layer0.0.weight", "ppm.features.0.1.weight", "cls.0.weight"} | _RESNET,
    "mvn": {"mean", "cov"},
}


def test_families_are_recognised_by_their_names_and_have_a_tool_or_advice():
    assert {reference.name for reference in FAMILIES} == set(_NAMES)
    assert all(bool(reference.tool) != bool(reference.advice) for reference in FAMILIES)
    for name, names in _NAMES.items():
        for wrapper in ("", "module.", "state_dict.", "state_dict.module."):
            family = recognise({n if n[0].isupper() or ":" in n else wrapper + n for n in names})
            assert family is not None and family.name == name


@pytest.mark.parametrize(
    "names",
    [
        set(),
        {"weight", "bias"},
        {"layer1.0.conv1.weight", "fc.weight"},  # a ResNet
        {"features.0.weight", "features.28.weight", "features.34.weight"},  # VGG19
        {"features.0.weight", "features.28.weight", "features.1.running_mean"},  # VGG16 with batch norm
        {"mean"},
        {"netD.x", "netG.x"},
    ],
)
def test_other_names_are_no_family(names):
    assert recognise(names) is None


def test_other_layouts_are_known_and_other_names_are_no_family():
    assert recognise({"conv1.conv.modulation.weight"}).name == "stylegan2-rosinality"
    assert recognise({"lins.0.model.1.weight", "net.slice1.0.weight"}).name == "lpips"
    assert recognise({"g_running.x"}).name == "stylegan1"


def _refusal(path, content):
    path.write_bytes(dumps(content))
    with pytest.raises(UserError, match=path.name) as error:
        convert(path)
    return str(error.value)


def _states(*names):
    return dict.fromkeys(names, _X)


_NETS = {f"net{k}": _states("network.0.weight") for k in "DAVL"}


@pytest.mark.parametrize(
    "content, title",
    [
        (_states("lin0.model.1.weight"), "LPIPS"),
        (_states("cp.resnet.conv1.weight"), "BiSeNet"),
        (_states("mean", "cov"), "mean and covariance"),
        (_NETS | {"iteration": 3}, "Unsup3d"),
        (_NETS | {"netEnc": _states("network.0.weight")}, "netEnc"),
    ],
)
def test_the_converter_names_the_tool_for_other_families(tmp_path, content, title):
    message = _refusal(tmp_path / "other.pth", content)
    assert title in message and f"convert {tmp_path / 'other.pth'} {tmp_path / 'other.safetensors'}" in message


def test_other_tensorflow_pickles_and_the_first_generation_are_refused_in_words(tmp_path):
    def networks(*builders):
        state, name = {"version": 2, "build_module_src": "raise SystemExit"}, "dnnlib.tflib.network.Network"
        return tuple(Call(name, state=state | {"build_func_name": builder}) for builder in builders)

    message = _refusal(tmp_path / "old.pkl", networks("G_paper", "D_paper", "G_paper"))
    assert "TensorFlow" in message and "not of a StyleGAN2" in message and "not supported" in message
    message = _refusal(tmp_path / "older.pkl", networks("G_style", "D_basic", "G_style"))
    assert "first generation" in message and "not supported" in message and "config e or f" in message
    # What is not even in the closed list is still told.
    message = _refusal(tmp_path / "odd.pkl", Call("dnnlib.tflib.tfutil.run", 1))
    assert "refused" in message and "dnnlib.tflib.tfutil.run" in message


def test_alias_free_networks_and_other_architectures_are_refused_in_words(tmp_path):
    inner = network_record("SynthesisNetwork", _modules={"input": network_record("SynthesisInput")})
    message = _refusal(tmp_path / "t.pkl", {"G_ema": network_record("Generator", _modules={"synthesis": inner})})
    assert "alias-free" in message and "not supported" in message
    message = _refusal(tmp_path / "fast.pkl", {"G_ema": network_record("FastganSynthesis"), "D": 1})
    assert "not a known kind of checkpoint" in message and "G_ema, D" in message


@pytest.mark.parametrize("read", [convert, read_checkpoint])
def test_safetensors_are_told_and_converted_ones_said_to_be_ready(tmp_path, read):
    target = tmp_path / "gan.safetensors"
    safetensors.numpy.save_file({"generator/layers/0/weight": _X, "discriminator/output/bias": _X}, target)
    with pytest.raises(UserError, match="is a safetensors file: use it as it is.*config.gan.checkpoint"):
        read(target)


def test_tensors_of_other_types_are_refused_with_what_to_do(tmp_path):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    said = (
        r"a.safetensors holds the tensor 'w' of type 'BF16', and only F16, F32, F64 are read: save it with one of these"
    )
    with pytest.raises(UserError, match=said) as raised:
        stylegan2.load(tmp_path / "a.safetensors")
    assert "convert" not in str(raised.value)
