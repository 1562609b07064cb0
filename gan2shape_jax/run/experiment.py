"""A run: everything is checked, the folder is locked, and then images are trained or predicted, or a GAN is lifted."""

import os
from collections.abc import Sequence

from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.plan import runtime
from gan2shape_jax.plan.recipe import RECIPES, ready
from gan2shape_jax.run import folder, images, joint, lift
from gan2shape_jax.training import devices


def require_one_process(config: ConfigDict) -> None:
    """Raises `UserError` if this is one of several processes, but the images are independent of each other."""
    _, count = devices.host_of(os.environ)
    if count > 1 and not RECIPES[config.recipe].shares_networks:
        raise UserError(
            f"this is one of {count} processes (Slurm, Open MPI, JAX_NUM_PROCESSES), but images of config.recipe "
            f"{config.recipe!r} are divided by --cluster ray alone: start that command once, in one process"
        )


def run_experiment(config: ConfigDict, *, only: Sequence[str] | None = None) -> int:
    """Does what `config.recipe` says, for every image of the list; of these, `only` those, where others do the rest.

    An image that fails is reported in `failures.json` and does not stop the others; an image that already
    has results is skipped; a run that was interrupted resumes from its last checkpoint.

    Returns:
      0, or 1 if an image failed.

    Raises:
      ConfigError: a value, or a pair of values, is unusable in any run.
      UserError: a file, the GAN or the folder is unusable, so that no image could succeed.
    """
    plan, names = ready(config, only)
    runtime.keep_programs(plan.config.runtime.compilation_cache)
    recipe = plan.recipe
    with folder.opened(plan, [] if recipe.lifts else names) as run:
        if recipe.lifts:
            lift.lift_gan(run, names)
        elif recipe.shares_networks:
            return joint.train_jointly(run, names)
        elif recipe.trains:
            return images.train_images(run, names)
        else:
            return images.predict_images(run, names)
    detail = lift.detail_run(run.config) if plan.ends_with_detail else None
    return 0 if detail is None else run_experiment(detail)
