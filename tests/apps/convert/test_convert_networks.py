"""The conversion of shape networks, statistics, scene parsers and LPIPS: outputs as PyTorch's, refusals by name."""

import collections
import json
import re
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import reference_weights
from helpers.parity_record import PER_VALUE, per_value, relative, share_off
from helpers.pickles import modules_named
from PIL import Image

from gan2shape_jax.apps.convert.command import main
from gan2shape_jax.apps.convert.networks import convert
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.arrays import load_mvn
from gan2shape_jax.io.data import load_parser
from gan2shape_jax.io.files import sha256
from gan2shape_jax.method import models, perceptual
from gan2shape_jax.method.settings import from_config
from gan2shape_jax.networks import parsing
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files

torch = pytest.importorskip("torch")
from helpers import torch_networks  # noqa: E402
from helpers.torch_networks import header, optimizer_state, randomise  # noqa: E402

from benchmarks.speed.torch_reference.networks import decoder, encoder, residual_encoder  # noqa: E402

SIZE, WIDTH, ZDIM, STYLE, GROUPS = 32, 16, 16, 16, 16


@pytest.fixture(scope="module")
def shape_networks():
    """netD, netA, netV, netL, netEnc; view and light of another width, as Unsup3d has them."""
    nets = {
        "netD": decoder(SIZE, WIDTH, ZDIM, 1, GROUPS),
        "netA": decoder(SIZE, WIDTH, ZDIM, 3, GROUPS, final="tanh"),
        "netV": encoder(SIZE, WIDTH // 2, 6),
        "netL": encoder(SIZE, WIDTH // 2, 4),
        "netEnc": residual_encoder(SIZE, 4, STYLE),
    }
    return {name: randomise(net, seed) for seed, (name, net) in enumerate(nets.items())}


def _settings(**fields):
    config = load_config("ictface:scratch").unlock()
    config.image_size = SIZE
    config.networks.width, config.networks.view_light_width = WIDTH, WIDTH // 2
    config.networks.group_base, config.networks.zdim, config.networks.encoder_width = GROUPS, ZDIM, 4
    config.update(fields)
    channels = (16,) * 5
    architecture = Architecture(64, STYLE, 8, channels, channels)
    return from_config(config, architecture, original_size=SIZE)


def _compare(parity, params, settings, nets, names):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(-1, 1, (2, SIZE, SIZE, 3)), jnp.float32)
    modules = models.modules(settings)
    actual = jax.jit(lambda params: {n: modules[n].apply({"params": params[n]}, image) for n in names})(params)
    arguments = torch.tensor(np.asarray(image).transpose(0, 3, 1, 2))
    with torch.no_grad():
        for name in names:
            theirs = nets[network_files.TORCH_NAMES[name]](arguments).numpy()
            ours = np.asarray(actual[name])
            ours = ours.transpose(0, 3, 1, 2) if ours.ndim == 4 else ours[..., None, None]
            parity(f"{name} network of the original's checkpoints, output", relative(ours, theirs), 1e-3)


@pytest.fixture(scope="module")
def fresh():
    settings = _settings()
    return settings, jax.jit(lambda key: models.init_params(key, settings))(jax.random.key(3))


@pytest.mark.heavy  # networks at their real widths
def test_networks_of_the_original(tmp_path, shape_networks, fresh, capsys, parity):
    source, target = tmp_path / "cat_pretrain.pth", tmp_path / "cat.safetensors"
    content = {name: net.state_dict() for name, net in shape_networks.items()}
    torch.save({**content, "optimizerA": optimizer_state(torch.nn.Linear(2, 2)), "iteration": 7}, source)
    assert main([str(source), str(target)]) == 0
    settings, like = fresh
    params = network_files.load_networks(target, like, settings)
    _compare(parity, params, settings, shape_networks, network_files.TORCH_NAMES)
    written = header(target)
    assert written["source_sha256"] == sha256(source) and "Xingang Pan" in written["license"]
    assert written["networks"].split() == list(network_files.TORCH_NAMES)
    assert json.loads(written["architecture"])["image_size"] == SIZE
    printed = capsys.readouterr().out
    parts = (
        "ignored: optimizerA, iteration",
        "licence of the weights: MIT",
        "--config.networks.view_light_width=8",
        f"--config.networks.pretrained={target}",
    )
    assert [part for part in parts if part not in printed] == []
    # The same weights read straight from the torch file.
    direct = network_files.load_networks(source, like, settings)
    chex.assert_trees_all_equal(params, direct)


def test_networks_of_unsup3d_start_four_of_five(tmp_path, shape_networks, fresh, capsys, parity):
    trace = type("MetricsTrace", (), {"__module__": "unsup3d.meters"})()
    trace.data = {"train": [{"loss": 0.5}]}
    four = [name for name in shape_networks if name != "netEnc"]
    content = {name: shape_networks[name].state_dict() for name in four}
    extras = {"netC": torch.nn.Conv2d(3, 4, 4).state_dict(), "optimizerD": optimizer_state(torch.nn.Linear(2, 2))}
    extras |= {"metrics_trace": trace, "epoch": 30}
    source, target = tmp_path / "checkpoint030.pth", tmp_path / "celeba.safetensors"
    with modules_named({"unsup3d": {}, "unsup3d.meters": {"MetricsTrace": type(trace)}}):
        torch.save({**content, **extras}, source, _use_new_zipfile_serialization=False)
    assert main([str(source), str(target), "--no-sheet"]) == 0
    printed = capsys.readouterr().out
    ignored = "ignored: netC, optimizerD, metrics_trace, epoch"
    assert all(part in printed for part in (ignored, "It has no encoder", "add_mean_V=False", "elliottwu"))
    settings, like = fresh
    params = network_files.load_networks(target, like, settings)
    _compare(parity, params, settings, shape_networks, ["depth", "albedo", "view", "light"])
    chex.assert_trees_all_equal(params["encoder"], like["encoder"])
    assert not [name for name in sys.modules if name.startswith("unsup3d")]
    # A configuration of another width is told what these networks fit.
    other = _settings(networks={"view_light_width": 0})
    with pytest.raises(UserError, match="fit .*--config.networks.view_light_width=8"):
        network_files.load_networks(target, models.init_params(jax.random.key(0), other), other)


def test_wrong_shape_networks_are_refused_by_name(tmp_path, shape_networks):
    path = tmp_path / "x.pth"
    content = {name: dict(net.state_dict()) for name, net in shape_networks.items()}
    narrow = dict(decoder(SIZE, 8, ZDIM, 1, 4).state_dict())
    with pytest.raises(UserError, match="x.pth: netD: .*--config.networks.group_base"):
        torch.save(content | {"netD": narrow, "netA": dict(decoder(SIZE, 8, ZDIM, 3, 4).state_dict())}, path)
        convert([path])
    content["netA"]["network.2.weight"] = torch.zeros(3)
    del content["netA"]["network.6.weight"]
    torch.save(content, path)
    with pytest.raises(UserError, match="x.pth: netA: .*missing: network.6.weight; unknown: network.2.weight"):
        convert([path])
    content["netA"] = shape_networks["netA"].state_dict()
    torch.save({k: v for k, v in content.items() if k != "netL"}, path)
    with pytest.raises(UserError, match="x.pth: netL missing"):
        convert([path])
    torch.save(content | {"netD": {"network.0.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(UserError, match="does not follow from its tensors"):
        convert([path])


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
        assert str(archive["source_sha256"]) == sha256(source) and "MIT" in str(archive["license"])
    assert f"{kind} statistics" in capsys.readouterr().out
    assert main([str(source), str(tmp_path / "x.safetensors")]) == 1
    assert "must end in .npz" in capsys.readouterr().err


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "words, message",
    [
        ("x.pth out.safetensors", "x.pth: not a known kind of checkpoint (it holds weight)"),
        ("x.pth out.txt", "must end in .safetensors"),
        ("mvn.pth out.npz --picture absent.png", "absent.png does not exist"),
        ("mvn.pth out.npz --class 3", "mvn.pth is the mean and covariance of views or lights: leave --class out"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_nothing_written(words, message, tmp_path, capsys):
    torch.save({"weight": torch.zeros(2)}, "x.pth")
    torch.save({"mean": torch.zeros(6), "cov": torch.eye(6)}, "mvn.pth")
    assert main(words.split()) == 1
    assert message in capsys.readouterr().err
    assert sorted(place.name for place in tmp_path.iterdir()) == ["mvn.pth", "x.pth"]


@pytest.mark.parametrize("option", ["--picture=x.png"])
def test_options_of_networks_are_not_for_gans(golden_path, tmp_path, capsys, option):
    assert main([str(golden_path("stylegan2.pt")), str(tmp_path / "out.safetensors"), option]) == 1
    assert re.search("is a StyleGAN2 of rosinality.*: leave --", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_where_networks_are_wanted_another_familys_checkpoint_is_told_apart(golden_path):
    with pytest.raises(UserError, match="rosinality.*gan2shape-jax convert"):
        convert([golden_path("stylegan2.pt")])
    settings = _settings()
    like = jax.eval_shape(lambda key: models.init_params(key, settings), jax.random.key(0))
    with pytest.raises(UserError, match="netEnc.*rosinality.*gan2shape-jax convert"):
        network_files.load_networks(golden_path("stylegan2.pt"), like, settings)


def _save_parser(net, path):
    """As published: BiSeNet's state dictionary itself; PSPNet's inside a training checkpoint, wrapped."""
    state = net.state_dict()
    if isinstance(net, torch_networks.PSPNet):
        wrapped = collections.OrderedDict((f"module.{name}", value) for name, value in state.items())
        state = {"epoch": 50, "state_dict": wrapped, "optimizer": optimizer_state(torch.nn.Linear(2, 2))}
    torch.save(state, path)


@pytest.mark.parametrize(
    "family, sizes, side", [("BiSeNet", (19, 4), 64), ("PSPNet", (21, 4, (1, 2, 1, 1)), 65)], ids=["bisenet", "pspnet"]
)
def test_parsers(tmp_path, family, sizes, side, capsys, parity):
    net = randomise(getattr(torch_networks, family)(*sizes))
    source, target = tmp_path / "parser.pth", tmp_path / "parser.safetensors"
    _save_parser(net, source)
    assert main([str(source), str(target), "--no-sheet"]) == 0
    arch, params = load_parser(target)
    image = np.random.default_rng(0).uniform(-1, 1, (1, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = net(torch.tensor(image.transpose(0, 3, 1, 2))).numpy()
    ours = np.asarray(jax.jit(parsing.logits, static_argnames="arch")(params, image, arch=arch)).transpose(0, 3, 1, 2)
    name = f"converted {type(net).__name__}"
    parity(f"{name}, logits", relative(ours, theirs), 1e-3)
    parity(f"{name}, labels", share_off(ours.argmax(1) == theirs.argmax(1)), 1e-3, measure="share of pixels")
    written = header(target)
    assert written["source_sha256"] == sha256(source) and "MIT, Copyright (c) 2019" in written["license"]
    printed = capsys.readouterr().out
    assert "num_batches_tracked (" in printed and f"--config.parsing.weights={target}" in printed
    assert ("aux.* (" in printed and "epoch, optimizer" in printed) or "conv_out16.* (" in printed


def test_look_at_a_parser(tmp_path):
    net = randomise(torch_networks.BiSeNet(19, 1))
    torch.save(net.state_dict(), tmp_path / "79999_iter.pth")
    target = tmp_path / "bisenet.safetensors"
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(picture)
    assert main([str(tmp_path / "79999_iter.pth"), str(target), "--picture", str(picture)]) == 0
    with Image.open(tmp_path / "bisenet.png") as sheet:
        # The picture, its labels, the masks of face and synface.
        assert sheet.width > 4 * 256 and np.asarray(sheet).std() > 10


def _lpips_states(seed=0):
    """VGG16 by torchvision's names and LPIPS' linear layers by their own, as the reference ran with them."""
    vgg = {f"classifier.{i}.{name}": torch.ones(4) for i in (0, 3) for name in ("weight", "bias")}
    vgg, linear = collections.OrderedDict(vgg), collections.OrderedDict()
    for name, shape in perceptual.torch_shapes().items():
        value = torch.tensor(reference_weights.drawn(name, shape, seed))
        if name.startswith("net."):
            vgg[f"features.{name.split('.', 2)[2]}"] = value
        elif name.startswith("lin"):
            linear[name] = value
    return vgg, linear


def _lpips_files(folder, vgg, linear):
    """torchvision's VGG16 in the newer format, LPIPS' linear weights in the older one, as published."""
    torch.save(vgg, folder / "vgg16-397923af.pth")
    torch.save(linear, folder / "vgg.pth", _use_new_zipfile_serialization=False)
    return folder / "vgg16-397923af.pth", folder / "vgg.pth"


@pytest.mark.heavy  # LPIPS at its real size, drawn and converted
def test_golden_lpips_through_the_converter(golden, tmp_path, capsys, parity):
    """The original's distances and gradients, with weights that went through two torch files and this tool."""
    archive = golden("lpips.npz")
    assert set(archive["names"]) == set(perceptual.torch_shapes())
    vgg, linear = _lpips_files(tmp_path, *_lpips_states(int(archive["seed"])))
    target = tmp_path / "lpips.safetensors"
    assert main([str(linear), str(vgg), str(target)]) == 0  # in any order
    gradient, (distance, layers) = reference_weights.lpips_of(archive, perceptual.load_lpips(target))
    file = "lpips.npz"
    parity("converted LPIPS, distance", per_value(distance, archive["distance"]), 1e-3, file, PER_VALUE)
    for ours, theirs in zip(layers[1:], archive["per_layer"][1:], strict=True):
        parity("converted LPIPS, distance of a layer", per_value(ours, theirs), 1e-3, file, PER_VALUE)
    off = relative(gradient, archive["grad_b"].transpose(0, 2, 3, 1))
    parity("converted LPIPS, input gradient", off, 1e-3, file)
    written = header(target)
    assert written["source_sha256"].split() == [sha256(linear), sha256(vgg)]
    assert "BSD-3-Clause" in written["license"] and "BSD-2-Clause" in written["license"]
    assert "ignored: classifier.* (4)" in capsys.readouterr().out


def test_lpips_in_one_file_and_incomplete(tmp_path):
    features, layers = _lpips_states()
    vgg, linear = _lpips_files(tmp_path, features, layers)
    apart = convert([vgg, linear])
    tensors = {name: torch.tensor(apart.tensors[name]).reshape(1, 3, 1, 1) for name in ("shift", "scale")}
    module = {f"scaling_layer.{name}": value for name, value in tensors.items()} | dict(layers)
    module |= {f"lins.{name[3:]}": value for name, value in layers.items()}  # newer ones repeat them
    for name in [name for name in features if name.startswith("features.")]:
        value, name = features[name], name.removeprefix("features.")
        block = sum(int(name.split(".")[0]) >= end for end in (4, 9, 16, 23)) + 1
        module[f"net.slice{block}.{name}"] = value
    whole = tmp_path / "module.pth"
    torch.save(module, whole)
    together = convert([whole])
    chex.assert_trees_all_equal(together.tensors, apart.tensors)
    assert len(together.ignored) == 5
    for arguments in ([vgg], [linear], [vgg, vgg], [whole, vgg]):
        with pytest.raises(UserError, match="only LPIPS is two files.*VGG16.*linear weights"):
            convert(arguments)
