"""Explaining: from an image, framed and masked, to what networks make of it. The one way that every command takes.

Feed-forward (`Predictor`) no latent and no GAN is needed; refined or trained on the image (`train`), its latent is. A
new measure of a result, or a new map in it, is computed here; `results` says how it is written.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import program_cache
from gan2shape_jax.config import load_config, set_field
from gan2shape_jax.config import names as config_names
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.geometry import camera, resample
from gan2shape_jax.geometry.lighting import apply_shading, normals, shade
from gan2shape_jax.io import arrays
from gan2shape_jax.io.bundled import MODEL, advice, asset, cache, cached_weights, names_of, suggestion, weights_file
from gan2shape_jax.io.data import Item
from gan2shape_jax.lift import model_file, refinement
from gan2shape_jax.method import models, prior, projection, reconstruction
from gan2shape_jax.method.factors import on_border
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.metrics import depth_metrics, evaluation_mask
from gan2shape_jax.method.reconstruction import Prediction, canonical_mask
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Context, Example, PreparedImage
from gan2shape_jax.networks.modules import param_shapes
from gan2shape_jax.photos import judge
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import Plan
from gan2shape_jax.plan.runtime import cadence_of
from gan2shape_jax.results import OutputOptions, Projection, Reconstruction, write_outputs
from gan2shape_jax.results.tables import csv_text
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import loop, network_files
from gan2shape_jax.training.resume import Requested
from gan2shape_jax.training.task import scores

_UNWATCHED = loop.Watcher()
_ERRORS = ("side", "mad", "mad_unit", "mae", "mse")
program_cache.record(Prediction)
_reconstruct = program_cache.cached(reconstruction.reconstruct)


def predict(params: models.Params, example: Example, frozen: FrozenModels, settings: Settings) -> Prediction:
    """Does what `reconstruction.predict` does, by the program that an earlier start has kept."""
    result: Prediction = _reconstruct(params, reconstruction.drop_training_fields(example), frozen, settings)
    return result


def reconstruct(
    params: models.Params,
    prepared: PreparedImage,
    frozen: FrozenModels,
    grader: judge.Grader,
    *,
    assessment: judge.Assessment | None = None,
    **facts: Any,
) -> Reconstruction:
    """Returns what `reconstruct_ungraded` does, from the same arguments, with how far to trust it.

    `assessment` is what the image shows, and how well, if that is known; else the grader's detector says it.
    """
    result = reconstruct_ungraded(params, prepared, frozen, grader, **facts)
    return judge.graded(grader, result, assessment or judge.assessments(grader, [result])[0])


def reconstruct_ungraded(
    params: models.Params,
    prepared: PreparedImage,
    frozen: FrozenModels,
    grader: judge.Grader,
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
        **_ellipsoid(example, grader.config.prior.far, settings.camera),
        **(measured or {}),
    }
    if view.landmark_error is not None:
        error = float(view.landmark_error)
        metrics["landmark_error"] = error if np.isfinite(error) else None
    if grader.by_model:
        # By the published networks: with `DETAIL`, a model explains pictures of anything.
        by = view if start is None else predict(start, example, frozen, settings)
        mask_of_model = np.ones(by.depth.shape, np.float32) if grader.mask is None else grader.mask
        picture = np.asarray(example.image)[0]
        seen = np.asarray(_seen(by, jnp.asarray(mask_of_model), settings=settings)) > 0.5
        published = by.reconstruction if by.published is None else by.published
        metrics["dissimilarity"] = judge.dissimilarity(picture, np.asarray(published), seen)
        if example.landmarks is not None:
            landmarks, lighter = np.asarray(example.landmarks), judge.brightness(picture, np.asarray(published), seen)
            shown = {"mouth": judge.mouth(picture, landmarks, seen), "eyes": judge.eyes(lighter, landmarks, seen)}
            compared = picture, np.asarray(published), landmarks, seen
            shown["open_mouth"] = judge.open_mouth(*compared)
            shown["unevenness"] = float(lighter[seen].std()) if seen.any() else np.nan
            shown["hidden"] = judge.hidden(*compared, shown["unevenness"])
            metrics |= {name: value for name, value in shown.items() if np.isfinite(value)}
        if grader.record is not None:
            mean = grader.record.mean_depth
            metrics["shape_distance"] = judge.shape_distance(np.asarray(view.depth), mean, mask_of_model > 0.5)
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
        metrics=metrics | judge.compare_with_prior(metrics, history),
        category=grader.config.category,
        reference=settings.sampling == "half",
        original_size=settings.original_size if settings.crop and example.latent is not None else 0,
        eyes=eye_distance(frozen.landmarks),
    )


def eye_distance(landmarks: Any) -> float:
    """Returns how far the first two landmarks (k, 3) of a mean shape are apart; 0 without any.

    On the shapes of single photos, which are nearly that one, it differs by a fraction of a percent.
    """
    return 0.0 if landmarks is None else float(np.linalg.norm(np.subtract(landmarks[0], landmarks[1])))


def train(
    plan: Plan,
    prepared: PreparedImage,
    frozen: FrozenModels,
    grader: judge.Grader,
    schedule: tuple[Phase, ...],
    *,
    folder: pathlib.Path | None = None,
    watcher: loop.Watcher = _UNWATCHED,
    requested: Requested | None = None,
    assessment: judge.Assessment | None = None,
) -> tuple[Reconstruction, models.Params]:
    """Trains networks on an image, or refines a model's on it; returns the result, with its history, and the networks.

    `folder` is that of its checkpoints, None for none, and `requested` what these must be of, see `loop.run_schedule`.
    """
    initial = inputs.initial_params(plan, prepared.settings)
    trained = loop.train(prepared, frozen, schedule, initial, folder, cadence_of(plan.config), watcher, requested)
    return finished(plan, prepared, frozen, grader, initial, trained, assessment=assessment)


def finished(
    plan: Plan,
    prepared: PreparedImage,
    frozen: FrozenModels,
    grader: judge.Grader,
    initial: models.Params,
    trained: loop.Trained,
    *,
    assessment: judge.Assessment | None = None,
) -> tuple[Reconstruction, models.Params]:
    """Returns the result of an image that was trained from `initial`, with its history, and the networks."""
    params, history, measured = trained.state.params, trained.history, dict[str, Any]()
    if plan.recipe.name == "refine":
        params, measured = refinement.finished(plan.config, initial, trained.state, prepared, frozen)
    facts: dict[str, Any] = {"history": history, "start": initial, "measured": measured}
    result = reconstruct(params, prepared, frozen, grader, assessment=assessment, **facts)
    return dataclasses.replace(result, history=history), params


@program_cache.jit
def _canonical(view: Prediction, mask: jax.Array, *, settings: Settings) -> tuple[jax.Array, jax.Array]:
    """Returns the lit texture and the object mask in the canonical frame, excluding columns with border depth.

    If they were kept, an object that reaches the edge of its picture would have tabs sticking out of it.
    """
    shading, _ = shade(normals(view.depth, settings.camera, unit=settings.unit_normals), view.light)
    lit = jnp.clip(apply_shading(view.albedo, shading), -1, 1)
    return lit, canonical_mask(mask, view.depth, view.view, settings) * ~on_border(mask.shape[-1])


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
    for step, title in (("prior", "prior"), (loop.START, "start")):
        if rows := [row for row in history if row["step"] == step]:
            return {title: {key: rows[-1][key] for key in _ERRORS}} if "side" in rows[-1] else {}
    return {}


def _ellipsoid(example: Example, far: float, seen_by: camera.Camera) -> dict[str, dict[str, float]]:
    """Returns the errors of an ellipsoid over the true outline, which shapes should beat; {} where there is none."""
    if example.true_depth is None:
        return {}
    truth, everywhere = example.true_depth, jnp.ones_like(example.true_depth)
    if not np.asarray(evaluation_mask(truth, everywhere)).any():
        return {}
    depths = np.asarray(truth)
    outline = (depths < depths.max()).astype(np.float32)
    try:
        depth = prior.whole_ellipsoid(outline, far=far, least=seen_by.min_depth, pixel=1 / seen_by.focal_length)
    except UserError:  # too small an object for one
        return {}
    errors = jax.device_get(depth_metrics(jnp.asarray(depth, jnp.float32), truth, everywhere, camera=seen_by))
    return {"ellipsoid": {key: float(errors[key]) for key in ("side", "mad")}}


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


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["frozen", "settings", "params"],
    meta_fields=["plan", "architecture", "grader"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """Networks that explain images, and what they were trained with; created by `load_predictor`."""

    plan: Plan
    architecture: Architecture  # the GAN's architecture, or its stand-in
    frozen: FrozenModels  # the frozen networks; `frozen.generator` is None if there is no GAN
    settings: Settings  # of the method
    params: models.Params
    grader: judge.Grader

    def prepared(self, item: Item) -> PreparedImage:
        """Returns an image ready to be explained, with its latent if there is one and the GAN is loaded."""
        latent = None if self.frozen.generator is None else item.latent
        return inputs.prepare_image(self.plan, item, latent, self.architecture, self.frozen)

    def reconstruct(self, item: Item, assessment: judge.Assessment | None = None) -> Reconstruction:
        """Returns the networks' result for an image, `assessment` as for `reconstruct`."""
        return reconstruct(self.params, self.prepared(item), self.frozen, self.grader, assessment=assessment)


