"""Keeps the memory that XLA frees on a CPU, for the next iteration.

XLA takes the temporaries of every call from `malloc` and gives them back after it. glibc returns pieces of that size to
the system at once, and the next call waits while the system clears tens of thousands of pages of 4 KiB anew: a
fifth of an iteration at the published widths (docs/reports/speed.md). Here what is freed stays with the process, in
pages of 2 MiB where the system lends them. glibc reads this from the environment, before Python starts, and has no
call that does all of it later: hence the restart.

What is kept is what a next iteration needs, and so it is given back where one kind of work ends and another begins
(`give_back`): else the memory of compilers, searches and earlier steps adds up to what none of them needs.
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
# `hugetlb` 1: pages of 2 MiB on request (madvise). `mmap_max` 0: no mappings of their own, which `free` would undo. The
# threshold is beyond any machine: the heap never shrinks. `top_pad`: bytes by which it grows at least. `arena_max`: of
# heaps, since each keeps what was freed in it; by default XLA's dozens of threads have up to eight a core.
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
    """Starts this program again, in this process and with the same arguments, with glibc told to keep memory.

    Nothing happens without glibc, nor where the environment decides already: with `GLIBC_TUNABLES` (an empty one
    too; so a program restarts once), `MALLOC_*`, or another allocator in `LD_PRELOAD`. Only for the start of a
    command: whatever the process has done until then is lost.
    """
    decided = any(name in (_VARIABLE, "LD_PRELOAD") or name.startswith("MALLOC_") for name in os.environ)
    if decided or not sys.executable or platform.libc_ver()[0] != "glibc":
        return
    os.environ[_VARIABLE] = TUNABLES
    with contextlib.suppress(OSError):  # goes on as it is
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def give_back() -> None:
    """Gives the system all whole pages of memory that is free; takes milliseconds. Without glibc nothing happens."""
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    if platform.libc_ver()[0] != "glibc":
        return lambda pad: None
    trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    return trim
