"""The conversion of scene parsers and LPIPS: outputs as PyTorch's, refusals with lists."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import reference_weights
from helpers.parity_record import PER_VALUE, per_value, share_off
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import parsing
from gan2shape_jax.io.files import sha256
from gan2shape_jax.method import perceptual
from tools.convert_networks import convert
from tools.convert_networks.__main__ import main

torch = pytest.importorskip("torch")
from helpers import torch_networks  # noqa: E402
from helpers.torch_networks import header, optimizer_state, relative  # noqa: E402

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
        state = {"epoch": 50, "state_dict": wrapped, "optimizer": optimizer_state(torch.nn.Linear(2, 2))}
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
    parity(f"{name}, logits", relative(ours, theirs), 1e-3)
    parity(f"{name}, labels", share_off(ours.argmax(1) == theirs.argmax(1)), 1e-3, measure="share of pixels")
    written = header(target)
    assert written["source_sha256"] == sha256(source) and "MIT, Copyright (c) 2019" in written["license"]
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


def _lpips_files(folder, net):
    """torchvision's VGG16 in the newer format, LPIPS' linear weights in the older one, as published."""
    vgg, linear = folder / "vgg16-397923af.pth", folder / "vgg.pth"
    torch.save(net.vgg.state_dict(), vgg)
    torch.save(net.linear.state_dict(), linear, _use_new_zipfile_serialization=False)
    return vgg, linear


@pytest.mark.heavy  # LPIPS at its real size, drawn and converted
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
            value.copy_(torch.tensor(reference_weights.drawn(name, tuple(value.shape), seed)))
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
                perceptual.lpips_distance(params, *features),
                perceptual.lpips_per_layer(params, *features),
            )

        return jax.grad(total, has_aux=True)(b)

    gradient, (distance, layers) = run(params, a, b)
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
    with Image.open(tmp_path / "lpips.png") as plot:
        assert plot.mode == "RGB" and np.asarray(plot).std() > 10


def test_lpips_in_one_file_and_incomplete(tmp_path):
    net = torch_networks.Lpips()
    vgg, linear = _lpips_files(tmp_path, net)
    apart = convert([vgg, linear])
    module = {
        **{
            name: torch.tensor(apart.tensors[name.split(".")[1]]).reshape(1, 3, 1, 1)
            for name in ("scaling_layer.shift", "scaling_layer.scale")
        },
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
