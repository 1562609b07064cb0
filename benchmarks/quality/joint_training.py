"""Joint training, then fine-tuning on other faces: does it generalise, and does it save iterations?

    python benchmarks/quality/joint_training.py --data FOLDER --out results/joint_training
    python benchmarks/quality/joint_training.py --data FOLDER --only finetune report --instance results/development/runs

1. `train`: one set of networks on the training faces (by default 024 to 047).
2. `predict`: these networks, feed-forward, on other faces.
3. `finetune`: instance-specific training of each of those faces, starting from the shared networks.
4. `short`: the same schedule from random networks and the ellipsoid prior.
5. `instance`: the default schedule from random networks and the prior; with `--instance FOLDER` the results of
   `development_faces.py` (its folder `runs`) are taken instead.
6. `report`: tables (`joint_training.md`), all numbers (`joint_training.csv`) and a plot into the folder of `--out`.

FOLDER holds image/, mask/, depth/ and latents/. Finished runs are not run again, and interrupted ones are
resumed. Further `--config.FIELD=VALUE` arguments go to every run (other schedules, for a first try).
The seed is 0 for the joint run and the face's number for the others.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gan2shape_jax.run.result_folders import saved_result

PARTS = ("train", "predict", "finetune", "short", "instance", "report")
# Multiples of the 24 images: whole epochs.
JOINT = {
    "schedule.stages": ((960, 1440, 1920), (480, 960, 1440), (480, 960, 1440)),
    "schedule.flip1": (False, True, True),
    "schedule.flip3": (True, True, True),
    "sampling.collect_iters": 120,
    "schedule.joint": True,
    "schedule.reset_weight": False,
    "mode": "joint",
}
SHORT = {"schedule.stages": ((200, 250, 200),), "schedule.flip1": (False,), "schedule.flip3": (True,)}
CALLED = {"finetune": "fine-tuned", "short": "same schedule without joint training", "instance": "default schedule"}
ERRORS = ("side", "mad", "mad_unit")


def _main(fields: dict, overrides: list[str], log: pathlib.Path) -> int:
    command = [
        sys.executable,
        "-m",
        "gan2shape_jax.main",
        "--config=ictface:scratch",
        *[f"--config.{key}={value}" for key, value in fields.items()],
        *overrides,
    ]
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    with log.open("a") as sink:
        code = subprocess.run(command, stdout=sink, stderr=sink, check=False).returncode
        sink.write(f"\nexit {code} after {time.perf_counter() - begin:.0f} s\n")
    print(f"{log.stem}: exit {code}, {time.perf_counter() - begin:.0f} s", flush=True)
    return code


def _fields(options, faces: list[str], name: str) -> dict:
    """What all runs have in common: the faces' files and a folder for results, with small outputs."""
    listed = options.out / "lists" / f"{name.replace('/', '_')}.txt"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text("".join(f"{face}.png\n" for face in faces))
    folders = {
        f"data.{kind}_root": options.data / folder
        for kind, folder in (("image", "image"), ("mask", "mask"), ("depth", "depth"), ("latent", "latents"))
    }
    return {
        "workdir": options.out / name,
        "data.image_list": listed,
        **folders,
        "outputs.animation": False,
        "outputs.gan_images": False,
        "logging.tensorboard": False,
    }


def _run(part: str, options, overrides: list[str]) -> int:
    """Runs one part; returns 0 if all of it succeeded."""
    networks = options.out / "joint" / "networks.safetensors"
    if part == "train":
        fields = (
            _fields(options, options.train, "joint")
            | JOINT
            | {"seed": 0, "logging.every_iterations": 120, "checkpoint.every_iterations": 120}
        )
        return _main(fields, overrides, options.out / "train.log")
    if part == "predict":
        fields = _fields(options, options.faces, "predict") | {"mode": "predict", "networks.pretrained": networks}
        return _main(fields, overrides, options.out / "predict.log")
    if part == "instance" and options.instance:
        return 0
    codes = []
    for face in options.faces:
        fields = _fields(options, [face], f"{part}/{face}") | {"seed": int(face), "logging.every_iterations": 20}
        fields |= {} if part == "instance" else SHORT
        fields |= {"networks.pretrained": networks} if part == "finetune" else {}
        codes.append(_main(fields, overrides, options.out / f"{part}_{face}.log"))
    return max(codes)


