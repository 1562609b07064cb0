"""Memory that is freed stays with the process, and the program gets there by itself."""

import os
import platform
import subprocess
import sys

import pytest

from gan2shape_jax.run.malloc_tuning import TUNABLES

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is tuned")

_PROGRAM = """
import os, resource, sys
print(os.getpid(), flush=True)
from gan2shape_jax.malloc_tuning import restart_keeping_memory
restart_keeping_memory()
bytearray(64 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(64 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])
"""

_GIVES_BACK = """
import pathlib
from gan2shape_jax.malloc_tuning import give_back

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096

pieces = [bytearray(1 << 20) for _ in range(128)]
last = bytearray(1 << 10)  # the heap's end stays in use
del pieces
kept = resident()
give_back()
print(kept - resident())
"""


def _run(**environment: str) -> list[str]:
    decided = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(decided)}
    return _lines(_PROGRAM, inherited | environment)


def _lines(program: str, environment: dict[str, str]) -> list[str]:
    command = [sys.executable, "-c", program, "a b", "--c"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_restarts_once_in_the_same_process_with_the_same_arguments():
    first, second, last = _run()
    assert first == second
    assert last.endswith(f"{TUNABLES} ['a b', '--c']")


def test_what_is_freed_is_not_cleared_anew():
    kept, given_back = (int(_run(**environment)[-1].split()[0]) for environment in ({}, {"GLIBC_TUNABLES": ""}))
    assert given_back > 16000  # pages of 4 KiB in 64 MiB: 16384
    assert kept < 100


@pytest.mark.parametrize(("name", "value"), [("GLIBC_TUNABLES", "glibc.malloc.perturb=1"), ("MALLOC_ARENA_MAX", "2")])
def test_leaves_what_the_user_decided(name, value):
    lines = _run(**{name: value})
    assert len(lines) == 2
    assert TUNABLES not in lines[-1]


def test_what_is_kept_is_given_back_when_asked():
    (given_back,) = _lines(_GIVES_BACK, os.environ | {"GLIBC_TUNABLES": TUNABLES})
    assert int(given_back) > 100 << 20  # of 128 MiB
