"""Reconstructs development faces by the published method and tabulates errors by stage, beside the published code's.

    python benchmarks/quality/development_faces.py --out results/development           # all twelve faces, two at a time
    python benchmarks/quality/development_faces.py --out results/development --faces 001 005 --config.reference=True

The seed is the face's number, as for the published code's figures in `data/ictface/original.csv`. Every
face runs in its own process on one core, two at a time; finished faces are not run again.
"""

import argparse
import csv
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from gan2shape_jax.apps.evaluate import markdown_table
from gan2shape_jax.run.folder import results_root

DATA = pathlib.Path(__file__).resolve().parent / "data" / "ictface"
_POINTS = ("prior", "stage 1", "stage 2")
_ERRORS = ("side", "mad", "mad_unit")


def _run(face: str, out: pathlib.Path, overrides: list[str], cores: queue.Queue) -> dict[str, list[float]]:
    """Reconstructs a face on a core of its own; returns the latent's error, and those of the prior and both stages."""
    folder = out / "runs" / face
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list.txt").write_text(f"{face}.png\n")
    fields = {"seed": int(face), "workdir": folder, "data.image_list": folder / "list.txt"}
    fields |= {f"data.{kind}_root": DATA / kind for kind in ("image", "mask", "depth")}
    fields |= {"data.latent_root": DATA / "latents", "logging.tensorboard": False}
    flags = [f"--config.{key}={value}" for key, value in fields.items()]
    command = [sys.executable, "-m", "gan2shape_jax.main", "--config=ictface:scratch", *flags, *overrides]
    core = cores.get()
    with (folder / "log.txt").open("w") as log:
        pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, {core})}
        subprocess.run(command, stdout=log, stderr=log, check=True, **pinned)
    cores.put(core)
    result = results_root(folder) / face
    errors = {"inversion L1": [json.loads((result / "metrics.json").read_text())["inversion_l1"]]}
    with (result / "history.csv").open() as file:
        for row in csv.DictReader(file):
            if row["step"] in ("prior", "step3"):  # the last of each is that at the end
                point = "prior" if row["step"] == "prior" else f"stage {row['stage']}"
                errors[point] = [float(row[name]) for name in _ERRORS]
    return errors


def _cell(values: list[float]) -> str:
    return " / ".join(f"{value:.{places}f}" for value, places in zip(values, (4, 1, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/development"))
    parser.add_argument("--faces", nargs="*", default=[f"{i:03}" for i in range(12)])
    options, overrides = parser.parse_known_args()
    cores: queue.Queue[int] = queue.Queue()
    for core in sorted(os.sched_getaffinity(0))[:2]:
        cores.put(core)
    with ThreadPoolExecutor(cores.qsize()) as pool:
        ran = list(pool.map(lambda face: _run(face, options.out.absolute(), overrides, cores), options.faces))
    with (DATA / "original.csv").open() as file:
        original = {row["face"]: [float(row["stage2_side"]), float(row["stage2_mad"])] for row in csv.DictReader(file)}
    for face, errors in zip(options.faces, ran):
        errors["the original's end"] = original[face]
    named = list(zip(options.faces, ran))
    for name, summary in (("mean", statistics.fmean), ("median", statistics.median)):
        named.append((name, {key: [*map(summary, zip(*(run_figures[key] for run_figures in ran)))] for key in ran[0]}))
    print("SIDE / MAD (short normals) / MAD (unit normals), degrees.\n")
    columns = ["face", "inversion L1", *_POINTS, "the original's end"]
    rows = [[name, f"{row['inversion L1'][0]:.3f}", *(_cell(row[key]) for key in columns[2:])] for name, row in named]
    print(markdown_table(columns, rows))


if __name__ == "__main__":
    main()
