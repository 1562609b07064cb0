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
from gan2shape_jax.stylegan2 import layers
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
        w = np.random.default_rng(2).normal(size=(2, _TINY.style_dim))

        @jax.jit
        @jax.value_and_grad
        def loss(w):
            image = stylegan2.synthesize(params["generator"], w, arch=_TINY)
            assert image.dtype == jnp.float64
            logits, features = stylegan2.discriminate(params["discriminator"], image, arch=_TINY)
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
    grad = jax.jit(jax.grad(lambda z: stylegan2.map_styles(tiny["generator"], z, arch=_TINY).sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, _TINY.style_dim)))).all()
    grad = jax.jit(jax.grad(lambda x: stylegan2.discriminate(tiny["discriminator"], x, arch=_TINY)[0].sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, 16, 16, 3)))).all()  # equal images: no deviation


def test_w_plus_of_equal_styles_is_w(tiny):
    w = np.random.default_rng(0).normal(size=(2, _TINY.style_dim)).astype(np.float32)
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


def test_a_batch_that_does_not_divide_into_groups_is_refused(tiny):
    with pytest.raises(ValueError, match="groups"):
        _discriminate(tiny["discriminator"], jnp.zeros((6, 16, 16, 3)), arch=_TINY)
