"""What a configuration says about how a run proceeds: its schedule, its cadence, the settings of devices."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from gan2shape_jax.method.schedule import Phase, make_schedule
from gan2shape_jax.run import compile_cache
from gan2shape_jax.training.loop import Cadence, Watcher
from gan2shape_jax.xla_flags import add_flag, avoid_wrong_sums

__all__ = ["cadence_of", "interruptible", "schedule_of", "set_up_runtime"]


def set_up_runtime(config: ConfigDict) -> None:
    """Sets what has to come before the first computation: kept programs, a GPU's determinism, a CPU's devices."""
    avoid_wrong_sums()
    compile_cache.use(config.runtime.compilation_cache)
    if config.runtime.deterministic:
        add_flag("--xla_gpu_deterministic_ops=true")
    if config.mode == "instance" and config.runtime.images_at_once > 1:
        _one_image_a_core(min(config.runtime.images_at_once, os.cpu_count() or 1))


def _one_image_a_core(images: int) -> None:
    """Divides the CPU, should it be the device, into as many devices as there are images at once, with a thread each.

    Images side by side on a thread each take less time than one after another on all cores, and a program for
    one image compiles much faster than one for all of them (docs/reports/speed.md). Where computing has begun
    already, as in a notebook, the devices stay what they are.
    """
    with contextlib.suppress(RuntimeError):  # computing has begun
        jax.config.update("jax_num_cpu_devices", images)
        add_flag("--xla_cpu_multi_thread_eigen=false")


def schedule_of(config: ConfigDict) -> tuple[Phase, ...]:
    """Returns the configuration's schedule as data."""
    stage_lengths = tuple(tuple(stage) for stage in config.schedule.stages)
    count = len(stage_lengths)
    return make_schedule(
        stage_lengths,
        flip1=tuple(config.schedule.flip1)[:count],
        flip3=tuple(config.schedule.flip3)[:count],
        prior_iterations=0 if config.networks.pretrained else config.prior.iterations,
        inversion_iterations=config.lift.inversion_iterations if config.mode == "lift" else 0,
        anchored=config.lift.anchored_stages if config.mode == "lift" else 0,
    )


def cadence_of(config: ConfigDict) -> Cadence:
    """Returns how often a run saves and logs, and how many iterations it compiles into a program."""
    # On CPU a scan over convolutions is tens of times slower than calls one by one.
    automatic = 1 if jax.default_backend() == "cpu" else 10
    return Cadence(
        checkpoint=config.checkpoint.every_iterations,
        log=config.logging.every_iterations,
        per_call=config.runtime.iterations_per_call or automatic,
        keep=config.checkpoint.keep,
    )


def interruptible(watcher: Watcher, check: Callable[[], None]) -> Watcher:
    """Returns the watcher with Ctrl-C heeded whenever it hears of progress."""

    def progress(phase: Phase, done: int, loss: float | None) -> None:
        watcher.on_progress(phase, done, loss)
        check()

    return dataclasses.replace(watcher, on_progress=progress)
