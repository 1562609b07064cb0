"""Compiled programs kept on disk, so that a second start of the same command compiles nothing.

    CACHE/gan2shape_jax/xla-MACHINE/   CACHE is the user's cache folder: $XDG_CACHE_HOME, or ~/.cache on Linux

JAX looks up a program by its operations, the compiler's version and flags, and the devices. A cached program is the
same machine code, so results are bit-identical with an empty and a full cache. Programs for a CPU use the instruction
set of the machine that compiled them, so MACHINE differs between kinds of CPU, which may share a home folder.
"""

from __future__ import annotations

import os
import pathlib
import platform
import warnings
import zlib

import jax

from gan2shape_jax.io.bundled import cache

__all__ = ["OFF", "default_folder", "use"]

OFF = "off"
_FOLDER = "jax_compilation_cache_dir"

# JAX's options; a user can override each with the environment variable of the same name. By default JAX does not cache
# programs that compile in less than a second: there are hundreds, and each start would compile all of them again.
_OPTIONS = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}


def default_folder() -> pathlib.Path:
    """Returns this user's folder of compiled programs for this kind of machine."""
    return cache(f"xla-{_machine()}")


def use(setting: str) -> pathlib.Path | None:
    """Makes JAX cache compiled programs; must precede the first computation to cover everything.

    A cache that the process already uses, through JAX_COMPILATION_CACHE_DIR or otherwise, is kept.

    Args:
      setting: `config.runtime.compilation_cache`: a folder, '' for the user's cache folder, or 'off'.

    Returns:
      The folder in use, or None if there is none. A folder that cannot be written to causes a warning.
    """
    present = getattr(jax.config, _FOLDER)
    if present or setting == OFF:
        return pathlib.Path(present) if present else None
    folder = pathlib.Path(os.path.expanduser(setting)).absolute() if setting else default_folder()
    reason = _unwritable(folder)
    if reason:
        warnings.warn(
            f"compiled programs are not kept, the next start compiles again: {folder} cannot be written ({reason}); "
            "name another folder with config.runtime.compilation_cache, or 'off'",
            stacklevel=2,
        )
        return None
    jax.config.update(_FOLDER, str(folder))
    for option, value in _OPTIONS.items():
        if option.upper() not in os.environ:
            jax.config.update(option, value)
    return folder


def _unwritable(folder: pathlib.Path) -> str:
    """Returns why the folder cannot be created or written to, or ''."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(folder, os.W_OK) else "it is read-only"


def _machine() -> str:
    """Returns the machine's architecture with a checksum of the processor's features."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
    return f"{platform.machine() or 'any'}-{zlib.crc32(features.encode()):08x}"
