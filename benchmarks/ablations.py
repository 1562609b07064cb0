"""Runs the variants of configs/ablation.py on the six bundled faces and makes the table of their errors.

    python benchmarks/ablations.py --out results/ablation                       # every variant, one seed
    python benchmarks/ablations.py --out results/ablation --seeds 0 1           # a second seed on top of it
    python benchmarks/ablations.py --out results/ablation --report              # only writes the tables anew

Stop it whenever you like: the same command goes on where it was. All variants run in one process, so that a
step is compiled once for all that share it. A face's figure is the mean of its seeds; intervals are over faces.
Writes `ablations.json`, `.csv` and `.md`.
"""

import argparse
import csv
import json
import pathlib
import sys
import time
from typing import Any

import numpy as np

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.data import read_names
from gan2shape_jax.evaluation import mean_interval, paired_interval

WHOLE = "whole"
MEANING = {
    WHOLE: "ellipsoid prior, offset through the mapping network, symmetry in step 3",
    "no_symmetry": "no mirrored terms",
    "no_regularization": "the encoder's output is the offset; no penalty on its length",
    "flat": "flat prior",
    "shifted": "ellipsoid a quarter of its width to the right",
    "smoothed_box": "smoothed box",
    "confidence": "prior from the mask's confidence (distance from its outline here)",
    "weak_prior": "ellipsoid half as deep (far 0.96)",
    "symmetry_from_step1": "mirrored terms in step 1 too",
}
METRICS = ("side", "mad", "mad_unit", "mae", "mse")


def _config(variant: str, seed: int, out: pathlib.Path, overrides: dict[str, str]):
    config = load_config("ablation" if variant == WHOLE else f"ablation:{variant}")
    fields = {"seed": str(seed), "workdir": str(out / "runs" / f"seed{seed}" / variant)}
    return apply_overrides(config, fields | overrides)


def _found(folder: pathlib.Path, face: str) -> dict[str, Any] | None:
    path = folder / face / "metrics.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _collect(out: pathlib.Path, variants: list[str], seeds: list[int]) -> dict[str, dict[str, dict[str, Any]]]:
    """Metrics by variant, face and seed, of all that is finished."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for variant in variants:
        for seed in seeds:
            config = _config(variant, seed, out, {})
            for name in read_names(config.data.image_list):
                face = pathlib.PurePath(name).stem
                metrics = _found(pathlib.Path(config.workdir), face)
                if metrics is not None:
                    found.setdefault(variant, {}).setdefault(face, {})[str(seed)] = metrics
    return found


def _by_face(runs: dict[str, dict[str, Any]], metric: str, point: str = "") -> dict[str, float]:
    """The mean over seeds of one metric, by face; `point` "prior" takes it after the prior's fit."""
    return {face: float(np.mean([(m[point] if point else m)[metric] for m in seeds.values()]))
            for face, seeds in runs.items()}


def _cell(values: dict[str, float], digits: int) -> str:
    if not values:
        return "-"
    interval = mean_interval(list(values.values()))
    return f"{interval.estimate:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _difference(base: dict[str, float], other: dict[str, float], digits: int) -> str:
    faces = sorted(base.keys() & other.keys())
    if len(faces) < 2:
        return "-"
    interval = paired_interval([base[f] for f in faces], [other[f] for f in faces])
    star = "*" if interval.excludes_zero else ""
    return f"{interval.estimate:+.{digits}f}{star} ({interval.low:+.{digits}f} to {interval.high:+.{digits}f})"


def _summary(found: dict[str, Any]) -> str:
    titles = ("variant", "faces", "SIDE after the prior", "SIDE", "MAD, degrees", "SIDE against the whole method",
              "MAD against it")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for variant, runs in found.items():
        side, mad = _by_face(runs, "side"), _by_face(runs, "mad")
        cells = [variant, str(len(runs)), _cell(_by_face(runs, "side", "prior"), 4), _cell(side, 4), _cell(mad, 1)]
        if variant == WHOLE or WHOLE not in found:
            cells += ["", ""]
        else:
            cells += [_difference(_by_face(found[WHOLE], "side"), side, 4),
                      _difference(_by_face(found[WHOLE], "mad"), mad, 1)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _per_face(found: dict[str, Any]) -> str:
    faces = sorted({face for runs in found.values() for face in runs})
    lines = [f"| variant | {' | '.join(faces)} |", "|---" * (len(faces) + 1) + "|"]
    for variant, runs in found.items():
        side, mad = _by_face(runs, "side"), _by_face(runs, "mad")
        cells = [f"{side[f]:.4f} / {mad[f]:.1f}" if f in side else "-" for f in faces]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _markdown(found: dict[str, Any]) -> str:
    seeds = sorted({seed for runs in found.values() for face in runs.values() for seed in face}, key=int)
    meanings = "\n".join(f"- `{variant}`: {MEANING.get(variant, '')}" for variant in found)
    return (
        f"{meanings}\n\nMeans over faces with 95% intervals (Student's t over faces; each face the mean of its seeds: "
        f"{', '.join(seeds)}).\nDifferences are paired by face; * marks an interval without zero. MAD with the "
        f"published code's short\nnormals.\n\n{_summary(found)}\n\nSIDE / MAD by face:\n\n{_per_face(found)}\n")


def _report(out: pathlib.Path, found: dict[str, Any]) -> str:
    (out / "ablations.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    with (out / "ablations.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["variant", "face", "seed", *METRICS, *(f"prior_{m}" for m in METRICS)])
        for variant, runs in found.items():
            for face, seeds in runs.items():
                for seed, metrics in seeds.items():
                    before = metrics.get("prior", {})
                    writer.writerow([variant, face, seed, *(metrics[m] for m in METRICS),
                                     *(before.get(m, "") for m in METRICS)])
    text = _markdown(found)
    (out / "ablations.md").write_text(text)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/ablation"))
    parser.add_argument("--variants", nargs="*", default=list(MEANING), choices=list(MEANING))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--report", action="store_true", help="run nothing, write the tables of what is there")
    options, rest = parser.parse_known_args()
    overrides = dict(item.removeprefix("--config.").split("=", 1) for item in rest)
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    code = 0
    if not options.report:
        from gan2shape_jax import experiment

        for seed in options.seeds:
            for variant in options.variants:
                begin = time.perf_counter()
                code |= experiment.run(_config(variant, seed, out, overrides))
                print(f"{variant}, seed {seed}: {time.perf_counter() - begin:.0f} s", flush=True)
                _report(out, _collect(out, options.variants, options.seeds))
    print(_report(out, _collect(out, options.variants, options.seeds)))
    return code


if __name__ == "__main__":
    sys.exit(main())
