"""NVIDIA's network pickles: the converted network computes what the PyTorch one computes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from helpers import nvidia_files  # noqa: E402
from helpers.nvidia_files import WIDTH as _W  # noqa: E402
from helpers.nvidia_files import networks as _networks  # noqa: E402
from helpers.nvidia_files import one_hot as _one_hot  # noqa: E402
from helpers.nvidia_files import relative as _relative  # noqa: E402
from helpers.parity_record import LARGEST, largest  # noqa: E402

from gan2shape_jax import stylegan2  # noqa: E402
from tools.convert_stylegan2 import read_checkpoint  # noqa: E402

_SIDE32, _SIDE64 = (8, 6, 5, 4), (8, 7, 6, 5, 4)
_synthesize = jax.jit(stylegan2.synthesize, static_argnames="arch")
_discriminate = jax.jit(stylegan2.discriminate, static_argnames="arch")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with nvidia_files.one_thread():
        yield


@pytest.fixture
def saved(tmp_path):
    return functools.partial(nvidia_files.save, tmp_path / "network-snapshot-000001.pkl")


@pytest.fixture
def compare(parity):
    return functools.partial(_compare, parity)


@torch.no_grad()
def _compare(parity, path, g, d, index=None):
    """Every output of both networks against the converted ones; returns the architecture."""
    converted = read_checkpoint(path, class_index=index)
    arch, params = converted.arch, jax.tree.map(jnp.asarray, converted.params)
    classes = g.c_dim
    z, label = torch.randn(2, _W), _one_hot(index, 8, classes)
    w = g.mapping(z, label[:2])
    ours = stylegan2.map_styles(params["generator"], jnp.asarray(z.numpy()), arch=arch)
    name = "NVIDIA mapping network"
    parity(f"{name}, latents w", _relative(ours, w), 1e-4)
    mean = stylegan2.mean_w(jax.random.key(0), params["generator"], arch=arch)
    parity(f"{name}, mean latent", largest(mean[0], g.mapping.w_avg), 0, measure=LARGEST)
    halfway = torch.lerp(g.mapping.w_avg, w, 0.5)
    parity(f"{name}, truncated latents", _relative(stylegan2.truncate(ours, mean, 0.5), halfway), 1e-4)
    plus = torch.randn(2, arch.latents, _W)  # a style of its own for every layer
    image = g.synthesis(plus)
    drawn = _synthesize(params["generator"], jnp.asarray(plus.numpy()), arch=arch)
    parity(f"NVIDIA {arch.generator_kind} generator, images", _relative(drawn, image), 1e-3)
    side = arch.discriminator_size
    x = torch.randn(8, 3, side, side)
    logits, features = d(x, label)
    judged, seen = _discriminate(params["discriminator"], jnp.moveaxis(jnp.asarray(x.numpy()), 1, -1), arch=arch)
    name = f"NVIDIA {arch.discriminator_kind} discriminator"
    parity(f"{name}, logits", _relative(judged, logits), 1e-3)
    assert len(seen) == len(features)
    for ours, theirs in zip(seen, features):
        parity(f"{name}, features", _relative(ours, theirs), 1e-3)
    return arch, params, (plus, image), (x, logits)


def test_the_usual_network_of_32_pixels(saved, compare):
    """Skip generator, residual discriminator, half precision at two sides with its clamp."""
    g, d = _networks({"half": 2, "clamp": 256}, {"half": 2, "clamp": 256}, channels=_SIDE32)
    path = saved(g, d)
    arch = compare(path, g, d)[0]
    assert (arch.size, arch.channels, arch.discriminator_channels) == (32, _SIDE32, _SIDE32)
    assert (arch.generator_kind, arch.discriminator_kind, arch.mapping_layers) == ("skip", "resnet", 2)
    assert arch.conv_clamp == arch.discriminator_clamp == 256 and arch.stored_mean
    notes = read_checkpoint(path).notes
    assert "float16" in notes and "float32" in notes and "generator at 16, 32 pixels" in notes


def test_64_pixels_and_other_deviations(saved, compare):
    g, d = _networks({"layers": 3}, {"group": 2, "extra": 2}, channels=_SIDE64)
    arch = compare(saved(g, d, protocol=2), g, d)[0]
    assert (arch.size, arch.mapping_layers, arch.stddev_group, arch.stddev_channels) == (64, 3, 2, 2)


def test_conditional_networks_with_a_class_chosen(saved, compare):
    index = 2
    g, d = _networks({"c_dim": 3, "embed": 5}, {"c_dim": 3, "cmap_dim": 7})
    path = saved(g, d)
    compare(path, g, d, index)
    assert f"Class {index} of 3" in read_checkpoint(path, class_index=index).notes


@pytest.mark.parametrize("generator, discriminator", [("resnet", "orig"), ("orig", "skip")])
def test_other_kinds_of_blocks_with_clamps_that_clamp(saved, compare, generator, discriminator):
    clamp = {"clamp": 0.7}
    g, d = _networks({"kind": generator} | clamp, {"kind": discriminator} | clamp)
    arch, params, (latents, image), (x, logits) = compare(saved(g, d), g, d)
    assert (arch.generator_kind, arch.discriminator_kind) == (generator, discriminator)
    free = dataclasses.replace(arch, conv_clamp=None, discriminator_clamp=None)
    drawn = _synthesize(params["generator"], jnp.asarray(latents.numpy()), arch=free)
    assert _relative(drawn, image) > 0.1  # the clamp matters
    judged, _ = _discriminate(params["discriminator"], jnp.moveaxis(jnp.asarray(x.numpy()), 1, -1), arch=free)
    assert _relative(judged, logits) > 0.1


def test_other_filters_no_noise_and_the_whole_batch_as_group(saved, compare):
    taps = (1, 2, 4, 1)  # not symmetric: a flipped filter would show
    g, d = _networks({"taps": taps, "use_noise": False}, {"taps": (1, 2, 1), "group": None, "kind": "skip"})
    arch = compare(saved(g, d), g, d)[0]
    np.testing.assert_allclose(arch.taps, np.array(taps) / 8, atol=1e-6)
    np.testing.assert_allclose(arch.discriminator_taps, np.array([1, 2, 1]) / 4, atol=1e-6)
    assert arch.stddev_group == 0


def test_a_discriminator_without_deviations(saved, compare):
    g, d = _networks({}, {"extra": 0})
    assert compare(saved(g, d), g, d)[0].stddev_channels == 0
