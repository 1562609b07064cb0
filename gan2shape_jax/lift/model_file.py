"""The model obtained by lifting a GAN, as one safetensors file: the networks and what they belong to.

Tensor names are those of `network_files`, so a model can be used wherever networks can; `view_mean`, `view_cov`,
`light_mean` and `light_cov` under `statistics/` describe what V and L see on the GAN's samples, in network units. The
header's metadata say which GAN, camera and category the networks are for; see `ModelFacts`.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import arrays
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.io.weights.tensors import Refused, TensorFile, open_safetensors
from gan2shape_jax.lift.samples import SampleMaker
from gan2shape_jax.lift.task import signs_of
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.models import Params
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.stylegan2 import Architecture, weights
from gan2shape_jax.training.network_files import in_order

NAME = "model.safetensors"  # in a lift's folder
FORMAT = "gan2shape_jax model"
VERSION = 1
STATISTICS = {"view_mean": (6,), "view_cov": (6, 6), "light_mean": (4,), "light_cov": (4, 4)}
_FOLDER = "statistics/"
_LONGEST = 1 << 16  # maximum characters of a metadata text
_LARGEST_CHANGE = 1e-3  # of outputs, as a share of their range, for networks stored in float16
_FIRST = 1 << 19  # the samples that statistics are measured on are numbered from here on
_WITHOUT = "train without a model (config.networks.pretrained='')"


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What a model's file says about the model.

    Attributes:
      category: the category of the images, as in `config.category`.
      gan_sha256: the SHA-256 of the GAN's weight file.
      gan_license: the license of the GAN's weights, as stated in its file; '' if it states none.
      fits: camera, ranges and sizes that the networks were trained with, by name; see `fits_of`.
      errors: typical errors on held-out samples, by name.
      training: what it was trained with.
    """

    category: str
    gan_sha256: str
    gan_license: str
    fits: Mapping[str, Any]
    errors: Mapping[str, float]
    training: Mapping[str, Any]


def fits_of(
    settings: Settings, view_mean: Float[np.ndarray, "6"], light_mean: Float[np.ndarray, "4"], *, encoder: bool
) -> dict[str, Any]:
    """Returns what a model must have in common with a run that uses it: what determines its networks' outputs.

    Args:
      settings: the run's settings.
      view_mean: the mean that V's output is added to, network units.
      light_mean: the mean that L's output is added to, network units.
      encoder: whether the run uses E.
    """
    fits = {
        "image_size": settings.image_size,
        "camera": dataclasses.asdict(settings.camera),
        "view_range": {name: round(float(value), 6) for name, value in vars(settings.view_range).items()},
        "view_mean": _rounded(view_mean) if settings.add_mean_V else [],
        "light_mean": _rounded(light_mean) if settings.add_mean_L else [],
    }
    if encoder:
        fits["config.gan.relative_enc"] = settings.relative_enc
        fits["config.gan.regularize_offset"] = settings.regularize_offset
        if settings.regularize_offset:
            fits["config.gan.F1_d"] = settings.F1_d
    return fits


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in np.asarray(values)]


