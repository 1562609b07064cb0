"""The guide file of a GAN: where it is stored, and what it holds for scoring how typical pictures are (`typicality`).

    assets/KIND/guide.safetensors                  for a bundled GAN, beside it
    CACHE/gan2shape_jax/guides/HASH.safetensors    for any other, see `gan2shape_jax.apps.photo.guide`

Its header identifies the GAN by its SHA-256; a guide learned from another GAN is never used.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.weights.budget import Refused
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.io.weights.safetensors_file import TensorFile, open_safetensors
from gan2shape_jax.stylegan2.typicality import Typicality

__all__ = [
    "FORMAT",
    "NAMES",
    "VERSION",
    "cached_at",
    "is_of",
    "places",
    "read_typicality",
    "tensors_of",
    "typicality_in",
]

FORMAT, VERSION = "gan2shape_jax guide", "1"
_BESIDE = "guide.safetensors"
_FOLDER = "typicality/"
NAMES = frozenset(_FOLDER + field.name for field in dataclasses.fields(Typicality))


def cached_at(digest: str) -> pathlib.Path:
    """Returns where the guide of a GAN that came without one is cached; `digest` is the SHA-256 of the GAN's file."""
    return cache("guides") / f"{digest[:32]}.safetensors"


def places(checkpoint: pathlib.Path, digest: str) -> list[pathlib.Path]:
    """Returns the existing files that may be the guide of a GAN: beside its file, and in the user's cache."""
    return [path for path in (checkpoint.with_name(_BESIDE), cached_at(digest)) if path.is_file()]


def tensors_of(typicality: Typicality) -> dict[str, np.ndarray]:
    """Returns the tensors of a typicality by their names in a guide file."""
    return {
        _FOLDER + field.name: np.ascontiguousarray(getattr(typicality, field.name), np.float32)
        for field in dataclasses.fields(Typicality)
    }


def is_of(file: TensorFile, gan_sha256: str) -> bool:
    """Returns whether an open file is the guide of a GAN, in this version of the format."""
    texts = file.metadata
    return (texts.get("format"), texts.get("version"), texts.get("gan_sha256")) == (FORMAT, VERSION, gan_sha256)


def typicality_in(found: Mapping[str, np.ndarray]) -> Typicality | None:
    """Returns the typicality among a guide's tensors; None if it is damaged."""
    arrays = {field.name: np.asarray(found[_FOLDER + field.name]) for field in dataclasses.fields(Typicality)}
    counts, axes = arrays["middle"].shape, arrays["axes"].shape
    whole = (
        len(counts) == 1
        and arrays["scale"].shape == counts
        and axes == (*counts, *arrays["spread"].shape)
        and arrays["plane"].ndim == 1
        and arrays["rest"].size == 1
        and arrays["standards"].shape == (6,)
        and all(np.isfinite(value).all() for value in arrays.values())
    )
    if not whole:
        return None
    arrays["rest"] = arrays["rest"].reshape(())  # a file stores it with shape (1,)
    return Typicality(**{name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()})


def read_typicality(checkpoint: pathlib.Path) -> Typicality | None:
    """Reads the typicality from a GAN's guide; None if it has no guide yet, or none that can be used.

    Args:
      checkpoint: the GAN's file.
    """
    if not checkpoint.is_file():
        return None
    digest = sha256(checkpoint)
    for path in places(checkpoint, digest):
        try:
            with open_safetensors(path) as file:
                if is_of(file, digest) and file.shapes.keys() >= NAMES:
                    found = typicality_in({name: file.read(name) for name in NAMES})
                    if found is not None:
                        return found
        except (OSError, Refused, UserError):
            continue
    return None
