"""A run: every image of the list, each with its own networks, all with one set, or without any training."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from gan2shape_jax import checkpoint, data, interrupt, joint_run, loading, models, predict, results, training, weights
from gan2shape_jax.each_image import divide, for_each_image
from gan2shape_jax.frozen import Frozen
from gan2shape_jax.loading import Prepared
from gan2shape_jax.monitor import Monitor
from gan2shape_jax.results import projector
from gan2shape_jax.run_folder import RunFolder
from gan2shape_jax.runtime import cadence_of, interruptible, schedule_of, set_up_runtime
from gan2shape_jax.stages import Phase
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.validation import validate

__all__ = ["projector", "run", "schedule_of", "set_up_runtime"]


def _initial_params(config: ConfigDict, prepared: Prepared, previous: pathlib.Path | None) -> models.Params:
    """What an image starts from: the last image's networks, pretrained ones, or random ones (by the seed)."""
    fresh = models.init_params(jax.random.key(config.seed), prepared.settings)
    if previous is not None and not config.schedule.reset_weight:
        return weights.load_networks(previous / "networks.safetensors", fresh, prepared.settings)
    if config.networks.pretrained:
        return weights.load_networks(
            pathlib.Path(config.networks.pretrained), fresh, prepared.settings, needed=("depth",))
    return fresh


@dataclasses.dataclass(frozen=True)
class _Run:
    """What all images of a run share."""

    config: ConfigDict
    folder: RunFolder
    schedule: tuple[Phase, ...]
    architecture: Architecture
    fixed: Frozen
    monitor: Monitor
    check_interrupt: Callable[[], None]


def _reconstruct(this: _Run, name: str, previous: pathlib.Path | None) -> None:
    """Reconstructs one image and writes its results folder, which appears whole or not at all."""
    config = this.config
    prepared = loading.prepare_image(config, name, this.architecture, this.fixed, this.folder.latents)
    if not config.data.latent_root:
        this.monitor.say(f"{prepared.name}: found a latent, mean absolute error {prepared.inversion_l1:.3f}")
    initial = _initial_params(config, prepared, previous)
    state, history = training.train(
        prepared, this.fixed, this.schedule, initial, this.folder.checkpoints(prepared.name),
        cadence_of(config), interruptible(this.monitor.watch(prepared.name), this.check_interrupt))
    result = results.result_of(state, prepared, this.fixed, history, category=config.category)
    extra = {"history.csv": results.history_csv(history).encode(),
             "networks.safetensors": weights.networks_bytes(state.params)}
    results.write_result(result, this.folder.result(prepared.name), projector(state, prepared, this.fixed), config,
                         extra)
    checkpoint.discard(this.folder.checkpoints(prepared.name))  # the networks are in the results


def _run_instances(config: ConfigDict) -> int:
    """Trains the networks of one image after another."""
    names = data.read_names(config.data.image_list)
    team, mine = divide(config, names)
    architecture, fixed = loading.load_frozen(config)
    folder = RunFolder.open(config, team)
    schedule = schedule_of(config)
    tensorboard = folder.tensorboard if config.logging.tensorboard else None
    with Monitor(schedule, tensorboard) as monitor, interrupt.noted() as check_interrupt:
        this = _Run(config, folder, schedule, architecture, fixed, monitor, check_interrupt)
        return for_each_image(folder, names, monitor.say, functools.partial(_reconstruct, this), mine)


_MODES = {"instance": _run_instances, "joint": joint_run.run, "predict": predict.run}


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
