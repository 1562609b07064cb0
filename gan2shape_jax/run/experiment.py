"""A run, from its configuration to the call that makes it: everything is checked once, from top to bottom."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from gan2shape_jax.config.load import as_detail_training
from gan2shape_jax.config.schema import validate
from gan2shape_jax.io.output_folders import require_places
from gan2shape_jax.io.required_files import require_all

if TYPE_CHECKING:
    from gan2shape_jax.run.plan import Plan


def run_experiment(config: ConfigDict) -> int:
    """Does what `config.recipe` says, for every image of the list.

    An image that fails is reported in `failures.json` and does not stop the others; an image that already
    has results is skipped; a run that was interrupted resumes from its last checkpoint.

    Returns:
      0, or 1 if an image failed.

    Raises:
      ConfigError: a value, or a pair of values, is unusable in any run.
      UserError: a file, the GAN or the folder is unusable, so that no image could succeed.
    """
    return prepared(config)()


def prepared(config: ConfigDict, only: Sequence[str] | None = None) -> Callable[[], int]:
    """Checks what can be checked before anything is computed; returns the call that makes the run.

    `only` are names of the image list, if the others are left to other processes.
    """
    validate(config)
    require_places(config)
    names = require_all(config, only)
    # After the checks, since these import JAX and everything built on it, which takes seconds.
    from gan2shape_jax.run import joint, plan, runner, runtime, start

    resolved = plan.resolve(config)
    start.require_startable(resolved, names)  # before devices start
    runtime.set_up_runtime(resolved.config)
    if resolved.recipe.name == "joint":
        return functools.partial(joint.train_jointly, resolved, names)
    if resolved.recipe.lifts:
        return functools.partial(_lift_whole, resolved, names)
    run = runner.train_images if resolved.recipe.trains_each else runner.predict_images
    return functools.partial(run, resolved, names)


def _lift_whole(plan: "Plan", names: Sequence[str]) -> int:
    """Lifts a GAN and, if `config.lift.detail_pictures` says so, teaches the model's albedo detail; see `run.lift`."""
    import jax

    from gan2shape_jax.run import lift
    from gan2shape_jax.run.start import DETAIL

    lift.lift_gan(plan, names)
    if not plan.ends_with_detail:
        return 0
    pictures = plan.config.lift.detail_pictures
    model = f"{plan.config.workdir}/model.safetensors"
    if jax.process_count() > 1:  # which cannot connect a second time
        print(f"the variant `train_detail`, with --config.networks.pretrained={model}, teaches its albedo detail")
        return 0
    print(f"teaching its albedo detail, by {pictures:,} pictures (0 in config.lift.detail_pictures leaves this out)")
    detail = plan.config.copy_and_resolve_references().unlock()
    detail = as_detail_training(detail, model=model, folder=f"{plan.config.workdir}/{DETAIL}", pictures=pictures)
    return prepared(detail.lock())()
