"""What a test costs: processor seconds, those of tracing and compiling among them, and the memory of its process.

A quick test, or a fixture that several share, that compiles for too long fails by name; compiled programs are dropped
before a process grows too large. All of it is about this process: what its children compile is theirs.
"""

import contextlib
import ctypes
import gc
import json
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator

import jax
import jax.monitoring
import pytest

try:
    import resource
except ImportError:  # Windows
    resource = None

_SEEN = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
# So many times as long as a test may a fixture compile that a module or a session shares: it is made for several.
_SHARED = 12
# Checks of signatures make tracing a third longer.
_CHECKED = 1.5
_UNLIMITED = ("heavy", "slow", "ci", "browser")
_GIB = 1 << 30
# A test adds up to 0.5 GiB, and a process is not to grow beyond 3 GB.
_LARGE = 2.0 * _GIB


class Meter:
    """Counts processor seconds of this process in tracing, lowering and compiling; one within another counts once."""

    def __init__(self) -> None:
        self.seconds, self.programs = 0.0, 0
        self._open = threading.local()
        jax.monitoring.register_scalar_listener(self._begins)
        jax.monitoring.register_event_duration_secs_listener(self._ends)

    def _begins(self, event: str, value: float, **_) -> None:
        if event in _SEEN:
            starts = self._open.__dict__.setdefault("starts", [])
            starts.append(time.process_time())

    def _ends(self, event: str, duration: float, **_) -> None:
        if event in _SEEN and (starts := self._open.__dict__.get("starts")):
            started = starts.pop()
            self.programs += event == _SEEN[2]
            if not starts:
                self.seconds += time.process_time() - started


def resident() -> int:
    """Bytes of this process in memory; 0 where that cannot be told."""
    try:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _peak() -> int:
    """Bytes that this process had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if resource else 0


def _maps() -> int:
    """How many memory maps this process has: each compiled program is a few, and Linux allows one 65,530 by default."""
    try:
        with pathlib.Path("/proc/self/maps").open("rb") as maps:
            return sum(1 for _ in maps)
    except OSError:
        return 0


def drop_programs() -> None:
    """Forgets traces and compiled programs, and hands their memory back to the system."""
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


class Costs:
    """A plugin of pytest: bounds what a quick test takes for compiling, and records costs in a file if one is named."""

    def __init__(self, *, most: float, checked: bool, record: pathlib.Path | None) -> None:
        self.meter, self.record = Meter(), record
        self.most = most * (_CHECKED if checked else 1)
        self._own = self._shared = self._floor = 0.0  # seconds of this test, and of what it shares; bytes
        self._again = False  # whether tests of this file compile again what was dropped

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem) -> Iterator[None]:
        self._own = self._shared = 0.0
        times, seconds, programs = os.times(), self.meter.seconds, self.meter.programs
        done = yield
        if self.record:
            used = [b - a for a, b in zip(times[:4], os.times()[:4])]
            cost = {
                "test": item.nodeid,
                "seconds": sum(used),
                "children": sum(used[2:]),
                "compiling": self.meter.seconds - seconds,
                "own": self._own,
                "programs": self.meter.programs - programs,
                "memory": resident() / _GIB,
                "peak": _peak() / _GIB,
            }
            with self.record.open("a") as file:
                file.write(json.dumps(cost) + "\n")
        self._bound_memory(last=nextitem is None or nextitem.path != item.path)
        return done

    def _bound_memory(self, last: bool) -> None:
        """Drops programs where the process has grown large; where it stays large, not again after each test."""
        if resident() > max(_LARGE, self._floor + 0.4 * _GIB) or (last and _maps() > 20_000):
            drop_programs()
            self._floor, self._again = resident(), True
        if last:
            self._again = False

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request) -> Iterator[object]:
        before, shared = self.meter.seconds, self._shared
        made = yield
        if fixturedef.scope != "function":
            spent = self.meter.seconds - before
            own, self._shared = spent - (self._shared - shared), shared + spent
            require_quick(request._pyfuncitem, f"fixture {fixturedef.argname}", own, _SHARED * self.most)
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item) -> Iterator[None]:
        with self._counted():
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item) -> Iterator[None]:
        with self._counted():
            yield
        if not self._again:
            require_quick(item, f"test {item.nodeid}", self._own, self.most)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        before = self.meter.seconds - self._shared
        try:
            yield
        finally:
            self._own += self.meter.seconds - self._shared - before


def require_quick(item: pytest.Item, what: str, spent: float, most: float) -> None:
    """Fails a quick test, of which `what` has spent so many processor seconds, if that is too much."""
    if spent > most and not any(map(item.get_closest_marker, _UNLIMITED)):
        pytest.fail(
            f"the {what} spent {spent:.1f} processor seconds on tracing and compiling, and may spend {most:g}: let it "
            "use a smaller model or a program that others use too, or mark it `heavy` (docs/reports/test_suite.md); on "
            "a slow machine, allow more by --compiling",
            pytrace=False,
        )
