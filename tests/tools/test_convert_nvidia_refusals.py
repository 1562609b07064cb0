"""NVIDIA's network pickles: what is refused and how, the command, a run's frozen networks."""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from helpers import nvidia_files  # noqa: E402
from helpers import nvidia_records as records  # noqa: E402
from helpers.nvidia_files import WIDTH as _W  # noqa: E402
from helpers.nvidia_files import networks as _networks  # noqa: E402
from helpers.nvidia_files import one_hot as _one_hot  # noqa: E402
from helpers.nvidia_files import relative as _relative  # noqa: E402

from gan2shape_jax import stylegan2  # noqa: E402
from gan2shape_jax.errors import UserError  # noqa: E402
from tools.convert_stylegan2 import convert, read_checkpoint  # noqa: E402
from tools.convert_stylegan2.__main__ import main  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with nvidia_files.one_thread():
        yield


@pytest.fixture
def saved(tmp_path):
    return functools.partial(nvidia_files.save, tmp_path / "network-snapshot-000001.pkl")


def test_a_class_has_to_be_chosen_where_there_are_classes_and_only_there(saved):
    path = saved(*_networks({"c_dim": 4}, {"c_dim": 4}))
    for index in (None, 4, -1):
        with pytest.raises(UserError, match="4 classes.*--class 0 to --class 3"):
            read_checkpoint(path, class_index=index)
    with pytest.raises(UserError, match="no classes"):
        read_checkpoint(saved(*_networks()), class_index=1)


def test_a_generator_alone_is_refused_with_what_to_do(tmp_path, saved):
    g, d = _networks()
    records.save(tmp_path / "g.pkl", G_ema=g)
    with pytest.raises(UserError, match="(?s)g.pkl: no 'D'.*Step 2.*--discriminator"):
        read_checkpoint(tmp_path / "g.pkl")
    whole = saved(g, d)
    mended = read_checkpoint(tmp_path / "g.pkl", discriminator=whole)
    jax.tree.map(np.testing.assert_array_equal, mended.params, read_checkpoint(whole).params)
    assert hashlib.sha256(whole.read_bytes()).hexdigest() in mended.notes
    records.save(tmp_path / "d.pkl", D=d)
    with pytest.raises(UserError, match="no 'G_ema'"):
        read_checkpoint(tmp_path / "d.pkl")


_VARIANTS = {
    "b8.conv0: activation is 'relu'": lambda g, d: setattr(g.synthesis.b8.conv0, "activation", "relu"),
    "D.b8.conv1: conv_clamp is '3.0'": lambda g, d: setattr(d.b8.conv1, "conv_clamp", 3.0),
    "G_ema.synthesis.b16.conv0 is not the same along rows": lambda g, d: setattr(
        g.synthesis.b16.conv0, "resample_filter", torch.eye(4)
    ),
    "G_ema.synthesis.b16.conv0 has another low-pass filter": lambda g, d: g.synthesis.b16.conv0.filtered((1, 2, 1)),
    "img_channels is '1', supported is 3": lambda g, d: setattr(g, "img_channels", 1),
    "64 -> 12 -> 12 wide": lambda g, d: (setattr(g, "z_dim", 64), setattr(g.mapping, "z_dim", 64)),
    "G_ema.synthesis.b8.conv0 has no 'act_gain'": lambda g, d: delattr(g.synthesis.b8.conv0, "act_gain"),
    "D.b4.fc: weight_gain is '0.1'": lambda g, d: setattr(d.b4.fc, "weight_gain", 0.1),
}


def test_variants_that_would_be_computed_otherwise_are_refused(saved):
    for message, change in _VARIANTS.items():
        g, d = _networks()
        change(g, d)
        with pytest.raises(UserError, match="snapshot") as error:
            convert(saved(g, d))
        assert message in str(error.value)


def test_missing_extra_misshapen_and_broken_tensors_are_all_listed(saved):
    g, d = _networks()
    del g.synthesis.b8.conv1.bias
    g.synthesis.register_buffer("strange", torch.zeros(2))
    d.b8.conv0.bias.data = torch.zeros(9)
    d.b4.out.weight.data[0, 0] = torch.nan
    with pytest.raises(UserError) as error:
        convert(saved(g, d))
    for part in (
        "missing: G_ema.synthesis.b8.conv1.bias",
        "unknown: G_ema.synthesis.strange",
        "misshapen: D.b8.conv0.bias is (9,) instead of (5,)",
        "NaN or infinity: D.b4.out.weight",
    ):
        assert part in str(error.value)


def test_modules_without_end_are_refused(saved):
    g, d = _networks()
    g.mapping.register_module("itself", g.mapping)
    with pytest.raises(UserError, match="nested in more than 60 levels"):
        convert(saved(g, d))


def test_other_networks_and_state_dictionaries_are_named(tmp_path, saved):
    g, d = _networks()
    type_before = type(g).__name__
    type(g).__name__ = "TriPlaneGenerator"
    try:
        path = saved(g, d)
    finally:
        type(g).__name__ = type_before
    with pytest.raises(UserError, match="TriPlaneGenerator"):
        convert(path)
    torch.save({"G_ema": g.state_dict(), "D": d.state_dict()}, tmp_path / "states.pt")
    with pytest.raises(UserError, match="dictionary of tensors.*NVIDIA's own pickle"):
        convert(tmp_path / "states.pt")


def test_the_command_says_what_it_found_and_draws_samples(tmp_path, saved, capsys):
    g, d = _networks({"c_dim": 2, "clamp": 256, "half": 1}, {"c_dim": 2, "clamp": 256, "half": 1})
    path, target = saved(g, d), tmp_path / "out.safetensors"
    assert main([str(path), str(target)]) == 1
    assert "--class 0 to --class 1" in capsys.readouterr().err and not target.exists()
    assert main([str(path), str(target), "--class", "1"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "StyleGAN2 of 16 pixels",
        "clamped to +-256",
        "Class 1 of 2",
        "float32",
        "NVIDIA Source Code License",
        "non-commercial",
    ):
        assert part in printed
    arch, header = stylegan2.read_header(target)
    assert "NVIDIA Source Code License" in header["license"] and "Class 1 of 2" in header["notes"]
    assert header["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded, params = stylegan2.load(target)
    assert loaded == arch
    jax.tree.map(np.testing.assert_array_equal, params, read_checkpoint(path, class_index=1).params)
    assert (tmp_path / "out.png").is_file()


def test_the_frozen_networks_of_a_run_are_built_from_it(saved):
    """Mapping modules are entered and left as the method needs it, for a class that is fixed."""
    from gan2shape_jax.method import frozen

    g, d = _networks({"c_dim": 3, "layers": 4}, {"c_dim": 3})
    converted = read_checkpoint(saved(g, d), class_index=2)
    mvn = [(np.zeros(n), np.eye(n)) for n in (6, 4)]
    params = jax.tree.map(jnp.asarray, converted.params)
    frozen = frozen.build(params, converted.arch, view_mvn=mvn[0], light_mvn=mvn[1], F1_d=2)
    with torch.no_grad():
        center = g.mapping(torch.zeros(1, _W), _one_hot(2, 1, 3))
    assert _relative(frozen.center_w, center) < 1e-4
    through = stylegan2.map_styles(params["generator"], frozen.center_h, arch=converted.arch, first=2)
    np.testing.assert_allclose(through, frozen.center_w, atol=1e-6)
