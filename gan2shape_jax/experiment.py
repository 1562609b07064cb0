"""A run: every image of the list, each with its own networks, all with one set, or without any training."""

from __future__ import annotations

from ml_collections import ConfigDict

from gan2shape_jax import instance_run, joint_run, predict
from gan2shape_jax.results import projector
from gan2shape_jax.runtime import schedule_of, set_up_runtime
from gan2shape_jax.validation import validate

__all__ = ["projector", "run", "schedule_of", "set_up_runtime"]

_MODES = {"instance": instance_run.run, "joint": joint_run.run, "predict": predict.run}


def run(config: ConfigDict) -> int:
    """Reconstructs every image of the list, in the way that `config.mode` names.

    An image that fails is reported in `failures.json` and does not stop the others; an image whose
    results are there is skipped; a run that was interrupted goes on from its last checkpoint.

    Returns:
      0, or 1 when an image failed.

    Raises:
      UserError: the configuration, the GAN or the folder is unusable, so that no image could succeed.
    """
    validate(config)
    set_up_runtime(config)
    return _MODES[config.mode](config)