def model_bytes(
    params: Params, statistics: Mapping[str, np.ndarray], facts: ModelFacts, *, shortened: Collection[str]
) -> bytes:
    """Returns a model's file content; the same arguments give the same bytes.

    Args:
      params: the parameters of the five networks.
      statistics: the arrays listed in `STATISTICS`.
      facts: what the file says about the model.
      shortened: networks to store in float16; others are stored in float32.
    """
    tensors = {}
    for name, value in flatten_dict(params, sep="/").items():
        kind = np.float16 if name.split("/")[0] in shortened else np.float32
        tensors[name] = np.ascontiguousarray(value, kind)
    tensors |= {_FOLDER + name: np.ascontiguousarray(statistics[name], np.float32) for name in STATISTICS}
    texts = {"format": FORMAT, "version": str(VERSION), "networks": " ".join(params)}
    for field in dataclasses.fields(facts):
        value = getattr(facts, field.name)
        texts[field.name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return in_order(safetensors.numpy.save(tensors, metadata=texts))


def read_facts(path: pathlib.Path) -> tuple[ModelFacts, dict[str, np.ndarray]] | None:
    """Returns a model's facts and statistics; None for a file that is not a model.

    Raises:
      UserError: the file is unusable or of another version.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with open_safetensors(path) as file:
            if file.metadata.get("format") != FORMAT:
                return None
            return _facts(path, file.metadata), _statistics(path, file)
    except (OSError, Refused) as error:
        raise UserError(f"{path} is no usable safetensors file of network weights: {error}") from error


def _facts(path: pathlib.Path, texts: Mapping[str, str]) -> ModelFacts:
    if texts.get("version") != str(VERSION):
        raise UserError(
            f"model {path} is of version {texts.get('version', '')[:20]!r}; this program reads version {VERSION}: "
            "install a program of the model's age"
        )
    values: dict[str, Any] = {}
    for field in dataclasses.fields(ModelFacts):
        text = texts.get(field.name)
        if text is None or len(text) > _LONGEST:
            raise UserError(f"model {path} is damaged: it says nothing of its {field.name}")
        values[field.name] = text if field.type == "str" else _mapping(path, field.name, text)
    return ModelFacts(**values)


def _mapping(path: pathlib.Path, name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"model {path} is damaged: its {name} cannot be read") from error
    if not isinstance(value, dict):
        raise UserError(f"model {path} is damaged: its {name} is no mapping")
    return value


def _statistics(path: pathlib.Path, file: TensorFile) -> dict[str, np.ndarray]:
    found = {}
    for name, shape in STATISTICS.items():
        if file.shapes.get(_FOLDER + name) != shape:
            raise UserError(f"model {path} is damaged: it lacks {_FOLDER}{name} of shape {shape}")
        found[name] = file.read(_FOLDER + name)
    if not all(np.isfinite(value).all() for value in found.values()):
        raise UserError(f"model {path} is damaged: its statistics are not finite")
    return found


def _require_fits(
    path: pathlib.Path, facts: ModelFacts, run: Mapping[str, Any], *, category: str, gan_sha256: str | None
) -> None:
    """Raises `UserError` if a model does not fit a run.

    Args:
      path: the model's path, for messages.
      facts: the model's facts.
      run: `fits_of` the run.
      category: the run's category.
      gan_sha256: the SHA-256 of the run's GAN; None if it uses none.
    """
    if gan_sha256 is not None and gan_sha256 != facts.gan_sha256:
        raise UserError(
            f"model {path} was lifted from another GAN (SHA-256 {facts.gan_sha256[:16]}, config.gan.checkpoint has "
            f"{gan_sha256[:16]}): name the model of this GAN, lift it with config.mode='lift', or {_WITHOUT}"
        )
    if category != facts.category:
        raise UserError(
            f"model {path} is of category {facts.category[:80]!r}, this run of {category!r} (config.category): name "
            f"another model, or {_WITHOUT}"
        )
    other = [
        f"{name} is {json.dumps(facts.fits.get(name))[:200]} in the model and {json.dumps(value)} in this run"
        for name, value in run.items()
        if not _same(facts.fits.get(name), value)
    ]
    if other:
        raise UserError(
            f"model {path} does not fit this run: {'; '.join(other)}. Set what the model has, or {_WITHOUT}"
        )


def _same(theirs: Any, ours: Any) -> bool:
    """Returns whether two JSON values are equal, up to rounding of numbers."""
    if isinstance(ours, Mapping):
        return (
            isinstance(theirs, Mapping)
            and theirs.keys() == ours.keys()
            and all(_same(theirs[k], ours[k]) for k in ours)
        )
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(theirs) == len(ours) and all(map(_same, theirs, ours))
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return abs(theirs - ours) <= 1e-5 * max(1.0, abs(ours))
    return bool(theirs == ours)


# --- making and using a model ---------------------------------------------------------------------------


class Measured(NamedTuple):
    """What was measured on samples that were never trained on.

    Attributes:
      statistics: the entries of `STATISTICS`, in network units.
      errors: mean and 95th percentile of the reconstruction error, as `l1_mean` and `l1_p95`.
    """

    statistics: dict[str, np.ndarray]
    errors: dict[str, float]


def measure(params: Params, maker: SampleMaker, count: int) -> Measured:
    """Returns view and light statistics and errors on `count` fresh samples.

    Args:
      params: parameters of the five networks.
      maker: draws the samples.
      count: at least 2.
    """
    settings = maker.settings
    views, lights, errors = [], [], []
    for problem in maker.problems(range(_FIRST, _FIRST + count)):
        seen = reconstruction.see(params, problem.problem, maker.frozen, settings)
        signs = jax.device_get(_signs(seen, problem.problem, settings=settings))
        views.append(np.asarray(seen.view))
        lights.append(np.asarray(seen.light))
        errors.append(float(signs["kept_out_l1"]))
    scale = np.asarray(settings.view_range.units())
    raw_views = np.stack(views).astype(np.float64) / np.where(scale > 0, scale, 1)
    raw_lights = np.stack(lights).astype(np.float64)
    raw_lights[:, :2] = raw_lights[:, :2] * 2 - 1  # as `factors.light_from_raw` maps them
    statistics: dict[str, np.ndarray] = {}
    for name, rows in (("view", raw_views), ("light", raw_lights)):
        statistics |= {f"{name}_mean": rows.mean(0), f"{name}_cov": np.cov(rows, rowvar=False)}
    summary = {"l1_mean": float(np.mean(errors)), "l1_p95": float(np.percentile(errors, 95))}
    return Measured({name: value.astype(np.float32) for name, value in statistics.items()}, summary)


_signs = jax.jit(signs_of)


def shortened(params: Params, images: Float[Any, "n s s 3"], settings: Settings) -> set[str]:
    """Returns the networks that may be stored in float16: no output on these images changes by 1e-3 of its range."""
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float16).astype(jnp.float32), params)
    changes = jax.device_get(_changes(params, half, jnp.asarray(images), settings=settings))
    return {name for name, change in changes.items() if change <= _LARGEST_CHANGE}


@jax.jit
def _changes(params: Params, rounded: Params, images: jax.Array, *, settings: Settings) -> dict[str, jax.Array]:
    """Returns the maximum difference of each network's outputs, as a share of their range."""
    none = jnp.zeros(6), jnp.zeros(4)
    span = settings.camera.max_depth - settings.camera.min_depth
    turn = settings.view_range.units()[0]
    changes = {}
    for name, outputs, scale in (
        ("depth", lambda p: models.depth(p, images, settings), span),
        ("albedo", lambda p: models.albedo(p, images, settings), 2.0),
        ("view", lambda p: models.views(p, images, none[0], settings)[:, :3], 2 * turn),
        ("light", lambda p: models.lights(p, images, none[1], settings), 2.0),
        ("encoder", lambda p: models.offsets(p, images, settings), None),
    ):
        first, second = outputs(params), outputs(rounded)
        changes[name] = jnp.max(jnp.abs(first - second)) / (jnp.ptp(first) if scale is None else scale)
    return changes


def needs_of(config: ConfigDict, settings: Settings, *, encoder: bool) -> dict[str, Any]:
    """Returns what a model must have in common with a run (`fits_of`); `encoder`: whether it uses E."""
    view_mean, _ = arrays.load_mvn(config.sampling.view_mvn, 6)
    light_mean, _ = arrays.load_mvn(config.sampling.light_mvn, 4)
    return fits_of(settings, view_mean, light_mean, encoder=encoder)


def _facts_of_run(config: ConfigDict) -> ModelFacts | None:
    """Returns the facts of the model that a run uses; None where it uses none, or plain networks."""
    found = read_facts(pathlib.Path(config.networks.pretrained)) if config.networks.pretrained else None
    return found[0] if found else None


def trains_encoder(config: ConfigDict) -> bool:
    """Whether a run that refines a model on each image trains its own encoder from scratch."""
    return bool(config.mode == "instance" and config.refinement.new_encoder)


def settings_of(config: ConfigDict, architecture: Architecture, *, original_size: int) -> Settings:
    """Returns a run's settings; if it uses a model's encoder, the encoder's output is interpreted as in that model.

    Args:
      config: the run's configuration.
      architecture: the GAN's architecture.
      original_size: side in pixels of the image before cropping and resizing.

    Raises:
      UserError: the model is unusable.
    """
    settings = from_config(config, architecture, original_size=original_size)
    found = _facts_of_run(config)
    if found is None or trains_encoder(config):
        return settings
    fits = found.fits
    return dataclasses.replace(
        settings,
        relative_enc=bool(fits.get("config.gan.relative_enc", settings.relative_enc)),
        regularize_offset=bool(fits.get("config.gan.regularize_offset", settings.regularize_offset)),
    )


def require_fits(config: ConfigDict, settings: Settings, *, gan: bool) -> None:
    """Raises `UserError` if `config.networks.pretrained` is a model that does not fit; plain networks always pass.

    Args:
      config: the run's configuration.
      settings: the run's settings.
      gan: whether the run uses the GAN, which must then be the model's, and with it the model's encoder, unless it
        trains its own.
    """
    found = _facts_of_run(config)
    if found is None:
        return
    digest = sha256(config.gan.checkpoint) if gan and pathlib.Path(config.gan.checkpoint).is_file() else None
    run = needs_of(config, settings, encoder=gan and not trains_encoder(config))
    _require_fits(pathlib.Path(config.networks.pretrained), found, run, category=config.category, gan_sha256=digest)


def typical_l1(config: ConfigDict) -> float | None:
    """Returns the L1 that 95% of samples stay below, as recorded in the run's model; None where it uses no model."""
    found = _facts_of_run(config)
    value = found.errors.get("l1_p95") if found else None
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def write(
    config: ConfigDict,
    params: Params,
    maker: SampleMaker,
    kept_out: Sequence[PreparedImage],
    path: pathlib.Path,
    *,
    configuration: str,
) -> None:
    """Measures the trained networks and writes them as a model; the same networks give the same bytes."""
    measured = measure(params, maker, config.lift.measured)
    images = np.concatenate([np.asarray(one.problem.image) for one in kept_out])
    _, header = weights.read_header(config.gan.checkpoint)
    facts = ModelFacts(
        category=config.category,
        gan_sha256=sha256(config.gan.checkpoint),
        gan_license=header.get("license", ""),
        fits=needs_of(config, maker.settings, encoder=True),
        errors=measured.errors,
        training={
            "configuration": configuration,
            "seed": config.seed,
            "stages": [list(stage) for stage in config.schedule.stages],
            "samples_a_stage": config.lift.samples,
            "images_an_iteration": max(1, config.schedule.batches_per_iteration),
            "truncation": config.lift.truncation,
        },
    )
    half = shortened(params, images, maker.settings)
    atomic_bytes(path, model_bytes(params, measured.statistics, facts, shortened=half))
