"""One reconstructed object as data: its arrays, camera, figures and names, and their exact form on disk.

Frames and ranges, as everywhere in the package: x right, y down, z away from the camera; depth `(S, S)` in scene units
along z; masks `(S, S)` in [0, 1]. The *canonical* frame looks at the object from straight ahead; the *input* frame is
that of the given photograph, reached from it by `view`. What draws, cuts and prints it is in `surface`, `views` and
`solid`; `reconstruction` gives all of that to users as methods.

A saved result is a folder of float32 `.npy` files, in which pictures are in [-1, 1], with `camera.json` (what the
numbers mean), `result.json` (which arrays there are), the photo's texture if there is one, and a record of its files
(`results.files`). Metrics are dictionaries of numbers, some nested (`prior`); what is not known, such as depth metrics
without true depth, is absent.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera, intrinsics
from gan2shape_jax.io.files import file_inside, read_object
from gan2shape_jax.io.image_files import open_upright
from gan2shape_jax.results.files import open_file, write_folder

TEXTURE = "texture_unlit.png"
MAPS = ("photo_depth.png", "photo_normals.png", "photo_mask.png")  # of the photo's size, by `photos.maps`
EYES_MM = 63.0  # between a person's eyes, on average
_SIDE_M = 0.2  # metres of the picture's side at the rotation centre's distance, where no eyes tell the size
EYES_LIMITS = (10.0, 1000.0)  # mm: from figurines to statues
_FORMAT = 1
AWAITS = "awaits_refinement"  # true in the metrics of a prediction that a refining run is to replace
VERDICTS = (
    "grade",
    "found",
    "shape",
    "invented",
    "photographs",
    "verdict",
)  # what `trust` in the metrics says in words

# Arrays by field: their names in the record and as files, and their shapes for an image side of S.
_ARRAYS = {
    "depth": ("depth", "SS"),
    "mask": ("mask", "SS"),
    "input_mask": ("input_mask", "SS"),
    "input_depth": ("warped_depth", "SS"),
    "true_depth": ("true_depth", "SS"),
    "uncertainty": ("uncertainty", "SS"),
    "signed_albedo": ("albedo", "SS3"),
    "signed_image": ("image", "SS3"),
    "canonical": ("canonical", "SS3"),
    "reconstruction": ("reconstruction", "SS3"),
    "gan_image": ("gan_image", "SS3"),
    "view": ("view", "6"),
    "light": ("light", "4"),
}
_OPTIONAL = ("gan_image", "true_depth", "uncertainty")
_FACTS = ("name", "category", "reference", "original_size", "eyes", "eyes_mm", "metrics")  # that `result.json` holds
# Of the photographs of an object, by field: the names as files, and the shapes, without the number of photographs.
_STACKS = {
    "signed_image": ("photographs", "SS3"),
    "mask": ("photograph_masks", "SS"),
    "view": ("photograph_views", "6"),
    "size": ("photograph_sizes", ""),
    "light": ("photograph_lights", "93"),
}

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
    "meshes": "metres, x to the right, y up, z towards the viewer; the origin is the point that the object turns "
    "about, where the picture's side is mesh_side long: the eyes of people are eyes_mm of result.json apart",
    "masks": "1 on the object, 0 elsewhere, fractions on the border",
    "photographs": "of an object in several photographs, one row each, in result.json's order, the input first: "
    "photographs.npy (pictures), photograph_masks.npy, photograph_views.npy (view), photograph_sizes.npy (s: the "
    "object is exp(s) times as large about its centre c), photograph_lights.npy (l: in linear light, the shading of a "
    "normal in that view's frame is l . (1, x, y, z, xy, xz, yz, x^2 - y^2, 3z^2 - 1), for red, green and blue)",
}


_Read = TypeVar("_Read", bound="Result")  # a class of results, as which one is read


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """One of several photographs that a shape is from.

    Attributes:
      name: of its file or frame.
      signed_image: the photograph, cropped to the object (S, S, 3), in [-1, 1].
      mask: where the object is in it (S, S), in [0, 1].
      view: pose from the canonical frame to the photograph's (6,), as in `Reconstruction`.
      size: log of the factor by which the object is larger there than the canonical frame says.
      light: of spherical harmonics of the second order (9, 3), see `camera.json`, in linear light.
      errors: how far the photograph differs from what the others make of it, by the shape that the model alone gives
        and by the joint one; None where that is not known.
      used: whether it was used: False if it does not show the same object as the others.
    """

    name: str
    signed_image: np.ndarray
    mask: np.ndarray
    view: np.ndarray
    size: float
    light: np.ndarray
    errors: tuple[float, float] | None = None
    used: bool = True

    @property
    def image(self) -> Float[np.ndarray, "s s 3"]:
        """The photograph (S, S, 3), in [0, 1]."""
        return _unit_range(self.signed_image)

    def seen_from(self, camera: Camera) -> Float[np.ndarray, "6"]:
        """Returns the view in which the object looks as in the photograph.

        It has the size as well: an object that is larger by a factor about its centre looks like one that is nearer.
        """
        centre = np.array([0, 0, camera.rot_center_depth])
        nearer = (self.view[3:] + centre) * np.exp(-self.size) - centre
        return np.concatenate([self.view[:3], nearer]).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The data of a `Reconstruction`, which describes the fields."""

    name: str
    camera: Camera
    depth: np.ndarray
    signed_albedo: np.ndarray
    view: np.ndarray
    light: np.ndarray
    mask: np.ndarray
    signed_image: np.ndarray
    input_mask: np.ndarray
    canonical: np.ndarray
    reconstruction: np.ndarray
    input_depth: np.ndarray
    gan_image: np.ndarray | None = None
    true_depth: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    category: str = ""
    reference: bool = False
    original_size: int = 0
    eyes: float = 0.0
    eyes_mm: float = EYES_MM
    texture: np.ndarray | None = None
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    photographs: tuple[Photograph, ...] = ()

    def __post_init__(self) -> None:
        for key, (name, letters) in _ARRAYS.items():
            if (value := getattr(self, key)) is not None or key not in _OPTIONAL:
                object.__setattr__(self, key, self._usable(value, name, letters))
        if not (0 <= self.eyes < 10 and EYES_LIMITS[0] <= self.eyes_mm <= EYES_LIMITS[1]):
            raise ValueError(f"the eyes are {self.eyes} scene units and {self.eyes_mm} mm apart")
        object.__setattr__(self, "photographs", tuple(map(self._checked, self.photographs)))
        if self.texture is not None and self.texture.shape != (2 * self.texture.shape[:1] + (3,)):
            raise ValueError(f"the texture has shape {self.texture.shape}, expected a square")

    def _checked(self, photograph: Photograph) -> Photograph:
        """Returns a photograph whose arrays are such as a result has; raises `ValueError` as `_usable` does."""
        arrays: dict[str, Any] = {
            key: self._usable(getattr(photograph, key), name, letters) for key, (name, letters) in _STACKS.items()
        }
        return dataclasses.replace(photograph, **arrays | {"size": float(arrays["size"])})

    def _usable(self, value: Any, name: str, letters: str) -> Float[np.ndarray, "..."]:
        """Returns a copy of an array; raises `ValueError` if it has another shape or numbers that are not finite."""
        shape = tuple(self.camera.image_size if letter == "S" else int(letter) for letter in letters)
        value = np.array(value, np.float32)
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape}, expected {shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} has values that are not finite")
        return value

    def __repr__(self) -> str:
        return f"Reconstruction({self.name!r}, {self.camera.image_size} x {self.camera.image_size} pixels)"

    @property
    def metres(self) -> float:
        """Metres of a scene unit in mesh files."""
        return metres_of_unit(self.camera, self.eyes, self.eyes_mm)

    @property
    def albedo(self) -> Float[np.ndarray, "s s 3"]:
        """Canonical colour without shading (S, S, 3), in [0, 1]."""
        return _unit_range(self.signed_albedo)

    @property
    def image(self) -> Float[np.ndarray, "s s 3"]:
        """The input (S, S, 3), in [0, 1]."""
        return _unit_range(self.signed_image)

    @property
    def reconstructed_image(self) -> Float[np.ndarray, "s s 3"]:
        """The input as reconstructed from the factors (S, S, 3), in [0, 1]."""
        return _unit_range(self.reconstruction)

    @classmethod
    def load(cls: type[_Read], folder: str | os.PathLike[str]) -> _Read:
        """Reads the results folder of one image, bit for bit; `UserError` names a missing or damaged file."""
        folder = pathlib.Path(folder)
        record = _record_of(folder)
        path = folder

        def read(name: str) -> np.ndarray:
            nonlocal path
            path = folder / f"{name}.npy"
            open_file(folder, path.name).close()
            stored: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)  # a wrong header allocates nothing
            return stored

        try:
            facts = {key: record[key] for key in _FACTS if key in record}
            for key, (name, _) in _ARRAYS.items():
                if name in record["arrays"] or key not in _OPTIONAL:
                    facts[key] = read(name)
            if listed := record.get("photographs"):
                stacks = {key: read(name) for key, (name, _) in _STACKS.items()}
                rows = [dict(zip(stacks, row, strict=True)) for row in zip(*stacks.values(), strict=True)]
                facts["photographs"] = tuple(_photograph(*each) for each in zip(listed, rows, strict=True))
            if (path := folder / TEXTURE).exists():
                open_file(folder, TEXTURE).close()
                facts["texture"] = np.asarray(open_upright(path, least=1).picture)
            path = folder
            return cls(camera=Camera(**record["camera"]), **facts)
        except (OSError, KeyError, TypeError, ValueError, EOFError) as error:
            raise UserError(f"{path} is missing or damaged ({error}): reconstruct again") from error


