"""The tables of the ablations, from the metrics collected by `ablations.py`.

Metrics are given by variant, face and seed. A face's figure is the mean over its seeds; intervals are over faces.
"""

from typing import Any

import numpy as np

from gan2shape_jax.apps.evaluate.tables import csv_text, interval_text, markdown_table, mean_interval, paired_interval

__all__ = ["MEANING", "METRICS", "WHOLE", "Metrics", "csv_table", "tables"]

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
Metrics = dict[str, dict[str, dict[str, dict[str, Any]]]]


def tables(variants: Metrics) -> str:
    """Describes the variants, then tables of means, of significant differences and of the faces."""
    if not variants:
        return "Nothing has been finished yet.\n"
    ordered = {
        name: variants[name] for name in [*MEANING, *(n for n in variants if n not in MEANING)] if name in variants
    }
    meanings = "\n".join(f"- `{variant}`: {MEANING.get(variant, '')}" for variant in ordered)
    seeds = sorted({seed for runs in variants.values() for face in runs.values() for seed in face}, key=int)
    count = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
    return (
        f"{meanings}\n\nMeans over faces with 95% intervals (Student's t over faces; a face is the mean of its "
        f"seeds; {count}).\nDifferences are paired by face; * marks an interval without zero.\n\n"
        f"{_summary(ordered)}\n{_verdict(ordered)}\nSIDE / MAD by face:\n\n{_per_face(ordered)}"
    )


def csv_table(variants: Metrics) -> str:
    """One row per variant, face and seed."""
    rows = []
    for variant, runs in variants.items():
        for face, seeds in runs.items():
            for seed, metrics in seeds.items():
                before = metrics.get("prior", {})
                figures = [source.get(metric) for source in (metrics, before) for metric in METRICS]
                rows.append([variant, face, seed, *figures])
    return csv_text(["variant", "face", "seed", *METRICS, *(f"prior_{m}" for m in METRICS)], rows)


def _by_face(runs: dict[str, dict[str, Any]], metric: str, point: str = "") -> dict[str, float]:
    """The mean of one metric over seeds, by face; `point` "prior" takes it after fitting the prior."""
    return {
        face: float(np.mean([(m[point] if point else m)[metric] for m in seeds.values()]))
        for face, seeds in runs.items()
    }


def _difference(variants: Metrics, variant: str, metric: str):
    """The paired difference between a variant and the whole method, or None if they share fewer than two faces."""
    if variant == WHOLE or WHOLE not in variants:
        return None
    base, other = (_by_face(variants[name], metric) for name in (WHOLE, variant))
    faces = sorted(base.keys() & other.keys())
    return paired_interval([base[f] for f in faces], [other[f] for f in faces]) if len(faces) > 1 else None


def _summary(variants: Metrics) -> str:
    rows = []
    for variant, runs in variants.items():
        cells = [
            interval_text(mean_interval(list(_by_face(runs, metric, point).values())), digits)
            for metric, point, digits in (("side", "prior", 4), ("side", "", 4), ("mad", "", 1))
        ]
        for metric, digits in (("side", 4), ("mad", 1)):
            difference = _difference(variants, variant, metric)
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


def _verdict(variants: Metrics) -> str:
    """Which variants differ from the whole method by more than chance, in words."""
    worse, better, open_ = [], [], []
    for variant in variants:
        differences = {name: _difference(variants, variant, name) for name in ("side", "mad")}
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


def _per_face(variants: Metrics) -> str:
    faces = sorted({face for runs in variants.values() for face in runs})
    rows = []
    for variant, runs in variants.items():
        side, mad = _by_face(runs, "side"), _by_face(runs, "mad")
        rows.append([variant, *(f"{side[f]:.4f} / {mad[f]:.1f}" if f in side else "–" for f in faces)])
    return markdown_table(["variant", *faces], rows)
