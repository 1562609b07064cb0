"""Times checkpoints: how long `save` blocks training, how long the background write takes, and what it costs.

    python benchmarks/speed/saving.py --config ictface:scratch --every 10 --saves 5

Runs step 3 of the first image with random networks, on the GAN's first samples; compilation is not timed.
Rounds with and without saving alternate.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import jax

from gan2shape_jax.config import load_config
from gan2shape_jax.io import data
from gan2shape_jax.method import models
from gan2shape_jax.run import loading
from gan2shape_jax.run.runtime import schedule_of
from gan2shape_jax.training import tasks
from gan2shape_jax.training.checkpoint import Checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ictface:scratch")
    parser.add_argument("--every", type=int, default=10, help="iterations between two checkpoints")
    parser.add_argument("--saves", type=int, default=5)
    options = parser.parse_args()
    config = load_config(options.config).unlock()
    config.sampling.collect_iters = 2
    architecture, frozen = loading.load_frozen(config)
    name = data.read_names(config.data.image_list)[0]
    with tempfile.TemporaryDirectory() as scratch, Checkpoints(pathlib.Path(scratch) / "saved", keep=2) as saved:
        prepared = loading.load_problem(config, name, architecture, frozen, pathlib.Path(scratch))
        task = tasks.OneImage(prepared, frozen)
        phase = next(phase for phase in schedule_of(config) if phase.step == "step3")
        state = task.begin(task.initial(models.init_params(jax.random.key(0), prepared.settings)), phase)
        context = task.phase_constants(state, phase)
        done, blocked = 0, []

        def train(state, iterations: int):
            nonlocal done
            for _ in range(iterations):
                state, _ = task.advance(state, phase, done, context, 1)
                jax.block_until_ready(state)
                done += 1
            return state

        state = train(state, 2)
        rounds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.saves):
            for saving in rounds:
                begin = time.perf_counter()
                if saving:
                    saved.save(done, state, {})
                    blocked.append(time.perf_counter() - begin)
                state = train(state, options.every)
                rounds[saving].append(time.perf_counter() - begin)
        with Checkpoints(pathlib.Path(scratch) / "alone", keep=1) as alone:
            begin = time.perf_counter()
            alone.save(done, state, {})
        whole = time.perf_counter() - begin  # exiting waits for the write
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 2**20
    plain, with_save = (statistics.median(rounds[saving]) for saving in (False, True))
    print(
        f"{size:.0f} MiB; save returns after {statistics.median(blocked) * 1e3:.0f} ms (longest "
        f"{max(blocked) * 1e3:.0f}), is written after {whole * 1e3:.0f} ms; {options.every} iterations take "
        f"{plain * 1e3:.0f} ms, with a checkpoint {with_save * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
