"""Writes the figures of docs/reports/ablations.md, as benchmarks/ablations.py has measured them.

    python benchmarks/ablations_page.py results/ablation/ablations.json docs/reports/ablations.md

The JSON holds the metrics of every result by variant, face and seed. A face's figure is the mean of its seeds;
intervals are over faces. What stands in the page above the heading "Figures" stays as it is.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np

from gan2shape_jax.config.fields import load_config
from gan2shape_jax.evaluation import mean_interval, paired_interval
from gan2shape_jax.evaluation.report import csv_text, interval_text, markdown_table

__all__ = ["MEANING", "METRICS", "WHOLE", "csv_table", "page", "tables", "write_page"]

WHOLE = "whole"
MEANING = {
    WHOLE: "ellipsoid prior, offset through the mapping network, symmetry in step 3",
    "no_symmetry": "no mirrored terms",
    "no_regularization": "the encoder's output is the offset in W, past the mapping network; no penalty on its length",
    "flat": "flat prior, in the middle of the range of depths",
    "shifted": "ellipsoid a quarter of its width to the right",
    "smoothed_box": "the mask raised, edges smoothed",
    "confidence": "prior from the mask's confidence; these masks have none, the distance from their outline stands in",
    "weak_prior": "ellipsoid half as deep (far 0.96 instead of 1.02)",
    "symmetry_from_step1": "mirrored terms in step 1 too",
}
METRICS = ("side", "mad", "mad_unit", "mae", "mse")

# Metrics by variant, face and seed.
Found = dict[str, dict[str, dict[str, dict[str, Any]]]]

_HEADING = "## Figures\n"

_INTRODUCTION = """\
## Figures

One part of the method changed or left out at a time, on the six bundled faces with true depth:

    python benchmarks/ablations.py --out results/ablation
    python benchmarks/ablations_page.py results/ablation/ablations.json docs/reports/ablations.md

Each variant is a configuration (`--config=ablation:flat`, and so on; `--config=ablation` is the whole method), with the
default networks and a short schedule: {prior} iterations for the prior, then one stage of {stages}. All variants
start from the same random weights. SIDE is the scale-invariant depth error, MAD the mean angle between normals (the
published code's short ones), in the input view.

"""


def page(found: Found) -> str:
    """Returns the section of figures, from its heading on."""
    whole = load_config("ablation")
    stage = " / ".join(map(str, whole.schedule.stages[0]))
    return _INTRODUCTION.format(prior=whole.prior.iterations, stages=stage) + tables(found)


def write_page(path: pathlib.Path, found: Found) -> None:
    """Writes the figures into a page, in place of those below its heading; the text above them stays."""
    above = path.read_text().split(_HEADING)[0] if path.exists() else "# Ablations\n\n"
    path.write_text(above + page(found))


def tables(found: Found) -> str:
    """What the variants are, the table of means, what can be told apart, the faces."""
    if not found:
        return "Nothing has been finished yet.\n"
    ordered = {name: found[name] for name in [*MEANING, *(n for n in found if n not in MEANING)] if name in found}
    meanings = "\n".join(f"- `{variant}`: {MEANING.get(variant, '')}" for variant in ordered)
    seeds = sorted({seed for runs in found.values() for face in runs.values() for seed in face}, key=int)
    count = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
    return (
        f"{meanings}\n\nMeans over faces with 95% intervals (Student's t over faces; a face is the mean of its "
        f"seeds; {count}).\nDifferences are paired by face; * marks an interval without zero.\n\n"
        f"{_summary(ordered)}\n{_verdict(ordered)}\nSIDE / MAD by face:\n\n{_per_face(ordered)}"
    )


def csv_table(found: Found) -> str:
    """A row a variant, face and seed."""
    rows = []
    for variant, runs in found.items():
        for face, seeds in runs.items():
            for seed, metrics in seeds.items():
                before = metrics.get("prior", {})
                figures = [source.get(metric) for source in (metrics, before) for metric in METRICS]
                rows.append([variant, face, seed, *figures])
    return csv_text(["variant", "face", "seed", *METRICS, *(f"prior_{m}" for m in METRICS)], rows)


def _by_face(runs: dict[str, dict[str, Any]], metric: str, point: str = "") -> dict[str, float]:
    """The mean over seeds of one metric, by face; `point` "prior" takes it after the prior's fit."""
    return {
        face: float(np.mean([(m[point] if point else m)[metric] for m in seeds.values()]))
        for face, seeds in runs.items()
    }


def _difference(found: Found, variant: str, metric: str):
    """The paired difference of a variant to the whole method, or None where they share less than two faces."""
    if variant == WHOLE or WHOLE not in found:
        return None
    base, other = (_by_face(found[name], metric) for name in (WHOLE, variant))
    faces = sorted(base.keys() & other.keys())
    return paired_interval([base[f] for f in faces], [other[f] for f in faces]) if len(faces) > 1 else None


def _summary(found: Found) -> str:
    rows = []
    for variant, runs in found.items():
        cells = [
            interval_text(mean_interval(list(_by_face(runs, metric, point).values())), digits)
            for metric, point, digits in (("side", "prior", 4), ("side", "", 4), ("mad", "", 1))
        ]
        for metric, digits in (("side", 4), ("mad", 1)):
            difference = _difference(found, variant, metric)
            star = " *" if difference is not None and difference.excludes_zero else ""
            cells.append("" if difference is None else interval_text(difference, digits, signed=True) + star)
        rows.append([variant, str(len(runs)), *cells])
    return markdown_table(
        [
            "variant",
            "faces",
            "SIDE after the prior",
            "SIDE",
            "MAD, degrees",
            "SIDE against the whole",
            "MAD against the whole",
        ],
        rows,
    )


def _verdict(found: Found) -> str:
    """Which variants differ from the whole method by more than chance, in words."""
    worse, better, open_ = [], [], []
    for variant in found:
        differences = {name: _difference(found, variant, name) for name in ("side", "mad")}
        if None in differences.values():
            continue
        clear = {name: d for name, d in differences.items() if d.excludes_zero}
        for name, difference in clear.items():
            (worse if difference.estimate > 0 else better).append(f"`{variant}` ({name.upper()})")
        if not clear:
            open_.append(f"`{variant}`")
    said = [
        f"{label}: {', '.join(names)}."
        for label, names in (
            ("Clearly worse than the whole method", worse),
            ("Clearly better", better),
            ("Not told apart from it by so few faces", open_),
        )
        if names
    ]
    return "\n".join([*said, ""]) if said else ""


def _per_face(found: Found) -> str:
    faces = sorted({face for runs in found.values() for face in runs})
    rows = []
    for variant, runs in found.items():
        side, mad = _by_face(runs, "side"), _by_face(runs, "mad")
        rows.append([variant, *(f"{side[f]:.4f} / {mad[f]:.1f}" if f in side else "–" for f in faces)])
    return markdown_table(["variant", *faces], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("figures", type=pathlib.Path, metavar="ABLATIONS.JSON")
    parser.add_argument("page", type=pathlib.Path, metavar="PAGE.MD")
    options = parser.parse_args()
    write_page(options.page, json.loads(options.figures.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
