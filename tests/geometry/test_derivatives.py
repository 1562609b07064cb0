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


@pytest.mark.parametrize(
    "name",
    [
        "sampled image",
        pytest.param("warped depth", marks=pytest.mark.heavy),
        pytest.param("drawn mesh", marks=pytest.mark.heavy),
    ],
)
def test_gradients_of_maps_and_maps_of_gradients_agree(name):
    loss, arguments = CASES[name](batch=3)
    mapped = jax.jit(jax.vmap(jax.grad(loss)))(arguments)
    of_map = jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(loss)(x))))(arguments)
    whole = jax.jit(jax.grad(loss))(arguments)  # the batch that the function itself takes
    one = jax.jit(jax.grad(loss))(jax.tree.map(lambda x: x[1], arguments))
    _close(mapped, of_map)
    _close(mapped, whole)
    _close(jax.tree.map(lambda x: x[1], mapped), one)


@pytest.mark.parametrize("name", CASES)
def test_forward_mode_is_the_transpose_of_backward_mode(name):
    loss, arguments = CASES[name]()
    change = jax.tree.map(lambda x: jnp.asarray(np.random.default_rng(0).normal(size=x.shape)), arguments)
    _, forward = jax.jit(lambda x, t: jax.jvp(loss, (x,), (t,)))(arguments, change)
    gradient = jax.jit(jax.grad(loss))(arguments)
    backward = sum(jnp.vdot(g, t) for g, t in zip(*map(jax.tree.leaves, (gradient, change)), strict=True))
    assert forward != 0
    np.testing.assert_allclose(forward, backward, rtol=1e-9)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.heavy) if name == "drawn mesh" else name for name in CASES]
)
def test_second_derivatives_equal_differences_of_gradients(name):
    loss, arguments = CASES[name]()
    flat, restore = ravel_pytree(arguments)
    gradient = jax.jit(jax.grad(lambda x: loss(restore(x))))
    hessian = jax.jit(jax.hessian(lambda x: loss(restore(x))))(flat)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-6, atol=1e-9 * np.abs(hessian).max())
    direction = jnp.asarray(np.random.default_rng(1).normal(size=flat.shape))
    step = 1e-7
    expected = (gradient(flat + step * direction) - gradient(flat - step * direction)) / (2 * step)
    assert np.abs(hessian).max() > 0
    np.testing.assert_allclose(hessian @ direction, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.heavy
def test_two_devices_see_what_one_sees():
    (record,) = records_of("derivatives_program.py")
    assert set(record) == set(CASES)
    for name, error in record.items():
        assert error < 1e-10, (name, error)
