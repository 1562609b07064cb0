"""Compiled programs, most of the suite's time: each is compiled once, and quickly rather than well."""

import os
import pathlib

import jax
import jaxlib.version

_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# Without its emitters of fused operations, XLA compiles a training step in 40% of the time.
_QUICKLY = ("--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false")


def compile_quickly() -> None:
    """Has XLA compile in a fifth of the time, programs that run more slowly, for this process and those of tests.

    What tests compare are two results of one build, or a result with a tolerance. `--optimised` compiles as users do.
    """
    known = _QUICKLY if jaxlib.version.__version__.startswith("0.10.") else _QUICKLY[:1]  # XLA ends at unknown flags
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = " ".join([flags, *(flag for flag in known if flag.partition("=")[0] not in flags)])


def keep() -> None:
    """Keeps compiled programs in one folder for this process, pytest-xdist's workers, tests' processes and later runs.

    The folder is `.cache/programs` of the checkout unless JAX_COMPILATION_CACHE_DIR names one. Two processes may write
    the same program: JAX takes one that it cannot read for absent.
    """
    os.environ.setdefault(_FOLDER, str(pathlib.Path(__file__).parents[2] / ".cache" / "programs"))  # workers inherit it
    os.environ.setdefault(_SECONDS, "0.2")
    # JAX was imported before: it has read its variables.
    jax.config.update(_FOLDER.lower(), os.environ[_FOLDER])
    jax.config.update(_SECONDS.lower(), float(os.environ[_SECONDS]))


def too_many() -> bool:
    """Whether this process nears the number of memory maps that Linux allows one, 65,530 by default.

    Where that cannot be told, programs are always too many.
    """
    try:
        with pathlib.Path("/proc/self/maps").open("rb") as maps:
            return sum(1 for _ in maps) > 20_000
    except OSError:
        return True
