"""Timing calls side by side: a few of one, a few of the other, over and over."""

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import jax

__all__ = ["Call", "Timing", "device_peak_gib", "host_peak_gib", "side_by_side"]

# So many calls of one before the other's turn: enough to be warm again, short beside what a machine's load drifts in.
_TURN = 3


@dataclasses.dataclass(frozen=True)
class Call:
    """Something to time.

    Attributes:
      run: does it once and returns when it is done.
      iterations: how many iterations of a step one call makes.
      first_s: seconds of the first call, compilation included; 0 where nothing is compiled.
    """

    run: Callable[[], None]
    iterations: int = 1
    first_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds an iteration (median and least), and of compilation before the first."""

    median_s: float
    least_s: float
    compile_s: float


def side_by_side(calls: Sequence[Call], rounds: int) -> list[Timing]:
    """Times calls in turns, at least `rounds` of each, after one of each that is not counted."""
    seconds: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call.run()
    while len(seconds[-1]) < rounds:
        for call, taken in zip(calls, seconds, strict=True):
            for _ in range(min(_TURN, rounds - len(taken))):
                begin = time.perf_counter()
                call.run()
                taken.append((time.perf_counter() - begin) / call.iterations)
    return [_timing(call, taken) for call, taken in zip(calls, seconds, strict=True)]


def _timing(call: Call, seconds: list[float]) -> Timing:
    median = statistics.median(seconds)
    return Timing(median, min(seconds), max(call.first_s - median * call.iterations, 0.0) if call.first_s else 0.0)


def host_peak_gib() -> float:
    """The most memory that this process has had so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def device_peak_gib() -> float | None:
    """The most memory that JAX has had on its first device, GiB; None where the device does not say."""
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None if peak is None else peak / 2**30
