"""Compares the task of one image with a group of one image: bits, compile time, seconds an iteration of each step.

    python benchmarks/speed/group_of_one.py --config ictface --iterations 20

Both tasks go through one stage side by side in one process: each compiles a step anew (no cache), then they take turns,
iteration by iteration. Seconds are those of a clock, medians; compiling is told in processor seconds too, which other
work on the machine disturbs less. "Same bits" compares the whole train state (networks, optimiser, factors, mask) after
the step's iterations.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import statistics
import tempfile
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from gan2shape_jax.malloc_tuning import restart_keeping_memory


@dataclasses.dataclass(frozen=True)
class Row:
    """What a step takes in both tasks: (one image, group of one); seconds."""

    step: str
    compiling: tuple[float, float]
    compiling_cpu: tuple[float, float]
    iteration: tuple[float, float]
    same_bits: bool


def _tasks(config: Any) -> tuple[Any, Any, Any]:
    """Returns the two tasks of the list's first image, and initial parameters."""
    import jax

    from gan2shape_jax.inputs import data
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
    """Returns the state after an iteration, and its seconds by the clock and of the processor."""
    import jax

    clock, cpu = time.perf_counter(), time.process_time()
    state, _ = task.advance(state, phase, number, constants, 1)
    jax.block_until_ready(state)
    return state, time.perf_counter() - clock, time.process_time() - cpu


def _measure(tasks: tuple[Any, Any], states: list[Any], phase: Any, iterations: int) -> Row:
    """Carries both states through iterations of a phase, in turns."""
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
    return Row(
        phase.label + (" mirrored" if phase.flip else ""),
        (clocks[0][0] - usual[0], clocks[1][0] - usual[1]),
        (processor[0][0] - usual_cpu[0], processor[1][0] - usual_cpu[1]),
        (usual[0], usual[1]),
        _same_bits(*states),
    )


def main() -> None:
    """Prints a row for each step of the first stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ictface")
    parser.add_argument("--iterations", type=int, default=20)
    options = parser.parse_args()
    from gan2shape_jax.config.fields import apply_overrides, load_config
    from gan2shape_jax.run import runtime

    config = apply_overrides(load_config(options.config), {"sampling.collect_iters": "4"})
    config.runtime.compilation_cache = "off"  # compiling is measured too
    runtime.set_up_runtime(config)
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    alone, of_one, initial = _tasks(config)
    states = [alone.initial(initial), of_one.initial(initial)]
    table = Table("step", "compiling, s", "compiling, processor s", "an iteration, ms", "ratio", "same bits")
    for phase in runtime.schedule_of(config)[:4]:
        row = _measure((alone, of_one), states, phase, options.iterations)
        table.add_row(
            row.step,
            "{:.1f} / {:.1f}".format(*row.compiling),
            "{:.1f} / {:.1f}".format(*row.compiling_cpu),
            "{:.0f} / {:.0f}".format(*(1e3 * seconds for seconds in row.iteration)),
            f"{row.iteration[1] / row.iteration[0]:.2f}",
            "yes" if row.same_bits else "no",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    restart_keeping_memory()
    main()
