"""Derivatives of what renders, in every mode and arrangement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.rendered import CASES, OTHERS
from helpers.simulated import records_of
from jax.flatten_util import ravel_pytree


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def _close(first, other):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(b).max())


_LONG = [pytest.param(name, marks=pytest.mark.heavy) for name in ("drawn mesh", "warped depth")]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["sampled image", *_LONG])
def test_gradients_of_maps_and_maps_of_gradients_agree(name):
    loss, arguments = CASES[name](batch=3)
    mapped = jax.jit(jax.vmap(jax.grad(loss)))(arguments)
    of_map = jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(loss)(x))))(arguments)
    whole = jax.jit(jax.grad(loss))(arguments)  # the batch that the function itself takes
    first = jax.jit(jax.grad(loss))(jax.tree.map(lambda x: x[1], arguments))
    _close(mapped, of_map)
    _close(mapped, whole)
    _close(jax.tree.map(lambda x: x[1], mapped), first)


_COMPILE_LONG = "warped depth", "blended mesh", "drawn mesh", "drawn grid", "textured mesh"
_COMPILE_LONG = [pytest.param(name, marks=pytest.mark.heavy) for name in _COMPILE_LONG]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["sampled image", *_COMPILE_LONG])
def test_second_derivatives_of_every_mode_equal_finite_differences(name):
    """Of every operation: forward over reverse, reverse over reverse, reverse over forward; and forward over itself."""
    loss, arguments = (CASES | OTHERS)[name]()
    flat, restore = ravel_pytree(arguments)

    def value(x):
        return loss(restore(x))

    @jax.jit
    def run(x, direction):
        def along(x):
            return jax.jvp(value, (x,), (direction,))[1]

        gradient = jax.grad(value)
        products = (
            jax.jvp(gradient, (x,), (direction,))[1],
            jax.grad(lambda x: jnp.vdot(gradient(x), direction))(x),
            jax.grad(along)(x),
        )
        return gradient(x), products, along(x), jax.jvp(along, (x,), (direction,))[1]

    flat, direction = np.asarray(flat), np.random.default_rng(1).normal(size=flat.size)
    gradient, products, slope, bend = run(flat, direction)
    (above, *_), (below, *_) = (run(flat + step, direction) for step in (1e-7 * direction, -1e-7 * direction))
    expected = (above - below) / 2e-7
    for product in products:
        np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(product, products[0], rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert abs(slope) > 0 and abs(bend) > 0
    np.testing.assert_allclose(slope, direction @ gradient, rtol=1e-9)
    np.testing.assert_allclose(bend, direction @ products[0], rtol=1e-9)


@pytest.mark.heavy
def test_eight_devices_see_what_one_sees():
    (record,) = records_of("derivatives_program.py")
    assert set(record) == set(CASES)
    for name, errors in record.items():
        assert max(errors.values()) < 1e-10 and len(errors) >= 3, (name, errors)