def load_kind(model: str | os.PathLike[str]) -> ConfigDict:
    """Returns the locked configuration that goes with a model and names its file.

    Args:
      model: a name, of a bundled model or one that `gan2shape-jax get` has fetched; a configuration that names a model,
        as `--config` takes it; or a lifted model's file, which goes with the bundled configuration of its category.

    Raises:
      UserError: there is no such model, and the message lists the names; or its file is unusable.
    """
    spec = os.fspath(model)
    name, _, variant = spec.partition(":")
    if name in config_names() or name.endswith((".py", ".yml", ".yaml")):
        files = cached_weights(cache("weights") / name)
        if not variant and files and not os.path.isfile(asset(f"{name}/model.safetensors")):
            variant = "published"  # what was fetched is all that there is
        config = load_config(f"{name}:{variant}" if variant else name).unlock()
        files = files if variant.partition(":")[0] == "published" else {}
    else:
        lifted = model_file.read_model(path := weights_file(spec, MODEL))
        if lifted is None or (found := _default_of(lifted.facts.category)) is None:
            what = f"is a model of {lifted.facts.category[:80]!r}" if lifted else "is missing, or not a lifted model"
            raise ConfigError(f"{path} {what}: name a lifted model's file, or a configuration that has one (.py)")
        config, files = found.unlock(), {MODEL: path}
    for field, file in files.items():
        set_field(config, field, str(file))
    if not os.path.isfile(model_path := config.networks.pretrained):
        lacks = (
            f"names a model that is missing ({model_path})" if model_path else "names no model (networks.pretrained)"
        )
        named = names_of(MODEL)
        how = f"it {ours}" if (ours := advice(model_path)) else f"lift its GAN (gan2shape-jax lift --config={spec})"
        raise ConfigError(
            f"the configuration {spec}{suggestion(named, spec, config.category)} {lacks}: "
            f"{how}, or use one of the models {', '.join(named)}"
        )
    return config.lock()


