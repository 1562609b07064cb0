"""Compiler flags that results depend on: set when a computation is requested, never by an import.

XLA reads its flags once, when JAX starts its first device.
"""

import functools
import os
import sys
import warnings

import jaxlib.version

__all__ = ["add_flag", "avoid_wrong_sums"]

# jaxlib 0.10 fuses reductions into YNNPACK kernels on CPU, and a sum over a product with a broadcast
# operand then comes out wrong without any warning (tests/test_xla_flags.py shows it). An empty list of
# fusion types turns these kernels off. A jaxlib that does not know a flag fails to start, hence the version.
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_AFFECTED = "0.10."


def add_flag(flag: str) -> None:
    """Adds `--name=value` to `XLA_FLAGS`, unless the user's `XLA_FLAGS` already set that name."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def avoid_wrong_sums() -> None:
    """Turns the faulty fusion off if this jaxlib has it, unless the user's `XLA_FLAGS` already set it.

    To be called before the first computation. If JAX has already started, the flag comes too late: then one sum is
    tried, and if it comes out wrong, a warning is given, once.
    """
    decided = _FLAG in os.environ.get("XLA_FLAGS", "")
    if decided or not jaxlib.version.__version__.startswith(_AFFECTED):
        return
    if _jax_has_started():  # a flag set now would only mislead JAX's compilation cache
        _warn_of_wrong_sums()
    else:
        add_flag(f"{_FLAG}=")


@functools.cache
def _warn_of_wrong_sums() -> None:
    """Warns, once, if this process computes sums wrongly."""
    if _sums_are_wrong():
        warnings.warn(
            "JAX started before gan2shape_jax could turn off a fault of jaxlib "
            f"{jaxlib.version.__version__}: on this CPU some sums come out wrong, and so may results. Start again and "
            "call gan2shape_jax (load_gan, say) before anything else computes with JAX, or start Python with "
            f"XLA_FLAGS={_FLAG}= in the environment",
            stacklevel=4,
        )


def _jax_has_started() -> bool:
    """Whether flags come too late; merely importing JAX starts nothing."""
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge  # no public function tells without starting the devices; only for jaxlib 0.10

    return xla_bridge.backends_are_initialized()


def _sums_are_wrong() -> bool:
    """Returns whether a sum of the affected kind comes out wrong on the default device."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    vectors = np.linspace(-1, 1, 64 * 64 * 3, dtype=np.float32).reshape(1, 64, 64, 3)
    directions = np.linspace(-1, 1, 16 * 3, dtype=np.float32).reshape(16, 1, 1, 3)
    # The fault needs an operation after the sum, and more than ten directions.
    sums = jax.jit(lambda a, b: jnp.sum(a * b, axis=-1) + 1)(vectors, directions)
    return not np.allclose(sums, (vectors * directions).sum(axis=-1) + 1, atol=1e-3)
