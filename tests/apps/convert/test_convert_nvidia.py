"""NVIDIA's network pickles: the converted network computes what the PyTorch one does; what is refused and how."""

import functools
import hashlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from helpers import nvidia_networks  # noqa: E402
from helpers.parity_record import LARGEST, largest  # noqa: E402
from helpers.tiny_stylegan2 import discriminate, relative, synthesize  # noqa: E402

from gan2shape_jax import stylegan2  # noqa: E402
from gan2shape_jax.apps.convert.command import main  # noqa: E402
from gan2shape_jax.apps.convert.stylegan2 import convert, read_checkpoint  # noqa: E402
from gan2shape_jax.errors import UserError  # noqa: E402

WIDTH, SMALL = 12, (6, 5, 4)
_SIDE32 = (8, 6, 5, 4)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """PyTorch on one thread, so that it leaves the others to JAX."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def networks(generator=None, discriminator=None, *, channels=SMALL, seed=0):
    torch.manual_seed(seed)
    return (
        nvidia_networks.Generator(WIDTH, channels, **(generator or {})).eval(),
        nvidia_networks.Discriminator(channels, **(discriminator or {})).eval(),
    )


def _save(path, g, d, **options):
    """Saves a generator and a discriminator as NVIDIA does; returns the path."""
    nvidia_networks.save(path, G=g, D=d, G_ema=g, augment_pipe=None, **options)
    return path


def one_hot(index, count, classes):
    actual = torch.zeros(count, classes)
    actual[:, index if classes else 0 :][:, :1] = 1
    return actual


@pytest.fixture
def saved(tmp_path):
    return functools.partial(_save, tmp_path / "network-snapshot-000001.pkl")


@pytest.fixture
def compare(parity):
    return functools.partial(_compare, parity)


@torch.no_grad()
def _compare(parity, path, g, d, index=None):
    """Every output of both networks against the converted ones; returns the architecture."""
    converted = read_checkpoint(path, class_index=index)
    arch, params = converted.arch, jax.device_put(converted.params)
    classes = g.c_dim
    z, label = torch.randn(2, WIDTH), one_hot(index, 8, classes)
    w = g.mapping(z, label[:2])
    ours = stylegan2.map_styles(params["generator"], jnp.asarray(z.numpy()), arch=arch)
    name = "NVIDIA mapping network"
    parity(f"{name}, latents w", relative(ours, w), 1e-4)
    mean = stylegan2.mean_w(jax.random.key(0), params["generator"], arch=arch)
    parity(f"{name}, mean latent", largest(mean[0], g.mapping.w_avg), 0, measure=LARGEST)
    halfway = torch.lerp(g.mapping.w_avg, w, 0.5)
    parity(f"{name}, truncated latents", relative(stylegan2.truncate(ours, mean, 0.5), halfway), 1e-4)
    plus = torch.randn(2, arch.latents, WIDTH)  # a style of its own for every layer
    image = g.synthesis(plus)
    drawn = synthesize(params["generator"], jnp.asarray(plus.numpy()), arch=arch)
    parity(f"NVIDIA {arch.generator_kind} generator, images", relative(drawn, image), 1e-3)
    side = arch.discriminator_size
    x = torch.randn(8, 3, side, side)
    logits, features = d(x, label)
    scores, seen_features = discriminate(
        params["discriminator"], jnp.moveaxis(jnp.asarray(x.numpy()), 1, -1), arch=arch
    )
    name = f"NVIDIA {arch.discriminator_kind} discriminator"
    parity(f"{name}, logits", relative(scores, logits), 1e-3)
    assert len(seen_features) == len(features)
    for ours, theirs in zip(seen_features, features):
        parity(f"{name}, features", relative(ours, theirs), 1e-3)
    return arch


def test_half_precision_and_other_deviations_or_none(saved, compare):
    """Skip generator, residual discriminator, half precision at two sides with its clamp."""
    half = {"half": 2, "clamp": 256}
    g, d = networks(half | {"layers": 3}, half | {"group": 2, "extra": 2}, channels=_SIDE32)
    path = saved(g, d, protocol=2)
    arch = compare(path, g, d)
    assert (arch.size, arch.channels, arch.discriminator_channels) == (32, _SIDE32, _SIDE32)
    assert (arch.generator_kind, arch.discriminator_kind, arch.mapping_layers) == ("skip", "resnet", 3)
    assert arch.conv_clamp == arch.discriminator_clamp == 256 and arch.stored_mean
    assert (arch.stddev_group, arch.stddev_channels) == (2, 2)
    notes = read_checkpoint(path).notes
    assert "float16" in notes and "float32" in notes


def test_conditional_networks_with_a_class_chosen(saved, compare):
    index = 2
    g, d = networks({"c_dim": 3, "embed": 5}, {"c_dim": 3, "cmap_dim": 7, "extra": 0})
    path = saved(g, d)
    assert compare(path, g, d, index).stddev_channels == 0
    assert f"Class {index} of 3" in read_checkpoint(path, class_index=index).notes


@pytest.mark.parametrize("generator, discriminator", [("resnet", "orig"), ("orig", "skip")])
def test_other_kinds_of_blocks_with_clamps_that_clamp(saved, compare, generator, discriminator):
    clamp = {"clamp": 0.7}
    g, d = networks({"kind": generator} | clamp, {"kind": discriminator} | clamp)
    arch = compare(saved(g, d), g, d)
    assert (arch.generator_kind, arch.discriminator_kind) == (generator, discriminator)
    latents, x = torch.randn(2, arch.latents, WIDTH), torch.randn(8, 3, arch.size, arch.size)

    def computed():
        with torch.no_grad():
            return g.synthesis(latents), d(x, torch.zeros(8, 0))[0]

    clamped = computed()
    for module in (*g.modules(), *d.modules()):
        module.conv_clamp = None
    for first, other in zip(clamped, computed(), strict=True):
        assert (first - other).norm() > 0.1 * first.norm()  # the clamp matters


def test_other_filters_no_noise_and_the_whole_batch_as_group(saved, compare):
    taps = (1, 2, 4, 1)  # not symmetric: a flipped filter would show
    g, d = networks({"taps": taps, "use_noise": False}, {"taps": (1, 2, 1), "group": None, "kind": "skip"})
    arch = compare(saved(g, d), g, d)
    np.testing.assert_allclose(arch.taps, np.array(taps) / 8, atol=1e-6)
    np.testing.assert_allclose(arch.discriminator_taps, np.array([1, 2, 1]) / 4, atol=1e-6)
    assert arch.stddev_group == 0


@pytest.mark.parametrize("index", [None, 4, -1])
def test_a_class_has_to_be_chosen_where_there_are_several(saved, index):
    path = saved(*networks({"c_dim": 4}, {"c_dim": 4}))
    with pytest.raises(UserError, match="4 classes.*--class 0 to --class 3"):
        read_checkpoint(path, class_index=index)


def test_no_class_can_be_chosen_where_there_are_none(saved):
    with pytest.raises(UserError, match="no classes"):
        read_checkpoint(saved(*networks()), class_index=1)


def test_a_generator_alone_is_refused_with_what_to_do(tmp_path, saved):
    g, d = networks()
    nvidia_networks.save(tmp_path / "g.pkl", G_ema=g)
    with pytest.raises(UserError, match="(?s)g.pkl: no 'D'.*Step 2.*--discriminator"):
        read_checkpoint(tmp_path / "g.pkl")
    whole = saved(g, d)
    mended = read_checkpoint(tmp_path / "g.pkl", discriminator=whole)
    chex.assert_trees_all_equal(mended.params, read_checkpoint(whole).params)
    assert hashlib.sha256(whole.read_bytes()).hexdigest() in mended.notes
    nvidia_networks.save(tmp_path / "d.pkl", D=d)
    with pytest.raises(UserError, match="no 'G_ema'"):
        read_checkpoint(tmp_path / "d.pkl")


_VARIANTS = {
    "b8.conv0: activation is 'relu'": lambda g, d: setattr(g.synthesis.b8.conv0, "activation", "relu"),
    "D.b8.conv1: conv_clamp is 3.0": lambda g, d: setattr(d.b8.conv1, "conv_clamp", 3.0),
    "G_ema.synthesis.b16.conv0 is not the same along rows": lambda g, d: setattr(
        g.synthesis.b16.conv0, "resample_filter", torch.eye(4)
    ),
    "G_ema.synthesis.b16.conv0 has another low-pass filter": lambda g, d: g.synthesis.b16.conv0.filtered((1, 2, 1)),
    "img_channels is 1, supported is 3": lambda g, d: setattr(g, "img_channels", 1),
    "64 -> 12 -> 12 wide": lambda g, d: (setattr(g, "z_dim", 64), setattr(g.mapping, "z_dim", 64)),
    "G_ema.synthesis.b8.conv0 has no 'act_gain'": lambda g, d: delattr(g.synthesis.b8.conv0, "act_gain"),
    "D.b4.fc: weight_gain is 0.1": lambda g, d: setattr(d.b4.fc, "weight_gain", 0.1),
}


def test_variants_that_would_be_computed_otherwise_are_refused(saved):
    for message, change in _VARIANTS.items():
        g, d = networks()
        change(g, d)
        with pytest.raises(UserError, match="snapshot") as error:
            convert(saved(g, d))
        assert message in str(error.value)


def test_other_networks_and_state_dictionaries_are_named(tmp_path, saved):
    g, d = networks()
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
    g, d = networks({"c_dim": 2, "clamp": 256, "half": 1}, {"c_dim": 2, "clamp": 256, "half": 1})
    path, target = saved(g, d), tmp_path / "out.safetensors"
    assert main([str(path), str(target)]) == 1
    assert "--class 0 to --class 1" in capsys.readouterr().err and not target.exists()
    assert main([str(path), str(target), "--class", "1"]) == 0
    printed = capsys.readouterr().out
    parts = ("StyleGAN2 of 16 pixels", "clamped to +-256", "Class 1 of 2", "float32", "non-commercial")
    assert [part for part in parts if part not in printed] == []
    header = stylegan2.read_header(target)[1]
    assert "NVIDIA Source Code License" in header["license"] and "Class 1 of 2" in header["notes"]
    assert (tmp_path / "out.png").is_file()