def _history(path: pathlib.Path) -> list[dict[str, float]]:
    """Rows of a history, with the added `total`, the iterations of all phases so far, and `third`, those of step 3."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    history, total, third, before = [], 0, 0, None
    for row in rows:
        here = int(row["iteration"])
        moved = here - (before[1] if before and before[0] == row["phase"] else 0)
        before = (row["phase"], here)
        total += moved
        third += moved if row["step"] == "step3" else 0
        if row["side"]:
            history.append({"total": total, "third": third, **{key: float(row[key]) for key in ERRORS}})
    return history


def _reached(rows: list[dict[str, float]], side: float) -> str:
    """Iterations until SIDE first drops to `side` or below, of all steps and of step 3."""
    for row in rows:
        if row["side"] <= side:
            return f"{row['total']} ({row['third']})"
    return "not reached"


def _cell(row: dict[str, float]) -> str:
    return f"{row['side']:.4f} / {row['mad']:.1f} / {row['mad_unit']:.1f}"


def _histories(options) -> dict[str, dict[str, list]]:
    """By way, then by face; ways that have not been run are left out."""
    folders = {
        "finetune": options.out / "finetune",
        "short": options.out / "short",
        "instance": options.instance or options.out / "instance",
    }
    histories = {}
    for way, folder in folders.items():
        paths = {face: saved_result(folder / face, face) / "history.csv" for face in options.faces}
        histories[way] = {face: _history(path) for face, path in paths.items() if path.is_file()}
    return {way: faces for way, faces in histories.items() if len(faces) == len(options.faces)}


def _summaries(rows: list[dict[str, float]]) -> list[tuple[str, str]]:
    return [
        (name, _cell({key: summary([row[key] for row in rows]) for key in ERRORS}))
        for name, summary in (("mean", statistics.fmean), ("median", statistics.median))
    ]


def _feed_forward(out: pathlib.Path, faces: list[str]) -> dict[str, dict[str, float]]:
    """Errors of the shared networks on the other faces, without any training; {} if any are missing."""
    paths = {face: saved_result(out / "predict", face) / "metrics.json" for face in faces}
    metrics = {face: json.loads(path.read_text()) for face, path in paths.items() if path.is_file()}
    return metrics if len(metrics) == len(faces) else {}


def _error_table(ways: dict[str, dict[str, list]], feed_forward: dict[str, dict], faces: list[str]) -> str:
    """Errors feed-forward and at the end of each way."""
    columns = {"feed-forward": feed_forward} if feed_forward else {}
    columns |= {CALLED[way]: {face: runs[face][-1] for face in faces} for way, runs in ways.items()}
    lines = ["| face | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {face} | " + " | ".join(_cell(column[face]) for column in columns.values()) + " |" for face in faces]
    ends = [_summaries(list(column.values())) for column in columns.values()]
    lines += [f"| {pair[0][0]} | " + " | ".join(cell for _, cell in pair) + " |" for pair in zip(*ends, strict=True)]
    return "\n".join(lines)


def _iteration_table(ways: dict[str, dict[str, list]], faces: list[str]) -> str:
    """Iterations that each way needs to reach the SIDE at which the default schedule ends."""
    head = "| face | SIDE to reach | " + " | ".join(CALLED[way] for way in ways) + " |"
    lines = [head, "|---|---|" + "---|" * len(ways)]
    for face in faces:
        side = ways["instance"][face][-1]["side"]
        lines.append(
            f"| {face} | {side:.4f} | " + " | ".join(_reached(runs[face], side) for runs in ways.values()) + " |"
        )
    return "\n".join(lines)


def _joint_table(out: pathlib.Path) -> str:
    """Mean errors of the training faces at the end of each phase that moves the depth."""
    with (out / "joint" / "history.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["side"]]
    ends = {(row["stage"], row["step"]): row for row in rows if row["step"] in ("prior", "step3")}
    lines = ["| training faces, mean | SIDE / MAD / MAD with unit normals |", "|---|---|"]
    for (stage, step), row in ends.items():
        cell = _cell({key: float(row[key]) for key in ERRORS})
        lines.append(f"| {'prior' if step == 'prior' else f'after stage {stage}'} | {cell} |")
    return "\n".join(lines)


def _plot(ways: dict[str, dict[str, list]], faces: list[str], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(2, -(-len(faces) // 2), figsize=(11, 6), layout="constrained", sharey=True)
    for face, axis in zip(faces, axes.flat, strict=False):
        for way, runs in ways.items():
            axis.plot([row["total"] for row in runs[face]], [row["side"] for row in runs[face]], label=CALLED[way])
        axis.set(title=face, xlabel="iterations", ylabel="SIDE")
    axes.flat[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)


def _report(options) -> int:
    ways = _histories(options)
    parts = ["SIDE / MAD (short normals) / MAD (unit normals), degrees."]
    if (options.out / "joint" / "history.csv").is_file():
        parts += [_joint_table(options.out)]
    if ways:
        parts += [_error_table(ways, _feed_forward(options.out, options.faces), options.faces)]
        _plot(ways, options.faces, options.out / "joint_training.png")
    if "instance" in ways:
        parts += [
            "Iterations of all steps, the prior's fit included (of step 3) until SIDE is for the first time no "
            "greater than the default schedule's last:",
            _iteration_table(ways, options.faces),
        ]
    with (options.out / "joint_training.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["way", "face", "iterations", "step3_iterations", *ERRORS])
        for way, runs in ways.items():
            for face, rows in runs.items():
                writer.writerows([way, face, row["total"], row["third"], *(row[key] for key in ERRORS)] for row in rows)
    (options.out / "joint_training.md").write_text("\n\n".join(parts) + "\n")
    print("\n\n".join(parts))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of image/, mask/, depth/, latents/")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/joint_training"))
    parser.add_argument("--train", nargs="*", default=[f"{i:03}" for i in range(24, 48)], help="faces to train on")
    parser.add_argument("--faces", nargs="*", default=["001", "003", "005", "006", "008", "009"])
    parser.add_argument("--instance", type=pathlib.Path, help="finished runs of the default schedule")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    options, overrides = parser.parse_known_args()
    options.out, options.data = options.out.absolute(), options.data.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.only:
        code = _report(options) if part == "report" else _run(part, options, overrides)
        if code:
            print(f"{part} failed: see the logs in {options.out}")
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
