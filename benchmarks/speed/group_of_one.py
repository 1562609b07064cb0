"""Compares the task of one image with a group of one image: bits, compile time, seconds per iteration of each step.

    python benchmarks/speed/group_of_one.py --config ictface:scratch --iterations 20

Both tasks run one stage side by side in one process: each compiles a step from scratch (no cache), then they take
turns, iteration by iteration. Every cell gives the task of one image / the group of one: wall time in seconds, and CPU
time (all cores), which other load on the machine affects less; iterations are medians. "Same bits" compares the
whole train state (networks, optimiser, factors, mask) after the step's iterations.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import statistics
import tempfile
import time
from typing import Any

from gan2shape_jax.run.malloc_tuning import restart_keeping_memory


@dataclasses.dataclass(frozen=True)
class Taken:
    """Seconds in both tasks: to compile and per iteration, wall time and CPU time."""

    compiling: list[float]
    compiling_cpu: list[float]
    iteration: list[float]
    iteration_cpu: list[float]


def _tasks(config: Any) -> tuple[Any, Any, Any]:
    """Returns the two tasks of the list's first image, and initial parameters."""
    import jax

    from gan2shape_jax.io import data
    from gan2shape_jax.method import models
    from gan2shape_jax.run import loading
    from gan2shape_jax.training import group, image_axis, tasks

    architecture, frozen = loading.load_frozen(config)
    name = data.read_names(config.data.image_list)[0]
    with tempfile.TemporaryDirectory() as latents:
        prepared = loading.load_problem(config, name, architecture, frozen, pathlib.Path(latents))
    initial = models.init_params(jax.random.key(config.seed), prepared.settings)
    alone = tasks.OneImage(prepared, frozen)
    return alone, group.gather([prepared], frozen, image_axis.layout_of(1)), initial


def _same_bits(state: Any, group_state: Any) -> bool:
    import jax
    import numpy as np

    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(group_state), strict=True)
    return all(np.array_equal(np.asarray(one), np.asarray(many)[0]) for one, many in pairs)


def _iterate(task: Any, state: Any, phase: Any, number: int, constants: Any) -> tuple[Any, float, float]:
    """Returns the state after an iteration, and its wall and CPU time in seconds."""
    import jax

    clock, cpu = time.perf_counter(), time.process_time()
    state, _ = task.advance(state, phase, number, constants, 1)
    jax.block_until_ready(state)
    return state, time.perf_counter() - clock, time.process_time() - cpu


def _measure(tasks: tuple[Any, Any], states: list[Any], phase: Any, iterations: int) -> Taken:
    """Runs iterations of a phase on both states, in turns."""
    states[:] = [task.begin(state, phase) for task, state in zip(tasks, states, strict=True)]
    constants = [task.phase_constants(state, phase) for task, state in zip(tasks, states, strict=True)]
    clocks: list[list[float]] = [[], []]
    processor: list[list[float]] = [[], []]
    for number in range(iterations + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            states[which], clock, cpu = _iterate(tasks[which], states[which], phase, number, constants[which])
            clocks[which].append(clock)
            processor[which].append(cpu)
    usual = [statistics.median(taken[1:]) for taken in clocks]
    usual_cpu = [statistics.median(taken[1:]) for taken in processor]
    return Taken(
        compiling=[taken[0] - least for taken, least in zip(clocks, usual, strict=True)],
        compiling_cpu=[taken[0] - least for taken, least in zip(processor, usual_cpu, strict=True)],
        iteration=usual,
        iteration_cpu=usual_cpu,
    )


def _row(phase: Any, taken: Taken, same_bits: bool) -> str:
    """Returns a row of the table as Markdown."""
    cells = [
        phase.label + (" mirrored" if phase.flip else ""),
        *(f"{one:.1f} / {many:.1f}" for one, many in (taken.compiling, taken.compiling_cpu)),
        *(f"{1e3 * one:.0f} / {1e3 * many:.0f}" for one, many in (taken.iteration, taken.iteration_cpu)),
        f"{taken.iteration_cpu[1] / taken.iteration_cpu[0]:.2f}",
        "yes" if same_bits else "no",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints a row for each step of the first stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ictface:scratch")
    parser.add_argument("--iterations", type=int, default=20)
    options = parser.parse_args()
    from gan2shape_jax.config import apply_overrides, load_config
    from gan2shape_jax.run import runtime

    config = apply_overrides(load_config(options.config), {"sampling.collect_iters": "4"})
    config.runtime.compilation_cache = "off"  # compilation is measured too
    runtime.set_up_runtime(config)
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    alone, of_one, initial = _tasks(config)
    states = [alone.initial(initial), of_one.initial(initial)]
    print("| step | compiling, s | of the processor | an iteration, ms | of the processor | ratio | same bits |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for phase in runtime.schedule_of(config)[:4]:
        taken = _measure((alone, of_one), states, phase, options.iterations)
        print(_row(phase, taken, _same_bits(*states)), flush=True)


if __name__ == "__main__":
    restart_keeping_memory()
    main()
