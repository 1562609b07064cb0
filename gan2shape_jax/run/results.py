"""The result of one image, computed from the networks that explain it, and its results folder."""

from __future__ import annotations

import csv
import functools
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.geometry.lighting import apply_shading, normals, shade
from gan2shape_jax.method import projection, reconstruction
from gan2shape_jax.method.factors import on_border
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import canonical_mask
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem, TrainState
from gan2shape_jax.results import OutputOptions, Projection, Result, write_outputs
from gan2shape_jax.run.same_config import config_hash
from gan2shape_jax.run.verdict import compare_with_prior
from gan2shape_jax.training import network_files
from gan2shape_jax.training.loop import START
from gan2shape_jax.training.tasks import scores

__all__ = ["history_csv", "projector", "reconstruction_l1", "result_of", "training_files", "write_result"]

_ERRORS = ("side", "mad", "mad_unit", "mae", "mse")


@functools.partial(jax.jit, static_argnames="settings")
def _canonical(
    view: reconstruction.Reconstruction, mask: jax.Array, *, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """Returns the lit texture and the object mask in the canonical frame, excluding columns with border depth.

    If they were kept, an object that reaches the edge of its picture would have tabs sticking out of it.
    """
    normal = normals(view.depth, settings.camera, unit=settings.unit_normals)
    shading, _ = shade(normal, view.light)
    lit = jnp.clip(apply_shading(view.albedo, shading), -1, 1)
    inside = ~on_border(mask.shape[-1])
    return lit, canonical_mask(mask, view.depth, view.view, settings) * inside


@functools.partial(jax.jit, static_argnames="settings")
def _project(params, images, problem, frozen, *, settings):
    return projection.project(params, images, problem.latent, problem.gan_image, frozen, settings)[0]


def projector(state: TrainState, prepared: PreparedImage, frozen: FrozenModels):
    """Returns a function that projects pictures (n, S, S, 3) in [-1, 1] with the trained encoder and the GAN."""

    def project(images: np.ndarray) -> np.ndarray:
        return np.asarray(
            _project(state.params, jnp.asarray(images), prepared.problem, frozen, settings=prepared.settings)
        )

    return project


def result_of(
    state: TrainState,
    prepared: PreparedImage,
    frozen: FrozenModels,
    history: list[dict[str, Any]],
    *,
    category: str,
    measured: Mapping[str, Any] | None = None,
    view: reconstruction.Reconstruction | None = None,
) -> Result:
    """Returns the networks' reconstruction of an image, with its errors.

    Args:
      state: the trained networks.
      prepared: the image.
      frozen: the GAN and the statistics.
      history: the image's own, as returned by `training.loop.run_schedule`; [] if nothing was trained.
      category: the object's category, for the record.
      measured: further metrics.
      view: the networks' reconstruction, if it has already been computed.
    """
    problem, settings = prepared.problem, prepared.settings
    if view is None:
        view = reconstruction.see(state, problem, frozen, settings)
    canonical, mask = _canonical(view, problem.mask, settings=settings)
    metrics: dict[str, Any] = {
        **scores(view, problem, settings),
        "reconstruction_l1": reconstruction_l1(view, problem),
        "inversion_l1": prepared.inversion_l1,
    }
    metrics |= _baseline(history)
    metrics |= measured or {}
    metrics |= compare_with_prior(metrics, history)
    return Result(
        name=prepared.name,
        camera=settings.camera,
        depth=np.asarray(view.depth),
        albedo=np.asarray(view.albedo),
        view=np.asarray(view.view),
        light=np.asarray(view.light),
        mask=np.asarray(mask),
        image=np.asarray(problem.image[0]),
        input_mask=np.asarray(problem.mask),
        canonical=np.asarray(canonical),
        reconstruction=np.asarray(view.reconstruction),
        warped_depth=np.asarray(view.warped_depth),
        gan_image=None if problem.gan_image is None else np.asarray(problem.gan_image[0]),
        true_depth=None if problem.true_depth is None else np.asarray(problem.true_depth),
        metrics=metrics,
        category=category,
        reference=settings.sampling == "half",
    )


def reconstruction_l1(view: reconstruction.Reconstruction, problem: Problem) -> float:
    """Returns the mean absolute difference between an image and its reconstruction, where the sheet is visible."""
    valid = np.asarray(view.valid)
    difference = np.abs(np.asarray(view.reconstruction) - np.asarray(problem.image[0])).mean(axis=-1)
    return float((difference * valid).sum() / valid.sum())


def _baseline(history: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the errors of the fitted prior, or of the `start` if weights were given instead."""
    steps = {row["step"] for row in history}
    for step, title in (("prior", "prior"), (START, "start")):
        if step in steps:
            last = [row for row in history if row["step"] == step][-1]
            return {title: {key: last[key] for key in _ERRORS}} if "side" in last else {}
    return {}


def history_csv(history: list[dict[str, Any]]) -> str:
    """Returns the history as a CSV table, with a column for every quantity that occurs in it."""
    columns = list(dict.fromkeys(key for row in history for key in row if key != "images"))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def training_files(state: TrainState, history: list[dict[str, Any]], *, networks: str) -> dict[str, bytes]:
    """Returns the files kept from an image's training, content by name; `networks` is 'full', 'small' or 'none'."""
    files = {"history.csv": history_csv(history).encode()}
    if networks != "none":
        content = network_files.networks_bytes if networks == "full" else network_files.small_networks_bytes
        files["networks.safetensors"] = content(state.params)
    return files


def write_result(
    result: Result,
    folder: pathlib.Path,
    project: Projection | None,
    config: ConfigDict,
    extra: dict[str, bytes],
    **made_with: Any,
) -> None:
    """Writes an image's results folder, as set by `config.outputs`.

    Args:
      result: the reconstruction.
      folder: where to write; it appears complete or not at all.
      project: see `projector`; None leaves out the pictures drawn by the GAN.
      config: the run's configuration.
      extra: contents of further files, by name.
      **made_with: facts for the folder's record, in addition to the hash of the configuration.
    """
    outputs = config.outputs
    options = OutputOptions(
        picture_size=outputs.picture_size,
        turntable_frames=outputs.turntable_frames,
        mesh_full=outputs.mesh_full,
        animation=outputs.animation and outputs.preset == "all",
        views=outputs.preset != "mesh",
        strips=outputs.preset in ("standard", "all"),
        gan_batch=config.sampling.batch_size,
    )
    write_outputs(
        result,
        folder,
        gan_project=project if outputs.gan_images and outputs.preset == "all" else None,
        options=options,
        extra=extra,
        made_with={"configuration": config_hash(config)} | made_with,
    )
