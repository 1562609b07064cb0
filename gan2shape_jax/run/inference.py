"""From networks to a result: the one way that every run, command and the Python interface take.

A new measure of a result, or a new map in it, is computed here; `results` says how it is written.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import program_cache
from gan2shape_jax.detection.assessment import mouth, unlikeness
from gan2shape_jax.geometry import camera, resample
from gan2shape_jax.geometry.lighting import apply_shading, normals, shade
from gan2shape_jax.method import models, projection, reconstruction
from gan2shape_jax.method.factors import on_border
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Prediction, canonical_mask
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Context, Example, PreparedImage
from gan2shape_jax.results import OutputOptions, Projection, Reconstruction, write_outputs
from gan2shape_jax.results.page import csv_text
from gan2shape_jax.run import trust
from gan2shape_jax.training import network_files
from gan2shape_jax.training.loop import START
from gan2shape_jax.training.task import scores

_ERRORS = ("side", "mad", "mad_unit", "mae", "mse")
program_cache.record(Prediction)
_reconstruct = program_cache.cached(reconstruction.reconstruct)


def predict(params: models.Params, example: Example, frozen: FrozenModels, settings: Settings) -> Prediction:
    """Does what `reconstruction.predict` does, by the program that an earlier start has kept."""
    result: Prediction = _reconstruct(params, reconstruction.drop_training_fields(example), frozen, settings)
    return result


def reconstruct(
    params: models.Params, prepared: PreparedImage, frozen: FrozenModels, grader: trust.Grader, **facts: Any
) -> Reconstruction:
    """Returns what `reconstruct_ungraded` does, from the same arguments, with how far to trust it."""
    return trust.graded(grader, [reconstruct_ungraded(params, prepared, frozen, grader, **facts)])[0]


def reconstruct_ungraded(
    params: models.Params,
    prepared: PreparedImage,
    frozen: FrozenModels,
    grader: trust.Grader,
    *,
    view: Prediction | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    start: models.Params | None = None,
    measured: Mapping[str, Any] | None = None,
) -> Reconstruction:
    """Returns the networks' reconstruction of an image, with its errors.

    Where a lifted model says where its objects are, the result's mask is that, not the image's: the mesh ends as
    smoothly as the model's shapes do. `view` is what the networks make of the image, if that is known already.
    `history` is that of its training and `start` the networks that this began with, [] and None if nothing was trained;
    `measured` are further metrics.
    """
    example, settings = prepared.example, prepared.settings

    view = view or predict(params, example, frozen, settings)
    canonical, mask = _canonical(view, example.mask, settings=settings)
    metrics = {
        **scores(view, example, settings),
        "reconstruction_l1": _l1(view, example),
        "inversion_l1": prepared.inversion_l1,
        **_baseline(history),
        **(measured or {}),
    }
    if view.landmark_error is not None:
        error = float(view.landmark_error)
        metrics["landmark_error"] = error if np.isfinite(error) else None
    if grader.by_model:
        # By the published networks: with `DETAIL`, a model explains pictures of anything.
        by = view if start is None else predict(start, example, frozen, settings)
        picture, seen = np.asarray(example.image)[0], _where(by, grader.mask, settings)
        published = by.reconstruction if by.published is None else by.published
        metrics["unlikeness"] = unlikeness(picture, np.asarray(published), seen)
        shown = np.nan if example.landmarks is None else mouth(picture, np.asarray(example.landmarks), seen)
        if np.isfinite(shown):
            metrics["mouth"] = shown
    return Reconstruction(
        name=prepared.name,
        camera=settings.camera,
        depth=np.asarray(view.depth),
        signed_albedo=np.asarray(view.albedo),
        view=np.asarray(view.view),
        light=np.asarray(view.light),
        mask=np.asarray(mask) if grader.mask is None else grader.mask,
        signed_image=np.asarray(example.image)[0],
        input_mask=np.asarray(example.mask),
        canonical=np.asarray(canonical),
        reconstruction=np.asarray(view.reconstruction),
        input_depth=np.asarray(view.warped_depth),
        gan_image=None if example.gan_image is None else np.asarray(example.gan_image[0]),
        true_depth=None if example.true_depth is None else np.asarray(example.true_depth),
        metrics=metrics | trust.compare_with_prior(metrics, history),
        category=grader.config.category,
        reference=settings.sampling == "half",
        original_size=settings.original_size if settings.crop and example.latent is not None else 0,
    )


@program_cache.jit
def _canonical(view: Prediction, mask: jax.Array, *, settings: Settings) -> tuple[jax.Array, jax.Array]:
    """Returns the lit texture and the object mask in the canonical frame, excluding columns with border depth.

    If they were kept, an object that reaches the edge of its picture would have tabs sticking out of it.
    """
    shading, _ = shade(normals(view.depth, settings.camera, unit=settings.unit_normals), view.light)
    lit = jnp.clip(apply_shading(view.albedo, shading), -1, 1)
    return lit, canonical_mask(mask, view.depth, view.view, settings) * ~on_border(mask.shape[-1])


def _where(view: Prediction, mask: np.ndarray | None, settings: Settings) -> np.ndarray:
    """Returns where the model's object is seen in the input (S, S), bool."""
    mask = np.ones(view.depth.shape, np.float32) if mask is None else mask
    return np.asarray(_seen(view, jnp.asarray(mask), settings=settings)) > 0.5


