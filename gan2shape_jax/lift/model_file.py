"""The model obtained by lifting a GAN, as one safetensors file: the networks and what they belong to.

Tensor names are those of `network_files`, so a model can be used wherever networks can; `view_mean`, `view_cov`,
`light_mean` and `light_cov` under `statistics/` describe what V and L see on the GAN's samples, in network units, and
`turning_axes`, `turning_readers`, `turning_centre`, `turning_values` and `turning_farthest` how the GAN turns them, if
it does. `mask` is where the object is in the canonical frame, whatever the image: results' meshes end with it
(`surface.mean_mask`). `landmarks`, of models of faces, is where the detector's landmarks are on the mean shape
(`geometry.landmark_pose`). The header's metadata say which GAN, camera and category the networks are for; see
`ModelFacts`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import arrays
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.io.weights import open_safetensors, safetensors_bytes
from gan2shape_jax.lift.samples import SampleMaker
from gan2shape_jax.lift.task import signs_of
from gan2shape_jax.method import models, pose_edit, reconstruction
from gan2shape_jax.method.models import Params
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.settings import NetworkSizes, Settings
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.results.surface import mean_mask
from gan2shape_jax.stylegan2 import weights
from gan2shape_jax.stylegan2.flip_subspace import FlipSubspace
from gan2shape_jax.training.network_files import depth_metadata

NAME = "model.safetensors"  # in a lift's folder
FORMAT = "gan2shape_jax model"
VERSION = 1
STATISTICS = {"view_mean": (6,), "view_cov": (6, 6), "light_mean": (4,), "light_cov": (4, 4)}
_FOLDER = "statistics/"
# The tensors of a `LatentPoseEdit`, by its fields and its subspace's.
_POSE_EDIT = {name: f"turning_{name}" for name in ("axes", "centre", "values", "farthest")}
_POSE_EDIT |= {"dual_basis": "turning_readers"}
_LARGEST_CHANGE = 1e-3  # of outputs, as a share of their range, for networks stored in float16
_FOUND_FROM = 16  # times the samples that statistics are measured on: how the GAN turns


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What a model's file says about the model."""

    category: str  # the category of the images, as in `config.category`
    gan_sha256: str  # the SHA-256 of the GAN's weight file
    gan_license: str  # the license of the GAN's weights, as stated in its file; '' if it states none
    fits: Mapping[str, Any]  # camera, ranges and sizes that the networks were trained with, by name; see `needs_of`
    errors: Mapping[str, float]  # typical errors on held-out samples, by name
    training: Mapping[str, Any]  # what it was trained with


