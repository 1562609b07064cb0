"""Convolutions and normalisation: both formulations, gradients, and what torch gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import platforms
from gan2shape_jax.networks import convolution, modules
from gan2shape_jax.networks.modules import EncoderDecoder, ResidualEncoder

_OPERATIONS = {
    "convolve3": (convolution.convolve, 3),
    "convolve5": (convolution.convolve, 5),
    "half3": (convolution.convolve_half, 3),
    "half4": (convolution.convolve_half, 4),
    "twice": (convolution.convolve_twice, 4),
    "upsample": (convolution.upsample_convolve, 3),
    # Those of the GAN.
    "shrink": (lambda x, kernel: convolution.convolve_half(x[:, 1:, 1:], kernel, 0), 3),
    "grow": (lambda x, kernel: convolution.convolve_twice(x, kernel, 0), 3),
}


def test_both_formulations_of_a_convolution_agree():
    """Forward, backward and, for the GAN, the derivative of a gradient's norm: on a CPU and elsewhere."""
    cases, rng = [], np.random.default_rng(0)
    with jax.enable_x64():
        for channels in ((3, 5), (5, 3)):
            for name, (operation, size) in _OPERATIONS.items():
                if channels == (5, 3) and name in ("convolve5", "half3"):
                    continue  # as with 3 and 4 taps
                x, kernel = rng.normal(size=(2, 6, 8, channels[0])), rng.normal(size=(size, size, *channels))
                cases.append((operation, x, kernel, name in ("convolve3", "shrink", "grow") and channels == (3, 5)))

        @jax.jit
        def run(arrays):
            def derivatives(operation, x, kernel, *, twice):
                def loss(x, kernel):
                    return jnp.sum(jnp.sin(operation(x, kernel)))

                def norm(x, kernel):
                    return sum(jnp.sum(gradient**2) for gradient in jax.grad(loss, (0, 1))(x, kernel))

                second = jax.grad(norm, (0, 1))(x, kernel) if twice else ()
                return operation(x, kernel), jax.grad(loss, (0, 1))(x, kernel), second

            return [derivatives(case[0], *pair, twice=case[3]) for case, pair in zip(cases, arrays, strict=True)]

        arrays = [case[1:3] for case in cases]
        results = run(arrays)
        with platforms.tracing_for("gpu"):
            others = run(arrays)
        for one, other in zip(jax.tree.leaves(results), jax.tree.leaves(others), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10 * np.abs(other).max())


@pytest.mark.parametrize(("platform", "dilates"), [("cpu", False), ("gpu", True)])
def test_convolutions_dilate_their_input_anywhere_but_on_a_cpu(platform, dilates):
    """What makes XLA slow on a CPU appears neither forward nor backward in what a CPU gets, and only there."""
    for module in (EncoderDecoder(16, 3, 8, zdim=8, group_base=4), ResidualEncoder(16, 8, 4)):
        x = jnp.zeros((1, 16, 16, 3))
        params = jax.eval_shape(module.init, jax.random.key(0), x)
        with platforms.tracing_for(platform):
            text = jax.jit(jax.grad(lambda p, x, m=module: m.apply(p, x).sum())).lower(params, x).as_text()
        assert ("lhs_dilate = [2, 2]" in text) == dilates


def test_group_norm_has_zero_mean_and_unit_variance_however_large_the_mean():
    x = 1000 + jax.random.normal(jax.random.key(0), (2, 16, 16, 8))
    module = modules.GroupNorm(2)
    out = np.asarray(module.apply(jax.jit(module.init)(jax.random.key(1), x), x), np.float64)
    grouped = out.reshape(2, 256, 2, 4)
    np.testing.assert_allclose(grouped.mean(axis=(1, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(grouped.std(axis=(1, 3)), 1, atol=1e-3)
