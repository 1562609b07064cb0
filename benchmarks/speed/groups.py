"""Times groups of images against one image at a time: images per hour by group size, as a table and a plot.

    python benchmarks/speed/groups.py --config ictface:scratch --sizes 1 2 4 --json groups.json --plot groups.png

Every size has its own process (a CPU is divided into devices before it computes), and the sizes take turns:
`--rounds` of them, each timing `--iterations` iterations of every kind of step. Figures are medians; the last ratio
compares schedules made of the minimum times, which other load on the machine affects less. The time of the whole
schedule is that of its iterations, including samples; compilation is listed separately.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

from gan2shape_jax.run.malloc_tuning import restart_keeping_memory

_COLLECT = "collecting samples"


def _phases(config):
    """Kinds of iterations by label, and how many of each the schedule has."""
    from gan2shape_jax.run.runtime import schedule_of

    kinds: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for phase in schedule_of(config):
        label = phase.step + (" mirrored" if phase.flip else "")
        kinds.setdefault(label, phase)
        counts[label] = counts.get(label, 0) + phase.iterations
        if phase.step == "step3":
            counts[_COLLECT] = counts.get(_COLLECT, 0) + config.sampling.collect_iters
    return kinds, counts


def _task(config, size: int):
    """The task of `size` images (the list's, repeated), and their initial state."""
    import jax

    from gan2shape_jax.io import data
    from gan2shape_jax.method import models
    from gan2shape_jax.run import loading
    from gan2shape_jax.training import group, image_axis, tasks

    architecture, frozen = loading.load_frozen(config)
    listed = data.read_names(config.data.image_list)
    with tempfile.TemporaryDirectory() as latents:
        ready = [
            loading.load_problem(config, listed[i % len(listed)], architecture, frozen, pathlib.Path(latents))
            for i in range(size)
        ]
    initial = models.init_params(jax.random.key(config.seed), ready[0].settings)
    if size == 1:
        return tasks.OneImage(ready[0], frozen), initial
    return group.gather(ready, frozen, image_axis.layout_of(size)), initial


def _seconds(task, phase, initial, iterations: int) -> tuple[float, list[float]]:
    """Seconds of the first iteration, including compilation, and of the following ones."""
    import jax

    state = task.begin(task.initial(initial), phase)
    context = task.phase_constants(state, phase)
    taken = []
    for iteration in range(iterations + 1):
        begin = time.perf_counter()
        state, _ = task.advance(state, phase, iteration, context, 1)
        jax.block_until_ready(state)
        taken.append(time.perf_counter() - begin)
    return taken[0], taken[1:]


def _measure(name: str, size: int, iterations: int) -> dict[str, Any]:
    """Seconds of every kind of iteration for the whole group, measured in this process."""
    import resource

    from gan2shape_jax.config import apply_overrides, load_config
    from gan2shape_jax.run import runtime

    fields = {"runtime.images_at_once": str(size), "sampling.collect_iters": "4"}
    config = apply_overrides(load_config(name), fields)
    config.runtime.compilation_cache = "off"  # compilation is measured too
    runtime.set_up_runtime(config)
    import jax

    jax.config.update("jax_num_cpu_devices", size)  # a run has at most as many as cores: this shows why

    task, initial = _task(config, size)
    steps: dict[str, Any] = {}
    for label, phase in _phases(config)[0].items():
        first, rest = _seconds(task, phase, initial, iterations)
        steps[label] = {"seconds": rest, "first": first}
        if phase.step == "step3" and _COLLECT not in steps:
            state = task.begin(task.initial(initial), phase)
            begin = time.perf_counter()
            jax.block_until_ready(task.phase_constants(state, phase))
            steps[_COLLECT] = {"seconds": [(time.perf_counter() - begin) / config.sampling.collect_iters], "first": 0.0}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"steps": steps, "peak_gib": peak, "device": jax.devices()[0].device_kind, "devices": len(jax.devices())}


def _in_own_process(name: str, size: int, iterations: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--config", name, "--inner", str(size), "--iterations", str(iterations)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


def _summary(name: str, rounds: list[dict[str, Any]], size: int) -> dict[str, Any]:
    """Medians over rounds; the whole schedule's seconds for the group, images per hour."""
    from gan2shape_jax.config import load_config

    counts = _phases(load_config(name))[1]
    taken = {
        label: [s for measured in rounds for s in measured["steps"][label]["seconds"]] for label in rounds[0]["steps"]
    }
    steps = {label: statistics.median(seconds) for label, seconds in taken.items()}
    least = sum(counts[label] * min(seconds) for label, seconds in taken.items())
    compiling = min(sum(step["first"] for step in measured["steps"].values()) for measured in rounds)
    schedule = sum(counts[label] * seconds for label, seconds in steps.items())
    return {
        "size": size,
        "steps": steps,
        "schedule_s": schedule,
        "images_per_hour": 3600 * size / schedule,
        "least_schedule_s": least,
        "first_calls_s": compiling,
        "peak_gib": max(measured["peak_gib"] for measured in rounds),
        "device": rounds[0]["device"],
        "devices": rounds[0]["devices"],
    }


def _table(summaries: list[dict[str, Any]]) -> Table:
    table = Table(
        "images at once",
        *summaries[0]["steps"],
        "schedule, s an image",
        "images an hour",
        "ratio",
        "ratio, least",
        "first calls, s",
        "peak, GiB",
        title="milliseconds an iteration of the whole group",
    )
    for row in summaries:
        table.add_row(
            str(row["size"]),
            *(f"{seconds * 1e3:.0f}" for seconds in row["steps"].values()),
            f"{row['schedule_s'] / row['size']:.0f}",
            f"{row['images_per_hour']:.1f}",
            f"{row['images_per_hour'] / summaries[0]['images_per_hour']:.2f}",
            f"{summaries[0]['least_schedule_s'] / summaries[0]['size'] / row['least_schedule_s'] * row['size']:.2f}",
            f"{row['first_calls_s']:.0f}",
            f"{row['peak_gib']:.1f}",
        )
    return table


def _draw(summaries: list[dict[str, Any]], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.plot([row["size"] for row in summaries], [row["images_per_hour"] for row in summaries], "o-")
    most = max(row["images_per_hour"] for row in summaries)
    axes.set(
        xlabel="images at once",
        ylabel="images an hour",
        ylim=(0, 1.1 * most),
        xticks=[row["size"] for row in summaries],
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    restart_keeping_memory()  # as the program does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ictface:scratch")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--inner", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(_measure(options.config, options.inner, options.iterations)))
        return
    rounds: dict[int, list[dict[str, Any]]] = {size: [] for size in options.sizes}
    for _ in range(options.rounds):
        for size in options.sizes:
            rounds[size].append(_in_own_process(options.config, size, options.iterations))
    summaries = [_summary(options.config, rounds[size], size) for size in options.sizes]
    Console(width=140).print(_table(summaries))
    if options.json:
        options.json.write_text(json.dumps(summaries, indent=2) + "\n")
    if options.plot:
        _draw(summaries, options.plot)


if __name__ == "__main__":
    main()