def model_bytes(
    params: Params,
    statistics: Mapping[str, np.ndarray],
    facts: ModelFacts,
    *,
    shortened: Collection[str],
    depth: str = NetworkSizes.depth,
) -> bytes:
    """Returns a model's file content, with the `shortened` networks in float16; the same arguments give the same bytes.

    `statistics` has the arrays listed in `STATISTICS`, `mask`, and those of `pose_edit_tensors`; `depth` is the name of
    the depth network.
    """
    tensors = {}
    for name, value in flatten_dict(params, sep="/").items():
        kind = np.float16 if name.split("/")[0] in shortened else np.float32
        tensors[name] = np.ascontiguousarray(value, kind)
    tensors |= {_FOLDER + name: np.ascontiguousarray(statistics[name], np.float32) for name in sorted(statistics)}
    texts = {"format": FORMAT, "version": str(VERSION), "networks": " ".join(params)} | depth_metadata(depth)
    for field in dataclasses.fields(facts):
        value = getattr(facts, field.name)
        texts[field.name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return safetensors_bytes(tensors, texts)


def measured_pose_edit(config: ConfigDict, params: Params, maker: SampleMaker) -> LatentPoseEdit | None:
    """Returns how the lift's GAN turns what it draws, as networks see it; None where it does not, or none can tell."""
    if not maker.frozen.discriminator:
        return None
    return pose_edit.find(maker.key, params, maker.frozen, maker.settings, samples=_FOUND_FROM * config.lift.measured)


def pose_edit_tensors(edit: LatentPoseEdit | None) -> dict[str, np.ndarray]:
    """Returns the arrays that describe how a GAN turns what it draws; {} where it does not."""
    if edit is None:
        return {}
    parts = {**vars(edit.subspace), "values": edit.values, "farthest": edit.farthest}
    return {_POSE_EDIT[name]: np.asarray(value) for name, value in parts.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class LiftedModel:
    """What a model's file holds beside the networks."""

    path: pathlib.Path
    facts: ModelFacts
    pose_edit: LatentPoseEdit | None  # how the GAN turns what it draws, in NumPy; None where it does not
    mask: np.ndarray | None  # (S, S) where objects are in the canonical frame; None in a file of an earlier program
    landmarks: np.ndarray | None = None  # (5, 3) on the mean shape, canonical frame, scene units; None: it has none


def read_model(path: pathlib.Path) -> LiftedModel | None:
    """Returns what a model's file holds beside the networks; None for a file that is not a model.

    Raises `UserError`: the file is unusable or of another version.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    with open_safetensors(path) as file:
        facts = _facts_of(path, file.metadata)
        if facts is None:
            return None
        held = {name.removeprefix(_FOLDER): file.read(name) for name in file.shapes if name.startswith(_FOLDER)}
    mask, landmarks = (np.asarray(held[key], np.float32) if key in held else None for key in ("mask", "landmarks"))
    side, edit = facts.fits.get("image_size"), None
    masked = mask is None or (mask.shape == (side, side) and mask.min() >= 0 and mask.max() <= 1)
    marked = landmarks is None or (landmarks.shape == (5, 3) and np.isfinite(landmarks).all())
    turns = held.keys() & set(_POSE_EDIT.values())
    if not masked or not marked or len(turns) not in (0, len(_POSE_EDIT)):
        raise UserError(f"model {path} is damaged: what a lift writes to {_FOLDER} is not there")
    if turns:
        parts: dict[str, Any] = {part: held[name] for part, name in _POSE_EDIT.items()}
        own = {name: parts.pop(name) for name in ("values", "farthest")}
        edit = LatentPoseEdit(subspace=FlipSubspace(**parts), **own)
    return LiftedModel(path, facts, edit, mask, landmarks)


def _facts_of(path: pathlib.Path, texts: Mapping[str, str]) -> ModelFacts | None:
    if texts.get("format") != FORMAT:
        return None
    if texts.get("version") != str(VERSION):
        raise UserError(
            f"model {path} is of version {texts.get('version', '')[:20]!r}; this program reads version {VERSION}: "
            "use the version of gan2shape-jax that wrote it"
        )
    try:
        fields = dataclasses.fields(ModelFacts)
        values: dict[str, Any] = {
            field.name: texts[field.name] if field.type is str else json.loads(texts[field.name]) for field in fields
        }
        if not all(isinstance(values[name], dict) for name in ("fits", "errors", "training")):
            raise ValueError("a mapping is missing or is not one")
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"model {path} is damaged: its header cannot be read ({error})") from error
    return ModelFacts(**values)


# --- making and using a model ---------------------------------------------------------------------------


def measure(params: Params, maker: SampleMaker, count: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Measures networks on `count` fresh samples, at least 2, that were never trained on.

    Returns the entries of `STATISTICS`, in network units, with `mask`, and mean and 95th percentile of the
    reconstruction error, as `l1_mean` and `l1_p95`.
    """
    settings = maker.settings
    views, lights, errors, depths, masks = [], [], [], [], []
    for sample in maker.examples(Stream.MEASURED_SAMPLE, range(count)):
        prediction = reconstruction.predict(params, sample.example, maker.frozen, settings)
        signs = jax.device_get(signs_of(prediction, sample.example, settings=settings))
        views.append(np.asarray(prediction.view))
        lights.append(np.asarray(prediction.light))
        errors.append(float(signs["held_out_l1"]))
        depths.append(np.asarray(prediction.depth))
        masks.append(np.asarray(_canonical_mask(sample.example.mask, prediction.depth, prediction.view, settings)))
    scale = np.asarray(settings.view_range.units())
    raw_views = np.stack(views).astype(np.float64) / np.where(scale > 0, scale, 1)
    raw_lights = np.stack(lights).astype(np.float64)
    raw_lights[:, :2] = raw_lights[:, :2] * 2 - 1  # as `factors.light_from_raw` maps them
    mask = mean_mask(np.stack(depths), np.stack(masks), settings.camera, symmetric=settings.mirrored)
    statistics: dict[str, np.ndarray] = {"mask": mask}
    for name, rows in (("view", raw_views), ("light", raw_lights)):
        statistics |= {f"{name}_mean": rows.mean(0), f"{name}_cov": np.cov(rows, rowvar=False)}
    return statistics, {"l1_mean": float(np.mean(errors)), "l1_p95": float(np.percentile(errors, 95))}


_canonical_mask = jax.jit(reconstruction.canonical_mask)


def shortened(params: Params, images: Float[Any, "n s s 3"], settings: Settings, of: Collection[str] = ()) -> set[str]:
    """Returns the networks, all or those `of` a list, that may be stored in float16.

    No output on these images changes by 1e-3 of its range.
    """
    chosen = {name: params[name] for name in of or params}
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and changes too much
        half = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), chosen)
    changes = jax.device_get(_changes(params, half, jnp.asarray(images), settings=settings))
    return {name for name, change in changes.items() if change <= _LARGEST_CHANGE}


