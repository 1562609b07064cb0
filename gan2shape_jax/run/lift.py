"""A lift: one set of networks trained on a GAN's own samples, without any user images.

WORKDIR/model.safetensors      the model: networks, view and light statistics, what it is made for (`lifted_model`)
WORKDIR/networks.safetensors   D, A, V, L and E
WORKDIR/history.csv            losses, and metrics on held-out samples (`training.lift.signs_of`)
WORKDIR/history.json           the same
WORKDIR/samples/               the networks' output for held-out samples, at the end of every step
WORKDIR/joint.json             the sizes of these files
WORKDIR/.projected/            projected samples that are slow to make, kept while they are being trained on
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import DivergedError, UserError, refused
from gan2shape_jax.lift import overshoot
from gan2shape_jax.lift import task as lift
from gan2shape_jax.lift.gan_samples import SampleMaker
from gan2shape_jax.lift.kept_samples import NOWHERE, PROJECTED, KeptSamples
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.results.overview import draw_sample_sheet
from gan2shape_jax.results.pictures import write_png
from gan2shape_jax.run import hosts, interrupt, joint_files, lifted_model, prepare, start
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.run.lift_samples import maker_of
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.runtime import schedule_of
from gan2shape_jax.run.shared_training import train
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import checkpoint, network_files

__all__ = ["FIRST", "run", "task_of"]

_RETURNS = "returns_to_a_checkpoint"
_TELLING_S = 30.0  # between two progress messages of an operation that takes minutes
FIRST = 1 << 20  # training samples are numbered from here on, all others below
# The samples that a change of shape is extrapolated with: number of the first one, how many, and iterations.
_OVERSHOT, _OVERSHOT_ON, _OVERSHOT_ITERATIONS = 1 << 18, 512, 400


def run(config: ConfigDict, names: list[str]) -> int:
    """Lifts the GAN, resuming from a checkpoint where there is one.

    Args:
      config: the run's configuration; validated.
      names: empty and ignored; a lift uses no images.

    Returns:
      0.

    Raises:
      UserError: a file is unusable.
      DivergedError: the loss is not finite, or the networks collapse, a second time.
    """
    del names
    with start.begin(config, [], stay=True) as begun:
        folder = begun.folder
        if begun.trained and lifted_model.is_whole(folder.root, joint_files.record_of(folder.root)):
            return 0
        architecture, frozen = prepare.load_frozen(config)
        folder.describe(config)
        tensorboard = folder.tensorboard if config.logging.tensorboard and begun.team.leads else None
        with Monitor(schedule_of(config), tensorboard) as monitor, interrupt.noted() as check:
            if not begun.trained:
                _train_twice(config, architecture, frozen, folder, monitor, check)
            jax.distributed.shutdown()
            if begun.team.leads:
                checkpoint.discard(folder.shared_checkpoints)  # the networks and the history have been written
                shutil.rmtree(folder.root / PROJECTED, ignore_errors=True)
                _write_model(config, architecture, frozen, folder, monitor)
    return 0


def _write_model(
    config: ConfigDict, architecture: Architecture, frozen: FrozenModels, folder: RunFolder, monitor: Monitor
) -> None:
    """Turns the trained networks into a model file."""
    monitor.say(f"measuring views, lights and errors on {config.lift.measured} fresh samples")
    maker = maker_of(config, architecture, frozen)
    like = models.init_params(jax.random.key(config.seed), maker.settings)
    params = network_files.load_networks(folder.networks, like, maker.settings)
    if config.lift.overshoot:
        monitor.say(f"carrying the change of shape on by {config.lift.overshoot:g} of what it is")
        params = _overshot(config, params, maker)
    path = folder.root / lifted_model.NAME
    lifted_model.write(config, params, maker, maker.problems(range(config.lift.kept_out)), path)
    joint_files.note(folder.root, model={lifted_model.NAME: path.stat().st_size})
    monitor.say(f"the model is {path}; use it with --config.networks.pretrained={path}")


def _overshot(config: ConfigDict, params: models.Params, maker: SampleMaker) -> models.Params:
    """Returns networks whose depth is moved beyond what training changed, by `config.lift.overshoot`."""
    began = prepare.initial_params(config, maker.settings)
    images, _ = maker.images(range(_OVERSHOT, _OVERSHOT + _OVERSHOT_ON))
    mirrored = any(config.schedule.flip3)
    change = overshoot.mean_change(began, params, images, maker.settings, mirrored=mirrored)
    return overshoot.carried_on(
        params, config.lift.overshoot * change, images, maker.settings, iterations=_OVERSHOT_ITERATIONS
    )


def _returns(folder: RunFolder) -> int:
    """Returns how many times training has gone back to an earlier checkpoint, from the run's record."""
    noted = joint_files.record_of(folder.root).get(_RETURNS)
    return noted if isinstance(noted, int) else 0


