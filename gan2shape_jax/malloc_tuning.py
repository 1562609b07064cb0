"""Keeps the memory that XLA frees on a CPU, for the next iteration.

XLA takes the temporaries of every call from `malloc` and gives them back after it. glibc returns pieces of that size to
the system at once, and the next call waits while the system clears tens of thousands of pages of 4 KiB anew: a
fifth of an iteration at the published widths (docs/reports/speed.md). Here what is freed stays with the process, in
pages of 2 MiB where the system lends them. glibc reads this from the environment, before Python starts, and has no
call that does all of it later: hence the restart.
"""

import contextlib
import os
import platform
import sys

__all__ = ["TUNABLES", "restart_keeping_memory"]

_VARIABLE = "GLIBC_TUNABLES"
# `hugetlb` 1: pages of 2 MiB on request (madvise). `mmap_max` 0: no mappings of their own, which `free` would undo. The
# threshold is beyond any machine: the heap never shrinks. `top_pad`: bytes by which it grows at least.
TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 1 << 40, "top_pad": 64 << 20}.items()
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
