"""A run: every image of the list through the schedule, one after another, results written as they finish."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import data, interrupt, loading, models, projection, stages, training, weights
from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.frozen import Frozen
from gan2shape_jax.lighting import apply_shading, normals, shade
from gan2shape_jax.loading import Prepared
from gan2shape_jax.monitor import Monitor
from gan2shape_jax.outputs import (
    OutputOptions,
    Result,
    Row,
    load_result,
    print_table,
    write_outputs,
    write_page,
    write_table,
)
from gan2shape_jax.reconstruction import canonical_mask
from gan2shape_jax.run_folder import RunFolder
from gan2shape_jax.stages import Phase
from gan2shape_jax.state import TrainState
from gan2shape_jax.training import Cadence, Watcher
from gan2shape_jax.validation import validate

__all__ = ["projector", "run", "schedule_of", "set_up_runtime"]


def set_up_runtime(config: ConfigDict) -> None:
    """Where asked, makes a GPU's operations repeat bit by bit; has to come before the first computation."""
    if config.runtime.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def schedule_of(config: ConfigDict) -> tuple[Phase, ...]:
    """The configuration's schedule as data."""
    stage_lengths = tuple(tuple(stage) for stage in config.schedule.stages)
    count = len(stage_lengths)
    return stages.schedule(
        stage_lengths,
        flip1=tuple(config.schedule.flip1)[:count], flip3=tuple(config.schedule.flip3)[:count],
        prior_iterations=0 if config.networks.pretrained else config.prior.iterations)


def _cadence(config: ConfigDict) -> Cadence:
    # On CPU a scan over convolutions is tens of times slower than calls one by one.
    automatic = 1 if jax.default_backend() == "cpu" else 10
    return Cadence(checkpoint=config.checkpoint.every_iterations, log=config.logging.every_iterations,
                   per_call=config.runtime.iterations_per_call or automatic, keep=config.checkpoint.keep)


def _initial_params(config: ConfigDict, prepared: Prepared, previous: pathlib.Path | None) -> models.Params:
    """What an image starts from: the last image's networks, pretrained ones, or random ones (by the seed)."""
    fresh = models.init_params(jax.random.key(config.seed), prepared.settings)
    if previous is not None and not config.schedule.reset_weight:
        return weights.load_networks(previous / "networks.safetensors", fresh, prepared.settings)
    if config.networks.pretrained:
        return weights.load_networks(pathlib.Path(config.networks.pretrained), fresh, prepared.settings)
    return fresh


@functools.partial(jax.jit, static_argnames="settings")
def _project(params, images, problem, frozen, *, settings):
    found, _ = projection.project(params, images, problem.latent, problem.gan_image, frozen, settings)
    return found


def projector(state: TrainState, prepared: Prepared, fixed: Frozen):
    """The trained encoder and the GAN as a function of pictures, for the outputs made through the GAN."""

    def project(images: np.ndarray) -> np.ndarray:
        return np.asarray(_project(state.params, jnp.asarray(images), prepared.problem, fixed,
                                   settings=prepared.settings))

    return project


def _result(
    state: TrainState, prepared: Prepared, fixed: Frozen, history: list[dict[str, Any]], config: ConfigDict
) -> Result:
    problem, settings = prepared.problem, prepared.settings
    view = stages.see(state, problem, fixed, settings)
    shading, _ = shade(normals(view.depth, settings.camera, unit=settings.unit_normals), view.light)
    valid = np.asarray(view.valid)
    difference = np.abs(np.asarray(view.reconstruction - problem.image[0])).mean(axis=-1)
    found: dict[str, Any] = {
        **training.scores(view, prepared),
        "reconstruction_l1": float((difference * valid).sum() / valid.sum()),
        "inversion_l1": prepared.inversion_l1}
    before = [row for row in history if row["step"] == "prior"]
    if before and "side" in before[-1]:
        found["prior"] = {key: before[-1][key] for key in ("side", "mad", "mad_unit", "mae", "mse")}
    return Result(
        name=prepared.name,
        camera=settings.camera,
        depth=np.asarray(view.depth),
        albedo=np.asarray(view.albedo),
        view=np.asarray(view.view),
        light=np.asarray(view.light),
        mask=np.asarray(canonical_mask(problem.mask, view.depth, view.view, settings)),
        image=np.asarray(problem.image[0]),
        input_mask=np.asarray(problem.mask),
        canonical=np.clip(np.asarray(apply_shading(view.albedo, shading)), -1, 1),
        reconstruction=np.asarray(view.reconstruction),
        warped_depth=np.asarray(view.warped_depth),
        gan_image=np.asarray(problem.gan_image[0]),
        true_depth=None if problem.true_depth is None else np.asarray(problem.true_depth),
        metrics=found,
        category=config.category)