@program_cache.jit
def _seen(view: Prediction, mask: jax.Array, *, settings: Settings) -> jax.Array:
    """Returns a canonical mask (S, S) as it is seen in the input."""
    grid = camera.inverse_warped_grid(view.warped_depth, view.view, settings.camera)
    return resample.grid_sample(mask[..., None], grid)[..., 0] * view.valid


def _l1(view: Prediction, example: Example) -> float:
    """Returns the mean absolute difference between an image and its reconstruction, where the surface is visible."""
    valid = np.asarray(view.valid)
    difference = np.abs(np.asarray(view.reconstruction) - np.asarray(example.image)[0]).mean(axis=-1)
    return float((difference * valid).sum() / valid.sum())


def _baseline(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the errors of the fitted prior, or of the `start` if weights were given instead."""
    for step, title in (("prior", "prior"), (START, "start")):
        if rows := [row for row in history if row["step"] == step]:
            return {title: {key: rows[-1][key] for key in _ERRORS}} if "side" in rows[-1] else {}
    return {}


def projector(params: models.Params, prepared: PreparedImage, frozen: FrozenModels) -> Projection:
    """Returns a function that projects pictures (n, S, S, 3) in [-1, 1] with the trained encoder and the GAN."""
    context = prepared.context(frozen)
    return lambda images: np.asarray(_project(params, jnp.asarray(images), context))


@jax.jit
def _project(params: models.Params, images: jax.Array, context: Context) -> jax.Array:
    latent, reference = context.example.latent, context.example.gan_image
    return projection.project(params, images, latent, reference, context.frozen, context.settings)[0]


def history_csv(history: Sequence[Mapping[str, Any]]) -> str:
    """Returns the history as a CSV table, with a column for every quantity that occurs in it."""
    columns = list(dict.fromkeys(key for row in history for key in row if key != "images"))
    return csv_text(columns, [[row.get(column) for column in columns] for row in history])


def training_files(
    params: models.Params, history: Sequence[Mapping[str, Any]], *, networks: str, depth: str
) -> dict[str, bytes]:
    """Returns the files kept from an image's training, content by name.

    `networks` is 'full', 'small' or 'none', `depth` the name of the depth network.
    """
    files = {"history.csv": history_csv(history).encode()}
    if networks != "none":
        files["networks.safetensors"] = network_files.networks_bytes(params, small=networks == "small", depth=depth)
    return files


def options_of(config: ConfigDict) -> OutputOptions:
    """Returns which pictures and files of a result are written, as set by `config.outputs`."""
    names = ("preset", "picture_size", "turntable_frames", "mesh_full", "animation")
    return OutputOptions(**{name: config.outputs[name] for name in names}, gan_batch=config.sampling.batch_size)


def write(
    result: Reconstruction,
    folder: pathlib.Path,
    config: ConfigDict,
    *,
    project: Projection | None = None,
    extra: Mapping[str, Any] | None = None,
    preset: str = "",
    made_with: Mapping[str, Any] | None = None,
) -> None:
    """Writes an image's results folder, as set by `config.outputs`; it appears complete or not at all.

    Without `project`, see `projector`, it has no pictures by the GAN. `extra` are further files by name, `preset`
    replaces that of the configuration, `made_with` are facts for the folder's record, as JSON values.
    """
    options = options_of(config)
    write_outputs(
        result,
        folder,
        gan_project=project if config.outputs.gan_images else None,
        options=dataclasses.replace(options, preset=preset) if preset else options,
        extra=extra,
        made_with=made_with,
    )
