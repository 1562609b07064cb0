"""Flags of XLA: what an import leaves alone, and what is set before a computation."""

import os
import subprocess
import sys

import pytest

# Sums of products with a broadcast operand, an operation behind each: what jaxlib 0.10.2 computes wrongly on a CPU.
_SUMS = """
import jax, jax.numpy as jnp, numpy as np
def error():
    vectors = np.linspace(-1, 1, 64 * 64 * 3, dtype=np.float32).reshape(1, 64, 64, 3)
    directions = np.linspace(-1, 1, 16 * 3, dtype=np.float32).reshape(16, 1, 1, 3)
    sums = jax.jit(lambda a, b: jnp.abs(jnp.sum(a * b, axis=-1)))(vectors, directions)
    return float(np.abs(sums - np.abs((vectors * directions).sum(axis=-1))).max())
"""


def _run(code: str, **environ: str) -> str:
    """Runs code in a process of its own, without the flags of this one; returns what it printed, both streams."""
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"JAX_PLATFORMS": "cpu"} | environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_flags_of_the_user_stay():
    code = (
        "import os\nfrom gan2shape_jax import xla_flags\nxla_flags.avoid_wrong_sums()\nprint(os.environ['XLA_FLAGS'])"
    )
    own = "--xla_cpu_experimental_ynn_fusion_type=dot --xla_cpu_multi_thread_eigen=false"
    assert _run(code, XLA_FLAGS=own).strip() == own


def test_a_flag_is_added_once():
    code = (
        "import os\nfrom gan2shape_jax import xla_flags\n"
        "for _ in range(2): xla_flags.add_flag('--xla_dump_to=here')\nprint(os.environ['XLA_FLAGS'])"
    )
    flags = _run(code, XLA_FLAGS="--xla_cpu_multi_thread_eigen=false").split()
    assert flags == ["--xla_cpu_multi_thread_eigen=false", "--xla_dump_to=here"]


def test_a_flag_that_comes_too_late_is_told_once_where_sums_are_wrong():
    """With a jaxlib that computes them rightly there is nothing to tell."""
    code = (
        f"{_SUMS}\nimport os\nfrom gan2shape_jax import xla_flags\nwrong = error() > 1e-3\n"
        "for _ in range(2): xla_flags.avoid_wrong_sums()\n"
        "assert 'XLA_FLAGS' not in os.environ\nprint('wrong' if wrong else 'right')"
    )
    output = _run(code)
    wrong = output.splitlines()[-1] == "wrong"
    assert output.count("JAX started before gan2shape_jax") == int(wrong)
    assert not wrong or "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= in the environment" in output


@pytest.mark.parametrize("imported", ["jax", "jax, jax.numpy"])
def test_importing_jax_first_is_in_time(imported):
    code = (
        f"import {imported}\nfrom gan2shape_jax import xla_flags\nxla_flags.avoid_wrong_sums()\n{_SUMS}\nprint(error())"
    )
    assert float(_run(code)) < 1e-5
