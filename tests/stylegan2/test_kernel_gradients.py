"""Convolutions with hand-made gradients: values, first and second derivatives are those that JAX derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.stylegan2 import kernel_gradients

_FORMS = {
    "convolve": (kernel_gradients.convolve, kernel_gradients._same, 6),
    "shrink": (kernel_gradients.shrink, kernel_gradients._strided, 7),
    "grow": (kernel_gradients.grow, kernel_gradients._dilated, 3),
}


def _operands(side, channels):
    keys = jax.random.split(jax.random.key(side), 2)
    return jax.random.normal(keys[0], (2, side, side, channels)), jax.random.normal(
        keys[1], (3, 3, channels, channels + 1)
    )


def _close(ours, derived):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(derived), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize("name", _FORMS)
def test_gradients_are_those_that_jax_derives(name, channels):
    ours, plain, side = _FORMS[name]
    operands = _operands(side, channels)

    def gradients(form):
        return jax.jit(jax.value_and_grad(lambda x, kernel: jnp.sum(jnp.sin(form(x, kernel))), (0, 1)))(*operands)

    _close(gradients(ours), gradients(plain))


@pytest.mark.parametrize("name", _FORMS)
def test_gradients_of_a_gradients_norm_are_those_that_jax_derives(name):
    ours, plain, side = _FORMS[name]
    operands = _operands(side, 40)

    def second(form):
        def norm(x, kernel):
            slope = jax.grad(lambda x: jnp.sum(jnp.sin(form(x, kernel))))(x)
            return jnp.sum(slope**2)

        return jax.jit(jax.grad(norm, (0, 1)))(*operands)

    _close(second(ours), second(plain))


def test_each_platform_gets_its_own_form():
    x, kernel = _operands(6, 40)
    gradient = jax.jit(jax.grad(lambda kernel: jnp.sum(kernel_gradients.convolve(x, kernel))))
    texts = {
        platform: jax.export.export(gradient, platforms=[platform])(kernel).mlir_module() for platform in ("cpu", "tpu")
    }
    products = {platform: text.count("stablehlo.dot_general") for platform, text in texts.items()}
    assert products["cpu"] > 0 and products["tpu"] == 0