def metres_of_unit(camera: Camera, eyes: float, eyes_mm: float = EYES_MM) -> float:
    """Returns the metres of a scene unit in mesh files; `eyes` scene units are `eyes_mm`, where there are any."""
    if eyes:
        return eyes_mm / 1000 / eyes
    return _SIDE_M * camera.focal_length / (camera.rot_center_depth * camera.image_size)


def _photograph(told: dict[str, Any], arrays: dict[str, Any]) -> Photograph:
    """Returns a photograph of a saved result; raises `TypeError`, `KeyError` or `ValueError` for what is damaged."""
    if not (isinstance(told["name"], str) and isinstance(told["used"], bool)):
        raise ValueError("a photograph without a name")
    errors = told["errors"] and tuple(map(float, told["errors"]))
    return Photograph(told["name"], **arrays, errors=errors, used=told["used"])


def _unit_range(picture: np.ndarray) -> Float[np.ndarray, "s s 3"]:
    """Maps a picture from [-1, 1] to [0, 1]."""
    return np.clip(picture / 2 + 0.5, 0, 1)


def save_result(result: Result, folder: str | os.PathLike, *, made_with: Mapping[str, Any] | None = None) -> None:
    """Writes the arrays and descriptions of `result` as a new `folder`; arguments as for `write_folder`."""
    write_folder(folder, [array_files(result)], made_with)


