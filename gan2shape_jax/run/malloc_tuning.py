"""Keeps the memory that XLA frees on a CPU for the next iteration.

XLA allocates the temporaries of every call with `malloc` and frees them afterwards. glibc returns blocks of that size
to the system at once, and the next call waits while the system clears tens of thousands of 4 KiB pages again: a
fifth of an iteration at the published widths (docs/reports/speed.md). Here freed memory stays with the process, in
pages of 2 MiB if the system provides them. glibc reads these settings from the environment, before Python starts, and
has no call that does all of it later: hence the restart.

Memory is kept for the next iteration only, so it is given back wherever one kind of work ends and another begins
(`give_back`): otherwise the memory of compilers, searches and earlier steps would add up to more than any one needs.
"""

import contextlib
import ctypes
import functools
import os
import platform
import sys
from collections.abc import Callable

__all__ = ["TUNABLES", "give_back", "restart_keeping_memory"]

_VARIABLE = "GLIBC_TUNABLES"
# `hugetlb` 1: pages of 2 MiB on request (madvise). `mmap_max` 0: no separate mappings, which `free` would undo. The
# threshold is beyond any machine: the heap never shrinks. `top_pad`: bytes by which it grows at least. `arena_max`: at
# most so many heaps, as each keeps what was freed in it; by default XLA's dozens of threads have up to eight per core.
TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,
        "mmap_max": 0,
        "trim_threshold": 1 << 40,
        "top_pad": 64 << 20,
        "arena_max": 2,
    }.items()
)


def restart_keeping_memory() -> None:
    """Restarts this program, in this process and with the same arguments, with glibc set to keep memory.

    Does nothing without glibc, or if the environment already decides: with `GLIBC_TUNABLES` (even if empty, so a
    program restarts only once), `MALLOC_*`, or another allocator in `LD_PRELOAD`. Only for the start of a command:
    whatever the process has done until then is lost.
    """
    decided = any(name in (_VARIABLE, "LD_PRELOAD") or name.startswith("MALLOC_") for name in os.environ)
    if decided or not sys.executable or platform.libc_ver()[0] != "glibc":
        return
    os.environ[_VARIABLE] = TUNABLES
    with contextlib.suppress(OSError):  # continue without
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def give_back() -> None:
    """Returns all whole free pages of memory to the system; takes milliseconds. Does nothing without glibc."""
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    if platform.libc_ver()[0] != "glibc":
        return lambda pad: None
    trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    return trim
