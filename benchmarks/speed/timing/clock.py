"""Times calls side by side: a few of one, a few of the other, over and over."""

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import jax

# Calls of one before the other's turn: enough to be warm again, short compared with drifts of the machine's load.
_TURN = 3


@dataclasses.dataclass(frozen=True)
class Call:
    """Something to time.

    Attributes:
      run: does it once and returns when it is done.
      iterations: how many iterations of a step one call makes.
      first_s: seconds of the first call, including compilation; 0 if nothing is compiled.
    """

    run: Callable[[], None]
    iterations: int = 1
    first_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds per iteration (median and minimum), and of compilation before the first."""

    median_s: float
    least_s: float
    compile_s: float


def side_by_side(calls: Sequence[Call], rounds: int) -> list[Timing]:
    """Times calls in turns, at least `rounds` of each, after one uncounted call of each."""
    seconds: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call.run()
    while len(seconds[-1]) < rounds:
        for call, taken in zip(calls, seconds, strict=True):
            for _ in range(min(_TURN, rounds - len(taken))):
                begin = time.perf_counter()
                call.run()
                taken.append((time.perf_counter() - begin) / call.iterations)
    medians = [statistics.median(taken) for taken in seconds]
    compiling = [max(call.first_s - m * call.iterations, 0.0) for call, m in zip(calls, medians, strict=True)]
    return [Timing(*row) for row in zip(medians, map(min, seconds), compiling, strict=True)]


def host_peak_gib() -> float:
    """Peak memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def device_peak_gib() -> float | None:
    """Peak memory of JAX on its first device, GiB; None if the device does not report it."""
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None if peak is None else peak / 2**30
