"""The model obtained by lifting a GAN, as one safetensors file: the networks and what they belong to.

Tensor names are those of `network_files`, so a model can be used wherever networks can; `view_mean`, `view_cov`,
`light_mean` and `light_cov` under `statistics/` describe what V and L see on the GAN's samples, in network units. The
header's metadata say which GAN, camera and category the networks are for; see `ModelFacts`.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict
from jaxtyping import Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.messages import Refused
from gan2shape_jax.io.weights.safetensors_file import TensorFile, open_safetensors
from gan2shape_jax.method.models import Params
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.training.network_files import in_order

__all__ = [
    "FORMAT",
    "STATISTICS",
    "VERSION",
    "ModelFacts",
    "fits_of",
    "model_bytes",
    "read_facts",
    "require_fits",
    "rounded",
]

FORMAT = "gan2shape_jax model"
VERSION = 1
STATISTICS = {"view_mean": (6,), "view_cov": (6, 6), "light_mean": (4,), "light_cov": (4, 4)}
_FOLDER = "statistics/"
_LONGEST = 1 << 16  # maximum characters of a metadata text
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
    params: Params, statistics: Mapping[str, np.ndarray], facts: ModelFacts, *, shortened: Mapping[str, int]
) -> bytes:
    """Returns a model's file content; the same arguments give the same bytes.

    Args:
      params: the parameters of the five networks.
      statistics: the arrays listed in `STATISTICS`.
      facts: what the file says about the model.
      shortened: networks to store in float16, with the number of mantissa bits to drop; others are stored in float32.
    """
    tensors = {}
    for name, value in flatten_dict(params, sep="/").items():
        dropped = shortened.get(name.split("/")[0])
        tensors[name] = np.ascontiguousarray(value, np.float32) if dropped is None else rounded(value, dropped)
    tensors |= {_FOLDER + name: np.ascontiguousarray(statistics[name], np.float32) for name in STATISTICS}
    texts = {"format": FORMAT, "version": str(VERSION), "networks": " ".join(params)}
    for field in dataclasses.fields(facts):
        value = getattr(facts, field.name)
        texts[field.name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return in_order(safetensors.numpy.save(tensors, metadata=texts))


def rounded(values: np.ndarray, dropped: int) -> np.ndarray:
    """Returns the nearest float16 numbers whose ten-bit mantissas end in `dropped` zeros."""
    with np.errstate(over="ignore"):  # values out of range become infinite
        bits = np.ascontiguousarray(values, np.float16).view(np.uint16).astype(np.uint32)
    nearest = (bits + ((1 << dropped) >> 1)) >> dropped << dropped
    return nearest.astype(np.uint16).view(np.float16)


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


def require_fits(
    path: pathlib.Path, facts: ModelFacts, wanted: Mapping[str, Any], *, category: str, gan_sha256: str | None
) -> None:
    """Raises `UserError` if a model does not fit a run.

    Args:
      path: the model's path, for messages.
      facts: the model's facts.
      wanted: `fits_of` the run.
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
        for name, value in wanted.items()
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
