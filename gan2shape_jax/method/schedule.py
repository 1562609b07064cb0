"""The schedule as data: the prior's fit, then stages of three steps (GAN2Shape, section 3.2 and appendix)."""

from __future__ import annotations

import dataclasses

__all__ = ["Phase", "make_schedule"]


@dataclasses.dataclass(frozen=True)
class Phase:
    """One step of one stage, or a step before the first stage.

    Attributes:
      number: position in the schedule, from 0.
      stage: from 1; 0 is what comes before: the prior's fit and, in a lift, the encoder's inversion step.
      step: a name in `steps.STEPS`.
      iterations: number of iterations.
      flip: whether the mirrored sheet has to explain the images too.
    """

    number: int
    stage: int
    step: str
    iterations: int
    flip: bool

    @property
    def label(self) -> str:
        """The phase's human-readable name."""
        return f"stage {self.stage} {self.step}" if self.stage else self.step


def make_schedule(
    stages: tuple[tuple[int, int, int], ...],
    *,
    flip1: tuple[bool, ...],
    flip3: tuple[bool, ...],
    prior_iterations: int,
    inversion_iterations: int = 0,
    anchored: int = 0,
) -> tuple[Phase, ...]:
    """Returns the phases of a run: the prior's fit (unless it has no iterations), then the stages' steps.

    Args:
      stages: iterations of steps 1, 2 and 3 for every stage.
      flip1: per stage, whether step 1 uses the mirrored sheet.
      flip3: per stage, whether step 3 does.
      prior_iterations: 0 where a pretrained depth network replaces the prior.
      inversion_iterations: iterations of the inversion step before the first stage; only a lift has any.
      anchored: number of stages, from the first, that use the anchored step instead of step 3.
    """
    before = (("prior", prior_iterations), ("inversion", inversion_iterations))
    rows = [(0, name, iterations, False) for name, iterations in before if iterations]
    for stage, (lengths, first, third) in enumerate(zip(stages, flip1, flip3, strict=True), start=1):
        flips = (first, False, third)
        names = ("step1", "step2", "anchored" if stage <= anchored else "step3")
        rows += [(stage, names[i], lengths[i], flips[i]) for i in range(3)]
    return tuple(Phase(number, *row) for number, row in enumerate(rows))
