"""Turning a GAN's picture along a direction in W: which direction turns it most, and how far each step turns it.

The yaw of a picture is the prediction of an image's own view network, in degrees. Nothing here knows about networks:
yaws come from a function that the caller provides.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

__all__ = ["Candidate", "Traversal", "calibrate", "find_yaw_direction", "style_ranges"]


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A direction in W, applied to a range of styles.

    Attributes:
        direction: (W,) unit vector.
        scale: length of a step of 1 along it, the standard deviation of latents in that direction.
        first, last: styles `first` to `last - 1` are moved.
        number: index of the direction among its method's, from 0.
    """

    direction: np.ndarray
    scale: float
    first: int
    last: int
    number: int


@dataclasses.dataclass(frozen=True, eq=False)
class Traversal:
    """A calibrated path through latents.

    Attributes:
        candidate: the direction.
        steps: (n,) steps, in deviations, for the requested yaws.
        reached: (n,) whether the calibration reached each yaw, or stopped short of it.
    """

    candidate: Candidate
    steps: np.ndarray
    reached: np.ndarray


# The predicted yaw in degrees (k, m) of k candidates at m steps, in deviations.
YawOf = Callable[[Sequence[Candidate], np.ndarray], np.ndarray]

_PROBE = 3.0  # deviations to either side at which candidates are compared
_GRID = np.linspace(-10, 10, 41)  # deviations over which the best is calibrated


def style_ranges(count: int) -> list[tuple[int, int]]:
    """Returns ranges of styles to try: all, and the coarse ones, which hold pose (Karras et al., 2019, section 3)."""
    ranges = {(0, min(2, count)), (0, min(4, count)), (2, min(6, count)), (0, count)}
    return sorted(ranges, key=lambda ends: (ends[1] - ends[0], ends))


def find_yaw_direction(
    candidates: Sequence[Candidate], yaw_of: YawOf, targets_deg: Float[np.ndarray, "n"]
) -> Traversal:
    """Returns the candidate whose traversal changes the predicted yaw most, calibrated to the target yaws.

    Candidates are compared by the change in yaw between three deviations to one side and three to the other.

    Raises:
        ValueError: no candidates.
    """
    if not candidates:
        raise ValueError("no directions to choose from")
    changes = np.ptp(yaw_of(candidates, np.array([-_PROBE, _PROBE])), axis=1)
    best = candidates[int(np.argmax(changes))]
    steps, reached = calibrate(_GRID, yaw_of([best], _GRID)[0], targets_deg)
    return Traversal(best, steps, reached)


def calibrate(
    steps: Float[np.ndarray, "m"], yaws_deg: Float[np.ndarray, "m"], targets_deg: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], np.ndarray]:
    """Returns the steps at which a yaw measured on a grid takes the target values.

    Only the stretch around the smallest step in which the yaw keeps rising (or falling) is used, so that a greater
    target always lies further along. Targets beyond an end of it get the step at that end.

    Args:
        steps: increasing.
        yaws_deg: the yaw at each.
        targets_deg: the yaws to reach.

    Returns:
        Steps (n,), and whether each target lies within the stretch.
    """
    steps, yaws = np.asarray(steps, np.float64), np.asarray(yaws_deg, np.float64)
    start = int(np.abs(steps).argmin())
    first, last = max(
        (_stretch(sign * yaws, start) for sign in (1, -1)), key=lambda ends: abs(yaws[ends[1]] - yaws[ends[0]])
    )
    part = slice(first, last + 1)
    order = slice(None) if yaws[last] >= yaws[first] else slice(None, None, -1)
    steps_at_targets = np.interp(targets_deg, yaws[part][order], steps[part][order])
    low, high = sorted((yaws[first], yaws[last]))
    targets = np.asarray(targets_deg)
    return steps_at_targets, (targets >= low) & (targets <= high)


def _stretch(values: np.ndarray, start: int) -> tuple[int, int]:
    """Returns the first and the last index of the rising stretch around `start`."""
    first = last = start
    while first > 0 and values[first - 1] < values[first]:
        first -= 1
    while last < len(values) - 1 and values[last + 1] > values[last]:
        last += 1
    return first, last
