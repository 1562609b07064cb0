"""Refines a model on faces with true depth: how errors change, and whether held-out samples reveal it.

    python benchmarks/quality/refinement.py --data FACES --faces 0 24 --seeds 0 1 2 --out refinement.json MODEL

FACES as in `lifted.py`. Each face is refined as `config.refinement` says, once per seed, and SIDE, MAD and the L1 of
held-out samples are measured at several interpolations (shares) between the model's networks and the refined ones. The
table has their means, how many ended worse than the model began, and what `refinement.chosen` selects for several
values of the required gain. Below it: rank correlations (Spearman) of that L1 and SIDE, each relative to the model's,
over all faces, seeds and shares, and within a face and seed.

Measurements already in the file of `--out` are not repeated.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import known_faces
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table
from scipy import stats

from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.lift import model_file, refinement
from gan2shape_jax.method import reconstruction
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.run import prepare
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.run.recipes import recipe_of
from gan2shape_jax.run.runtime import cadence_of, set_up_runtime
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import loop
from gan2shape_jax.training.loop import Watcher
from gan2shape_jax.training.task import scores

_GAINS = (1.0, 0.8, 0.7, 0.6, 0.5, 0.3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs=2, type=int, default=(0, 24), metavar=("FROM", "TO"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args(arguments)
    if model_file.read_facts(options.model) is None:
        parser.error(f"{options.model} is no model of a lifted GAN: a run would train by its whole schedule from it")
    rows: list[dict[str, Any]] = json.loads(options.out.read_text()) if options.out.exists() else []
    done = {(row["face"], row["seed"]) for row in rows}
    set_up_runtime(config_of(options.data, options.model, 0))
    architecture, frozen = prepare.load_frozen(resolve(config_of(options.data, options.model, 0)))
    for seed in options.seeds:
        config = config_of(options.data, options.model, seed)
        for face in range(*options.faces):
            if (face, seed) not in done:
                rows.append(refined(config, face, architecture, frozen))
                atomic_text(options.out, json.dumps(rows, indent=1) + "\n")
                print(f"{face:03d}, seed {seed}: {in_words(rows[-1])}", flush=True)
    report(rows)


def config_of(data: pathlib.Path, model: pathlib.Path, seed: int) -> ConfigDict:
    """Returns the configuration for refining faces that have masks, depths and latents."""
    config = known_faces.config_of(data, "ictface")
    config.networks.pretrained = str(model)
    config.seed = seed
    config.logging.every_iterations = 10**6
    config.checkpoint.every_iterations = 10**6
    return resolve(config.lock()).config


def refined(config: ConfigDict, face: int, architecture: Architecture, frozen: FrozenModels) -> dict[str, Any]:
    """Refines one face; returns SIDE, MAD and L1 at every share."""
    (face_prepared,) = known_faces.prepared(config, [face], architecture, frozen)
    start = prepare.initial_params(resolve(config), face_prepared.settings)
    begin = time.perf_counter()
    schedule = recipe_of(config).schedule(config)
    state, _ = loop.train(face_prepared, frozen, schedule, start, None, cadence_of(config), Watcher())
    wanted = config.refinement
    _, share, l1 = refinement.keep_best(
        start, state, face_prepared, frozen, batches=wanted.held_out, gain=wanted.gain, criterion=wanted.criterion
    )
    seconds = time.perf_counter() - begin
    errors = [
        _errors(refinement.mixed(start, state.params, share), face_prepared, frozen) for share in refinement.SHARES
    ]
    return {
        "face": face,
        "seed": config.seed,
        "side": [row["side"] for row in errors],
        "mad": [row["mad"] for row in errors],
        "l1": l1,
        "share": share,
        "seconds": round(seconds, 1),
    }


def _errors(params: Any, prepared: PreparedImage, frozen: FrozenModels) -> dict[str, float]:
    view = reconstruction.predict(params, prepared.example, frozen, prepared.settings)
    return scores(view, prepared.example, prepared.settings)


def in_words(row: dict[str, Any]) -> str:
    """Returns a face's errors before and after, in one line."""
    place = refinement.SHARES.index(row["share"])
    before, after = (f"{row['side'][at]:.4f} / {row['mad'][at]:.1f}" for at in (0, place))
    return f"{before} to {after} at {refinement.SHARES[place]}, {row['seconds']} s"


def report(rows: list[dict[str, Any]]) -> None:
    """Prints the table and the correlations."""
    side, mad, l1 = (np.array([row[name] for row in rows]) for name in ("side", "mad", "l1"))
    table = Table("share", "SIDE", "MAD", "worst SIDE", "L1 kept out", "SIDE above the model's", "by over 3%")
    every = np.arange(len(rows))
    ways = {str(share): np.full(len(rows), place) for place, share in enumerate(refinement.SHARES)}
    for gain in _GAINS:
        ways[f"{gain} of the gain"] = np.array([refinement.chosen(row["l1"], gain=gain) for row in rows])
    for name, at in ways.items():
        here = side[every, at]
        table.add_row(
            name,
            f"{here.mean():.4f}",
            f"{mad[every, at].mean():.1f}",
            f"{here.max():.4f}",
            f"{l1[every, at].mean():.4f}",
            f"{(here > side[:, 0]).sum()} of {len(rows)}",
            f"{(here > 1.03 * side[:, 0]).sum()}",
        )
    Console(width=120).print(table)
    gained, told = (side / side[:, :1])[:, 1:], (l1 / l1[:, :1])[:, 1:]
    within = [stats.spearmanr(first, two)[0] for first, two in zip(l1, side, strict=True)]
    print(f"Spearman, relative to the model: {stats.spearmanr(told.ravel(), gained.ravel())[0]:.2f}")
    print(f"Spearman within a face and seed: mean {np.mean(within):.2f}, above 0 in {np.sum(np.array(within) > 0)}")
    print(f"seconds a face: {np.mean([row['seconds'] for row in rows]):.0f} on {jax.devices()[0].platform}")


if __name__ == "__main__":
    main()
