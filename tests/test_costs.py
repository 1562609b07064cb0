"""The guard of the quick tests: what a test compiles is counted, once, and too much of it fails by name."""

import time

import jax
import jax.numpy as jnp
import pytest
from helpers import costs


def test_what_is_traced_and_compiled_is_counted_once(request):
    meter = request.config.pluginmanager.get_plugin("costs").meter

    def inner(x):
        for number in range(100):
            x = jnp.sin(x * number)
        return x

    start, seconds, programs = time.process_time(), meter.seconds, meter.programs
    run = jax.jit(lambda x: jax.jit(inner)(x) + jnp.sum(jax.jit(inner)(2 * x)))
    run(jnp.ones(3))
    spent = meter.seconds - seconds
    assert 0 < spent < time.process_time() - start and meter.programs > programs
    run(jnp.ones(3))
    assert meter.seconds - seconds == pytest.approx(spent, abs=0.01)  # the array alone is made anew


def test_a_test_that_compiles_for_long_fails_by_name_unless_it_is_no_quick_one(request):
    costs.require_quick(request.node, "test a", 4.9, 5.0)
    with pytest.raises(pytest.fail.Exception, match="^the test a spent 5.1 processor seconds on .* and may spend 5: "):
        costs.require_quick(request.node, "test a", 5.1, 5.0)
    request.node.add_marker("heavy")
    costs.require_quick(request.node, "test a", 5.1, 5.0)


def test_memory_of_this_process_is_known_and_given_back():
    before = costs.resident()
    assert before > 50e6
    costs.drop_programs()
    assert costs.resident() < before + 50e6
