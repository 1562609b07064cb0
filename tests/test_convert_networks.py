"""The conversion of everything but StyleGAN2: outputs as PyTorch's, refusals, the command."""

import collections
import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from parity_record import PER_VALUE, per_value, share_off
from PIL import Image

from gan2shape_jax import models, networks, parsing, perceptual, weights
from gan2shape_jax.array_files import load_mvn
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.settings import from_config
from gan2shape_jax.stylegan2 import Architecture
from tools.convert_networks import convert
from tools.convert_networks.__main__ import main

torch = pytest.importorskip("torch")
from tests import torch_networks  # noqa: E402

_S, _NF, _ZDIM, _STYLE, _GROUPS = 32, 8, 16, 16, 4


def _relative(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def _header(path):
    with safetensors.safe_open(str(path), "np") as file:
        return file.metadata()


def _sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def shape_networks():
    """netD, netA, netV, netL, netEnc; view and light of another width, as Unsup3d has them."""
    nets = {
        "netD": torch_networks.decoder(_S, _NF, _ZDIM, 1, _GROUPS),
        "netA": torch_networks.decoder(_S, _NF, _ZDIM, 3, _GROUPS, final="tanh"),
        "netV": torch_networks.encoder(_S, _NF // 2, 6),
        "netL": torch_networks.encoder(_S, _NF // 2, 4),
        "netEnc": torch_networks.residual_encoder(_S, 4, _STYLE),
    }
    return {name: torch_networks.randomise(net, seed) for seed, (name, net) in enumerate(nets.items())}


def _settings(**fields):
    config = load_config("ictface").unlock()
    config.image_size = _S
    config.networks.width, config.networks.view_light_width = _NF, _NF // 2
    config.networks.group_base, config.networks.zdim, config.networks.encoder_width = _GROUPS, _ZDIM, 4
    config.update(fields)
    channels = (16, 16, 16, 16, 16)
    architecture = Architecture(
        size=64, style_dim=_STYLE, mapping_layers=8, channels=channels, discriminator_channels=channels)
    return from_config(config, architecture, original_size=_S)


_ORDER = {"depth": "netD", "albedo": "netA", "view": "netV", "light": "netL", "encoder": "netEnc"}


def _compare(parity, params, settings, nets, names):
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (2, _S, _S, 3)).astype(np.float32)
    modules = models.modules(settings)
    found = jax.jit(lambda params: {n: modules[n].apply({"params": params[n]}, image) for n in names})(params)
    with torch.no_grad():
        for name in names:
            theirs = nets[_ORDER[name]](torch.tensor(image.transpose(0, 3, 1, 2))).numpy()
            ours = np.asarray(found[name])
            ours = ours.transpose(0, 3, 1, 2) if ours.ndim == 4 else ours[..., None, None]
            parity(f"{name} network of the original's checkpoints, output", _relative(ours, theirs), 1e-3)


@pytest.fixture(scope="module")
def fresh():
    settings = _settings()
    return settings, models.init_params(jax.random.key(3), settings)


def _optimizer(net):
    optimizer = torch.optim.Adam(net.parameters())
    for value in net.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    for value in net.parameters():
        value.grad = None
    return optimizer.state_dict()


def test_networks_of_the_original(tmp_path, shape_networks, fresh, capsys, parity):
    source, target = tmp_path / "cat_pretrain.pth", tmp_path / "cat.safetensors"
    content = {name: net.state_dict() for name, net in shape_networks.items()}
    torch.save({**content, "optimizerA": _optimizer(torch.nn.Linear(2, 2)), "iteration": 7}, source)
    sheet = tmp_path / "look.png"
    assert main([str(source), str(target), "--group-base", str(_GROUPS), "--sheet", str(sheet)]) == 0
    settings, like = fresh
    params = weights.load_networks(target, like, settings)
    _compare(parity, params, settings, shape_networks, _ORDER)
    header = _header(target)
    assert header["source_sha256"] == _sha(source) and "Xingang Pan" in header["license"]
    assert header["networks"].split() == list(_ORDER)
    assert json.loads(header["architecture"])["image_size"] == _S
    printed = capsys.readouterr().out
    for part in ("ignored: optimizerA, iteration", "licence of the published weights: MIT",
                 "--config.networks.view_light_width=4", f"--config.networks.pretrained={target}"):
        assert part in printed
    with Image.open(sheet) as picture:
        assert picture.mode == "RGB" and np.asarray(picture).std() > 10
    # The same weights read straight from the torch file.
    direct = weights.load_networks(source, like, settings)
    jax.tree.map(np.testing.assert_array_equal, params, direct)


def test_networks_of_unsup3d_start_four_of_five(tmp_path, shape_networks, fresh, monkeypatch, capsys, parity):
    parent, module = type(sys)("unsup3d"), type(sys)("unsup3d.meters")
    parent.meters = module
    module.MetricsTrace = type("MetricsTrace", (), {"__module__": "unsup3d.meters"})
    monkeypatch.setitem(sys.modules, "unsup3d", parent)
    monkeypatch.setitem(sys.modules, "unsup3d.meters", module)
    trace = module.MetricsTrace()
    trace.data = {"train": [{"loss": 0.5}]}
    four = [name for name in shape_networks if name != "netEnc"]
    content = {name: shape_networks[name].state_dict() for name in four}
    extras = {"netC": torch_networks.ConfNet().state_dict(), "optimizerD": _optimizer(torch.nn.Linear(2, 2)),
              "metrics_trace": trace, "epoch": 30}
    source, target = tmp_path / "checkpoint030.pth", tmp_path / "celeba.safetensors"
    torch.save({**content, **extras}, source, _use_new_zipfile_serialization=False)
    monkeypatch.delitem(sys.modules, "unsup3d.meters")
    monkeypatch.delitem(sys.modules, "unsup3d")
    assert main([str(source), str(target), "--group-base", str(_GROUPS), "--no-sheet"]) == 0
    printed = capsys.readouterr().out
    for part in ("ignored: netC, optimizerD, metrics_trace, epoch", "no encoder in it", "add_mean_V=False",
                 "elliottwu"):
        assert part in printed
    settings, like = fresh
    params = weights.load_networks(target, like, settings)
    _compare(parity, params, settings, shape_networks, ["depth", "albedo", "view", "light"])
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], like["encoder"])
    assert not [name for name in sys.modules if name.startswith("unsup3d")]
    # A configuration of another width is told what these networks fit.
    other = _settings(networks={"view_light_width": 0})
    with pytest.raises(UserError, match="fit .*--config.networks.view_light_width=4"):
        weights.load_networks(target, models.init_params(jax.random.key(0), other), other)


