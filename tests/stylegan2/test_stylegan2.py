"""StyleGAN2 against the reference's tensors and plain definitions; its kinds, files, possible architectures."""

import dataclasses
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from helpers.parity_record import LARGEST, largest
from helpers.tiny_stylegan2 import TINY, discriminate, nhwc, random_parameters, relative, synthesize
from jax import lax

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.convert.stylegan2 import convert
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Architecture, layers, weights


@pytest.fixture(scope="module")
def case(golden, golden_path):
    arch, params = convert(golden_path("stylegan2.pt"))
    return arch, jax.device_put(params), golden("stylegan2.npz")


@pytest.fixture(scope="module")
def tiny():
    return random_parameters()


def _indices(gold, prefix):
    return sorted(int(k.removeprefix(prefix)) for k in gold if re.fullmatch(rf"{prefix}\d+", k))


def test_golden_mapping_is_entered_and_left_at_any_module(case, parity):
    arch, params, gold = case
    run = functools.partial(stylegan2.map_styles, params["generator"], arch=arch)
    name, file = "StyleGAN2 mapping network", "stylegan2.npz"
    parity(name, relative(run(gold["z"]), gold["w"]), 1e-4, file)
    depths = _indices(gold, "hidden_F1d")
    assert depths
    for depth in depths:
        module = arch.mapping_layers - depth
        hidden = gold[f"hidden_F1d{depth}"]
        parity(f"{name}, left {depth} modules early", relative(run(gold["z"], last=module), hidden), 1e-4, file)
        entered = relative(run(hidden + 0.1, first=module), gold[f"reentry_F1d{depth}"])
        parity(f"{name}, entered {depth} modules before its end", entered, 1e-4, file)
    center = relative(run(jnp.zeros_like(gold["center_w"])), gold["center_w"])
    parity(f"{name}, centre", center, 1e-4, file)


def test_golden_images(case, parity):
    arch, params, gold = case
    truncated = stylegan2.truncate(jnp.asarray(gold["w"]), gold["mean_w"], 0.7)
    for name, w, key in (("images", gold["w"], "image"), ("truncated images", truncated, "image_truncated")):
        image = synthesize(params["generator"], w, arch=arch)
        off = largest(np.moveaxis(np.asarray(image), -1, 1), gold[key])
        parity(f"StyleGAN2 {name}", off, 1e-3, "stylegan2.npz", LARGEST)


def test_golden_discriminator(case, parity):
    arch, params, gold = case
    images = nhwc(gold["d_in"])
    logits, features = discriminate(params["discriminator"], images, arch=arch)
    parity("StyleGAN2 discriminator, logits", relative(logits, gold["d_out"]), 1e-3, "stylegan2.npz")
    indices = _indices(gold, "d_feature")
    assert len(features) == len(indices) > 0
    for i in indices:
        off = relative(features[i], gold[f"d_feature{i}"])
        parity("StyleGAN2 discriminator, features", off, 1e-3, "stylegan2.npz")


def test_upsampling_and_downsampling_convolutions_match_their_definition():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    layout = ("NHWC", "HWIO", "NHWC")
    transposed = lax.conv_transpose(x, kernel, (2, 2), "VALID", dimension_numbers=layout)
    ours = layers.upsample_convolve(x, kernel[::-1, ::-1])  # lax correlates, PyTorch scatters
    np.testing.assert_allclose(ours, 4 * layers.blur(transposed, 1), atol=1e-4)
    strided = lax.conv_general_dilated(layers.blur(x, 2), kernel, (2, 2), "VALID", dimension_numbers=layout)
    np.testing.assert_allclose(layers.convolve_half(x, kernel), strided, atol=1e-4)


