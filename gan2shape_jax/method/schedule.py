"""The schedule as data: the prior's fit, then stages of three steps (GAN2Shape, section 3.2 and appendix)."""

import dataclasses
from collections.abc import Sequence

from gan2shape_jax.method.prior import PRIOR_STEP
from gan2shape_jax.method.state import Step
from gan2shape_jax.method.step1 import STEP1
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import STEP3

# The method's steps by name, in the order in which a run first reaches them.
STEPS: dict[str, Step] = {step.name: step for step in (PRIOR_STEP, STEP1, STEP2, STEP3)}


@dataclasses.dataclass(frozen=True)
class Phase:
    """One step of one stage, or a step before the first stage."""

    number: int  # position in the schedule, from 0
    stage: int  # from 1; 0 is what comes before: the prior's fit and, in a lift, the encoder's inversion step
    kind: Step
    iterations: int
    flip: bool  # whether the mirrored depth map has to explain the images too

    @property
    def step(self) -> str:
        """The step's name."""
        return self.kind.name

    @property
    def label(self) -> str:
        """The phase's human-readable name."""
        return f"stage {self.stage} {self.step}" if self.stage else self.step

    @property
    def cost(self) -> float:
        """How long the phase takes, see `Step.cost`."""
        return self.kind.cost * self.iterations


def make_schedule(
    stages: Sequence[tuple[int, int, int]],
    *,
    flip1: Sequence[bool],
    flip3: Sequence[bool],
    prior_iterations: int,
    first: Sequence[tuple[Step, int]] = (),
    thirds: Sequence[Step] = (),
) -> tuple[Phase, ...]:
    """Returns the phases of a run: the prior's fit (unless it has no iterations), then the stages' steps.

    Args:
      stages: iterations of steps 1, 2 and 3 for every stage.
      flip1: per stage, whether step 1 uses the mirrored depth map.
      flip3: per stage, whether step 3 does.
      prior_iterations: 0 where a pretrained depth network replaces the prior.
      first: further steps before the first stage, each with its iterations.
      thirds: what the first stages have in place of step 3, one for each of them.
    """
    before = ((STEPS["prior"], prior_iterations), *first)
    rows = [(0, step, iterations, False) for step, iterations in before if iterations]
    for stage, (lengths, *flips) in enumerate(zip(stages, flip1, flip3, strict=True), start=1):
        third = thirds[stage - 1] if stage <= len(thirds) else STEPS["step3"]
        steps = ((STEPS["step1"], flips[0]), (STEPS["step2"], False), (third, flips[1]))
        rows += [(stage, step, count, flip) for (step, flip), count in zip(steps, lengths, strict=True)]
    return tuple(Phase(number, *row) for number, row in enumerate(rows))
