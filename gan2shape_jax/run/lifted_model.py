"""Turning a finished lift into a model: view and light statistics, typical errors, and the file itself."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.io import data
from gan2shape_jax.io.atomic_files import atomic_bytes
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.lift import model_file
from gan2shape_jax.lift.gan_samples import SampleMaker
from gan2shape_jax.lift.task import signs_of
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.method.state import PreparedImage, initial_state
from gan2shape_jax.run.folder import config_hash
from gan2shape_jax.stylegan2 import Architecture, weights

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
_LARGEST_CHANGE = 1e-3  # of outputs, as a share of their range, for networks stored in float16
_MOST_DROPPED = 6  # of the ten bits of a mantissa
_FIRST = 1 << 19  # the samples that statistics are measured on are numbered from here on


class Measured(NamedTuple):
    """What was measured on samples that were never trained on.

    Attributes:
      statistics: the entries of `model_file.STATISTICS`, in network units.
      errors: mean and 95th percentile of the reconstruction error, as `l1_mean` and `l1_p95`.
    """

    statistics: dict[str, np.ndarray]
    errors: dict[str, float]


def measure(params: models.Params, maker: SampleMaker, count: int) -> Measured:
    """Returns view and light statistics and errors on `count` fresh samples.

    Args:
      params: parameters of the five networks.
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


def shortened(params: models.Params, images: Float[Any, "n s s 3"], settings: Settings) -> dict[str, int]:
    """Returns the networks to be stored in float16, and how many low bits of each mantissa are zeroed.

    As many bits as possible without changing any output on these images by more than 1e-3 of its range: the zeros take
    no space where the file is compressed, as in a wheel.
    """
    bits: dict[str, int] = {}
    for dropped in range(_MOST_DROPPED + 1):
        rounded = _rounded(params, dropped)
        off = jax.device_get(_changes(params, rounded, jnp.asarray(images), settings=settings))
        within = {name for name, change in off.items() if change <= _LARGEST_CHANGE}
        bits |= {name: dropped for name in within if bits.get(name, -1) == dropped - 1}
    return bits


def _rounded(params: models.Params, dropped: int) -> models.Params:
    """Returns the networks as read back from a file that drops this many bits of each mantissa."""
    return jax.tree.map(lambda leaf: jnp.asarray(model_file.rounded(np.asarray(leaf), dropped), jnp.float32), params)


@jax.jit
def _changes(
    params: models.Params, rounded: models.Params, images: jax.Array, *, settings: Settings
) -> dict[str, jax.Array]:
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


def wanted_of(config: ConfigDict, settings: Settings, *, encoder: bool) -> dict[str, Any]:
    """Returns what a model must have in common with a run (`model_file.fits_of`); `encoder`: whether it uses E."""
    view_mean, _ = data.load_mvn(config.sampling.view_mvn, 6)
    light_mean, _ = data.load_mvn(config.sampling.light_mvn, 4)
    return model_file.fits_of(settings, view_mean, light_mean, encoder=encoder)


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
    """Raises `UserError` if `config.networks.pretrained` is a model that does not fit; plain networks always pass.

    Args:
      config: the run's configuration.
      settings: the run's settings.
      gan: whether the run uses the GAN, which must then be the model's, and with it the model's encoder, unless it
        trains its own.
    """
    path = pathlib.Path(config.networks.pretrained)
    found = model_file.read_facts(path) if config.networks.pretrained else None
    if found is None:
        return
    digest = sha256(config.gan.checkpoint) if gan and pathlib.Path(config.gan.checkpoint).is_file() else None
    wanted = wanted_of(config, settings, encoder=gan and not trains_encoder(config))
    model_file.require_fits(path, found[0], wanted, category=config.category, gan_sha256=digest)


def typical_l1(config: ConfigDict) -> float | None:
    """Returns the L1 that 95% of samples stay below, as recorded in the run's model; None where it uses no model."""
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
    """Measures the trained networks and writes them as a model; the same networks give the same bytes."""
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
    """Returns whether the model in a run's folder exists, with the size that its record says."""
    path, size = root / NAME, record.get("model", {}).get(NAME)
    return path.is_file() and path.stat().st_size == size