def test_gradients_are_those_of_finite_differences(tiny):
    with jax.enable_x64():
        params = jax.tree.map(lambda x: np.asarray(x, np.float64), tiny)
        w = np.random.default_rng(2).normal(size=(2, TINY.style_dim))

        @jax.jit
        @jax.value_and_grad
        def loss(w):
            image = stylegan2.synthesize(params["generator"], w, arch=TINY)
            assert image.dtype == jnp.float64
            logits, features = stylegan2.discriminate(params["discriminator"], image, arch=TINY)
            return jnp.sum(logits**2) + sum(jnp.mean(f**2) for f in features)

        gradient = np.asarray(loss(w)[1])
        step = 1e-6
        for i, j in ((0, 0), (1, 3), (0, 5)):
            moved = np.zeros_like(w)
            moved[i, j] = step
            numeric = (loss(w + moved)[0] - loss(w - moved)[0]) / (2 * step)
            np.testing.assert_allclose(gradient[i, j], numeric, rtol=1e-4, atol=1e-7)


def test_gradients_are_finite_at_zero(tiny):
    """Zero latents, images and deviations are where square roots and norms could fail."""
    grad = jax.jit(jax.grad(lambda z: stylegan2.map_styles(tiny["generator"], z, arch=TINY).sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, TINY.style_dim)))).all()
    grad = jax.jit(jax.grad(lambda x: stylegan2.discriminate(tiny["discriminator"], x, arch=TINY)[0].sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, 16, 16, 3)))).all()  # equal images: no deviation
    with pytest.raises(ValueError, match="groups"):  # into which six do not divide
        grad(jnp.zeros((6, 16, 16, 3)))


def test_w_plus_of_equal_styles_is_w(tiny):
    w = np.random.default_rng(0).normal(size=(2, TINY.style_dim)).astype(np.float32)
    equal_styles = stylegan2.mix_styles(-w, w, 0, arch=TINY)
    first, two = (synthesize(tiny["generator"], latent, arch=TINY) for latent in (w, equal_styles))
    np.testing.assert_allclose(first, two, atol=1e-5)
    other = synthesize(tiny["generator"], stylegan2.mix_styles(w, -w, TINY.latents - 1, arch=TINY), arch=TINY)
    assert jnp.abs(other - first).max() > 1e-3  # the last style is that of the last colours


def test_noise_is_fixed_unless_it_is_given(tiny):
    draw = functools.partial(synthesize, tiny["generator"], arch=TINY)
    w = jnp.ones((2, TINY.style_dim))
    frozen = draw(w)
    # Values reach 8; some kinds of CPU sum the second image in another order, by three times the last digit.
    np.testing.assert_allclose(frozen[0], frozen[1], atol=1e-5)
    stored = [tiny["generator"]["noise"][str(i)] for i in range(TINY.layers)]
    np.testing.assert_array_equal(draw(w, noise=stored), frozen)
    noise = stylegan2.random_noise(jax.random.key(7), 2, arch=TINY)
    assert [n.shape for n in noise] == [(2, s, s) for s in (4, 8, 8, 16, 16)]
    random = draw(w, noise=noise)
    assert jnp.abs(random[0] - random[1]).max() > 1e-2  # every image has its own
    np.testing.assert_array_equal(random, draw(w, noise=stylegan2.random_noise(jax.random.key(7), 2, arch=TINY)))


_KINDS = {"generator_kind": "resnet", "discriminator_kind": "skip", "conv_clamp": 1.0, "discriminator_clamp": 2.0}
_KINDS |= {"taps": (1.0, 2.0, 1.0), "stddev_channels": 2, "stddev_group": 0, "stored_mean": True}
_KINDS = dataclasses.replace(TINY, style_dim=5, discriminator_channels=(4, 6, 3), **_KINDS)

_features = jax.jit(stylegan2.discriminator_features, static_argnames="arch")


def _by_definition(x, taps, *, up=1, down=1, pads=(0, 0)):
    """Along one axis of a vector: zeros between, padding or cropping, np.convolve, every down-th."""
    grown = np.zeros(len(x) * up)
    grown[::up] = x
    before, after = pads
    grown = np.concatenate([np.zeros(max(before, 0)), grown, np.zeros(max(after, 0))])
    grown = grown[max(-before, 0) : len(grown) - max(-after, 0)]
    return np.convolve(grown, np.array(taps) / sum(taps) * up, "valid")[::down]


