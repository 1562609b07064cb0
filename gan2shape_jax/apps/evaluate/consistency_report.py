"""Tables of how good shapes are where no true depth is known."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from gan2shape_jax.apps.evaluate.consistency import BASELINES, ELLIPSOID, Measured
from gan2shape_jax.apps.evaluate.intervals import mean_interval
from gan2shape_jax.apps.evaluate.report import csv_text, interval_text, markdown_table
from gan2shape_jax.results.cells import markdown_cell

__all__ = ["images_csv", "markdown"]

_PREFACE = """\
Without true depth. Unseen error: what remains where the photo, on its shape, is turned and relit until it looks like
pictures of the same object that no training saw; mean absolute difference, pictures in [-1, 1]. Beside runs, a flat
plane, the ellipsoid and another image's shape were asked too. Apart: SIDE between a run's shape and the other runs'.
Mirrored: SIDE between the shape of an image and that of its mirror image. The less the better; means over images with
95% intervals (Student's t).
"""
_FEWEST_RANKED = 3
_NOTHING = "–"


def markdown(measured: Sequence[Measured], problems: Mapping[str, str]) -> str:
    """Returns tables of runs, baselines and images, of ranks if the truth is known, and what was left out."""
    parts = [
        _PREFACE,
        *([_runs(measured), _images(measured), _ranks(measured)] if measured else ["nothing was measured\n"]),
    ]
    wrong = [f"- {markdown_cell(f'{name}: {reason}')}" for name, reason in problems.items()]
    return "\n".join([part for part in parts if part] + (["Left out:", "", *wrong, ""] if wrong else []))


def images_csv(measured: Sequence[Measured]) -> str:
    """Returns a CSV with a row per image and shape: its errors, and SIDE if the truth is known."""
    rows = [
        [one.name, shape, error, one.apart.get(shape), one.mirrored.get(shape), one.sides.get(shape)]
        for one in measured
        for shape, error in one.errors.items()
    ]
    return csv_text(["name", "shape", "unseen_error", "apart", "mirrored", "side"], rows)


def _shapes(measured: Sequence[Measured]) -> list[str]:
    """Returns the names of runs, then of baselines."""
    names = dict.fromkeys(shape for one in measured for shape in one.errors)
    return [name for name in names if name not in BASELINES] + [name for name in BASELINES if name in names]


def _runs(measured: Sequence[Measured]) -> str:
    titles = ["shape", "images", "unseen error", "below the ellipsoid's by", "below it on", "apart", "mirrored", "SIDE"]
    rows = []
    for shape in _shapes(measured):
        some = [one for one in measured if shape in one.errors]
        gains = [1 - one.errors[shape] / one.errors[ELLIPSOID] for one in some]
        below = "" if shape == ELLIPSOID else f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
        share = "" if shape == ELLIPSOID else f"{100 * np.mean(gains):.0f}%"
        others = [
            _mean([getattr(one, key)[shape] for one in some if shape in getattr(one, key)])
            for key in ("apart", "mirrored", "sides")
        ]
        rows.append([shape, str(len(some)), _mean([one.errors[shape] for one in some]), share, below, *others])
    return markdown_table(titles, rows)


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return interval_text(mean_interval(known), 4) if known else _NOTHING


def _images(measured: Sequence[Measured]) -> str:
    shapes = _shapes(measured)
    rows = [
        [one.name, *(f"{one.errors[shape]:.4f}" if shape in one.errors else _NOTHING for shape in shapes)]
        for one in measured
    ]
    return "Unseen error of each image:\n\n" + markdown_table(["image", *shapes], rows)


def _ranks(measured: Sequence[Measured]) -> str:
    """Returns how the measures rank shapes compared with SIDE; '' if no true depth is known."""
    known = [one for one in measured if one.sides]
    if not known:
        return ""
    within = [_spearman(one, list(one.errors)) for one in known]
    ranked = [value for value in within if np.isfinite(value)]
    rows = [
        [
            "unseen error",
            "the shapes of one image, mean over images",
            str(len(ranked)),
            f"{np.mean(ranked):.2f}" if ranked else _NOTHING,
        ]
    ]
    measures: dict[str, Callable[[Measured], dict[str, float]]] = {
        "unseen error": lambda one: one.errors,
        "unseen error by the ellipsoid's": lambda one: {
            key: value / one.errors[ELLIPSOID] for key, value in one.errors.items()
        },
        "apart": lambda one: one.apart,
        "mirrored": lambda one: one.mirrored,
    }
    for shape in _shapes(known):
        for title, values in measures.items():
            pairs = [
                (values(one)[shape], one.sides[shape]) for one in known if shape in values(one) and shape in one.sides
            ]
            finite = np.array([pair for pair in pairs if np.isfinite(pair).all()])
            if shape in BASELINES or len(finite) < _FEWEST_RANKED:
                continue
            rank = stats.spearmanr(finite[:, 0], finite[:, 1]).statistic
            rows.append([title, f"images, by {shape}", str(len(finite)), f"{rank:.2f}"])
    return "Where the true depth is known: Spearman's rank correlation with SIDE.\n\n" + markdown_table(
        ["measure", "ranks", "of", "correlation"], rows
    )


def _spearman(one: Measured, shapes: Sequence[str]) -> float:
    pairs = np.array([(one.errors[shape], one.sides[shape]) for shape in shapes if shape in one.sides])
    if len(pairs) < _FEWEST_RANKED:
        return float("nan")
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
