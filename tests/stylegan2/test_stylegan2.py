"""StyleGAN2 against the reference's tensors and plain definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parity_record import LARGEST, largest
from helpers.tiny_stylegan2 import TINY as _TINY
from helpers.tiny_stylegan2 import nhwc as _nhwc
from helpers.tiny_stylegan2 import random_parameters
from helpers.tiny_stylegan2 import relative as _relative
from jax import lax

from gan2shape_jax import stylegan2
from gan2shape_jax.stylegan2 import Architecture, layers
from tools.convert_stylegan2 import convert


@pytest.fixture(scope="module")
def case(golden, golden_path):
    arch, params = convert(golden_path("stylegan2.pt"))
    return arch, jax.tree.map(jnp.asarray, params), golden("stylegan2.npz")


@pytest.fixture(scope="module")
def tiny():
    return random_parameters()


# Compiled once for each architecture and use: running the operations one by one is slower.
_synthesize = jax.jit(stylegan2.synthesize, static_argnames="arch")
_discriminate = jax.jit(stylegan2.discriminate, static_argnames="arch")
_features = jax.jit(stylegan2.discriminator_features, static_argnames=("arch", "count"))


def _indices(gold, prefix):
    return sorted(
        int(k.removeprefix(prefix)) for k in gold if k.startswith(prefix) and k.removeprefix(prefix).isdigit()
    )


def test_golden_mapping_is_entered_and_left_at_any_module(case, parity):
    arch, params, gold = case
    run = functools.partial(stylegan2.map_styles, params["generator"], arch=arch)
    name, file = "StyleGAN2 mapping network", "stylegan2.npz"
    parity(name, _relative(run(gold["z"]), gold["w"]), 1e-4, file)
    depths = _indices(gold, "hidden_F1d")
    assert depths
    for depth in depths:
        module = arch.mapping_layers - depth
        hidden = gold[f"hidden_F1d{depth}"]
        parity(f"{name}, left {depth} modules early", _relative(run(gold["z"], last=module), hidden), 1e-4, file)
        entered = _relative(run(hidden + 0.1, first=module), gold[f"reentry_F1d{depth}"])
        parity(f"{name}, entered {depth} modules before its end", entered, 1e-4, file)
    center = _relative(run(jnp.zeros_like(gold["center_w"])), gold["center_w"])
    parity(f"{name}, centre", center, 1e-4, file)


def test_golden_images(case, parity):
    arch, params, gold = case
    truncated = stylegan2.truncate(jnp.asarray(gold["w"]), gold["mean_w"], 0.7)
    for name, w, key in (("images", gold["w"], "image"), ("truncated images", truncated, "image_truncated")):
        image = _synthesize(params["generator"], w, arch=arch)
        off = largest(np.moveaxis(np.asarray(image), -1, 1), gold[key])
        parity(f"StyleGAN2 {name}", off, 1e-3, "stylegan2.npz", LARGEST)


def test_golden_discriminator(case, parity):
    arch, params, gold = case
    images = _nhwc(gold["d_in"])
    logits, features = _discriminate(params["discriminator"], images, arch=arch)
    parity("StyleGAN2 discriminator, logits", _relative(logits, gold["d_out"]), 1e-3, "stylegan2.npz")
    indices = _indices(gold, "d_feature")
    assert len(features) == len(indices) > 0
    for i in indices:
        off = _relative(features[i], gold[f"d_feature{i}"])
        parity("StyleGAN2 discriminator, features", off, 1e-3, "stylegan2.npz")


# --- Parts against plain definitions -----------------------------------------------------------


def _filter_reference(x, *, up=1, down=1, pad=(0, 0), gain=1.0):
    """Zero-insertion, padding, 4x4 depthwise filter, subsampling: by the definition, in NumPy."""
    x = np.asarray(x, np.float64)
    b, h, w, c = x.shape
    grown = np.zeros((b, h * up, w * up, c))
    grown[:, ::up, ::up] = x
    grown = np.pad(grown, ((0, 0), pad, pad, (0, 0)))
    taps = np.array([1, 3, 3, 1]) / 8
    out = sum(
        taps[i] * taps[j] * grown[:, i : grown.shape[1] - 3 + i, j : grown.shape[2] - 3 + j]
        for i in range(4)
        for j in range(4)
    )
    return gain * out[:, ::down, ::down]


def _operations():
    return {
        "upsample": (layers.upsample, {"up": 2, "pad": (2, 1), "gain": 4}),
        "blur_half": (layers.blur_half, {"down": 2, "pad": (1, 1)}),
        "blur_1": (lambda x: layers.blur(x, 1), {"pad": (1, 1)}),
        "blur_2": (lambda x: layers.blur(x, 2), {"pad": (2, 2)}),
    }


@pytest.mark.parametrize("name", _operations())
def test_filters_match_their_definition_and_gradient(name):
    shape = (2, 8, 16, 2)
    filtered, settings = _operations()[name]
    operation = jax.jit(filtered)
    with jax.enable_x64():
        x = jax.random.normal(jax.random.key(3), shape, jnp.float64)
        out = operation(x)
        np.testing.assert_allclose(out, _filter_reference(x, **settings), atol=1e-12)
        # The derivatives are given by hand; a linear map's adjoint shows by inner products.
        other = jax.random.normal(jax.random.key(4), out.shape, jnp.float64)
        (back,) = jax.vjp(operation, x)[1](other)
        probe = jax.random.normal(jax.random.key(5), shape, jnp.float64)
        np.testing.assert_allclose(jnp.vdot(back, probe), jnp.vdot(other, operation(probe)), rtol=1e-10)


def test_upsampling_and_downsampling_convolutions_match_their_definition():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    transposed = lax.conv_transpose(x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    ours = layers.upsample_convolve(x, kernel[::-1, ::-1])  # lax correlates, PyTorch scatters
    np.testing.assert_allclose(ours, _filter_reference(transposed, pad=(1, 1), gain=4), atol=1e-4)
    blurred = jnp.asarray(_filter_reference(x, pad=(2, 2)), x.dtype)
    by_hand = sum(
        jnp.einsum("bhwi,io->bhwo", blurred[:, i : i + 5 : 2, j : j + 5 : 2], kernel[i, j])
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(layers.convolve_half(x, kernel), by_hand, atol=1e-4)


def test_gradients_are_those_of_finite_differences(tiny):
    with jax.enable_x64():
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tiny)
        w = jax.random.normal(jax.random.key(2), (2, _TINY.style_dim), jnp.float64)

        def loss(w):
            image = stylegan2.synthesize(params["generator"], w, arch=_TINY)
            assert image.dtype == jnp.float64
            logits, features = stylegan2.discriminate(params["discriminator"], image, arch=_TINY)
            return jnp.sum(logits**2) + sum(jnp.mean(f**2) for f in features)

        loss = jax.jit(loss)
        gradient = jax.jit(jax.grad(loss))(w)
        step = 1e-6
        for i, j in ((0, 0), (1, 3), (0, 5)):
            moved = jnp.zeros_like(w).at[i, j].set(step)
            numeric = (loss(w + moved) - loss(w - moved)) / (2 * step)
            np.testing.assert_allclose(gradient[i, j], numeric, rtol=1e-4, atol=1e-7)


def test_gradients_are_finite_at_zero(tiny):
    """Zero latents, images and deviations are where square roots and norms could fail."""
    grad = jax.jit(jax.grad(lambda z: stylegan2.map_styles(tiny["generator"], z, arch=_TINY).sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, _TINY.style_dim)))).all()
    grad = jax.jit(jax.grad(lambda x: stylegan2.discriminate(tiny["discriminator"], x, arch=_TINY)[0].sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, 16, 16, 3)))).all()  # equal images: no deviation


# --- Latents, noise, features ------------------------------------------------------------------


def test_w_plus_of_equal_styles_is_w(tiny):
    w = jax.random.normal(jax.random.key(0), (3, _TINY.style_dim))
    alike = stylegan2.mix_styles(-w, w, 0, arch=_TINY)
    one, two = (_synthesize(tiny["generator"], latent, arch=_TINY) for latent in (w, alike))
    np.testing.assert_allclose(one, two, atol=1e-5)
    other = _synthesize(tiny["generator"], stylegan2.mix_styles(w, -w, _TINY.latents - 1, arch=_TINY), arch=_TINY)
    assert jnp.abs(other - one).max() > 1e-3  # the last style is that of the last colours


def test_noise_is_fixed_unless_it_is_given(tiny):
    draw = functools.partial(_synthesize, tiny["generator"], arch=_TINY)
    w = jnp.ones((2, _TINY.style_dim))
    frozen = draw(w)
    # Values reach 8; some kinds of CPU sum the second image in another order, by three times the last digit.
    np.testing.assert_allclose(frozen[0], frozen[1], atol=1e-5)
    stored = [tiny["generator"]["noise"][str(i)] for i in range(_TINY.layers)]
    np.testing.assert_array_equal(draw(w, noise=stored), frozen)
    noise = stylegan2.random_noise(jax.random.key(7), 2, arch=_TINY)
    assert [n.shape for n in noise] == [(2, s, s) for s in (4, 8, 8, 16, 16)]
    random = draw(w, noise=noise)
    assert jnp.abs(random[0] - random[1]).max() > 1e-2  # every image has its own
    np.testing.assert_array_equal(random, draw(w, noise=stylegan2.random_noise(jax.random.key(7), 2, arch=_TINY)))


def test_truncation_leads_to_the_mean(tiny):
    mean = stylegan2.mean_w(jax.random.key(0), tiny["generator"], arch=_TINY, samples=500)
    assert mean.shape == (1, _TINY.style_dim)
    w = jax.random.normal(jax.random.key(1), (4, _TINY.style_dim))
    np.testing.assert_allclose(stylegan2.truncate(w, mean, 1.0), w, atol=1e-6)
    np.testing.assert_allclose(stylegan2.truncate(w, mean, 0.0), jnp.tile(mean, (4, 1)), atol=1e-6)


@pytest.mark.parametrize("side, count", [(8, (4, 2)), (64, (32, 16))])
def test_discriminator_features_of_any_side(tiny, side, count):
    """A discriminator of two blocks gives two, whatever side it sees."""
    images = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    features = _features(tiny["discriminator"], images, arch=_TINY)
    assert [f.shape for f in features] == [(2, s, s, c) for s, c in zip(count, (5, 4))]
    one = _features(tiny["discriminator"], images, arch=_TINY, count=1)
    np.testing.assert_allclose(one[0], features[0], atol=1e-5)


def test_wrong_shapes_are_refused(tiny):
    with pytest.raises(ValueError, match="latents"):
        stylegan2.synthesize(tiny["generator"], jnp.zeros((1, 7)), arch=_TINY)
    with pytest.raises(ValueError, match="power of two"):
        stylegan2.discriminator_features(tiny["discriminator"], jnp.zeros((1, 12, 12, 3)), arch=_TINY)
    with pytest.raises(ValueError, match="modules"):
        stylegan2.map_styles(tiny["generator"], jnp.zeros((1, 6)), arch=_TINY, first=2, last=1)
    with pytest.raises(ValueError, match="groups"):
        _discriminate(tiny["discriminator"], jnp.zeros((6, 16, 16, 3)), arch=_TINY)
    with pytest.raises(ValueError):
        Architecture(size=48, style_dim=8, mapping_layers=2, channels=(4, 4, 4), discriminator_channels=(4, 4))
