"""The prior's fit: the depth network learns the weak shape prior before the first stage (GAN2Shape, section 3.2)."""

from __future__ import annotations

from gan2shape_jax.method import losses, models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem
from gan2shape_jax.method.step import LossAndMetrics, Step

__all__ = ["PRIOR_STEP", "prior_loss"]


def prior_loss(
    params: models.Params, problem: Problem, frozen: FrozenModels, settings: Settings, *, flip: bool = False
) -> LossAndMetrics:
    """Returns the mean squared difference between the depth, before its border is blended, and the prior.

    The GAN plays no part in it and there is no mirrored sheet: `frozen` and `flip` are not used.
    """
    del frozen, flip
    depth = models.depth(params, problem.image, settings)
    loss = losses.mean_squared(depth[0], problem.prior)
    return loss, ({"loss": loss}, depth)


PRIOR_STEP = Step("prior", networks=("depth",), loss=prior_loss)