def array_files(result: Result) -> dict[str, Any]:
    """Returns the files that `load` reads, as `write_folder` takes them, and `camera.json`."""
    arrays = {name: value for key, (name, _) in _ARRAYS.items() if (value := getattr(result, key)) is not None}
    record = {"format": _FORMAT, "camera": result.camera.record(), "arrays": list(arrays)}
    record |= {key: getattr(result, key) for key in _FACTS}
    if photographs := result.photographs:
        told = ("name", "errors", "used")
        record["photographs"] = [{key: getattr(photograph, key) for key in told} for photograph in photographs]
        stacks = {name: [getattr(one, key) for one in photographs] for key, (name, _) in _STACKS.items()}
        arrays |= {name: np.array(values, np.float32) for name, values in stacks.items()}
    files: dict[str, Any] = {f"{name}.npy": value for name, value in arrays.items()}
    view, light, camera = result.view.tolist(), result.light.tolist(), result.camera
    described = result.camera.record() | {
        "mesh_side": result.metres * camera.rot_center_depth * camera.image_size / camera.focal_length,
        "intrinsics": np.asarray(intrinsics(result.camera, np.float32), np.float64).tolist(),
        "view": dict(zip(("rx", "ry", "rz", "tx", "ty", "tz"), view, strict=True)),
        "view_deg": dict(zip(("pitch", "yaw", "roll"), np.rad2deg(result.view[:3]).tolist(), strict=True)),
        "light": dict(zip(("ambient", "diffuse", "dx", "dy"), light, strict=True)),
        "conventions": _CONVENTIONS,
    }
    return files | {"camera.json": described, "result.json": record}


def load_metrics(folder: str | os.PathLike) -> dict[str, Any]:
    """Reads only the metrics of a result, not its arrays; errors as for `load`."""
    return _record_of(pathlib.Path(folder)).get("metrics", {})


