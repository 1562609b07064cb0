"""Does a lift benefit from more samples, and are samples as good as photographs? At equal iterations, feed-forward.

    python benchmarks/quality/lift_study.py --data FACES --out results/lift_study
    python benchmarks/quality/lift_study.py --data FACES --out results/lift_study --sizes 24 96 --seeds 0
    python benchmarks/quality/lift_study.py --data FACES --out results/short --steps 200 50 250 --projected 192
    python benchmarks/quality/lift_study.py --data FACES --out results/lift_study --only report

For every seed, one lift of a single stage on each number of samples (`endless`: no sample is seen twice in step 3), and
one that trains on photographs instead (`lift_photographs.py`): the faces of `--photos`. FACES is as in
`lifted.py`; all are evaluated on the faces of `--faces`, which none has seen. `--steps` are the iterations of the
stage's three steps, and `--projected` the batches of pseudo-images of all samples together: the same for all numbers
of samples except greater ones, which have one batch per sample.

Finished runs are not run again, and interrupted ones are resumed. The table has each seed's SIDE and MAD, and means.
Further `--config.FIELD=VALUE` arguments go to every run.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import known_faces
import lifted
import numpy as np
from rich.console import Console
from rich.table import Table

from gan2shape_jax.io.atomic_files import atomic_text

_AT_ONCE = 4  # images per iteration
_ENDLESS, _PHOTOS = "endless", "photographs"
_ON_PHOTOS = pathlib.Path(__file__).with_name("lift_photographs.py")
_SIZES = ("24", "96", "384", "1536", _ENDLESS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--sizes", nargs="+", default=[*_SIZES, _PHOTOS], metavar="N")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--faces", nargs=2, type=int, default=(0, 24), metavar=("FROM", "TO"))
    parser.add_argument("--photos", nargs=2, type=int, default=(24, 48), metavar=("FROM", "TO"))
    parser.add_argument("--steps", nargs=3, type=int, default=(300, 100, 400), metavar="N")
    parser.add_argument("--projected", type=int, default=384, metavar="BATCHES")
    parser.add_argument("--only", choices=("report",))
    options, overrides = parser.parse_known_args(arguments)
    for seed in options.seeds if not options.only else ():
        for size in options.sizes:
            folder = options.out / f"{size}_{seed}"
            if not (folder / "errors.json").exists():
                _train(size, seed, folder, options, overrides)
                atomic_text(folder / "errors.json", json.dumps(_errors(folder, options)) + "\n")
    _report(options)


def _train(size: str, seed: int, folder: pathlib.Path, options: argparse.Namespace, overrides: list[str]) -> None:
    """Trains one set of networks into a folder."""
    seen = options.steps[2] * _AT_ONCE
    count = seen if size == _ENDLESS else options.photos[1] - options.photos[0] if size == _PHOTOS else int(size)
    batches = math.ceil(options.projected / count)
    fields: dict[str, Any] = {
        "workdir": folder,
        "seed": seed,
        "schedule.stages": (tuple(options.steps),),
        "schedule.flip1": (False,),
        "schedule.flip3": (True,),
        "lift.inversion_iterations": 1000,
        "lift.samples": count,
        "lift.batches": batches,
    }
    program = ["-m", "gan2shape_jax.main"]
    if size == _PHOTOS:
        first, last = options.photos
        program = [str(_ON_PHOTOS), str(options.data), str(first), str(last)]
    command = [sys.executable, *program, "--config=ictface:lift"]
    command += [f"--config.{key}={value}" for key, value in fields.items()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("a") as log:
        subprocess.run([*command, *overrides], stdout=log, stderr=log, check=True)
    print(f"{folder.name}: trained", flush=True)


def _errors(folder: pathlib.Path, options: argparse.Namespace) -> dict[str, float]:
    """Returns SIDE, MAD and the worst SIDE of a folder's networks, feed-forward."""
    faces, frozen = known_faces.faces_of(options.data, range(*options.faces))
    views = known_faces.seen(folder / "networks.safetensors", faces, frozen)
    errors = [lifted.errors_of(view, face) for view, face in zip(views, faces, strict=True)]
    side, mad = (np.array([getattr(one, name) for one in errors]) for name in ("side", "mad"))
    return {"side": float(side.mean()), "mad": float(mad.mean()), "worst": float(side.max())}


def _report(options: argparse.Namespace) -> None:
    """Prints what has been measured."""
    table = Table("trained on", *(f"seed {seed}" for seed in options.seeds), "mean", "worst face")
    for size in options.sizes:
        paths = [options.out / f"{size}_{seed}" / "errors.json" for seed in options.seeds]
        rows = [json.loads(path.read_text()) if path.exists() else None for path in paths]
        there = [row for row in rows if row]
        if not there:
            continue
        mean = {name: float(np.mean([row[name] for row in there])) for name in ("side", "mad")}
        cells = [_cell(row) if row else "" for row in [*rows, mean]]
        table.add_row(size, *cells, f"{max(row['worst'] for row in there):.4f}")
    Console(width=120).print(table)


def _cell(row: dict[str, float]) -> str:
    return f"{row['side']:.4f} / {row['mad']:.1f}"


if __name__ == "__main__":
    main()
