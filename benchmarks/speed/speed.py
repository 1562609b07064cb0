"""Times train steps, alone or beside the same work in PyTorch (`torch_reference` beside this file).

    python benchmarks/speed/speed.py ictface:scratch --torch
    python benchmarks/speed/speed.py celeba --random-weights --iterations 6 --torch --device cuda

Fields are set as in a run, `--config.sampling.batch_size=4`. Steps run on the first image of the list; step 3 uses
samples of zeros, which cost the same. Compilation time is the first call minus a later one: measure it without a
persistent cache. Our iterations and PyTorch's take turns. A ratio above 1 means that PyTorch took longer.
"""

import argparse
import dataclasses
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import subjects
from rich.console import Console
from rich.table import Table
from subjects import COLLECT, Subject

from gan2shape_jax.errors import UserError
from gan2shape_jax.main import keep_freed_memory
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import Iteration, ProjectedSamples, TrainState, initial_state
from gan2shape_jax.method.step3 import collect_batch
from gan2shape_jax.plan.runtime import cadence_of
from gan2shape_jax.training.task import OneImage

# Calls of one before the other's turn: enough to be warm again, short compared with drifts of the machine's load.
_TURN = 3
_LIGHT = (0.5, 0.5, 0.0, 0.0)  # ambient, diffuse, dx, dy of step 2's renderings
OURS, THEIRS = "jax", "torch"


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


# Of each kind of iteration, by name, the timing of each program.
Rows = Mapping[str, Mapping[str, Timing]]


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


def _initial(subject: Subject) -> TrainState:
    """The initial state, with the prior's depth and the input as albedo for step 2's renderings."""
    state = initial_state(jax.tree.map(jnp.array, subject.params), subject.settings)
    factors = dataclasses.replace(
        state.factors,
        depth=jnp.array(subject.example.prior),
        albedo=jnp.array(subject.example.image[0]),
        light=jnp.array(_LIGHT),
    )
    return dataclasses.replace(state, factors=factors)


def train_step(subject: Subject, phase: Phase) -> Call:
    """Iterations of a phase from the initial parameters, compiled."""
    task, settings = OneImage(subject.context), subject.settings
    begin = time.perf_counter()
    state = task.begin(_initial(subject), phase)
    if phase.step == "step3":
        size = settings.image_size
        constants: Any = ProjectedSamples(
            images=jnp.zeros((settings.sample_count, size, size, 3)),
            masks=jnp.ones((settings.sample_count, size, size)),
        )
    else:
        constants = task.phase_constants(state, phase)
    count = cadence_of(subject.config).per_call
    carried = {"state": state, "iteration": 0}

    def run() -> None:
        state, _ = task.advance(carried["state"], phase, carried["iteration"], constants, count)
        carried.update(state=jax.block_until_ready(state), iteration=carried["iteration"] + count)

    run()
    return Call(run, count, time.perf_counter() - begin)


def collecting(subject: Subject) -> Call:
    """The projection of one batch of pseudo-images, with which step 3 begins, compiled."""
    collect, state = jax.jit(collect_batch), _initial(subject)
    iteration = Iteration(subject.example.key, 0, state.factors)

    def run() -> None:
        jax.block_until_ready(collect(state.params, iteration, subject.context))

    begin = time.perf_counter()
    run()
    return Call(run, first_s=time.perf_counter() - begin)


def torch_calls(subject: Subject, device: str) -> dict[str, Call]:
    """Every kind of iteration in PyTorch, by name, on all cores of a CPU as JAX has them."""
    import torch  # optional
    from torch_reference import scene, steps

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    model = steps.model_of(subject.params, subject.example, subject.frozen, subject.settings, device=device)
    depth, settings = model.prior[None], subject.settings

    def training(step: str, flip: bool) -> steps.Training:
        """A step that starts where ours does."""
        result = steps.Training(model, step, flip=flip)
        result.factors = steps.Factors(
            depth=depth,
            normal=scene.normals(depth, settings.camera, unit=settings.unit_normals),
            albedo=model.image,
            light=model.view_mean.new_tensor([_LIGHT]),
            mask=torch.ones_like(model.mask),
        )
        return result

    def call(run: Callable[[], Any]) -> Call:
        def finished() -> None:
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        return Call(finished)

    calls = {name: call(training(phase.step, phase.flip).update) for name, phase in subject.phases.items()}
    return calls | {COLLECT: call(training("step2", False).collect)}


