"""Runs that refine a model on each image: their configuration, and what they keep from training."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.lift import model_file, refinement
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage, TrainState

__all__ = ["Refined", "as_refinement", "finished", "held", "refines"]


class Refined(NamedTuple):
    """The networks that a run keeps from an image's training, and what it reports about that in `metrics`."""

    params: models.Params
    metrics: dict[str, Any]


def refines(config: ConfigDict) -> bool:
    """Whether a run refines the model of a lifted GAN on each image.

    Raises:
      UserError: the model is unusable.
    """
    given = config.networks.pretrained
    return config.mode == "instance" and bool(given) and model_file.read_facts(pathlib.Path(given)) is not None


def as_refinement(config: ConfigDict) -> ConfigDict:
    """Returns a run's configuration with `config.refinement` applied if it refines a model; else unchanged.

    Raises:
      UserError: the model is unusable, or `config.reference` is set: the published code has no models.
    """
    if not refines(config):
        return config
    if config.reference:
        raise UserError(
            "config.reference repeats the published code, which begins without a model: set config.networks.pretrained "
            "to '', or take a variant that does, such as ictface:scratch"
        )
    chosen, mirrored = ConfigDict(config).unlock(), any(config.schedule.flip3)
    stages = tuple(tuple(stage) for stage in config.refinement.lengths)
    chosen.schedule.stages = stages
    chosen.schedule.flip1 = chosen.schedule.flip3 = len(stages) * (mirrored,)
    chosen.optimizer.learning_rate = config.refinement.learning_rate
    chosen.sampling.collect_iters = config.refinement.collect_iters
    chosen.sampling.batch_size = config.refinement.batch_size
    return chosen.lock()


def held(prepared: PreparedImage, params: models.Params) -> PreparedImage:
    """Returns an image whose prior is the depth that its training begins with, if `hold_shape` ties it to that."""
    settings, problem = prepared.settings, prepared.problem
    if "hold_shape" not in settings.optional_terms:
        return prepared
    depth = _depth(params, problem.image, settings=settings)
    return dataclasses.replace(prepared, problem=dataclasses.replace(problem, prior=depth[0]))


_depth = jax.jit(models.depth)


def finished(
    config: ConfigDict, start: models.Params, state: TrainState, prepared: PreparedImage, frozen: FrozenModels
) -> Refined:
    """Returns the networks that a refinement keeps; if nothing is refined, those that training ended with.

    Args:
      config: the run's configuration.
      start: the networks that training began with.
      state: the networks that it ended with.
      prepared: the image.
      frozen: the frozen networks.
    """
    if not config.refinement.kept_out or not refines(config):
        return Refined(state.params, {})
    batches, gain = config.refinement.kept_out, config.refinement.gain
    kept = refinement.keep_best(start, state, prepared, frozen, batches=batches, gain=gain)
    errors = dict(zip(map(str, refinement.SHARES), kept.l1, strict=True))
    return Refined(kept.state.params, {"refinement_share": kept.share, "kept_out_l1": errors})
