"""What a lift comes to, made into a model: view and light statistics, typical errors, and the file itself."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax import records
from gan2shape_jax.atomic_files import atomic_bytes
from gan2shape_jax.inputs import data
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.method.state import PreparedImage, initial_state
from gan2shape_jax.run.same_config import config_hash
from gan2shape_jax.stylegan2 import Architecture, weights
from gan2shape_jax.training import model_file
from gan2shape_jax.training.gan_samples import SampleMaker
from gan2shape_jax.training.lift import signs_of
from gan2shape_jax.weight_files.digest import sha256

__all__ = [
    "NAME",
    "is_whole",
    "measure",
    "require_fits",
    "settings_of",
    "shortened",
    "typical_l1",
    "wanted_of",
    "write",
]

NAME = "model.safetensors"
_LARGEST_CHANGE = 1e-3  # of outputs, where networks are kept in float16
_MOST_DROPPED = 6  # of the ten bits of a mantissa
_FIRST = 1 << 19  # samples that statistics are measured on are numbered from here on


class Measured(NamedTuple):
    """What networks see on samples that were never trained on.

    Attributes:
      statistics: of `model_file.STATISTICS`, network units.
      errors: mean and 95th percentile of the signs that speak of errors.
    """

    statistics: dict[str, np.ndarray]
    errors: dict[str, float]


def measure(params: models.Params, maker: SampleMaker, count: int) -> Measured:
    """Returns view and light statistics and errors on `count` fresh samples.

    Args:
      params: of the five networks.
      maker: draws the samples.
      count: at least 2.
    """
    state, settings = initial_state(params, maker.settings), maker.settings
    views, lights, errors = [], [], []
    for problem in maker.problems(range(_FIRST, _FIRST + count)):
        seen = reconstruction.see(state, problem.problem, maker.frozen, settings)
        signs = jax.device_get(_signs(seen, problem.problem, settings=settings))
        views.append(np.asarray(seen.view))
        lights.append(np.asarray(seen.light))
        errors.append(float(signs["kept_out_l1"]))
    span = settings.view_range
    scale = np.array([np.deg2rad(span.rotation_deg)] * 3 + [span.xy] * 2 + [span.z])
    raw_views = np.stack(views).astype(np.float64) / np.where(scale > 0, scale, 1)
    raw_lights = np.stack(lights).astype(np.float64)
    raw_lights[:, :2] = raw_lights[:, :2] * 2 - 1  # as `factors.light_from_raw` maps them
    statistics: dict[str, np.ndarray] = {}
    for name, rows in (("view", raw_views), ("light", raw_lights)):
        statistics |= {f"{name}_mean": rows.mean(0), f"{name}_cov": np.cov(rows, rowvar=False)}
    summary = {"l1_mean": float(np.mean(errors)), "l1_p95": float(np.percentile(errors, 95))}
    return Measured({name: value.astype(np.float32) for name, value in statistics.items()}, summary)


_signs = jax.jit(signs_of, static_argnames="settings")


def shortened(params: models.Params, images: Float[Any, "n s s 3"], settings: Settings) -> dict[str, int]:
    """Returns the networks that are kept in float16, and how many bits of each mantissa are zeros then.

    As many as move no output on these images by more than 1e-3 of its range: the zeros take no room where the file is
    packed, as in a wheel.
    """
    bits: dict[str, int] = {}
    for dropped in range(_MOST_DROPPED + 1):
        rounded = _rounded(params, dropped)
        off = jax.device_get(_changes(params, rounded, jnp.asarray(images), settings=settings))
        within = {name for name, change in off.items() if change <= _LARGEST_CHANGE}
        bits |= {name: dropped for name in within if bits.get(name, -1) == dropped - 1}
    return bits


def _rounded(params: models.Params, dropped: int) -> models.Params:
    """Returns the networks as a file has them that keeps so much of them."""
    return jax.tree.map(lambda leaf: jnp.asarray(model_file.rounded(np.asarray(leaf), dropped), jnp.float32), params)


@functools.partial(jax.jit, static_argnames="settings")
def _changes(
    params: models.Params, rounded: models.Params, images: jax.Array, *, settings: Settings
) -> dict[str, jax.Array]:
    """Returns by how much each network's outputs differ at most, as a share of the range of outputs."""
    none = jnp.zeros(6), jnp.zeros(4)
    span = settings.camera.max_depth - settings.camera.min_depth
    turn = np.deg2rad(settings.view_range.rotation_deg)
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