def whole_schedule_s(rows: Rows, iterations: Mapping[str, int]) -> dict[str, float]:
    """Seconds of an image's whole schedule by program, from the medians, without compilation, inversion and outputs."""
    who = next(iter(rows.values()))
    return {name: sum(rows[row][name].median_s * count for row, count in iterations.items()) for name in who}


def table_of(name: str, rows: Rows, iterations: Mapping[str, int]) -> Table:
    """Milliseconds of an iteration of each step, and seconds of the whole schedule."""
    totals = whole_schedule_s(rows, iterations)
    columns = ["iterations", "compile, s", "jax, median", "least"]
    columns += ["torch, median", "least", "ratio"] if THEIRS in totals else []
    table = Table("", *columns, title=f"{name}: an iteration of each step, ms")
    for row, timings in rows.items():
        cells = [str(iterations[row]), f"{timings[OURS].compile_s:.1f}"]
        for timing in timings.values():
            cells += [f"{timing.median_s * 1e3:.1f}", f"{timing.least_s * 1e3:.1f}"]
        if THEIRS in timings:
            cells.append(f"{timings[THEIRS].median_s / timings[OURS].median_s:.2f}")
        table.add_row(row, *cells, end_section=row == COLLECT)
    compiling = sum(timings[OURS].compile_s for timings in rows.values())
    cells = [cell for total in totals.values() for cell in (f"{total:.1f}", "")]
    ratio = [f"{totals[THEIRS] / totals[OURS]:.2f}"] if THEIRS in totals else []
    table.add_row("whole schedule, s", "", f"{compiling:.1f}", *cells, *ratio)
    return table


def _parse() -> tuple[argparse.Namespace, dict[str, str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", help="the configuration")
    parser.add_argument("--iterations", type=int, default=12, help="timed calls of each")
    parser.add_argument("--random-weights", action="store_true", help="draw what a configuration has no file of")
    parser.add_argument("--torch", action="store_true", help="PyTorch beside it")
    parser.add_argument("--device", default="cpu", help="PyTorch's: cpu or cuda")
    options, rest = parser.parse_known_args()
    overrides = {}
    for argument in rest:
        field, equals, value = argument.removeprefix("--config.").partition("=")
        if not (argument.startswith("--config.") and equals):
            parser.error(f"{argument!r}: fields are set as --config.FIELD=VALUE")
        overrides[field] = value
    return options, overrides


def main() -> None:
    options, overrides = _parse()
    keep_freed_memory()  # as the program does
    try:
        subject = subjects.load(options.name, overrides, random_weights=options.random_weights)
    except UserError as error:
        raise SystemExit(str(error)) from error
    ours = {name: train_step(subject, phase) for name, phase in subject.phases.items()} | {COLLECT: collecting(subject)}
    peaks = [f"process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}"]
    if (memory := jax.devices()[0].memory_stats()) and "peak_bytes_in_use" in memory:
        peaks.append(f"device {memory['peak_bytes_in_use'] / 2**30:.2f}")
    by_who = {OURS: ours} | ({THEIRS: torch_calls(subject, options.device)} if options.torch else {})
    rows = {}
    for name in ours:
        timings = side_by_side([calls[name] for calls in by_who.values()], options.iterations)
        rows[name] = dict(zip(by_who, timings, strict=True))
        print(f"{name}: {', '.join(f'{who} {t.median_s * 1e3:.1f} ms' for who, t in rows[name].items())}", flush=True)
    Console(width=140).print(table_of(options.name, rows, subject.iterations))
    print(f"peak memory with JAX alone, GiB: {', '.join(peaks)}; {jax.devices()[0].device_kind}, jax {jax.__version__}")
    if subject.drawn:
        print("drawn at random:", ", ".join(subject.drawn))


if __name__ == "__main__":
    main()
