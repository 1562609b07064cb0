"""Trains the same faces in float32 and in bfloat16 and tabulates SIDE, MAD and seconds.

    python benchmarks/speed/precision.py --faces 001 002 --seeds 0 1 --stages 200 200 150 --prior 300 --collect 20

Both use a schedule of one stage and the same seeds, latents and weights; `--json` saves the figures. Below the runs are
the means, and the mean difference of bfloat16, paired by face and seed, with its standard error. Also tabulates how
far bfloat16 takes each network's output from float32's on the first face, once its depth has been fitted to the
prior: the encoder is shown although it always computes in float32, because this is the reason why it does.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import statistics
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from gan2shape_jax.config import load_config
from gan2shape_jax.geometry import lighting
from gan2shape_jax.io import data
from gan2shape_jax.method import image_terms, iteration, metrics, models, projection, reconstruction
from gan2shape_jax.method.state import PreparedImage, TrainState, initial_state
from gan2shape_jax.networks.precision import PRECISIONS, to_compute_dtype
from gan2shape_jax.run import loading
from gan2shape_jax.run.malloc_tuning import restart_keeping_memory
from gan2shape_jax.run.runtime import schedule_of
from gan2shape_jax.training import tasks


def _config(options: argparse.Namespace, seed: int):
    config = load_config("ictface:scratch").unlock()
    config.seed = seed
    config.schedule.stages = (tuple(options.stages),)
    config.schedule.flip1, config.schedule.flip3 = (False,), (True,)
    config.prior.iterations = options.prior
    config.sampling.collect_iters = options.collect
    return config.lock()


def _train(config, prepared: PreparedImage, frozen, initial) -> tuple[dict[str, float], TrainState]:
    """Final errors and seconds, including all compilation but no loading; the state after fitting the prior."""
    problem, settings = prepared.problem, prepared.settings
    state = initial_state(jax.tree.map(jnp.array, initial), settings)
    fitted, iterating, begin = state, 0.0, time.perf_counter()
    for phase in schedule_of(config):
        state = iteration.begin(state, phase, problem, frozen, settings)
        context = iteration.phase_constants(state, phase, problem, frozen, settings)
        for i in range(phase.iterations):
            before = time.perf_counter()
            state, _ = iteration.advance(state, phase, i, context, problem, frozen, settings)
            jax.block_until_ready(state)
            iterating += (time.perf_counter() - before) * (i > 0)
        if phase.step == "prior":
            fitted = jax.tree.map(jnp.array, state)
    errors = tasks.scores(reconstruction.see(state, problem, frozen, settings), problem, settings)
    seconds = {"seconds": time.perf_counter() - begin, "seconds of iterations": iterating}
    return {key: errors[key] for key in ("side", "mad_unit")} | seconds, fitted


def _relative(low: jax.Array, full: jax.Array) -> float:
    return float(jnp.abs(low - full).mean() / jnp.abs(full).mean())


def _outputs(params, prepared: PreparedImage, frozen) -> dict[str, float]:
    """Errors of bfloat16: relative ones, and normals in degrees."""
    problem, full = prepared.problem, dataclasses.replace(prepared.settings, precision="float32")
    low = dataclasses.replace(full, precision="bfloat16")
    both = jnp.concatenate([problem.image, problem.gan_image])
    encoder = models.modules(full)["encoder"]

    def code(precision) -> jax.Array:
        weights = to_compute_dtype(params["encoder"], precision, keep=("output",))
        codes = encoder.apply({"params": weights}, to_compute_dtype(both, precision))
        return codes[:1] - codes[1:]

    normal = [lighting.normals(models.depth(params, problem.image, s), full.camera) for s in (low, full)]
    features = [image_terms.perceptual_features(problem.image, frozen, s) for s in (low, full)]
    pictures = [projection.synthesize(problem.latent, frozen, s) for s in (low, full)]
    return {
        "normals of the depth network, degrees": float(metrics.mean_angle(*normal, jnp.ones(normal[0].shape[:-1]))[0]),
        "albedo": _relative(*(models.albedo(params, problem.image, s) for s in (low, full))),
        "GAN's picture": _relative(*pictures),
        "discriminator's features, deepest": _relative(features[0][-1], features[1][-1]),
        "encoder: difference of the codes of image and GAN's picture": _relative(code("bfloat16"), code("float32")),
    }


def _summary(rows: list[dict[str, Any]]) -> str:
    """Means by precision, and bfloat16 minus float32 over pairs of runs."""
    lines = []
    for key, digits in (("side", 4), ("mad_unit", 1), ("seconds of iterations", 1)):
        ends = {name: [row[key] for row in rows if row["precision"] == name] for name in PRECISIONS}
        apart = [low - full for low, full in zip(ends["bfloat16"], ends["float32"], strict=True)]
        error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else float("nan")
        means = ", ".join(f"{name} {statistics.fmean(values):.{digits}f}" for name, values in ends.items())
        lines.append(f"{key}: {means}; difference {statistics.fmean(apart):+.{digits}f} +- {error:.{digits}f}")
    return "\n".join(lines)


def main() -> None:
    restart_keeping_memory()  # as the program does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--faces", nargs="+", default=["001", "002"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--stages", type=int, nargs=3, default=[200, 200, 150], help="iterations of steps 1, 2, 3")
    parser.add_argument("--prior", type=int, default=300)
    parser.add_argument("--collect", type=int, default=20, help="batches of samples for step 3")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    configs = {seed: _config(options, seed) for seed in options.seeds}
    config = configs[options.seeds[0]]
    architecture, frozen = loading.load_frozen(config)
    names = [n for n in data.read_names(config.data.image_list) if pathlib.PurePath(n).stem in options.faces]
    rows, outputs = [], {}
    table = Table("face", "seed", "precision", "SIDE", "MAD, unit normals", "seconds", "of iterations")
    for name, seed in itertools.product(names, options.seeds):
        with tempfile.TemporaryDirectory() as latents:
            prepared = loading.load_problem(configs[seed], name, architecture, frozen, pathlib.Path(latents))
        initial = models.init_params(jax.random.key(seed), prepared.settings)
        for precision in PRECISIONS:
            chosen = dataclasses.replace(prepared, settings=dataclasses.replace(prepared.settings, precision=precision))
            row, fitted = _train(config, chosen, frozen, initial)
            outputs = outputs or _outputs(fitted.params, prepared, frozen)
            rows.append({"face": prepared.name, "seed": seed, "precision": precision, **row})
            table.add_row(
                prepared.name,
                str(seed),
                precision,
                f"{row['side']:.4f}",
                f"{row['mad_unit']:.1f}",
                f"{row['seconds']:.0f}",
                f"{row['seconds of iterations']:.0f}",
            )
    Console().print(table)
    print(_summary(rows))
    for what, error in outputs.items():
        print(f"{what}: {error:.4f}")
    if options.json:
        options.json.write_text(json.dumps({"runs": rows, "outputs": outputs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
