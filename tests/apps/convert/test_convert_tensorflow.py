"""TensorFlow's network pickles: the converted network computes what legacy.py of stylegan2-ada-pytorch makes of it."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parity_record import LARGEST, largest
from helpers.tensorflow_files import CASES, Case, inputs, networks, save
from helpers.tiny_stylegan2 import discriminate, nhwc, relative, synthesize

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.convert.stylegan2 import convert, read_checkpoint
from gan2shape_jax.errors import UserError

_GOLDEN = "stylegan2_tensorflow.npz"


def _computed(path, case):
    """What a converted file computes, as the golden file has it."""
    arch, params = convert(path)
    generator, discriminator = (jax.device_put(params[key]) for key in ("generator", "discriminator"))
    z, pictures = inputs(case)
    w = stylegan2.map_styles(generator, jnp.asarray(z), arch=arch)
    mean = stylegan2.mean_w(jax.random.key(0), generator, arch=arch)
    drawn = [synthesize(generator, latent, arch=arch) for latent in (w, stylegan2.truncate(w, mean, 0.5))]
    logits, _ = discriminate(discriminator, nhwc(pictures), arch=arch)
    return {"w": w, "image": drawn[0], "truncated": drawn[1], "logits": logits}


_DRAWN = {"w": "latents w", "image": "images", "truncated": "truncated images"}


# "config-e" differs from "config-f" in its widths alone.
_NAMES = [pytest.param(name, marks=pytest.mark.heavy) if name == "config-e" else name for name in CASES]


@pytest.mark.parametrize("name", _NAMES)
def test_converted_networks_compute_what_legacy_py_makes_of_the_file(tmp_path, golden, parity, name):
    theirs = golden(_GOLDEN)
    actual = _computed(save(tmp_path / "network-final.pkl", networks(CASES[name])), CASES[name])
    for key, what in _DRAWN.items():
        parity(f"NVIDIA's TensorFlow pickles, {what}", relative(actual[key], theirs[f"{name}/{key}"]), 1e-5, _GOLDEN)
    # Some of these logits are differences of far larger numbers.
    off = largest(actual["logits"], theirs[f"{name}/logits"])
    parity("NVIDIA's TensorFlow pickles, logits", off, 1e-5, _GOLDEN, measure=LARGEST)


def test_networks_that_were_grown_are_those_of_the_full_side(tmp_path, golden):
    """Configs b to d: at the end of their growth they compute what networks without skips and shortcuts do."""
    case, theirs = Case(16, 32, 8, grown=True), golden(_GOLDEN)
    path = save(tmp_path / "config-d.pkl", networks(case))
    actual, converted = _computed(path, case), read_checkpoint(path)
    assert (converted.arch.generator_kind, converted.arch.discriminator_kind) == ("orig", "orig")
    assert "Grown step by step (generator and discriminator)" in converted.notes
    assert relative(actual["truncated"], theirs["config-e-Gorig-Dskip/truncated"]) < 1e-5
    assert largest(actual["logits"], theirs["config-e-Gresnet-Dorig/logits"]) < 1e-5


def test_the_architecture_is_that_of_the_settings(tmp_path):
    converted = read_checkpoint(save(tmp_path / "x.pkl", networks(CASES["config-f"])))
    arch = converted.arch
    assert (arch.size, arch.style_dim, arch.mapping_layers, arch.mapping_scale) == (64, 16, 8, 0.01)
    assert arch.channels == arch.discriminator_channels == (16, 16, 16, 8, 4)
    assert (arch.generator_kind, arch.discriminator_kind, arch.stored_mean) == ("skip", "resnet", True)
    assert arch.taps == arch.discriminator_taps == (1.0, 3.0, 3.0, 1.0)
    assert converted.family == "stylegan2-tensorflow" and "NVIDIA Source Code License" in converted.license_note
    assert converted.notes == ""
    ada = read_checkpoint(save(tmp_path / "x.pkl", networks(CASES["ada"])))
    assert (ada.arch.conv_clamp, ada.arch.discriminator_clamp) == (1.0, 1.0)
    np.testing.assert_allclose(ada.arch.taps, np.array([1, 2, 4, 1]) / 8)
    assert "float16 layers (generator and discriminator)" in ada.notes


@pytest.mark.parametrize(
    ("ada", "settings", "group", "channels"),
    [
        (False, {}, 4, 1),  # where legacy.py has the whole batch, and TensorFlow four
        (False, {"mbstd_group_size": 1, "mbstd_num_features": 0}, 1, 0),
        (True, {}, 0, 1),
        (True, {"mbstd_group_size": 4, "mbstd_num_features": 2}, 4, 2),
    ],
)
def test_deviations_are_measured_as_in_training(tmp_path, ada, settings, group, channels):
    case = Case(8, 16, 4, discriminator=settings, ada=ada, style=4, layers=1)
    arch = read_checkpoint(save(tmp_path / "x.pkl", networks(case))).arch
    assert (arch.stddev_group, arch.stddev_channels) == (group, channels)


_SMALL = Case(8, 16, 4, style=4, layers=1)


@pytest.mark.parametrize("protocol", [2, 5])
def test_every_protocol_is_read_and_no_source_code_runs(tmp_path, protocol):
    first = read_checkpoint(save(tmp_path / "4.pkl", networks(_SMALL)))
    again = read_checkpoint(save(tmp_path / "x.pkl", networks(_SMALL), protocol))
    assert again.arch == first.arch
    chex.assert_trees_all_equal(again.params, first.params)
    # Double and Fortran-ordered variables are the same numbers.
    changed = networks(_SMALL)
    for network in (*changed, *changed[2].state["components"].values()):
        state = network.state
        state["variables"] = [(name, np.array(value, np.float64, order="F")) for name, value in state["variables"]]
    again = read_checkpoint(save(tmp_path / "x.pkl", changed, protocol))
    chex.assert_trees_all_equal(again.params, first.params)


def test_noise_that_was_never_there_is_silent(tmp_path):
    g, d, mean = networks(dataclasses.replace(_SMALL, generator={"use_noise": False}, ada=True))
    variables = mean.state["components"]["synthesis"].state
    variables["variables"] = [pair for pair in variables["variables"] if "noise" not in pair[0]]
    _, params = convert(save(tmp_path / "x.pkl", (g, d, mean)))
    assert not any(np.any(value) for value in params["generator"]["noise"].values())
    assert not any(layer["noise_strength"] for layer in params["generator"]["layers"].values())


def _kwargs(which, **settings):
    return lambda content: content[which].state["static_kwargs"].update(settings)


def _state(which, **values):
    return lambda content: content[which].state.update(values)


def _variable(which, name, value):
    def change(networks_):
        state = networks_[which].state
        state["variables"] = [*(pair for pair in state["variables"] if pair[0] != name), (name, value)]

    return change


_REFUSED = (
    (_kwargs(2, label_size=10), "generator is conditional.*PyTorch pickle"),
    (_kwargs(2, num_channels=1), "num_channels is 1, supported is 3"),
    (_kwargs(2, use_attention=True), "use_attention: unknown"),
    (_kwargs(1, use_spectral_norm=True), "use_spectral_norm is True"),
    (_kwargs(2, resolution=16), "missing.*synthesis/16x16"),
    (_kwargs(1, architecture="skip", conv_clamp=1.0), "kind 'skip' with conv_clamp"),
    (_kwargs(2, resample_kernel=None), "resample_kernel that is None"),
    (_kwargs(2, latent_size=64), "mapping network is 64 -> 4 wide"),
    (_kwargs(2, dlatent_size=-4), "dlatent_size of the generator is not a whole number: -4"),
    (_state(2, static_kwargs=[]), "no StyleGAN2 that is supported"),
    (_state(2, version=3), "generator is of version 3; .* version 4 or 5"),
    (_state(1, build_func_name="D_other"), "discriminator is built by 'D_other'"),
    (_state(2, components={}), "generator has no component 'mapping'"),
    (_variable(1, "8x8/Conv2/weight", np.zeros(3, np.float32)), "unknown: discriminator: 8x8/Conv2/weight"),
    (_variable(1, "Output/bias", np.full(1, np.nan, np.float32)), "NaN or infinity.*Output/bias"),
    (_variable(1, "Output/bias", len), "refused, because it holds builtins.len"),
    (_variable(1, "Output/bias", "0"), "discriminator has variables that are not numbers: Output/bias"),
    (_variable(2, "lod", np.float32(2.5)), "generator is from an unfinished training"),
    (_state(1, variables=[("a", 1), ("a", 2)]), "unknown: discriminator: a"),
    (_state(1, variables={"a": 1}), "no StyleGAN2 that is supported"),
)


def test_what_is_not_supported_is_refused_in_words(tmp_path):
    for change, message in _REFUSED:
        content = networks(_SMALL)
        change(content)
        with pytest.raises(UserError, match=f"(?s)x.pkl.*{message}"):
            read_checkpoint(save(tmp_path / "x.pkl", content))


def test_a_generator_alone_is_refused_with_what_to_do(tmp_path):
    g, d, mean = networks(_SMALL)
    for content in (mean, (mean,), (g, None, mean)):
        with pytest.raises(UserError, match="(?s)g.pkl: no 'D'.*--discriminator"):
            read_checkpoint(save(tmp_path / "g.pkl", content))
    whole = save(tmp_path / "whole.pkl", (g, d, mean))
    mended = read_checkpoint(save(tmp_path / "g.pkl", mean), discriminator=whole)
    chex.assert_trees_all_equal(mended.params, read_checkpoint(whole).params)
    with pytest.raises(UserError, match="d.pkl: no generator in it"):
        read_checkpoint(save(tmp_path / "d.pkl", d))
    with pytest.raises(UserError, match="--class is for conditional networks"):
        read_checkpoint(whole, class_index=0)