def _train_twice(
    config: ConfigDict,
    architecture: Architecture,
    frozen: FrozenModels,
    folder: RunFolder,
    monitor: Monitor,
    check: Callable[[], None],
) -> None:
    """Trains to the end; if training diverges, goes back to the newest checkpoint, at most once per run."""
    while True:
        try:
            _train(config, architecture, frozen, folder, monitor, check)
        except DivergedError as error:
            if _returns(folder):
                raise DivergedError(
                    f"{error}; the run has gone back to an earlier checkpoint before: give other samples "
                    "(--config.seed), a smaller --config.optimizer.learning_rate, or a larger "
                    "--config.lift.anchor_view, in a new --config.workdir"
                ) from error
            monitor.say(
                f"{error}. Goes back to the last good checkpoint, with half the learning rate and another order of "
                "the samples"
            )
            if folder.team.leads:
                joint_files.note(folder.root, **dict[str, Any]({_RETURNS: 1}))
            hosts.wait_for(lambda: bool(_returns(folder)))
        else:
            return


def _train(
    config: ConfigDict,
    architecture: Architecture,
    frozen: FrozenModels,
    folder: RunFolder,
    monitor: Monitor,
    check: Callable[[], None],
) -> None:
    """Trains to the end, from the newest checkpoint or from scratch."""
    collected = _telling(monitor, check)
    kept = KeptSamples(folder.root / PROJECTED if folder.team.leads else None)
    task = task_of(config, architecture, frozen, returns=_returns(folder), on_collected=collected, kept_samples=kept)

    def drawn(phase: Phase, views: Reconstruction) -> Reconstruction:
        if folder.team.leads:
            images = np.stack([np.asarray(one.problem.image[0]) for one in task.kept_out[: lift.SHOWN]])
            recon, albedo, depth = (np.asarray(leaf) for leaf in (views.reconstruction, views.albedo, views.depth))
            picture = draw_sample_sheet(images, recon, albedo, depth, task.settings.camera)
            _write_picture(folder.root / "samples" / _picture_name(phase), picture)
        return jax.tree.map(lambda leaf: leaf[0], views)

    train(
        config,
        task,
        folder,
        monitor,
        check,
        title="samples",
        made_with={"batches_per_iteration": _replicas(config)},
        examined=True,
        drawn=drawn,
    )


def _picture_name(phase: Phase) -> str:
    return f"{phase.number:02d}_{phase.label.replace(' ', '_')}.png"


def _write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        write_png(path, picture)
    except OSError as error:
        raise refused(error, f"cannot write {path}") from error


def _replicas(config: ConfigDict) -> int:
    """Returns how many images share an iteration."""
    asked = config.schedule.batches_per_iteration or len(jax.devices())
    return asked if config.schedule.share_weight else 1


def _telling(monitor: Monitor, check: Callable[[], None]) -> Callable[[int, int], None]:
    """Returns a function that periodically reports how many images have their samples, and responds to Ctrl-C."""
    told = time.monotonic()

    def tell(done: int, count: int) -> None:
        nonlocal told
        check()
        if time.monotonic() - told > _TELLING_S:
            told = time.monotonic()
            monitor.say(f"samples are projected onto the GAN: those of {done} of {count} images are done")

    return tell


def task_of(
    config: ConfigDict,
    architecture: Architecture,
    frozen: FrozenModels,
    *,
    returns: int = 0,
    on_collected: Callable[[int, int], None] = lambda done, count: None,
    kept_samples: KeptSamples = NOWHERE,
) -> lift.Lift:
    """Returns the task of lifting a GAN.

    Args:
      config: the run's configuration.
      architecture: the GAN's architecture.
      frozen: the run's frozen networks.
      returns: how many times training has gone back to an earlier checkpoint; each time halves the learning rates and
        changes the order of the samples.
      on_collected: called while a stage's samples are projected, with the number of images done and the total number.
      kept_samples: where samples projected by per-image encoders are kept until their phase is over.

    Raises:
      UserError: a stage has fewer samples than images that share an iteration.
    """
    replicas = _replicas(config)
    if replicas > config.lift.samples:
        raise UserError(
            f"{replicas} images share an iteration, but a stage has {config.lift.samples} samples "
            "(config.lift.samples): give more samples, or lower config.schedule.batches_per_iteration"
        )
    maker = maker_of(config, architecture, frozen)
    slower = 0.5**returns
    settings = changed(maker.settings, learning_rate=maker.settings.learning_rate * slower)
    maker = dataclasses.replace(maker, settings=settings)
    stage = lift.stages_of(
        maker,
        images=config.lift.samples,
        first=FIRST,
        batches=config.lift.batches,
        replicas=replicas,
        seed=config.seed + returns,
        first_learning_rate=config.lift.first_learning_rate * slower,
        encoder_learning_rate=config.lift.encoder_learning_rate * slower,
        on_collected=on_collected,
        kept_samples=kept_samples,
    )
    kept_out = tuple(maker.problems(range(config.lift.kept_out)))
    return lift.Lift(
        stage,
        kept_out,
        maker.frozen,
        maker.settings,
        window=-(-config.lift.samples // replicas),
        decay=config.lift.average,
    )
