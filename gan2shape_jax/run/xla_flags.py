"""Compiler flags that results depend on: XLA reads them once, when JAX starts its first device."""

import os

import jaxlib.version


def add_flag(flag: str) -> None:
    """Adds `--name=value` to `XLA_FLAGS`, unless the user's `XLA_FLAGS` already set that name."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def avoid_wrong_sums() -> None:
    """Turns off a fusion with which jaxlib 0.10.2 computes wrong sums on a CPU; before the first computation."""
    if jaxlib.version.__version__ == "0.10.2":
        add_flag("--xla_cpu_experimental_ynn_fusion_type=")
