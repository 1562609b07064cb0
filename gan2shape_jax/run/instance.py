"""A run in which every image trains its own networks: one after another, or several at once as a group."""

from __future__ import annotations

import warnings

import jax
from ml_collections import ConfigDict

from gan2shape_jax.run import interrupt, prepare, refining, start
from gan2shape_jax.run.each_image import FAILURES, failure_of, for_each_group, stem_of
from gan2shape_jax.run.reconstructor import Reconstructor
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.runtime import schedule_of
from gan2shape_jax.training import group_memory, group_plan

__all__ = ["run"]


def run(config: ConfigDict, names: list[str]) -> int:
    """Reconstructs every image of the list, each with its own networks.

    Args:
      config: the run's configuration; validated.
      names: the names in the image list.

    Returns:
      0, or 1 if an image failed.

    Raises:
      UserError: the GAN or the folder is unusable, so that no image could succeed.
    """
    with start.begin(config, names) as begun:
        architecture, frozen = prepare.load_frozen(config)
        folder, schedule = begun.folder, schedule_of(config)
        folder.describe(config)
        tensorboard = folder.tensorboard if config.logging.tensorboard else None
        with Monitor(schedule, tensorboard) as monitor, interrupt.noted() as check:
            if refining.refines(config):
                monitor.say(
                    f"refines the model {config.networks.pretrained} on each image, by config.refinement in place of "
                    "config.schedule"
                )
            work = Reconstructor(config, folder, tuple(names), schedule, architecture, frozen, monitor, check)
            groups, wait = _groups(work, begun.units), not config.schedule.reset_weight
            return for_each_group(folder, names, monitor.say, groups, work.reconstruct, wait=wait)


def _groups(work: Reconstructor, units: list[list[str]]) -> list[list[str]]:
    """Returns the groups: finished images first, then groups already under way, then single unfinished images grouped.

    Args:
      work: the run's reconstructor.
      units: this host's share, see `start.begin`.
    """
    finished: list[list[str]] = []
    unfinished: list[list[str]] = []
    for unit in units:
        is_done = len(unit) == 1 and work.folder.is_finished(stem_of(unit[0]))
        (finished if is_done else unfinished).append(unit)
    single = [unit[0] for unit in unfinished if len(unit) == 1]
    return finished + group_plan.plan(unfinished, _images_at_once(work, single, sum(map(len, unfinished))))


def _images_at_once(work: Reconstructor, single: list[str], count: int) -> int:
    """Returns how many of `count` images to reconstruct at once; those in `single` are not yet in a group."""
    if not work.config.schedule.reset_weight:
        return 1  # each image starts from the one before it
    asked = work.config.runtime.images_at_once
    size = group_plan.choose_size(asked, count, jax.local_devices(), lambda: _bytes_of_one(work, single))
    if size < min(asked, count):
        warnings.warn(
            f"config.runtime.images_at_once is {asked}; {size} at once on this CPU: more images than cores "
            "take longer together than in turn",
            stacklevel=2,
        )
    return size


def _bytes_of_one(work: Reconstructor, names: list[str]) -> int:
    """Returns the bytes that the first usable image takes; errors of other images are reported in their turn."""
    for name in names:
        try:
            prepared = work.prepare(name)
        except FAILURES as error:
            failure_of(name, error)  # raises where the disk is full
        else:
            return group_memory.bytes_of_one(prepared, work.frozen)
    return 0  # no image can be loaded, so none will be trained, however many at once
