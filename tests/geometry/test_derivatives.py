"""Derivatives of what renders: forward, backward, second, mapped, recomputed and on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.rendered import CASES
from helpers.simulated import records_of
from jax.flatten_util import ravel_pytree


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def _close(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(b).max())


_LONG = [pytest.param(name, marks=pytest.mark.heavy) for name in ("drawn mesh", "warped depth")]


@pytest.mark.parametrize("name", ["sampled image", *_LONG])
def test_gradients_of_maps_and_maps_of_gradients_agree(name):
    loss, arguments = CASES[name](batch=3)
    mapped = jax.jit(jax.vmap(jax.grad(loss)))(arguments)
    of_map = jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(loss)(x))))(arguments)
    whole = jax.jit(jax.grad(loss))(arguments)  # the batch that the function itself takes
    one = jax.jit(jax.grad(loss))(jax.tree.map(lambda x: x[1], arguments))
    _close(mapped, of_map)
    _close(mapped, whole)
    _close(jax.tree.map(lambda x: x[1], mapped), one)


_SHORT = ("drawn mesh", False), ("warped depth", True), ("sampled image", True)


@pytest.mark.parametrize(("name", "second"), [*_SHORT, pytest.param("drawn mesh", True, marks=pytest.mark.heavy)])
def test_forward_mode_and_second_derivatives_agree_with_gradients(name, second):
    """Forward mode is the transpose of backward mode; the Hessian is symmetric, and the slope of the gradient."""
    loss, arguments = CASES[name]()
    flat, restore = ravel_pytree(arguments)

    @jax.jit
    def run(x, directions):
        value_and_gradient = jax.value_and_grad(lambda x: loss(restore(x)))
        if second:
            return jax.vmap(lambda d: jax.jvp(value_and_gradient, (x,), (d,)), out_axes=(None, 0))(directions)
        forward = jax.vmap(lambda d: jax.jvp(lambda x: loss(restore(x)), (x,), (d,))[1])(directions)
        return value_and_gradient(x), (forward, None)

    flat, directions = np.asarray(flat), np.random.default_rng(1).normal(size=(2, flat.size))
    (_, gradient), (forward, products) = run(flat, directions)
    assert (np.abs(forward) > 0).all()
    np.testing.assert_allclose(forward, directions @ gradient, rtol=1e-9)
    if second:
        crossed = products @ directions.T
        np.testing.assert_allclose(crossed[0, 1], crossed[1, 0], rtol=1e-6)
        step = 1e-7 * directions[0]
        expected = (run(flat + step, directions)[0][1] - run(flat - step, directions)[0][1]) / 2e-7
        assert np.abs(products).max() > 0
        np.testing.assert_allclose(products[0], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.heavy
def test_two_devices_see_what_one_sees():
    (record,) = records_of("derivatives_program.py")
    assert set(record) == set(CASES)
    for name, error in record.items():
        assert error < 1e-10, (name, error)
