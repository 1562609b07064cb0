"""Summaries of a run and differences between runs, paired by image."""

import dataclasses
from collections.abc import Sequence

from gan2shape_jax.apps.evaluate.folders import FoundRun
from gan2shape_jax.apps.evaluate.intervals import Interval, mean_interval, median_interval, paired_interval
from gan2shape_jax.apps.evaluate.scores import METRICS, Score

__all__ = ["Comparison", "ScoredRun", "compare", "summarize"]


@dataclasses.dataclass(frozen=True)
class ScoredRun:
    """A run with the scores of its images."""

    run: FoundRun
    scores: list[Score]

    @property
    def label(self) -> str:
        """The label of the run."""
        return self.run.label


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One run against another.

    Attributes:
        base: label of the run that the other is compared with.
        other: label of the other.
        differences: mean of `other - base` over the images for which both have the metric, by metric.
        images: number of images that both have scored.
        notes: sentences on what cannot be paired.
    """

    base: str
    other: str
    differences: dict[str, Interval]
    images: int
    notes: list[str]


def summarize(scores: Sequence[Score]) -> dict[str, dict[str, Interval]]:
    """Returns mean and median with their intervals, by metric; metrics that no image has are omitted."""
    summaries = {}
    for metric in METRICS:
        values = [score.figures[metric] for score in scores if metric in score.figures]
        if values:
            summaries[metric] = {"mean": mean_interval(values), "median": median_interval(values)}
    return summaries


def compare(base: ScoredRun, other: ScoredRun) -> Comparison:
    """Returns the paired differences of two runs.

    Images that only one of them has scored, or whose size differs, are left out; where the true depth differs, depth
    errors are left out. The notes say which.
    """
    first = {score.name: score for score in base.scores if score.figures}
    second = {score.name: score for score in other.scores if score.figures}
    common = sorted(first.keys() & second.keys())
    notes = [
        _only(base.label, sorted(first.keys() - second.keys())),
        _only(other.label, sorted(second.keys() - first.keys())),
    ]
    misfits = [name for name in common if first[name].size != second[name].size]
    if misfits:
        one, two = (scores[misfits[0]].size for scores in (first, second))
        notes.append(f"{_listed(misfits)}: of different sizes ({one} and {two} pixels for {misfits[0]}), not compared")
    paired = [name for name in common if name not in misfits]
    other_truth = [name for name in paired if first[name].truth != second[name].truth]
    if other_truth:
        notes.append(f"{_listed(other_truth)}: the runs' true depths differ, depth errors not compared")
    differences = {}
    for metric in METRICS:
        names = [
            name
            for name in paired
            if metric in first[name].figures
            and metric in second[name].figures
            and (name not in other_truth or metric.endswith("_l1"))
        ]
        if names:
            differences[metric] = paired_interval(
                [first[name].figures[metric] for name in names], [second[name].figures[metric] for name in names]
            )
    return Comparison(base.label, other.label, differences, len(paired), [note for note in notes if note])


def _only(label: str, names: list[str]) -> str:
    return f"only in {label}: {_listed(names)}" if names else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