def _history_csv(history: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


@dataclasses.dataclass(frozen=True)
class _Run:
    """What all images of a run share."""

    config: ConfigDict
    folder: RunFolder
    schedule: tuple[Phase, ...]
    architecture: Any
    fixed: Frozen
    monitor: Monitor
    check_interrupt: Callable[[], None]


def _interruptible(watcher: Watcher, check: Callable[[], None]) -> Watcher:
    """The watcher, with Ctrl-C heeded whenever it hears of progress."""

    def progress(phase: Phase, done: int, loss: float | None) -> None:
        watcher.on_progress(phase, done, loss)
        check()

    return dataclasses.replace(watcher, on_progress=progress)


def _reconstruct(this: _Run, name: str, previous: pathlib.Path | None) -> None:
    """Reconstructs one image and writes its results folder, which appears whole or not at all."""
    config = this.config
    prepared = loading.prepare_image(config, name, this.architecture, this.fixed, this.folder.latents)
    if not config.data.latent_root:
        this.monitor.say(f"{prepared.name}: found a latent, mean absolute error {prepared.inversion_l1:.3f}")
    initial = _initial_params(config, prepared, previous)
    state, history = training.train(
        prepared, this.fixed, this.schedule, initial, this.folder.checkpoints(prepared.name),
        _cadence(config), _interruptible(this.monitor.watch(prepared.name), this.check_interrupt))
    result = _result(state, prepared, this.fixed, history, config)
    extra = {"history.csv": _history_csv(history).encode(),
             "networks.safetensors": weights.networks_bytes(state.params)}
    wanted = config.outputs
    options = OutputOptions(
        picture_size=wanted.picture_size, turntable_frames=wanted.turntable_frames,
        mesh_full=wanted.mesh_full, animation=wanted.animation, gan_batch=config.sampling.batch_size)
    write_outputs(
        result, this.folder.result(prepared.name),
        gan_project=projector(state, prepared, this.fixed) if wanted.gan_images else None,
        options=options, extra=extra)
    shutil.rmtree(this.folder.checkpoints(prepared.name), ignore_errors=True)  # the networks are in the results


def _explain(error: Exception) -> str:
    if isinstance(error, jax.errors.JaxRuntimeError):
        return f"the device gave up: {str(error).splitlines()[0]}"
    return str(error) or type(error).__name__


def _rows(folder: RunFolder, names: list[str], failures: dict[str, str]) -> list[Row]:
    rows = []
    for name in names:
        if name in failures:
            rows.append(Row(name, f"failed: {failures[name]}"))
        elif folder.is_finished(name):
            rows.append(Row(name, metrics=load_result(folder.result(name)).metrics))
    return rows


def run(config: ConfigDict) -> int:
    """Reconstructs every image of the list.

    An image that fails is reported in `failures.json` and does not stop the others; an image whose
    results are there is skipped; one that was interrupted goes on from its last checkpoint.

    Returns:
      0, or 1 when an image failed.

    Raises:
      UserError: the configuration, the GAN or the folder is unusable, so that no image could succeed.
    """
    validate(config)
    if config.schedule.joint:
        raise UserError("joint training (config.schedule.joint) is not in this version: reconstruct image by image "
                        "with config.mode='instance' and config.schedule.joint=False")
    set_up_runtime(config)
    names = data.read_names(config.data.image_list)
    architecture, fixed = loading.load_frozen(config)
    folder = RunFolder.open(config)
    schedule = schedule_of(config)
    failures: dict[str, str] = {}
    stems = [pathlib.PurePath(name).with_suffix("").as_posix() for name in names]
    tensorboard = folder.tensorboard if config.logging.tensorboard else None
    with Monitor(schedule, tensorboard) as monitor, interrupt.noted() as check_interrupt:
        this = _Run(config, folder, schedule, architecture, fixed, monitor, check_interrupt)
        previous: pathlib.Path | None = None
        for name, stem in zip(names, stems, strict=True):
            if folder.is_finished(stem):
                monitor.say(f"{stem}: finished before, skipped")
            else:
                try:
                    _reconstruct(this, name, previous)
                except DiskFullError:
                    raise
                except (UserError, OSError, FloatingPointError, jax.errors.JaxRuntimeError) as error:
                    failures[stem] = _explain(error)
                    monitor.say(f"[red]{stem}: {failures[stem]}[/red]")
                    continue
            previous = folder.result(stem)
            _write_summaries(folder, stems, failures)
    _write_summaries(folder, stems, failures)
    print_table(_rows(folder, stems, failures))
    return 1 if failures else 0


def _write_summaries(folder: RunFolder, stems: list[str], failures: dict[str, str]) -> None:
    rows = _rows(folder, stems, failures)
    write_table(folder.root, rows)
    write_page(folder.root, rows)
    folder.write_failures(failures)