@pytest.mark.parametrize("taps", [(1,), (1, 3, 3, 1), (3, 1, 2, 4), (1, 2, 4, 1, 0.5)])
def test_any_filter_matches_its_definition_and_gradient(taps):
    """Borders and phases as in NVIDIA's upfirdn2d; (1, 3, 3, 1) takes the fast form, whose derivatives are by hand."""
    n = len(taps)
    cases = {
        "up": (lambda x: layers.upsample(x, taps), {"up": 2, "pads": ((n + 1) // 2, (n - 2) // 2)}),
        "down": (lambda x: layers.blur_half(x, taps), {"down": 2, "pads": ((n - 1) // 2, (n - 2) // 2)}),
        "smooth": (lambda x: layers.smooth(x, taps, (2, 1)), {"pads": (2, 1)}),
        "smooth evenly": (lambda x: layers.smooth(x, taps, (2, 2)), {"pads": (2, 2)}),
    }
    generator = np.random.default_rng(0)
    rows, columns = generator.standard_normal((2, 8))
    probe, others = generator.standard_normal((2, 8, 8, 2)), generator.standard_normal((2, 17, 17, 2))
    probe[0, :, :, 0] = np.outer(rows, columns)

    @jax.jit
    def run(x, others):
        outs, pulls = zip(*(jax.vjp(operation, x) for operation, _ in cases.values()), strict=True)
        probes = [others[:, : out.shape[1], : out.shape[2]] for out in outs]
        return outs, probes, [pull(other)[0] for pull, other in zip(pulls, probes, strict=True)]

    with jax.enable_x64():
        actual = jax.device_get(run(probe, others))
    for out, other, pulled, (_, settings) in zip(*actual, cases.values(), strict=True):
        by_definition = np.outer(_by_definition(rows, taps, **settings), _by_definition(columns, taps, **settings))
        np.testing.assert_allclose(out[0, :, :, 0], by_definition, atol=1e-12)
        np.testing.assert_allclose(np.vdot(pulled, probe), np.vdot(other, out), rtol=1e-10)  # a linear map's adjoint


def test_files_of_every_kind_are_written_and_read(tmp_path):
    params = stylegan2.init_params(jax.random.key(0), _KINDS)
    path = tmp_path / "gan.safetensors"
    stylegan2.save(path, _KINDS, params, license_note="ours", source_sha256="ab", notes="none")
    arch, loaded = stylegan2.load(path)
    assert arch == _KINDS and hash(arch) == hash(_KINDS) and list(tmp_path.iterdir()) == [path]
    assert stylegan2.read_header(path)[1]["license"] == "ours"
    chex.assert_trees_all_equal(loaded, params)
    assert set(loaded["generator"]["to_rgb"]) == {"2"} and set(loaded["generator"]["skips"]) == {"1", "2"}
    assert "final_rgb" in loaded["discriminator"]


# a "skip" discriminator too takes any side
@pytest.mark.parametrize("side", [8, 32])
def test_features_of_a_skip_discriminator_have_their_sizes(side):
    params = stylegan2.init_params(jax.random.key(0), _KINDS)
    x = jax.random.normal(jax.random.key(2), (2, side, side, 3))
    features = _features(params["discriminator"], x, arch=_KINDS)
    assert [f.shape for f in features] == [(2, side // 2, side // 2, 6), (2, side // 4, side // 4, 4)]


def test_images_and_features_of_every_kind_have_their_sizes_and_clamps():
    params = stylegan2.init_params(jax.random.key(0), _KINDS)
    w = 9 * jax.random.normal(jax.random.key(1), (2, 5))
    image = synthesize(params["generator"], w, arch=_KINDS)
    assert image.shape == (2, 16, 16, 3) and jnp.abs(image).max() <= 1.0


def test_the_stored_mean_is_the_mean():
    params = stylegan2.init_params(jax.random.key(0), _KINDS)["generator"]
    params["mean_w"] = jnp.arange(5.0)
    mean = stylegan2.mean_w(jax.random.key(1), params, arch=_KINDS)
    np.testing.assert_array_equal(mean, [[0, 1, 2, 3, 4]])
    drawn = stylegan2.mean_w(jax.random.key(1), params, arch=dataclasses.replace(_KINDS, stored_mean=False), samples=8)
    assert jnp.abs(mean - drawn).max() > 0.1


@pytest.mark.parametrize(
    "name", ["gan.pt", "empty.safetensors", "other.safetensors", "cut.safetensors", "absent.safetensors"]
)
def test_a_file_of_another_kind_is_answered_with_the_conversion(tmp_path, tiny, name):
    (tmp_path / "gan.pt").write_bytes(b"PK garbage")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    whole = tmp_path / "whole.safetensors"
    stylegan2.save(whole, TINY, tiny)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-10])
    with pytest.raises(UserError) as error:
        stylegan2.load(tmp_path / name)
    stem = str(tmp_path / name.split(".")[0])
    assert f"gan2shape-jax convert {stem}.pt {stem}.safetensors" in str(error.value)


def test_a_file_with_other_tensors_names_them(tmp_path, tiny):
    whole = tmp_path / "whole.safetensors"
    stylegan2.save(whole, TINY, tiny)
    tensors, header = safetensors.numpy.load_file(whole), stylegan2.read_header(whole)[1]
    tensors["strange"] = tensors.pop("generator/input")
    safetensors.numpy.save_file(tensors, whole, header)
    with pytest.raises(UserError, match="whole.safetensors.*missing: generator/input; unknown: strange"):
        stylegan2.load(whole)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"size": 16}', "null"])
def test_damaged_headers_are_refused(tmp_path, content):
    path = tmp_path / "gan.safetensors"
    header = {"format": weights._FORMAT, "architecture": content}
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, path, header)
    with pytest.raises(UserError, match="does not describe a StyleGAN2"):
        stylegan2.load(path)


@pytest.mark.parametrize("size", [8, 64, 256, 1024])
@pytest.mark.parametrize("channels", [32768, 65536])  # twice the width
def test_published_sizes_are_possible(size, channels):
    widths = tuple(min(512, channels // (4 << level)) for level in range(size.bit_length() - 2))
    assert Architecture(size, 512, 8, channels=widths, discriminator_channels=widths).channels[0] == 512


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("size", 48, "sizes of 48.* for a side of"),
        ("size", 2**30, "sizes of 1073741824"),
        ("style_dim", 10**9, "at most 16384 channels"),
        ("mapping_layers", 10**9, "32 mapping layers"),
        ("mapping_layers", True, "whole numbers"),
        ("channels", (5, 4, 10**9), "at most 16384 channels"),
        ("channels", (5,) * 10**5, "this number of channels"),
        ("discriminator_channels", (1,) * 10**5, "number of discriminator_channels"),
        ("stddev_group", 10**30, "at most 16384"),
        ("stddev_group", -1, "whole numbers"),
        ("stddev_channels", 3, "number of stddev_channels"),
        ("taps", (float("nan"),) * 4, "low-pass filter"),
        ("taps", (1.0,) * 10**5, "low-pass filter"),
        ("taps", (1.0, -1.0), "low-pass filter"),
        ("conv_clamp", float("inf"), "this clamp"),
        ("conv_clamp", -1.0, "this clamp"),
        ("discriminator_clamp", float("nan"), "this clamp"),
        ("discriminator_clamp", "256", "this clamp"),
        pytest.param("mapping_scale", 10**400, "mapping_scale", id="mapping_scale-huge"),
        ("mapping_scale", "0.01", "mapping_scale"),
        ("stored_mean", {}, "stored_mean"),
        ("generator_kind", {"skip": 1}, "this kind"),
        ("discriminator_kind", "fancy", "this kind"),
    ],
)
def test_other_sizes_are_refused_in_few_words(field, value, words):
    with pytest.raises(ValueError, match=words) as error:
        Architecture(**(dataclasses.asdict(TINY) | {field: value}))
    assert len(str(error.value)) < 5000