def _record_of(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "result.json"
    try:
        record = read_object(file_inside(folder, path.name), "a result")
    except FileNotFoundError as error:
        raise UserError(f"{folder} is not a results folder: {path} is missing") from error
    except UserError as error:
        raise UserError(f"{error}: reconstruct again") from error
    if record.get("format") != _FORMAT:
        raise UserError(f"{path} has another format than {_FORMAT}, this program's: reconstruct again")
    if not _usable(record, _KINDS):
        raise UserError(f"{path} is damaged, some of its entries have other types: reconstruct again")
    return record


def _usable(value: Any, kind: Any) -> bool:
    """Whether a value has the type that is read, an object that of each of its entries that are there."""
    if not isinstance(kind, dict):
        return isinstance(value, kind)
    return isinstance(value, dict) and all(_usable(value[key], kind[key]) for key in kind.keys() & value.keys())


class Column(NamedTuple):
    """A figure of the tables."""

    title: str  # for programs
    path: tuple[str, ...]  # in the metrics
    digits: int  # after the point
    label: str  # what everybody understands
    term: str  # what the literature calls it
    words: str  # what it means
    unit: str = ""

    def of(self, metrics: Any) -> float | None:
        """Returns the figure in a result's metrics, or None if it is absent or not finite."""
        for key in self.path:
            metrics = None if metrics is None else metrics.get(key)
        return None if metrics is None or not math.isfinite(metrics) else float(metrics)

    def text(self, value: float | None) -> str:
        """Returns the value as people read it; a dash if it is not known."""
        return "–" if value is None else f"{value:.{self.digits}f}"


_START = "of the shape that the method started from"
_PLAIN = "an ellipsoid's {} error"
_OUTLINED = "of an ellipsoid with the true outline"
_EXPECTED = "Mean depth error of similar objects whose true shape is known"
_PHOTO, _GAN = (
    f"Mean difference between photo and {picture}: 0 is none, black to white is 2"
    for picture in ("reconstruction", "the GAN's picture")
)
COLUMNS = (
    Column("side", ("side",), 4, "depth error", "SIDE", "Scale-invariant error of depth: 0 is exact"),
    Column("mad", ("mad",), 1, "angle error", "MAD", "Mean angle between surface normals and true ones, degrees", "°"),
    Column("mad_unit", ("mad_unit",), 1, "angle error, unit normals", "unit MAD", "The same, of unit normals", "°"),
    Column("mae", ("mae",), 4, "mean depth error", "MAE", "Mean absolute error of depth, scene units"),
    Column("mse", ("mse",), 6, "squared depth error", "MSE", "Mean squared error of depth"),
    Column("prior_side", ("prior", "side"), 4, "depth error at start", "prior SIDE", f"Depth error {_START}"),
    Column("prior_mad", ("prior", "mad"), 1, "angle error at start", "prior MAD", f"Angle error {_START}", "°"),
    Column("ellipsoid_side", ("ellipsoid", "side"), 4, _PLAIN.format("depth"), "its SIDE", f"Depth error {_OUTLINED}"),
    Column(
        "ellipsoid_mad",
        ("ellipsoid", "mad"),
        1,
        "an ellipsoid's angle error",
        "its MAD",
        f"Angle error {_OUTLINED}",
        "°",
    ),
    Column("expected_side", ("trust", "expected_side"), 4, "expected depth error", "expected SIDE", _EXPECTED),
    Column("reconstruction_l1", ("reconstruction_l1",), 3, "differs from photo by", "recon. L1", _PHOTO),
    Column("inversion_l1", ("inversion_l1",), 3, "GAN's picture differs by", "inversion L1", _GAN),
)

_NUMBER = int | float | None
_TRUST = dict.fromkeys(VERDICTS, str) | {"expected_side": _NUMBER}
_METRICS: dict[str, Any] = {column.path[0]: _NUMBER for column in COLUMNS}
_METRICS |= {name: dict.fromkeys(("side", "mad"), _NUMBER) for name in ("prior", "ellipsoid")}
_METRICS |= {"start": {}, "trust": _TRUST}
# What is read of `result.json`, which somebody else may have made: types by name, and of what is inside of objects.
_KINDS: dict[str, Any] = {"name": str, "category": str, "reference": bool, "original_size": int, "camera": {}}
_KINDS |= {"eyes": int | float, "eyes_mm": int | float, "arrays": list, "metrics": _METRICS, "photographs": list}


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of the table: its name, what became of it, and its metrics (empty if it failed)."""

    name: str
    status: str = "done"
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def figures(self) -> list[float | None]:
        """The value of each of `COLUMNS`, None where it is not known."""
        return [column.of(self.metrics) for column in COLUMNS]
