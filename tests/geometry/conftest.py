"""Both forms of what has a form of its own for TPU."""

import contextlib

import pytest

from gan2shape_jax.by_platform import emulated_tpu


@pytest.fixture(params=["", pytest.param(", as on TPU", marks=pytest.mark.heavy)])
def form(request):
    """Runs a test with the forms for CPU, and with those for TPU, whose kernels are interpreted; has its name."""
    with emulated_tpu() if request.param else contextlib.nullcontext():
        yield request.param
