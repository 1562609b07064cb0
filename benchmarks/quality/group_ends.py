"""Trains the same images alone and as one group, over several seeds, and tabulates where they end.

    python benchmarks/quality/group_ends.py --out results/group_ends

An image in a group starts as it does alone, and rounding makes the two diverge (docs/reports/speed.md). What matters
is whether a group's result differs by more than seeds do: the table has every image's final errors, alone and in
the group, their difference seed by seed, and the range over the seeds alone. Finished runs are not run again.
Writes `group_ends.json`.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

from gan2shape_jax.run.result_folders import saved_result

ROOT = pathlib.Path(__file__).resolve().parents[2]
ERRORS = {"side": "SIDE", "mad_unit": "MAD"}

# By way ("alone", "group"), face and seed: SIDE and MAD.
Ends = dict[str, dict[str, dict[int, dict[str, float]]]]


def _run(options: argparse.Namespace, at_once: int, seed: int) -> pathlib.Path:
    """Trains all faces with one seed, `at_once` at a time; returns where their folders are."""
    out = options.out.absolute()
    folder = out / "runs" / f"{at_once}_at_once" / f"seed{seed}"
    names = out / "list.txt"
    names.write_text("".join(f"{face}.png\n" for face in options.faces))
    fields = {
        "seed": seed,
        "workdir": folder,
        "data.image_list": names,
        "runtime.images_at_once": at_once,
        "runtime.compilation_cache": out / "xla",
        "prior.iterations": options.prior,
        "schedule.stages": (tuple(options.stages),),
        "schedule.flip1": (False,),
        "schedule.flip3": (True,),
        "sampling.collect_iters": options.collect,
        "outputs.animation": False,
        "outputs.gan_images": False,
        "logging.tensorboard": False,
    }
    command = [sys.executable, "-m", "gan2shape_jax.main", "--config=ictface:scratch"]
    command += [f"--config.{key}={value}" for key, value in fields.items()]
    if not all((saved_result(folder, face) / "metrics.json").is_file() for face in options.faces):
        subprocess.run(command, check=True, cwd=ROOT)
    return folder


def _errors(folder: pathlib.Path, face: str) -> dict[str, float]:
    metrics = json.loads((saved_result(folder, face) / "metrics.json").read_text())
    return {key: metrics[key] for key in ERRORS}


def _tables(ends_by_way: Ends) -> list[Table]:
    tables = []
    for key, name in ERRORS.items():
        table = Table(
            "face",
            *(f"{way}, seed {seed}" for way in ends_by_way for seed in next(iter(ends_by_way[way].values()))),
            "largest |group - alone|",
            "range over seeds",
            "mean alone",
            "mean in group",
            title=name,
        )
        for face in ends_by_way["alone"]:
            ends = {way: [errors[key] for errors in ends_by_way[way][face].values()] for way in ends_by_way}
            apart = max(abs(a - b) for a, b in zip(ends["alone"], ends["group"], strict=True))
            cells = [value for way in ends_by_way for value in ends[way]]
            cells += [apart, max(ends["alone"]) - min(ends["alone"])]
            cells += [statistics.fmean(ends[way]) for way in ends_by_way]
            table.add_row(face, *(f"{cell:.4f}" if key == "side" else f"{cell:.1f}" for cell in cells))
        tables.append(table)
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/group_ends"))
    parser.add_argument("--faces", nargs="+", default=["001", "005"], help="the group")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stages", type=int, nargs=3, default=[150, 150, 150], help="iterations of steps 1, 2, 3")
    parser.add_argument("--prior", type=int, default=300)
    parser.add_argument("--collect", type=int, default=20, help="batches of samples for step 3")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ends_by_way: Ends = {way: {face: {} for face in options.faces} for way in ("alone", "group")}
    for seed in options.seeds:
        for way, at_once in (("alone", 1), ("group", len(options.faces))):
            folder = _run(options, at_once, seed)
            for face in options.faces:
                ends_by_way[way][face][seed] = _errors(folder, face)
    for table in _tables(ends_by_way):
        Console(width=160).print(table)
    (options.out / "group_ends.json").write_text(json.dumps(ends_by_way, indent=2) + "\n")


if __name__ == "__main__":
    main()
