"""What a configuration says about how a run proceeds: its schedule, its cadence, its device settings."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from gan2shape_jax.method.schedule import Phase, make_schedule
from gan2shape_jax.run import compile_cache
from gan2shape_jax.run.xla_flags import add_flag, avoid_wrong_sums
from gan2shape_jax.training.loop import Cadence, Watcher

__all__ = ["cadence_of", "interruptible", "schedule_of", "set_up_runtime"]


def set_up_runtime(config: ConfigDict) -> None:
    """Sets up what must precede the first computation: the compilation cache, GPU determinism, CPU devices."""
    avoid_wrong_sums()
    compile_cache.use(config.runtime.compilation_cache)
    if config.runtime.deterministic:
        add_flag("--xla_gpu_deterministic_ops=true")
    if config.mode == "instance" and config.runtime.images_at_once > 1:
        _one_image_a_core(min(config.runtime.images_at_once, os.cpu_count() or 1))


def _one_image_a_core(images: int) -> None:
    """Splits the CPU, if it is the device in use, into one single-threaded device per image trained at once.

    Images side by side on a thread each take less time than one after another on all cores, and a program for
    one image compiles much faster than one for all of them (docs/reports/speed.md). If computation has already
    begun, as in a notebook, the devices stay as they are.
    """
    with contextlib.suppress(RuntimeError):  # computation has begun
        jax.config.update("jax_num_cpu_devices", images)
        add_flag("--xla_cpu_multi_thread_eigen=false")


def schedule_of(config: ConfigDict) -> tuple[Phase, ...]:
    """Returns the configuration's schedule as a tuple of phases."""
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
    """Returns how often a run saves and logs, and how many iterations it compiles into one program."""
    # On a CPU, a scan over convolutions is tens of times slower than individual calls.
    automatic = 1 if jax.default_backend() == "cpu" else 10
    return Cadence(
        checkpoint=config.checkpoint.every_iterations,
        log=config.logging.every_iterations,
        per_call=config.runtime.iterations_per_call or automatic,
        keep=config.checkpoint.keep,
    )


def interruptible(watcher: Watcher, check: Callable[[], None]) -> Watcher:
    """Returns the watcher, extended to check for Ctrl-C on every progress report."""

    def progress(phase: Phase, done: int, loss: float | None) -> None:
        watcher.on_progress(phase, done, loss)
        check()

    return dataclasses.replace(watcher, on_progress=progress)
