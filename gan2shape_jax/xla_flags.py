"""Compiler switches that have to be set before JAX compiles anything."""

import os

import jaxlib.version

__all__ = ["avoid_wrong_sums"]

# jaxlib 0.10 fuses reductions into YNNPACK kernels on CPU, and a sum over a product with a broadcast
# operand then comes out wrong without any warning (shading met it: tests/test_lighting.py). An empty list of
# fusion types turns these kernels off. A jaxlib that does not know a flag refuses to start, hence the version.
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_AFFECTED = "0.10."


def avoid_wrong_sums() -> None:
    """Turns the faulty fusion off where this jaxlib has it, unless the user's XLA_FLAGS decide on it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.version.__version__.startswith(_AFFECTED) and _FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=".strip()
