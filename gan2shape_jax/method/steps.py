"""The method's steps by name, in the order in which a run first reaches them; see `step` for what a step is."""

from __future__ import annotations

from gan2shape_jax.method.anchored_step import ANCHORED_STEP
from gan2shape_jax.method.inversion_step import INVERSION_STEP
from gan2shape_jax.method.prior_step import PRIOR_STEP
from gan2shape_jax.method.step import Step
from gan2shape_jax.method.step1 import STEP1
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import STEP3

__all__ = ["STEPS"]

STEPS: dict[str, Step] = {step.name: step for step in (PRIOR_STEP, INVERSION_STEP, STEP1, STEP2, STEP3, ANCHORED_STEP)}
