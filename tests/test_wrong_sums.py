"""Sums of products with a broadcast operand, as in shading: right with the guard; without it wrong in one jaxlib.

Each is computed in a process of its own, since XLA reads its flags once. Of the versions tried on Linux, 0.10.0,
0.10.1, 0.11.0 to 0.11.2 and 0.12.0.1 compute them rightly without any flag, and 0.10.2 wrongly.
"""

import os
import platform
import subprocess
import sys

import jaxlib.version
import pytest

# 1 to 32 directions at 64 x 64 normals, summed over the last axis and over the first. Prints the largest error.
_PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
last = jax.jit(lambda n, d: jnp.maximum(jnp.sum(n * d[:, None, None], -1), 0))
first = jax.jit(lambda n, d: jnp.maximum(jnp.sum(jnp.moveaxis(n, -1, 0) * d.T[:, :, None, None], 0), 0))
rng = np.random.default_rng(0)
normals = rng.normal(size=(1, 64, 64, 3)).astype(np.float32)
worst = 0.0
for count in (1, 4, 12, 32):
    directions = rng.normal(size=(count, 3)).astype(np.float32)
    exact = np.maximum((normals.astype(np.float64) * directions[:, None, None]).sum(-1), 0)
    worst = max(worst, *(float(np.abs(one(normals, directions) - exact).max()) for one in (last, first)))
print(worst)
"""
_GUARD = "from gan2shape_jax import xla_flags\nxla_flags.avoid_wrong_sums()\n"


def _largest_error(program: str) -> float:
    """Runs the program on the CPU without flags from outside; returns the error that it prints."""
    environ = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def test_sums_are_right_with_the_guard():
    assert _largest_error(_GUARD + _PROGRAM) < 1e-5


@pytest.mark.xfail(
    jaxlib.version.__version__ == "0.10.2" and (platform.system(), platform.machine()) == ("Linux", "x86_64"),
    reason="the fault of jaxlib 0.10.2 that xla_flags guards against",
    raises=AssertionError,
    strict=True,
)
def test_sums_are_right_without_the_guard():
    """Fails with a new jaxlib that computes them wrongly, for which `xla_flags._AFFECTED` then has to be extended."""
    error = _largest_error(_PROGRAM)
    assert error < 1e-5
