"""What a configuration says about how a run proceeds: its cadence, its devices, its compiled programs.

Compiled programs are kept on disk, so that a second start of the same command compiles nothing:

    CACHE/gan2shape_jax/xla-MACHINE/   CACHE is the user's cache folder: $XDG_CACHE_HOME, or ~/.cache on Linux

A cached program is the same machine code, so results are bit-identical with an empty and a full cache. It uses the
instruction set of the machine that compiled it, so MACHINE differs between kinds of CPU, which may share a home folder.
"""

import contextlib
import ctypes
import os
import pathlib
import platform
import sys
import warnings
import zlib

import jax
from ml_collections import ConfigDict

from gan2shape_jax import program_cache
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.files import folder_fault
from gan2shape_jax.training.loop import Cadence

# JAX's options; a user can override each with the environment variable of the same name. By default JAX does not cache
# programs that compile in less than a second: there are hundreds, and each start would compile all of them again.
_CACHING = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}


def keep_programs(setting: str) -> None:
    """Makes JAX keep compiled programs on disk, unless the process already does, as by JAX_COMPILATION_CACHE_DIR.

    The `setting` is that of `config.runtime.compilation_cache`: a folder, '' for the user's cache folder, or 'off'. A
    folder that cannot be written to causes a warning.
    """
    if setting == "off" or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    folder = pathlib.Path(os.path.expanduser(setting)).absolute() if setting else cache(f"xla-{_machine()}")
    if fault := folder_fault(folder):
        warnings.warn(
            f"compiled programs are not cached, the next start compiles again: {folder} {fault} "
            "(config.runtime.compilation_cache, or 'off')",
            stacklevel=2,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    program_cache.set_cache_dir(folder)
    for option, value in _CACHING.items():
        if option.upper() not in os.environ:
            jax.config.update(option, value)


def cadence_of(config: ConfigDict) -> Cadence:
    """Returns how often a run saves and logs, and how many iterations it compiles into one program."""
    # On a CPU, a scan over convolutions is tens of times slower than individual calls.
    automatic = 1 if jax.default_backend() == "cpu" else 10
    return Cadence(
        checkpoint=config.checkpoint.every_iterations,
        log=config.logging.every_iterations,
        per_call=config.runtime.iterations_per_call or automatic,
        keep=config.checkpoint.keep,
    )


def release_freed_memory() -> None:
    """Makes glibc return to the system what it has kept of freed memory, see `main.keep_freed_memory`.

    Without this a process grows from image to image: what lives on splits the free pieces, until arrays fit in none.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _machine() -> str:
    """Returns the machine's architecture with a checksum of the processor's features."""
    lines = [platform.processor()]
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() + lines
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), lines[-1])
    return f"{platform.machine() or 'any'}-{zlib.crc32(features.encode()):08x}"