def test_published_sizes_are_read_from_the_tensors(tmp_path):
    """Unsup3d's own widths: 64 for depth and albedo, 32 for view and light."""
    content = {"netD": torch_networks.decoder(64, 64, 256, 1, 16), "netA": torch_networks.decoder(64, 64, 256, 3, 16),
               "netV": torch_networks.encoder(64, 32, 6), "netL": torch_networks.encoder(64, 32, 4)}
    torch.save({name: net.state_dict() for name, net in content.items()}, tmp_path / "checkpoint030.pth")
    converted = convert([tmp_path / "checkpoint030.pth"])
    sizes = json.loads(converted.header["architecture"])
    assert sizes == {"image_size": 64, "width": 64, "view_light_width": 32, "zdim": 256, "group_base": 16,
                     "encoder_width": 0, "style_dim": 0}
    assert sizes["group_base"] == networks.default_group_base(64)


def test_wrong_shape_networks_are_refused_by_name(tmp_path, shape_networks):
    path = tmp_path / "x.pth"
    content = {name: dict(net.state_dict()) for name, net in shape_networks.items()}
    with pytest.raises(UserError, match="x.pth: netD: .*--group-base"):
        torch.save(content, path)
        convert([path])
    content["netA"]["network.2.weight"] = torch.zeros(3)
    del content["netA"]["network.6.weight"]
    torch.save(content, path)
    with pytest.raises(UserError, match="x.pth: netA: .*missing: network.6.weight; unknown: network.2.weight"):
        convert([path], group_base=_GROUPS)
    content["netA"] = shape_networks["netA"].state_dict()
    content["netL"] = {k: v * float("nan") for k, v in content["netL"].items()}
    torch.save(content, path)
    with pytest.raises(UserError, match="x.pth: netL holds NaN"):
        convert([path], group_base=_GROUPS)
    torch.save({k: v for k, v in content.items() if k != "netL"}, path)
    with pytest.raises(UserError, match="x.pth: netL missing"):
        convert([path], group_base=_GROUPS)
    torch.save(content | {"netD": {"network.0.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(UserError, match="do not tell the size"):
        convert([path], group_base=_GROUPS)


@pytest.mark.parametrize("numbers", [6, 4])
def test_statistics(tmp_path, numbers, capsys):
    kind = {6: "view", 4: "light"}[numbers]
    source, target = tmp_path / f"{kind}_mvn.pth", tmp_path / f"{kind}_mvn.npz"
    factor = torch.randn(numbers, numbers, generator=torch.Generator().manual_seed(0)) / 4
    wanted = {"mean": torch.linspace(-0.2, 0.3, numbers), "cov": factor @ factor.T}
    torch.save(wanted, source)
    assert main([str(source), str(target)]) == 0
    mean, covariance = load_mvn(target, numbers)
    np.testing.assert_array_equal(mean, wanted["mean"])
    np.testing.assert_array_equal(covariance, wanted["cov"])
    with np.load(target, allow_pickle=False) as archive:
        assert str(archive["source_sha256"]) == _sha(source) and "MIT" in str(archive["license"])
    assert f"{kind} statistics" in capsys.readouterr().out
    assert (tmp_path / f"{kind}_mvn.png").is_file()
    assert main([str(source), str(tmp_path / "x.safetensors")]) == 1
    assert "has to end in .npz" in capsys.readouterr().err


_PARSERS = {
    "bisenet": (lambda: torch_networks.BiSeNet(19, 4), 64),
    "pspnet": (lambda: torch_networks.PSPNet(21, 4, (1, 2, 1, 1)), 65),
}


@pytest.fixture(scope="module", params=_PARSERS)
def parser(request):
    build, side = _PARSERS[request.param]
    return torch_networks.randomise(build()), side


def _save_parser(net, path):
    """As published: BiSeNet's state dictionary itself; PSPNet's inside a training checkpoint, wrapped."""
    state = net.state_dict()
    if isinstance(net, torch_networks.PSPNet):
        wrapped = collections.OrderedDict((f"module.{name}", value) for name, value in state.items())
        state = {"epoch": 50, "state_dict": wrapped, "optimizer": _optimizer(torch.nn.Linear(2, 2))}
    torch.save(state, path)


def test_parsers(tmp_path, parser, capsys, parity):
    net, side = parser
    source, target = tmp_path / "parser.pth", tmp_path / "parser.safetensors"
    _save_parser(net, source)
    assert main([str(source), str(target), "--no-sheet"]) == 0
    arch, params = parsing.load_parser(target)
    image = np.random.default_rng(0).uniform(-1, 1, (1, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = net(torch.tensor(image.transpose(0, 3, 1, 2))).numpy()
    ours = np.asarray(jax.jit(parsing.logits, static_argnames="arch")(params, image, arch=arch)).transpose(0, 3, 1, 2)
    name = f"converted {type(net).__name__}"
    parity(f"{name}, logits", _relative(ours, theirs), 1e-3)
    parity(f"{name}, labels", share_off(ours.argmax(1) == theirs.argmax(1)), 1e-3, measure="share of pixels")
    header = _header(target)
    assert header["source_sha256"] == _sha(source) and "MIT, Copyright (c) 2019" in header["license"]
    printed = capsys.readouterr().out
    assert "num_batches_tracked (" in printed and f"--config.parsing.weights={target}" in printed
    assert ("aux.* (" in printed and "epoch, optimizer" in printed) or "conv_out16.* (" in printed


def test_look_at_a_parser(tmp_path):
    net = torch_networks.randomise(torch_networks.BiSeNet(19, 1))
    torch.save(net.state_dict(), tmp_path / "79999_iter.pth")
    target = tmp_path / "bisenet.safetensors"
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(picture)
    assert main([str(tmp_path / "79999_iter.pth"), str(target), "--picture", str(picture)]) == 0
    with Image.open(tmp_path / "bisenet.png") as sheet:
        # The picture, its labels, the masks of face and synface.
        assert sheet.width > 4 * 256 and np.asarray(sheet).std() > 10


def test_parsers_that_lack_tensors_are_refused_with_lists(tmp_path):
    net = torch_networks.PSPNet(21, 2, (1, 1, 1, 1))
    state = dict(net.state_dict())
    del state["layer3.0.bn2.running_mean"]
    state["cls.1.weight"], state["head.weight"] = torch.zeros(3), torch.zeros(3)
    torch.save(state, tmp_path / "voc.pth")
    with pytest.raises(UserError) as caught:
        convert([tmp_path / "voc.pth"])
    for part in ("voc.pth", "missing: layer3.0.bn2.running_mean", "unknown: head.weight",
                 "misshapen: cls.1.weight is (3,) instead of (16,)"):
        assert part in str(caught.value)


def _lpips_files(folder, net):
    """torchvision's VGG16 in the newer format, LPIPS' linear weights in the older one, as published."""
    vgg, linear = folder / "vgg16-397923af.pth", folder / "vgg.pth"
    torch.save(net.vgg.state_dict(), vgg)
    torch.save(net.linear.state_dict(), linear, _use_new_zipfile_serialization=False)
    return vgg, linear


def _recipe(name, shape, seed):
    noise = np.random.default_rng(zlib.crc32(name.encode()) + seed).standard_normal(shape).astype(np.float32)
    if name.endswith("bias"):
        return 0.1 * noise
    if name.startswith("lin"):
        return 0.1 * np.abs(noise)
    return noise * np.sqrt(2 / np.prod(shape[1:])).astype(np.float32)


def test_golden_lpips_through_the_converter(golden, tmp_path, capsys, parity):
    """The original's distances and gradients, with weights that went through two torch files and this tool."""
    archive = golden("lpips.npz")
    seed, names = int(archive["seed"]), [str(name) for name in archive["names"]]
    net = torch_networks.Lpips()
    with torch.no_grad():
        for name in names:
            if name.startswith("scaling_layer"):
                continue
            place = name.split(".", 2)[2] if name.startswith("net.") else name
            owner, path = (net.vgg, f"features.{place}") if name.startswith("net.") else (net.linear, name)
            value = owner.state_dict()[path]
            value.copy_(torch.tensor(_recipe(name, tuple(value.shape), seed)))
    vgg, linear = _lpips_files(tmp_path, net)
    target = tmp_path / "lpips.safetensors"
    assert main([str(linear), str(vgg), str(target)]) == 0  # in any order
    params = perceptual.load_lpips(target)
    a, b = (jnp.asarray(archive[k].transpose(0, 2, 3, 1)) for k in ("a", "b"))

    @jax.jit
    def run(params, a, b):
        def total(b):
            features = perceptual.lpips_features(params, a), perceptual.lpips_features(params, b)
            return perceptual.lpips_distance(params, *features).sum(), (
                perceptual.lpips_distance(params, *features), perceptual.lpips_per_layer(params, *features))

        return jax.grad(total, has_aux=True)(b)

    gradient, (distance, layers) = run(params, a, b)
    file = "lpips.npz"
    parity("converted LPIPS, distance", per_value(distance, archive["distance"]), 1e-3, file, PER_VALUE)
    for ours, theirs in zip(layers[1:], archive["per_layer"][1:], strict=True):
        parity("converted LPIPS, distance of a layer", per_value(ours, theirs), 1e-3, file, PER_VALUE)
    off = _relative(gradient, archive["grad_b"].transpose(0, 2, 3, 1))
    parity("converted LPIPS, input gradient", off, 1e-3, file)
    header = _header(target)
    assert header["source_sha256"].split() == [_sha(linear), _sha(vgg)]
    assert "BSD-3-Clause" in header["license"] and "BSD-2-Clause" in header["license"]
    assert "ignored: classifier.* (4)" in capsys.readouterr().out
    with Image.open(tmp_path / "lpips.png") as plot:
        assert plot.mode == "RGB" and np.asarray(plot).std() > 10


def test_lpips_in_one_file_and_incomplete(tmp_path):
    net = torch_networks.Lpips()
    vgg, linear = _lpips_files(tmp_path, net)
    apart = convert([vgg, linear])
    module = {
        **{name: torch.tensor(apart.tensors[name.split(".")[1]]).reshape(1, 3, 1, 1)
           for name in ("scaling_layer.shift", "scaling_layer.scale")},
        **dict(net.linear.state_dict()),
        **{f"lins.{name[3:]}": value for name, value in net.linear.state_dict().items()},  # newer modules repeat them
    }
    for name, value in net.vgg.features.state_dict().items():
        block = sum(int(name.split(".")[0]) >= end for end in (4, 9, 16, 23)) + 1
        module[f"net.slice{block}.{name}"] = value
    whole = tmp_path / "module.pth"
    torch.save(module, whole)
    together = convert([whole])
    jax.tree.map(np.testing.assert_array_equal, together.tensors, apart.tensors)
    assert len(together.ignored) == 5
    with pytest.raises(UserError, match="VGG16 alone: name LPIPS' linear weights too"):
        convert([vgg])
    with pytest.raises(UserError, match="alone: name VGG16 too"):
        convert([linear])
    with pytest.raises(UserError, match="of the same kind"):
        convert([vgg, vgg])
    with pytest.raises(UserError, match="give it alone"):
        convert([whole, vgg])
    state = dict(net.linear.state_dict())
    state["lin3.model.1.weight"] = torch.zeros(1, 3, 1, 1)
    torch.save(state, linear)
    with pytest.raises(UserError, match=r"vgg.pth.*misshapen: lin3.model.1.weight is \(1, 3, 1, 1\)"):
        convert([vgg, linear])


# Refusals


def _call(function, *args):
    return type("Call", (), {"__reduce__": lambda self: (function, args)})()


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_that_run_code_are_refused_by_what_they_name(tmp_path, shape_networks, legacy, capsys):
    mark, path = tmp_path / "mark", tmp_path / "bad.pth"
    content = {name: net.state_dict() for name, net in shape_networks.items()}
    for bad, name in ((_call(os.system, f"touch {mark}"), "posix.system"),
                      (_call(eval, f"open({str(mark)!r}, 'w')"), "eval"),
                      (_call(subprocess.Popen, ["touch", str(mark)]), ".Popen")):
        torch.save(content | {"metrics_trace": bad}, path, _use_new_zipfile_serialization=not legacy)
        assert main([str(path), str(tmp_path / "out.safetensors")]) == 1
        printed = capsys.readouterr().err
        assert name in printed and "bad.pth" in printed
        assert not mark.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["bad.pth"]


def test_truncated_and_foreign_files_are_refused(tmp_path, capsys):
    path, out = tmp_path / "x.pth", str(tmp_path / "out.safetensors")
    net = torch_networks.BiSeNet(19, 1)
    torch.save(net.state_dict(), path)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:-30], b"", b"text"):
        path.write_bytes(part)
        assert main([str(path), out]) == 1
        assert "x.pth" in capsys.readouterr().err
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/other", b"x")
    assert main([str(path), out]) == 1
    assert main([str(tmp_path / "absent.pth"), out]) == 1
    (tmp_path / "y.safetensors").write_bytes(b"")
    assert main([str(tmp_path / "y.safetensors"), out]) == 1
    assert "safetensors file already" in capsys.readouterr().err
    torch.save({"weight": torch.zeros(2)}, path)
    assert main([str(path), out]) == 1
    assert "unknown kind of checkpoint (its tensors are weight" in capsys.readouterr().err
    torch.save(net.state_dict(), path)
    assert main([str(path), str(tmp_path / "out.txt")]) == 1
    assert main([str(path), str(tmp_path / "no" / "out.safetensors"), "--no-sheet"]) == 1
    assert main([str(path), out, "--picture", str(tmp_path / "absent.png")]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pth", "y.safetensors"]


def test_checkpoints_of_stylegan2_are_recognised_and_the_tool_named(golden_path, tmp_path, capsys):
    out = str(tmp_path / "out.safetensors")
    assert main([str(golden_path("stylegan2.pt")), out]) == 1
    assert "rosinality" in (printed := capsys.readouterr().err) and "tools.convert_stylegan2" in printed
    # NVIDIA's pickles ask for a function of theirs.
    nvidia = tmp_path / "ffhq.pkl"
    nvidia.write_bytes(b"\x80\x04" + pickle.dumps("G_ema", 2)[2:-1] + b"ctorch_utils.persistence\n"
                       b"_reconstruct_persistent_obj\n}R.")
    assert main([str(nvidia), out]) == 1
    assert "NVIDIA" in (printed := capsys.readouterr().err) and "tools.convert_stylegan2" in printed
    # And where networks are wanted, another family's checkpoint is told apart too.
    settings = _settings()
    like = jax.eval_shape(lambda key: models.init_params(key, settings), jax.random.key(0))
    with pytest.raises(UserError, match="netEnc.*rosinality.*tools.convert_stylegan2"):
        weights.load_networks(golden_path("stylegan2.pt"), like, settings)


def test_the_command_runs_by_itself(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"cposix\nsystem\n(X\x02\x00\x00\x00lstR.")
    done = subprocess.run(
        [sys.executable, "-m", "tools.convert_networks", str(tmp_path / "bad.pth"), str(tmp_path / "x.safetensors")],
        capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "posix.system" in done.stderr