def _default_of(category: str) -> ConfigDict | None:
    """Returns a category's configuration without a variant; None if it has none, or only the published one."""
    try:
        return load_config(category) if category in config_names() else None
    except ConfigError:
        return None


def load_predictor(plan: Plan, gan: tuple[Architecture, FrozenModels] | None, *, assesses: bool = True) -> Predictor:
    """Reads the networks of `config.networks.pretrained`, with the encoder if a GAN is given to make pictures through.

    `assesses` says whether it has to judge what pictures show. Raises `UserError`: the networks or the statistics are
    unusable, or do not fit the configuration.
    """
    config = plan.config
    if gan is None:  # a stand-in for its architecture, and the mean view and light
        files = {"view_mean": (config.sampling.view_mvn, 6), "light_mean": (config.sampling.light_mvn, 4)}
        means = {name: jnp.asarray(arrays.load_mvn(*file)[0], jnp.float32) for name, file in files.items()}
        landmarks = None if plan.landmarks is None else jnp.asarray(plan.landmarks)
        frozen = FrozenModels(means["view_mean"], means["light_mean"], landmarks=landmarks)
        architecture = stand_in_sizes(config)
    else:
        architecture, frozen = gan
    settings = plan.settings(architecture, original_size=config.image_size)
    plan.require_model_fits(settings, gan=gan is not None)
    needed = needed_networks(gan=gan is not None)
    like = {name: param_shapes(models.modules(settings)[name]) for name in needed}
    params = network_files.load_networks(pathlib.Path(config.networks.pretrained), like, settings, needed=needed)
    params = jax.device_put({name: value for name, value in params.items() if name in (*needed, models.DETAIL)})
    grader = judge.load_grader(plan, None if gan is None else (architecture, frozen.discriminator), assesses=assesses)
    return Predictor(plan, architecture, frozen, settings, params, grader)


def needed_networks(*, gan: bool) -> tuple[str, ...]:
    """Returns the networks that explaining an image requires, with or without pictures through the GAN."""
    return tuple(name for name in models.NAMES if gan or name != "encoder")


def stand_in_sizes(config: ConfigDict) -> Architecture:
    """Returns a stand-in architecture for the GAN that the configuration describes, for use when none is loaded."""
    levels = config.gan.size.bit_length() - 2
    return Architecture(
        size=config.gan.size,
        style_dim=config.gan.style_dim,
        mapping_layers=8,
        channels=(1,) * levels,
        discriminator_channels=(1,) * levels,
    )
