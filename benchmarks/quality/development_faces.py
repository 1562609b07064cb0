"""Reconstructs development faces with the default config and tabulates errors by stage.

    python benchmarks/quality/development_faces.py --out results/development           # all twelve faces, two at a time
    python benchmarks/quality/development_faces.py --out results/development --faces 001 005 --config.reference=True

The seed is the face's number, as for the published code's figures in `data/ictface/original.csv`. Every
face runs in its own process on one core, `--jobs` at a time; finished faces are not run again.
Writes `development_faces.md`, `.json` and `.png` (SIDE against iterations) into the folder of `--out`.
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
import threading
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gan2shape_jax.run.folder import results_root

DATA = pathlib.Path(__file__).resolve().parent / "data" / "ictface"
POINTS = ("prior", "stage 1", "stage 2")


def _command(face: str, out: pathlib.Path, overrides: list[str]) -> list[str]:
    names = out / "lists" / f"{face}.txt"
    names.parent.mkdir(parents=True, exist_ok=True)
    names.write_text(f"{face}.png\n")
    fields = {
        "seed": int(face),
        "workdir": out / "runs" / face,
        "data.image_list": names,
        "data.image_root": DATA / "image",
        "data.mask_root": DATA / "mask",
        "data.depth_root": DATA / "depth",
        "data.latent_root": DATA / "latents",
        "logging.tensorboard": False,
        "logging.every_iterations": 50,
    }
    return [
        sys.executable,
        "-m",
        "gan2shape_jax.main",
        "--config=ictface:scratch",
        *[f"--config.{key}={value}" for key, value in fields.items()],
        *overrides,
    ]


def _run(faces: list[str], out: pathlib.Path, jobs: int, overrides: list[str]) -> dict[str, float]:
    """Runs the faces, `jobs` at a time, each on its own core; returns seconds by face."""
    todo: queue.Queue[str] = queue.Queue()
    for face in faces:
        todo.put(face)
    seconds: dict[str, float] = {}
    cores = sorted(os.sched_getaffinity(0))

    def work(core: set[int]) -> None:
        while True:
            try:
                face = todo.get_nowait()
            except queue.Empty:
                return
            begin = time.perf_counter()
            log = out / "runs" / f"{face}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w") as sink:
                code = subprocess.run(
                    _command(face, out, overrides),
                    stdout=sink,
                    stderr=sink,
                    check=False,
                    preexec_fn=lambda: os.sched_setaffinity(0, core),
                ).returncode
            seconds[face] = time.perf_counter() - begin
            print(f"{face}: exit {code}, {seconds[face]:.0f} s", flush=True)

    share = len(cores) // jobs
    groups = [set(cores[i * share : (i + 1) * share]) or set(cores) for i in range(jobs)]
    workers = [threading.Thread(target=work, args=(group,)) for group in groups]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return seconds


def _history(out: pathlib.Path, face: str) -> list[dict[str, str]]:
    path = results_root(out / "runs" / face) / face / "history.csv"
    with path.open() as file:
        return list(csv.DictReader(file))


def _at_ends(rows: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Errors after fitting the prior and after each stage."""
    errors = {}
    for row in rows:
        if row["step"] in ("prior", "step3"):
            point = "prior" if row["step"] == "prior" else f"stage {row['stage']}"
            errors[point] = {key: float(row[key]) for key in ("side", "mad", "mad_unit")}
    return errors


def _cell(values: dict[str, float]) -> str:
    return f"{values['side']:.4f} / {values['mad']:.1f} / {values['mad_unit']:.1f}"


def _table(ends: dict[str, dict], original: dict[str, dict[str, str]], inversion: dict[str, float]) -> str:
    lines = [
        "| face | inversion L1 | prior | after stage 1 | after stage 2 | the original's end |",
        "|---|---|---|---|---|---|",
    ]
    for face, points in ends.items():
        theirs = original[face]
        cells = [_cell(points[p]) if p in points else "-" for p in POINTS]
        lines.append(
            f"| {face} | {inversion[face]:.3f} | {' | '.join(cells)} | "
            f"{float(theirs['stage2_side']):.4f} / {float(theirs['stage2_mad']):.1f} |"
        )
    for name, summary in (("mean", statistics.fmean), ("median", statistics.median)):
        cells = [
            _cell({k: summary([points[p][k] for points in ends.values()]) for k in ("side", "mad", "mad_unit")})
            for p in POINTS
        ]
        side, mad = (summary([float(original[f][f"stage2_{k}"]) for f in ends]) for k in ("side", "mad"))
        lines.append(
            f"| {name} | {summary([inversion[f] for f in ends]):.3f} | {' | '.join(cells)} | {side:.4f} / {mad:.1f} |"
        )
    return "\n".join(lines)


def _plot(histories: dict[str, list[dict[str, str]]], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for face, rows in histories.items():
        offset, before, x, y = 0, 0, [], []
        for row in rows:
            here = int(row["iteration"])
            if here <= before:
                offset += before
            before = here
            x.append(offset + here)
            y.append(float(row["side"]))
        axes.plot(x, y, label=face, linewidth=1)
    axes.set(xlabel="iteration (prior, then steps 1, 2, 3 of each stage)", ylabel="SIDE")
    axes.legend(ncols=2, fontsize=7)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/development"))
    parser.add_argument("--faces", nargs="*", default=[f"{i:03}" for i in range(12)])
    parser.add_argument("--jobs", type=int, default=2, help="faces at a time")
    options, overrides = parser.parse_known_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    seconds = _run(options.faces, out, options.jobs, overrides)
    done = [f for f in options.faces if (results_root(out / "runs" / f) / f / "history.csv").is_file()]
    with (DATA / "original.csv").open() as file:
        original = {row["face"]: row for row in csv.DictReader(file)}
    histories = {face: _history(out, face) for face in done}
    metrics = {f: json.loads((results_root(out / "runs" / f) / f / "metrics.json").read_text()) for f in done}
    ends = {face: _at_ends(rows) for face, rows in histories.items()}
    table = _table(ends, original, {f: metrics[f]["inversion_l1"] for f in done})
    (out / "development_faces.md").write_text(f"SIDE / MAD (short normals) / MAD (unit normals), degrees.\n\n{table}\n")
    (out / "development_faces.json").write_text(
        json.dumps({"seconds": seconds, "ends": ends, "metrics": metrics}, indent=2) + "\n"
    )
    _plot(histories, out / "development_faces.png")
    print(table)
    return 0 if len(done) == len(options.faces) else 1


if __name__ == "__main__":
    sys.exit(main())
