"""Times every step of a config: cold compilation, seconds an iteration, peak memory.

    python benchmarks/steps.py --config ictface --json steps.json

Compilation is measured without the persistent cache. The steps run on the first image of the list, with
the state that random weights give; step 3 sees samples that are zeros, which cost the same as others.
"""

import argparse
import json
import pathlib
import resource
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from gan2shape_jax import data, experiment, loading, models, stages
from gan2shape_jax.config import load_config
from gan2shape_jax.state import Samples, initial_state


def _context(state, phase, problem, fixed, settings):
    """Step 3's samples without collecting them; what the others prepare."""
    if phase.step != "step3":
        return stages.prepare(state, phase, problem, fixed, settings)
    size = settings.image_size
    return Samples(images=jnp.zeros((settings.sample_count, size, size, 3)),
                   masks=jnp.ones((settings.sample_count, size, size)))


def _measure(phase, prepared, fixed, initial, iterations: int) -> dict[str, float]:
    problem, settings = prepared.problem, prepared.settings
    begin = time.perf_counter()
    state = initial_state(jax.tree.map(lambda x: x.copy(), initial), settings)
    state = stages.begin(state, phase, problem, fixed, settings)
    context = _context(state, phase, problem, fixed, settings)
    state, _ = stages.advance(state, phase, 0, context, problem, fixed, settings)
    jax.block_until_ready(state)
    first = time.perf_counter() - begin
    seconds = []
    for i in range(1, iterations + 1):
        begin = time.perf_counter()
        state, _ = stages.advance(state, phase, i, context, problem, fixed, settings)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - begin)
    typical = statistics.median(seconds)
    return {"compile_s": first - typical, "iteration_s": typical, "least_s": min(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", default="ictface")
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    config = load_config(options.config)
    architecture, fixed = loading.load_frozen(config)
    name = data.read_names(config.data.image_list)[0]
    with tempfile.TemporaryDirectory() as latents:
        prepared = loading.prepare_image(config, name, architecture, fixed, pathlib.Path(latents))
    initial = models.init_params(jax.random.key(0), prepared.settings)
    found, seen = {}, set()
    for phase in experiment.schedule_of(config):
        if (phase.step, phase.flip) not in seen:
            seen.add((phase.step, phase.flip))
            label = phase.step + (" mirrored" if phase.flip else "")
            found[label] = _measure(phase, prepared, fixed, initial, options.iterations)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = sum(row["compile_s"] for row in found.values())
    table = Table("step", "compile, s", "iteration, ms", "least, ms")
    for label, row in found.items():
        cells = (f"{row['compile_s']:.1f}", f"{row['iteration_s'] * 1e3:.0f}", f"{row['least_s'] * 1e3:.0f}")
        table.add_row(label, *cells)
    Console().print(table)
    print(f"compilation of all: {total:.0f} s; peak memory {peak:.2f} GiB; {jax.devices()[0].device_kind}")
    if options.json:
        options.json.write_text(json.dumps({"steps": found, "compile_s": total, "peak_gib": peak}, indent=2) + "\n")


if __name__ == "__main__":
    main()
