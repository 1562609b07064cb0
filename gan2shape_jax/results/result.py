"""The record of one reconstructed object, its figures, and its exact form on disk.

Frames and ranges, as everywhere in the package: x right, y down, z away from the camera; pictures
`(S, S, 3)` in [-1, 1]; depth `(S, S)` in scene units along z; masks `(S, S)` in [0, 1]. The
*canonical* frame looks at the object from straight ahead; the *input* frame is that of the given
photograph, reached from it by `view`. A saved result is a folder of float32 `.npy` files with
`camera.json` (what the numbers mean), `result.json` (which arrays there are), the photo's texture if there is one, and
`files.json`:

    {"files": {NAME: bytes, ...}, "made_with": {"configuration": HASH, ...}}

Metrics are dictionaries of numbers, some nested (`prior`); what is not known, such as depth metrics without true depth,
is absent.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera, intrinsics
from gan2shape_jax.io.files import MIB, atomic_file, atomic_folder, atomic_text, file_inside, open_regular, read_object
from gan2shape_jax.io.image_files import open_upright
from gan2shape_jax.io.output_folders import RESULT, require_output_folder
from gan2shape_jax.results import pictures

FILES, TEXTURE = "files.json", "texture_unlit.png"
SIDE_M = 0.2  # metres in mesh files for the picture's side at the rotation centre's distance: a face is about as high
_FORMAT = 1
_RECORD = "the record of a results folder"
_AHEAD = 8  # files that wait to be written
_LARGEST = 512 * MIB  # of a file: arrays of pictures of 4096 pixels a side have 192 MiB
# Types in `result.json`, and which metrics are groups of others.
_KINDS: dict[str, type] = {"name": str, "category": str, "reference": bool, "original_size": int}
_KINDS |= {"camera": dict, "arrays": list, "metrics": dict}
_NESTED = {"prior", "start", "trust", "samples_l1", "kept_out_l1"}
AWAITS = "awaits_refinement"  # true in the metrics of a prediction that a refining run is to replace
VERDICTS = ("grade", "found", "shape", "invented", "verdict")  # what `trust` in the metrics says in words

# Shapes by name, for an image side of S; those in `_OPTIONAL` may be absent.
_SHAPES = dict.fromkeys(("depth", "mask", "input_mask", "warped_depth", "true_depth", "uncertainty"), "SS")
_SHAPES |= dict.fromkeys(("albedo", "image", "canonical", "reconstruction", "gan_image"), "SS3")
_SHAPES |= {"view": "6", "light": "4"}
_OPTIONAL = ("gan_image", "true_depth", "uncertainty")
ARRAYS = tuple(_SHAPES)
_FORMER_NAMES = {"uncertainty": "depth_spread"}  # what earlier versions called an array, in the record and as a file
_FORMER_GRADES = {"found": "unmeasured"}
_FACTS = ("name", "category", "reference", "original_size", "metrics")  # that `result.json` holds

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
    "about, where the picture's side is mesh_side long",
    "masks": "1 on the object, 0 elsewhere, fractions on the border",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """Everything known about one object after its reconstruction."""

    name: str  # the image's, without folder and extension
    camera: Camera  # intrinsics, rotation centre and depth range
    depth: np.ndarray  # (S, S) canonical depth, scene units
    albedo: np.ndarray  # (S, S, 3) colour without light, canonical frame
    view: np.ndarray  # (6,) from the canonical frame to the input's: radians, scene units
    light: np.ndarray  # (4,) ambient, diffuse, dx, dy
    mask: np.ndarray  # (S, S) the object in the canonical frame
    image: np.ndarray  # (S, S, 3) the input
    input_mask: np.ndarray  # (S, S) the object in the input
    canonical: np.ndarray  # (S, S, 3) the lit texture in the canonical frame
    reconstruction: np.ndarray  # (S, S, 3) the input explained by the factors
    warped_depth: np.ndarray  # (S, S) depth seen from the input view, scene units
    gan_image: np.ndarray | None = None  # (S, S, 3) the GAN's picture of the input's latent
    true_depth: np.ndarray | None = None  # (S, S) in the input view
    uncertainty: np.ndarray | None = None  # (S, S) how far depth may be off, canonical frame, scene units
    # `side`, `mad`, ..., `prior`, `reconstruction_l1`, `inversion_l1`; what is unknown is absent.
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    category: str = ""  # `face`, `car`, ...
    reference: bool = False  # whether pictures are drawn with the published code's faults, as `config.reference` asks
    original_size: int = 0  # the side of the image's file before `config.data.crop`, pixels; 0 without crop or latent
    texture: np.ndarray | None = None  # (T, T, 3) uint8, the photo over the canonical picture, as it shows the object

    def __post_init__(self) -> None:
        for key in ARRAYS:
            value = getattr(self, key)
            shape = tuple(self.camera.image_size if letter == "S" else int(letter) for letter in _SHAPES[key])
            if value is None and key in _OPTIONAL:
                continue
            value = np.array(value, np.float32)
            if value.shape != shape:
                raise ValueError(f"{key} has shape {value.shape}, expected {shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{key} has values that are not finite")
            object.__setattr__(self, key, value)
        if self.texture is not None and self.texture.shape != (2 * self.texture.shape[:1] + (3,)):
            raise ValueError(f"the texture has shape {self.texture.shape}, expected a square")


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
_EXPECTED = "What the depth error was, on average, of others like it whose true shape is known"
_PHOTO, _GAN = (
    f"Mean difference between photo and {picture}: 0 is none, black to white is 2"
    for picture in ("reconstruction", "the GAN's picture")
)
COLUMNS = (
    Column("side", ("side",), 4, "depth error", "SIDE", "Error of depth, whatever its scale: 0 is exact"),
    Column("mad", ("mad",), 1, "angle error", "MAD", "Mean angle between surface normals and true ones, degrees", "°"),
    Column("mad_unit", ("mad_unit",), 1, "angle error, unit normals", "unit MAD", "The same, of unit normals", "°"),
    Column("mae", ("mae",), 4, "mean depth error", "MAE", "Mean absolute error of depth, scene units"),
    Column("mse", ("mse",), 6, "squared depth error", "MSE", "Mean squared error of depth"),
    Column("prior_side", ("prior", "side"), 4, "depth error at start", "prior SIDE", f"Depth error {_START}"),
    Column("prior_mad", ("prior", "mad"), 1, "angle error at start", "prior MAD", f"Angle error {_START}", "°"),
    Column("expected_side", ("trust", "expected_side"), 4, "expected depth error", "expected SIDE", _EXPECTED),
    Column("reconstruction_l1", ("reconstruction_l1",), 3, "differs from photo by", "recon. L1", _PHOTO),
    Column("inversion_l1", ("inversion_l1",), 3, "GAN's picture differs by", "inversion L1", _GAN),
)


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


def save_result(result: Result, folder: str | os.PathLike, *, made_with: Mapping[str, Any] | None = None) -> None:
    """Writes the arrays and descriptions of `result` as a new `folder`; arguments as for `write_folder`."""
    write_folder(folder, [array_files(result)], made_with)


def array_files(result: Result) -> dict[str, Any]:
    """Returns the files that `load_result` reads, as `write_folder` takes them, and `camera.json`."""
    arrays = {key: value for key in ARRAYS if (value := getattr(result, key)) is not None}
    record = {"format": _FORMAT, "camera": result.camera.record(), "arrays": list(arrays)}
    record |= {key: getattr(result, key) for key in _FACTS}
    files: dict[str, Any] = {f"{key}.npy": value for key, value in arrays.items()}
    view, light = result.view.tolist(), result.light.tolist()
    described = result.camera.record() | {
        "mesh_side": SIDE_M,
        "intrinsics": np.asarray(intrinsics(result.camera, np.float32), np.float64).tolist(),
        "view": dict(zip(("rx", "ry", "rz", "tx", "ty", "tz"), view, strict=True)),
        "view_deg": dict(zip(("pitch", "yaw", "roll"), np.rad2deg(result.view[:3]).tolist(), strict=True)),
        "light": dict(zip(("ambient", "diffuse", "dx", "dy"), light, strict=True)),
        "conventions": _CONVENTIONS,
    }
    return files | {"camera.json": described, "result.json": record}


def write_folder(
    folder: str | os.PathLike, parts: Iterable[Mapping[str, Any]], made_with: Mapping[str, Any] | None = None
) -> None:
    """Writes a results folder with its record, which appears whole or not at all and replaces an existing one.

    Files that an existing one has besides those of its record are kept. Raises `UserError` if the folder is none of a
    result, or has a file that is not in its record under the name of a new one.

    Args:
      folder: where.
      parts: contents by file name, in parts, each of which is made while those before it are written, and then freed:
        bytes or text; an array for `.npy`; a uint8 picture (h, w, 3) for `.png`; for `.json` any value that JSON can
        hold, where numbers that are not finite become null; or a function that is called with the path and writes the
        file itself.
      made_with: JSON values that say what it was made with, for the record.
    """
    replaced = replaceable(pathlib.Path(folder))
    with atomic_folder(folder, replaces=replaced) as fresh:
        with futures.ThreadPoolExecutor(1) as other:
            writing: collections.deque[futures.Future[None]] = collections.deque()
            for files in parts:
                for name, content in files.items():
                    if callable(content):
                        content(fresh / name)
                        continue
                    # Compressing a picture takes as long as making the next one.
                    writing.append(other.submit(_write, fresh / name, content))
                while len(writing) > _AHEAD:
                    writing.popleft().result()
            for written in writing:
                written.result()
        sizes = {path.name: path.stat().st_size for path in sorted(fresh.iterdir())}
        _write(fresh / FILES, {"files": sizes, "made_with": dict(made_with or {})})


def replaceable(folder: pathlib.Path) -> set[str] | None:
    """Returns the names of the files in a results folder that this program has made, for `atomic_folder`.

    It is None if nothing says which they are, or there is no such folder yet. Raises `UserError` if there is one that
    is not empty and none of a result.
    """
    require_output_folder(folder, RESULT, "the folder")
    with contextlib.suppress(OSError, UserError, KeyError, TypeError):
        if names := list(read_object(folder / FILES, _RECORD)["files"]):
            return {FILES, *names}
    return None


def discard(folder: pathlib.Path) -> None:
    """Makes a result, which is incomplete, count as none, so that it can be made again; raises `UserError`."""
    if replaceable(folder) is None:  # so that the folder is still known as that of a result
        atomic_text(folder / FILES, json.dumps({"files": {}, "made_with": {}}) + "\n")
    (folder / "result.json").unlink(missing_ok=True)


def add_files(folder: pathlib.Path, files: Mapping[str, Any], *, gone: Iterable[str] = ()) -> None:
    """Writes files, each whole, contents as for `write_folder`, into a new, empty or results folder; its record tells.

    Those that are `gone` are removed, if the record has them.

    Raises:
      UserError: the folder is another's, or has a file of such a name that is not in its record; or the file system
        refuses.
    """
    ours = replaceable(folder)
    for name in () if ours is None else files.keys() - ours:
        if os.path.lexists(folder / name):
            raise UserError(f"{folder / name} was not written by this program: move it elsewhere")
    for name, content in files.items():
        atomic_file(folder / name, functools.partial(_write, content=content))
    if ours is not None or not (folder / "result.json").exists():  # otherwise nothing tells what else is there
        record = {"files": {}, "made_with": {}} if ours is None else read_object(folder / FILES, _RECORD)
        record["files"] |= {name: (folder / name).stat().st_size for name in files}
        for name in gone:
            record["files"].pop(name, None)
        atomic_file(folder / FILES, lambda path: _write(path, record))
    for name in set(gone) & (ours or set()):
        (folder / name).unlink(missing_ok=True)


def _write(path: pathlib.Path, content: Any) -> None:
    if callable(content):
        content(path)
    elif isinstance(content, (bytes, str)):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    elif path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".png":
        pictures.write_png(path, content)
    else:
        path.write_text(json.dumps(finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """Returns a value as JSON can hold it: NumPy's numbers as Python's, those that are not finite as None."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def examine(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what a results folder was made with: `configuration`, ...

    Raises:
      UserError: a file is missing or has another size than `files.json` records, or that record cannot be used.
    """
    try:
        record = read_object(folder / FILES, _RECORD)
        sizes, made_with = dict(record["files"]), dict(record["made_with"])
    except FileNotFoundError:
        raise UserError(f"{FILES} is missing") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{FILES} is not a record of a results folder ({error!r})") from error
    for name, size in sizes.items():
        path = folder / name
        if not path.exists():
            raise UserError(f"{name} is missing")
        if (actual := path.stat().st_size) != size:
            raise UserError(f"{name} has {actual} bytes instead of {size}")
    return made_with


def open_file(folder: pathlib.Path, name: str) -> BinaryIO:
    """Opens a file of a result for reading: a regular one, no link that leads out of its folder, and not too large.

    Whatever is read of a result, which somebody else may have made, is opened or checked by this. Raises `UserError`,
    or `OSError` if it is missing.
    """
    return open_regular(file_inside(folder, name), limit=_LARGEST)


def load_result(folder: str | os.PathLike) -> Result:
    """Reads a folder written by `save_result` or `write_outputs`, bit for bit; raises `UserError` naming a bad file."""
    folder = pathlib.Path(folder)
    record = _record_of(folder)
    path = folder
    try:
        facts = {key: record[key] for key in _FACTS if key in record}
        for key in ARRAYS:
            name = _FORMER_NAMES[key] if _FORMER_NAMES.get(key) in record["arrays"] else key
            if name in record["arrays"] or key not in _OPTIONAL:
                path = folder / f"{name}.npy"
                open_file(folder, path.name).close()
                facts[key] = np.load(path, mmap_mode="r", allow_pickle=False)  # a wrong header allocates nothing
        if (path := folder / TEXTURE).exists():
            open_file(folder, TEXTURE).close()
            facts["texture"] = np.asarray(open_upright(path, least=1).picture)
        path = folder
        return Result(camera=Camera(**record["camera"]), **facts)
    except (OSError, KeyError, TypeError, ValueError, EOFError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): reconstruct again") from error


def load_metrics(folder: str | os.PathLike) -> dict[str, Any]:
    """Reads only the metrics of a result, not its arrays; errors as for `load_result`."""
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
    if fault := next(_faults(record), ""):
        raise UserError(f"{path} is damaged, {fault}: reconstruct again")
    trust = record.get("metrics", {}).get("trust", {})
    if "grade" in trust:
        trust["grade"] = _FORMER_GRADES.get(trust["grade"], trust["grade"])
    return record


def _faults(record: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with the types in a result's record."""
    for key, kind in _KINDS.items():
        if not isinstance(record.get(key, kind()), kind):
            yield f"{key} is {record[key]!r}"[:100]
            return
    metrics = record.get("metrics", {})
    for key in _NESTED & metrics.keys():
        if not isinstance(metrics[key], dict):
            yield f"metrics.{key} is {metrics[key]!r}"[:100]
            return
    for column in COLUMNS:
        value = functools.reduce(lambda node, key: node.get(key, {}), column.path, metrics) or None
        if not isinstance(value, int | float | None):
            yield f"metrics.{'.'.join(column.path)} is {value!r}"[:100]
    for key, value in metrics.get("trust", {}).items():
        if key in VERDICTS and not isinstance(value, str):
            yield f"metrics.trust.{key} is {value!r}"[:100]