@jax.jit
def _changes(params: Params, rounded: Params, images: jax.Array, *, settings: Settings) -> dict[str, jax.Array]:
    """Returns the maximum difference of a network's outputs, as a share of their range, for each in `rounded`."""
    none = jnp.zeros(6), jnp.zeros(4)
    light = models.lights(params, images, none[1], settings)
    factors = models.depth(params, images, settings), models.views(params, images, none[0], settings), light
    inputs = images, *factors, settings
    span = settings.camera.max_depth - settings.camera.min_depth
    turn = settings.view_range.units()[0]
    changes = {}
    for name, outputs, scale in (
        ("depth", lambda p: models.depth(p, images, settings), span),
        ("albedo", lambda p: models.albedo(models.published(p), *inputs), 2.0),
        (models.DETAIL, lambda p: models.albedo(p, *inputs), 2.0),
        ("view", lambda p: models.views(p, images, none[0], settings)[:, :3], 2 * turn),
        ("light", lambda p: models.lights(p, images, none[1], settings), 2.0),
        ("encoder", lambda p: models.offsets(p, images, settings), None),
    ):
        if name not in rounded:
            continue
        first, second = outputs(params), outputs(params | {name: rounded[name]})
        changes[name] = jnp.max(jnp.abs(first - second)) / (jnp.ptp(first) if scale is None else scale)
    return changes


def needs_of(config: ConfigDict, settings: Settings, *, encoder: bool) -> dict[str, Any]:
    """Returns what a model must have in common with a run that uses it: what determines its networks' outputs.

    `encoder` says whether the run uses E.
    """

    def mean(path: str, count: int) -> list[float]:  # what V's or L's output is added to, network units
        return [round(float(value), 6) for value in np.asarray(arrays.load_mvn(path, count)[0])]

    fits = {
        "image_size": settings.image_size,
        "camera": settings.camera.record(),
        "view_range": {name: round(float(value), 6) for name, value in vars(settings.view_range).items()},
        "view_mean": mean(config.sampling.view_mvn, 6) if settings.add_mean_V else [],
        "light_mean": mean(config.sampling.light_mvn, 4) if settings.add_mean_L else [],
    }
    if encoder:
        fits["config.gan.relative_enc"] = settings.relative_enc
        fits["config.gan.regularize_offset"] = settings.regularize_offset
        if settings.regularize_offset:
            fits["config.gan.F1_d"] = settings.F1_d
    return fits


def as_with_single_images(config: ConfigDict, settings: Settings) -> Settings:
    """Returns the settings by which a model will explain single images; see `plan.recipe.Plan.settings`."""
    return dataclasses.replace(settings, mirrored=any(config.schedule.flip3))


def with_detail(
    model: pathlib.Path, detail: Params, images: Float[Any, "n s s 3"], settings: Settings, training: Mapping[str, Any]
) -> bytes:
    """Returns a model's file content with `DETAIL` added or replaced; all else, statistics included, stays as it is.

    `detail` are that network's parameters, stored in float16 where that changes nothing on `images` (see `shortened`);
    `training` is what they were trained with, for the facts. Raises `UserError`: the model is unusable.
    """
    with open_safetensors(model) as file:
        kept = {name: file.read(name) for name in file.shapes if name.split("/")[0] != models.DETAIL}
        texts = dict(file.metadata)
    like = {name: value for name, value in kept.items() if not name.startswith(_FOLDER)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), unflatten_dict(like, sep="/"))
    short = shortened(params | {models.DETAIL: detail}, jnp.asarray(images), settings, of=[models.DETAIL])
    kind = np.float16 if short else np.float32
    flat = flatten_dict({models.DETAIL: detail}, sep="/")
    kept |= {name: np.ascontiguousarray(value, kind) for name, value in flat.items()}
    names = [name for name in texts["networks"].split() if name != models.DETAIL]
    texts["networks"] = " ".join([*names, models.DETAIL])
    texts["training"] = json.dumps(json.loads(texts["training"]) | {models.DETAIL: training}, sort_keys=True)
    return safetensors_bytes(kept, texts)


def write(
    config: ConfigDict,
    params: Params,
    maker: SampleMaker,
    held_out: Sequence[PreparedImage],
    path: pathlib.Path,
    *,
    configuration: str,
    landmarks: np.ndarray | None = None,
) -> None:
    """Measures the trained networks and writes them as a model; the same networks give the same bytes.

    `landmarks` are (5, 3) points on their mean shape, if they were measured.
    """
    params, seeing = models.published(params), as_with_single_images(config, maker.settings)
    statistics, errors = measure(params, dataclasses.replace(maker, settings=seeing), config.lift.measured)
    statistics |= pose_edit_tensors(measured_pose_edit(config, params, maker))
    statistics |= {} if landmarks is None else {"landmarks": landmarks}
    images = np.concatenate([np.asarray(sample.example.image) for sample in held_out])
    _, header = weights.read_header(config.gan.checkpoint)
    facts = ModelFacts(
        category=config.category,
        gan_sha256=sha256(config.gan.checkpoint),
        gan_license=header.get("license", ""),
        fits=needs_of(config, maker.settings, encoder=True),
        errors=errors,
        training={
            "configuration": configuration,
            "seed": config.seed,
            "stages": [list(stage) for stage in config.schedule.stages],
            "samples_a_stage": config.lift.samples,
            "images_an_iteration": max(1, config.schedule.batches_per_iteration),
            "truncation": config.lift.truncation,
        },
    )
    short = shortened(params, images, maker.settings)
    atomic_bytes(path, model_bytes(params, statistics, facts, shortened=short, depth=config.networks.depth))