def wanted_of(config: ConfigDict, settings: Settings, *, encoder: bool) -> dict[str, Any]:
    """Returns what a model has to share with a run, in which E may have a part: `model_file.fits_of` it."""
    view_mean, _ = data.load_mvn(config.sampling.view_mvn, 6)
    light_mean, _ = data.load_mvn(config.sampling.light_mvn, 4)
    return model_file.fits_of(settings, view_mean, light_mean, encoder=encoder)


def trains_encoder(config: ConfigDict) -> bool:
    """Whether a run that goes on from a model, image by image, trains an encoder of its own from the beginning."""
    return bool(config.mode == "instance" and config.refinement.new_encoder)


def settings_of(config: ConfigDict, architecture: Architecture, *, original_size: int) -> Settings:
    """Returns a run's settings; where it takes a model's encoder, its output means what it means to the model.

    Args:
      config: of the run.
      architecture: of the GAN.
      original_size: side in pixels of the image before cropping and resizing.

    Raises:
      UserError: the model is unusable.
    """
    settings = from_config(config, architecture, original_size=original_size)
    found = model_file.read_facts(pathlib.Path(config.networks.pretrained)) if config.networks.pretrained else None
    if found is None or trains_encoder(config):
        return settings
    fits = found[0].fits
    return dataclasses.replace(
        settings,
        relative_enc=bool(fits.get("config.gan.relative_enc", settings.relative_enc)),
        regularize_offset=bool(fits.get("config.gan.regularize_offset", settings.regularize_offset)),
    )


def require_fits(config: ConfigDict, settings: Settings, *, gan: bool) -> None:
    """Raises `UserError` where `config.networks.pretrained` is a model of something else; any networks pass.

    Args:
      config: of the run.
      settings: of the run.
      gan: whether the run uses the GAN, which has to be the model's then, and with it the encoder, unless it trains
        its own.
    """
    path = pathlib.Path(config.networks.pretrained)
    found = model_file.read_facts(path) if config.networks.pretrained else None
    if found is None:
        return
    digest = sha256(config.gan.checkpoint) if gan and pathlib.Path(config.gan.checkpoint).is_file() else None
    wanted = wanted_of(config, settings, encoder=gan and not trains_encoder(config))
    model_file.require_fits(path, found[0], wanted, category=config.category, gan_sha256=digest)


def typical_l1(config: ConfigDict) -> float | None:
    """Returns the L1 that 95% of samples stay below, by the model that a run uses; None where it uses none."""
    path = pathlib.Path(config.networks.pretrained)
    found = model_file.read_facts(path) if config.networks.pretrained else None
    value = found[0].errors.get("l1_p95") if found else None
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def write(
    config: ConfigDict,
    params: models.Params,
    maker: SampleMaker,
    kept_out: Sequence[PreparedImage],
    path: pathlib.Path,
) -> None:
    """Measures and writes the model of trained networks; the same networks give the same bytes."""
    measured = measure(params, maker, config.lift.measured)
    images = np.concatenate([np.asarray(one.problem.image) for one in kept_out])
    _, header = weights.read_header(config.gan.checkpoint)
    facts = model_file.ModelFacts(
        category=config.category,
        gan_sha256=sha256(config.gan.checkpoint),
        gan_license=header.get("license", ""),
        fits=wanted_of(config, maker.settings, encoder=True),
        errors=measured.errors,
        training={
            "configuration": config_hash(config),
            "seed": config.seed,
            "stages": [list(stage) for stage in config.schedule.stages],
            "samples_a_stage": config.lift.samples,
            "images_an_iteration": max(1, config.schedule.batches_per_iteration),
            "truncation": config.lift.truncation,
        },
    )
    bits = shortened(params, images, maker.settings)
    atomic_bytes(path, model_file.model_bytes(params, measured.statistics, facts, shortened=bits))


def is_whole(root: pathlib.Path, record: dict[str, Any]) -> bool:
    """Returns whether the model of a run's folder is there as its record has it."""
    return NAME in record.get("model", {}) and not records.harm_below(root, record["model"])
