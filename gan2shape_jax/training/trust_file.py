"""A model's measured shape errors, as one file beside the model: `NAME.trust.safetensors`.

They are measured where true depth is known (`benchmarks/quality/trust_record.py`); the errors of a model without such
a file are unknown. The header names the model by its SHA-256, so measurements of another model are never used.
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import safetensors.numpy
from jaxtyping import Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.budget import Refused
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.io.weights.safetensors_file import open_safetensors
from gan2shape_jax.training.network_files import in_order

__all__ = ["TrustRecord", "beside", "read_trust", "trust_bytes"]

_FORMAT, _VERSION = "gan2shape_jax trust", "1"


@dataclasses.dataclass(frozen=True, eq=False)
class TrustRecord:
    """The errors to expect of a model.

    Attributes:
      usual_error: (S, S) root mean square depth error, canonical frame, scene units, up to a factor of depth.
      level: multiple of `usual_error` that 80% of pixels' errors stay within when SIDE is as usual.
      side_line: (2,) the expected log(SIDE) is the first, plus the second times max(atypicality, 0).
      side_range: (2,) the 5th and 95th percentiles of SIDE over pictures framed like the GAN's.
    """

    usual_error: Float[np.ndarray, "s s"]
    level: float
    side_line: Float[np.ndarray, "2"]
    side_range: Float[np.ndarray, "2"]


def beside(model: pathlib.Path) -> pathlib.Path:
    """Returns the path of a model's trust record."""
    return model.with_name(f"{model.stem}.trust.safetensors")


def trust_bytes(record: TrustRecord, model_sha256: str) -> bytes:
    """Returns a record's file content; the same record gives the same bytes."""
    tensors: dict[str, np.ndarray] = {
        "usual_error": np.ascontiguousarray(record.usual_error, np.float16),
        "level": np.array([record.level], np.float32),
        "side_line": np.ascontiguousarray(record.side_line, np.float32),
        "side_range": np.ascontiguousarray(record.side_range, np.float32),
    }
    texts = {"format": _FORMAT, "version": _VERSION, "model_sha256": model_sha256}
    return in_order(safetensors.numpy.save(tensors, metadata=texts))


def read_trust(model: pathlib.Path, image_size: int) -> TrustRecord | None:
    """Returns a model's trust record; None if there is none, or it is damaged or belongs to another model.

    Args:
      model: the model's file.
      image_size: side of the model's images, in pixels.
    """
    path = beside(model)
    wanted = {"usual_error": (image_size, image_size), "level": (1,), "side_line": (2,), "side_range": (2,)}
    if not (path.is_file() and model.is_file()):
        return None
    try:
        with open_safetensors(path) as file:
            texts = file.metadata
            known = (texts.get("format"), texts.get("version"), texts.get("model_sha256"))
            if known != (_FORMAT, _VERSION, sha256(model)) or dict(file.shapes) != wanted:
                return None
            found = {name: np.asarray(file.read(name), np.float32) for name in wanted}
    except (OSError, Refused, UserError):
        return None
    if not all(np.isfinite(value).all() for value in found.values()) or found["usual_error"].min() < 0:
        return None
    return TrustRecord(found["usual_error"], float(found["level"][0]), found["side_line"], found["side_range"])
