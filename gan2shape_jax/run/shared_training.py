"""Training one set of networks for many images, and the files that it produces."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from gan2shape_jax.io.atomic_files import atomic_bytes, atomic_text
from gan2shape_jax.method import models
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.run import explain, joint_files, lifted_model
from gan2shape_jax.run.folder import RunFolder, config_hash
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.runtime import cadence_of, interruptible, schedule_of
from gan2shape_jax.training import loop, network_files
from gan2shape_jax.training.tasks import Task

__all__ = ["train"]


def train(
    config: ConfigDict,
    task: Task,
    folder: RunFolder,
    monitor: Monitor,
    check: Callable[[], None],
    *,
    title: str,
    made_with: Mapping[str, Any],
    examined: bool = False,
    drawn: Callable[[Phase, Reconstruction], Reconstruction] | None = None,
) -> None:
    """Trains the networks, resuming from a checkpoint if there is one, and writes them with their history.

    Args:
      config: the run's configuration.
      task: what is trained.
      folder: the run's folder; `joint.json` in it marks the training as done.
      monitor: receives progress.
      check: raises if the user has interrupted the run.
      title: the training's title, on the console and for the curves.
      made_with: what checkpoints must match besides the configuration.
      examined: whether to save checkpoints only where the history has a row, so that each has passed the task's checks.
      drawn: receives the reconstruction at the end of a phase and returns what is shown in TensorBoard; None shows it
        unchanged.
    """
    initial = models.init_params(jax.random.key(config.seed), task.settings)
    if config.networks.pretrained:
        lifted_model.require_fits(config, task.settings, gan=True)
        initial = network_files.load_networks(
            pathlib.Path(config.networks.pretrained), initial, task.settings, needed=("depth",)
        )
    cadence = dataclasses.replace(cadence_of(config), per_call=1)  # every iteration uses another image
    if examined:
        cadence = dataclasses.replace(cadence, checkpoint=-(-cadence.checkpoint // cadence.log) * cadence.log)
    with monitor.watch([title]) as watcher:
        if drawn:
            told = watcher.on_phase_end
            watcher = dataclasses.replace(watcher, on_phase_end=lambda phase, view: told(phase, drawn(phase, view)))
        state, history = loop.run_schedule(
            *(task, schedule_of(config), initial, folder.shared_checkpoints, cadence, interruptible(watcher, check)),
            {"configuration": config_hash(config), **made_with},
        )
    if not folder.team.leads:
        return
    folder.require()
    atomic_text(folder.root / "history.json", json.dumps(history) + "\n")
    atomic_text(folder.root / "history.csv", explain.history_csv(history))
    atomic_bytes(folder.networks, network_files.networks_bytes(state.params))
    joint_files.note(folder.root, done=True)
