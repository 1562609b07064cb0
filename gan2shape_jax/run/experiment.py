"""A run: every image of the list, each with its own networks, all with one set, or without any training."""

from __future__ import annotations

from ml_collections import ConfigDict

from gan2shape_jax.config.validation import validate
from gan2shape_jax.run import instance, joint, predict
from gan2shape_jax.run.results import projector
from gan2shape_jax.run.runtime import schedule_of, set_up_runtime

__all__ = ["projector", "run", "schedule_of", "set_up_runtime"]

_MODES = {"instance": instance.run, "joint": joint.run, "predict": predict.run}


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
