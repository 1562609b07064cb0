"""The record of one reconstructed object, and its exact form on disk.

Frames and ranges, as everywhere in the package: x right, y down, z away from the camera; pictures
`(S, S, 3)` in [-1, 1]; depth `(S, S)` in scene units along z; masks `(S, S)` in [0, 1]. The
*canonical* frame looks at the object from straight ahead; the *input* frame is that of the given
photograph, reached from it by `view`. A saved result is a folder of float32 `.npy` files with
`camera.json` (what the numbers mean), `result.json` (which arrays there are, with checksums, so
that damage is noticed) and `files.json` (all files, see `folder_record`).
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan2shape_jax.io import atomic_files as folders
from gan2shape_jax.io import records
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera, intrinsics
from gan2shape_jax.results import folder_record, record_checks, result_files
from gan2shape_jax.io.records import Damaged

__all__ = ["FORMAT_VERSION", "Result", "load_metrics", "load_result", "save_arrays", "save_result"]

FORMAT_VERSION = 1

# Arrays by shape, (S, S) or (S, S, 3), S standing for the image side; those in `_OPTIONAL` may be absent.
_MAPS = ("depth", "mask", "input_mask", "warped_depth")
_PICTURES = ("albedo", "image", "canonical", "reconstruction")
_OPTIONAL = {"gan_image": "picture", "true_depth": "map", "depth_spread": "map"}

_CONVENTIONS = {
    "axes": "camera frame: x to the right, y down, z away from the camera; right-handed",
    "pixels": "the centre of the pixel in row i, column j lies at image coordinates (j, i)",
    "projection": "(u, v) = (fx x/z + cx, fy y/z + cy), with the intrinsics of this file",
    "units": "scene units; the object turns about a point rot_center_depth in front of the camera, "
    "and its depth lies between min_depth and max_depth",
    "depth": "distance along z (not along the ray) of the canonical view, one value a pixel",
    "view": "rx, ry, rz in radians, tx, ty, tz in scene units, from the canonical frame to that "
    "of the input: p' = Rz Ry Rx (p - c) + c + t with c = (0, 0, rot_center_depth)",
    "view_signs": "positive rx lowers the object's front, positive ry turns it to the picture's "
    "left, positive rz turns the picture clockwise",
    "light": "ambient, diffuse, dx, dy; direction (dx, dy, 1) / |(dx, dy, 1)| in the canonical "
    "frame; positive dx lights from the picture's left, positive dy from above",
    "shading": "picture = 2 (albedo/2 + 1/2) (ambient + diffuse max(0, n . direction)) - 1",
    "normals": "unit vectors n pointing into the surface, so that a plane facing the camera has "
    "(0, 0, 1); normals.png shows n/2 + 1/2",
    "pictures": "red, green, blue in [-1, 1] in the .npy files, 0 to 255 in the .png files (sRGB)",
    "masks": "1 on the object, 0 elsewhere, fractions on the border",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """Everything known about one object after its reconstruction.

    Attributes:
      name: the image's name, without folder and extension.
      camera: intrinsics, rotation centre and depth range.
      depth: (S, S) canonical depth, scene units.
      albedo: (S, S, 3) colour without light, canonical frame.
      view: (6,) from the canonical frame to the input's: radians, scene units.
      light: (4,) ambient, diffuse, dx, dy.
      mask: (S, S) the object in the canonical frame.
      image: (S, S, 3) the input.
      input_mask: (S, S) the object in the input.
      canonical: (S, S, 3) the lit texture in the canonical frame.
      reconstruction: (S, S, 3) the input explained by the factors.
      warped_depth: (S, S) depth seen from the input view, scene units.
      gan_image: (S, S, 3) the GAN's picture of the input's latent, or None.
      true_depth: (S, S) in the input view, or None.
      depth_spread: (S, S) how far depth may be off, canonical frame, scene units, or None.
      metrics: `side`, `mad`, ..., `prior`, `reconstruction_l1`, `inversion_l1`; what is unknown is absent.
      category: `face`, `car`, ...
      reference: whether pictures are drawn with the published code's faults, as `config.reference` asks.
    """

    name: str
    camera: Camera
    depth: np.ndarray
    albedo: np.ndarray
    view: np.ndarray
    light: np.ndarray
    mask: np.ndarray
    image: np.ndarray
    input_mask: np.ndarray
    canonical: np.ndarray
    reconstruction: np.ndarray
    warped_depth: np.ndarray
    gan_image: np.ndarray | None = None
    true_depth: np.ndarray | None = None
    depth_spread: np.ndarray | None = None
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    category: str = ""
    reference: bool = False

    def __post_init__(self) -> None:
        for key, shape in _shapes(self.camera.image_size).items():
            value = getattr(self, key)
            if value is None and key in _OPTIONAL:
                continue
            value = np.array(value, np.float32)
            if value.shape != shape:
                raise ValueError(f"{key} has shape {value.shape}, expected {shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{key} has values that are not finite")
            object.__setattr__(self, key, value)


def save_result(result: Result, folder: str | os.PathLike, *, made_with: Mapping[str, Any] | None = None) -> None:
    """Writes the arrays and descriptions of `result` as a new `folder`, replacing an existing one.

    Args:
      result: the reconstruction.
      folder: appears whole or not at all.
      made_with: what it was made with, for the folder's record.
    """
    with folders.atomic_folder(folder) as fresh:
        save_arrays(result, fresh)
        folder_record.write_record(fresh, made_with or {})


def save_arrays(result: Result, folder: pathlib.Path) -> None:
    """Writes the files that `load_result` reads into an existing folder."""
    checksums = {}
    for key in _shapes(result.camera.image_size):
        value = getattr(result, key)
        if value is not None:
            np.save(folder / f"{key}.npy", value)
            checksums[key] = result_files.checksum(value)
    record = {
        "format": FORMAT_VERSION,
        "name": result.name,
        "category": result.category,
        "reference": result.reference,
        "camera": dataclasses.asdict(result.camera),
        "arrays": checksums,
        "metrics": records.finite(result.metrics),
    }
    result_files.write_json(folder / "camera.json", _camera_description(result))
    result_files.write_json(folder / "result.json", record)


def load_result(folder: str | os.PathLike) -> Result:
    """Reads a folder written by `save_result` or `write_outputs`, bit for bit.

    Raises `UserError` naming the file that is missing, damaged or of another format version.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a results folder: there is no such folder")
    record = result_files.read_record(folder, FORMAT_VERSION)
    try:
        camera = record_checks.camera_of(record["camera"])
        checksums = record_checks.of_type(dict, record["arrays"])
        named: dict[str, Any] = {
            "name": record_checks.of_type(str, record["name"]),
            "category": record_checks.of_type(str, record["category"]),
            "reference": bool(record.get("reference", False)),
            "metrics": record_checks.metrics_of(record["metrics"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{folder / 'result.json'} is damaged ({error}); reconstruct again") from error
    arrays: dict[str, Any] = {}
    for key, shape in _shapes(camera.image_size).items():
        if key in _OPTIONAL and key not in checksums:
            continue
        arrays[key] = result_files.read_array(folder / f"{key}.npy", shape, checksums.get(key))
    try:
        return Result(camera=camera, **named, **arrays)
    except ValueError as error:
        raise Damaged(f"{folder} is not a usable result: {error}") from error


def load_metrics(folder: str | os.PathLike) -> dict[str, Any]:
    """Reads only the metrics of a folder written by `save_result` or `write_outputs`, not its arrays.

    Raises `UserError` if `result.json` is missing, damaged or of another format version.
    """
    folder = pathlib.Path(folder)
    try:
        return record_checks.metrics_of(result_files.read_record(folder, FORMAT_VERSION).get("metrics"))
    except TypeError as error:
        raise Damaged(f"{folder / 'result.json'} is damaged (it has no metrics: {error}); reconstruct again") from error


def _shapes(size: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_MAPS, (size, size))
    shapes |= dict.fromkeys(_PICTURES, (size, size, 3))
    shapes |= {"view": (6,), "light": (4,)}
    shapes |= {key: (size, size, 3) if kind == "picture" else (size, size) for key, kind in _OPTIONAL.items()}
    return shapes


def _camera_description(result: Result) -> dict[str, Any]:
    camera = result.camera
    return {
        "image_size": camera.image_size,
        "fov_deg": camera.fov_deg,
        "intrinsics": np.asarray(intrinsics(camera, np.float32), np.float64).tolist(),
        "rot_center_depth": camera.rot_center_depth,
        "min_depth": camera.min_depth,
        "max_depth": camera.max_depth,
        "near": camera.near,
        "far": camera.far,
        "view": dict(zip(("rx", "ry", "rz", "tx", "ty", "tz"), result.view.tolist(), strict=True)),
        "view_deg": dict(zip(("pitch", "yaw", "roll"), np.rad2deg(result.view[:3]).tolist(), strict=True)),
        "light": dict(zip(("ambient", "diffuse", "dx", "dy"), result.light.tolist(), strict=True)),
        "conventions": _CONVENTIONS,
    }
