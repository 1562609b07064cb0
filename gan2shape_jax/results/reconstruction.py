"""A reconstructed object: its arrays and figures, new renderings, its mesh, and its exact form on disk.

Frames and ranges, as everywhere in the package: x right, y down, z away from the camera; depth `(S, S)` in scene units
along z; masks `(S, S)` in [0, 1]. The *canonical* frame looks at the object from straight ahead; the *input* frame is
that of the given photograph, reached from it by `view`.

A saved result is a folder of float32 `.npy` files, in which pictures are in [-1, 1], with `camera.json` (what the
numbers mean), `result.json` (which arrays there are), the photo's texture if there is one, and a record of its files
(`results.files`).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.geometry.camera import Camera, intrinsics
from gan2shape_jax.io.arrays import as_array
from gan2shape_jax.io.files import file_inside, read_object
from gan2shape_jax.io.image_files import MOST_PIXELS, open_upright
from gan2shape_jax.results.files import open_file, write_folder
from gan2shape_jax.results.rows import COLUMNS

if TYPE_CHECKING:
    import trimesh

    from gan2shape_jax.results import views

TEXTURE = "texture_unlit.png"
SIDE_M = 0.2  # metres in mesh files for the picture's side at the rotation centre's distance: a face is about as high
_FORMAT = 1
# Types in `result.json`, and which metrics are groups of others.
_KINDS: dict[str, type] = {"name": str, "category": str, "reference": bool, "original_size": int}
_KINDS |= {"camera": dict, "arrays": list, "metrics": dict}
_NESTED = {"prior", "start", "trust", "samples_l1", "held_out_l1"}
AWAITS = "awaits_refinement"  # true in the metrics of a prediction that a refining run is to replace
VERDICTS = ("grade", "found", "shape", "invented", "verdict")  # what `trust` in the metrics says in words

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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Reconstruction:
    """One object's shape, colour, pose and light; made by `photo`, `reconstruct` or `load`. S is the side of its maps.

    The canonical frame views the object head-on; the input's is that of the given image. In both, x points right, y
    down and z away from the camera, in scene units; the object rotates about a point 1 in front of the camera.

    Arrays are float32. Pictures among the attributes below are in [-1, 1], as in a results folder; `albedo`, `image`
    and `reconstructed_image` are the same in [0, 1].

    Attributes:
      name: the image's, without folder and extension.
      camera: the pinhole camera: image side, field of view, range of depths.
      depth: canonical depth (S, S) along z, scene units.
      signed_albedo: canonical colour without shading (S, S, 3).
      view: pose from the canonical frame to the input's (6,): rx, ry, rz in radians, tx, ty, tz in scene units. A
        point p goes to Rz Ry Rx (p - c) + c + t, with c = (0, 0, camera.rot_center_depth).
      light: ambient strength, diffuse strength, dx, dy (4,): light from the direction (dx, dy, 1), canonical frame.
        With positive dx, light comes from the picture's left; with positive dy, from above.
      mask: object mask in the canonical frame (S, S), in [0, 1].
      signed_image: the input (S, S, 3).
      input_mask: object mask in the input (S, S), in [0, 1].
      canonical: the lit texture in the canonical frame (S, S, 3).
      reconstruction: the input as reconstructed from the factors (S, S, 3).
      input_depth: depth (S, S) along z in the input's view, scene units; `camera.background_depth` off the object.
      gan_image: the GAN's picture of the input's latent (S, S, 3), or None.
      true_depth: (S, S) in the input's view, scene units, or None.
      uncertainty: how far depth may be off (S, S), canonical frame, scene units, or None.
      metrics: errors: `reconstruction_l1`, `inversion_l1`, and with a true depth `side`, `mad`, `mae`, `mse`, `prior`;
        what is unknown is absent.
      category: the object's: `face`, `car`, ...
      reference: whether pictures are drawn with the published code's faults, as `config.reference` asks.
      original_size: side of the image's file before `config.data.crop`, pixels; 0 without crop or latent.
      texture: the photo over the canonical picture (T, T, 3), uint8, as it shows the object, or None.
      history: losses and errors over the iterations, one row each; empty after `load`.
    """

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
    texture: np.ndarray | None = None
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    # Writes the whole folder, including what the arrays lack: networks, pictures by the GAN.
    _write: Callable[[Reconstruction, pathlib.Path], None] | None = None

    def __post_init__(self) -> None:
        for key, (name, letters) in _ARRAYS.items():
            value = getattr(self, key)
            shape = tuple(self.camera.image_size if letter == "S" else int(letter) for letter in letters)
            if value is None and key in _OPTIONAL:
                continue
            value = np.array(value, np.float32)
            if value.shape != shape:
                raise ValueError(f"{name} has shape {value.shape}, expected {shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} has values that are not finite")
            object.__setattr__(self, key, value)
        if self.texture is not None and self.texture.shape != (2 * self.texture.shape[:1] + (3,)):
            raise ValueError(f"the texture has shape {self.texture.shape}, expected a square")

    def __repr__(self) -> str:
        return f"Reconstruction({self.name!r}, {self.camera.image_size} x {self.camera.image_size} pixels)"

    @property
    def normals(self) -> Float[np.ndarray, "s s 3"]:
        """Canonical unit normals (S, S, 3) pointing into the surface: a plane that faces the camera has (0, 0, 1)."""
        from gan2shape_jax.results.surface import normals

        return normals(self.depth, self.camera)

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

    def render(
        self,
        *,
        yaw: views.Degrees = 0.0,
        pitch: views.Degrees = 0.0,
        roll: views.Degrees = 0.0,
        size: int = 512,
        show: str = "image",
        from_input: bool = False,
    ) -> UInt8[np.ndarray, "..."]:
        """Renders the object, cut out on white, from another view, under its own light.

        Args:
          yaw: degrees; positive turns the object's front to the picture's left.
          pitch: degrees; positive lowers the front.
          roll: degrees; positive turns clockwise.
          size: side of the picture, pixels.
          show: 'image', 'albedo', 'normals', 'shape' (grey, light at the camera) or 'depth'.
          from_input: whether the angles are relative to the input's view rather than to the canonical one.

        Returns:
          (size, size, 3) uint8; with a list of n angles, (n, size, size, 3).
        """
        from gan2shape_jax.results import views

        if show not in views.SHOWS:
            raise ArgumentError(f"show is {show!r}: it must be one of {', '.join(views.SHOWS)}")
        angles = {f"{k}_deg": as_array(a, k) for k, a in (("pitch", pitch), ("yaw", yaw), ("roll", roll))}
        shapes = {angle.shape for angle in angles.values()} - {()}
        if len(shapes) > 1 or any(len(shape) > 1 or shape == (0,) for shape in shapes):
            shapes_text = ", ".join(str(value.shape) for value in angles.values())
            raise ArgumentError(
                f"pitch, yaw, roll have the shapes {shapes_text}: they must be numbers or lists of one length"
            )
        turned = views.sweep_views(**angles)
        drawn = self._draw(turned + self.view if from_input else turned, size)
        shown = views.picture(drawn, show, light=self.light)
        return shown if shapes else shown[0]

    def relight(
        self,
        direction: Sequence[float] | Sequence[Sequence[float]] | np.ndarray,
        *,
        strength: float = 0.0,
        size: int = 512,
        from_input: bool = False,
    ) -> UInt8[np.ndarray, "..."]:
        """Renders the object under another light.

        Args:
          direction: (dx, dy), as in `light`. A list of n directions gives n pictures.
          strength: added to the diffuse light; 0.6 times it is subtracted from the ambient light.
          size: side of the picture, pixels.
          from_input: whether to render the input's view rather than the canonical one.

        Returns:
          (size, size, 3) uint8; for n directions, (n, size, size, 3).
        """
        from gan2shape_jax.results import views

        pairs = as_array(direction, "direction").astype(np.float32)
        if pairs.ndim not in (1, 2) or pairs.shape[-1] != 2 or not len(pairs):
            raise ArgumentError(f"direction has the shape {pairs.shape}: (2,), that is (dx, dy), or (n, 2) is needed")
        lights = np.array([views.stronger(self.light, strength, dx, dy) for dx, dy in pairs.reshape(-1, 2).tolist()])
        still = self._draw(self.view[None] if from_input else views.sweep_views(), size)
        shown = views.picture(still, "image", light=lights)
        return shown if pairs.ndim == 2 else shown[0]

    def mesh(self, *, full: bool = False) -> trimesh.Trimesh:
        """Returns the textured mesh: one vertex per pixel, cut along the object's outline unless `full`.

        It is in glTF's frame: x right, y up, z towards the viewer, the origin at the rotation centre, in metres; an
        object that fills the image is 0.2 wide. The texture is the photo's own where it is known (`photo`), and else
        the albedo, in which there is no light.
        """
        from gan2shape_jax.results.surface import build_mesh

        return build_mesh(self, full=full)

    def solid(
        self,
        *,
        width_mm: float | None = None,
        height_mm: float | None = None,
        thickness_mm: float = 3.0,
        back: str = "flat",
    ) -> trimesh.Trimesh:
        """Returns a closed solid for printing, in millimetres, lying on its back: z up, origin at the lowest corner.

        Warns of what had to be changed for it, such as filled holes; arguments and errors as for `build_solid`. Write
        it as STL with its `export`, or as 3MF with `gan2shape-jax export print`.
        """
        from gan2shape_jax.results.solid import build_solid

        made = build_solid(self, width_mm=width_mm, height_mm=height_mm, thickness_mm=thickness_mm, back=back)
        for note in made.notes:
            warnings.warn(note, stacklevel=2)
        return made.mesh

    def save(self, folder: str | os.PathLike[str], *, pictures: bool = True) -> None:
        """Writes a results folder as a run does: arrays, pictures, meshes, metrics.

        The folder is written completely or not at all, and replaces an existing result; other files in it stay, and a
        folder of anything else is refused. Without `pictures` it has the
        arrays only, which is enough for `load` and `gan2shape-jax render FOLDER`.
        """
        from gan2shape_jax.results.outputs import write_outputs

        if not pictures:
            save_result(self, folder)
        else:
            (self._write or write_outputs)(self, pathlib.Path(folder))

    def _draw(self, seen_from: Float[np.ndarray, "n 6"], size: int) -> views.Surfaces:
        from gan2shape_jax.results import views

        if not 1 <= size <= MOST_PIXELS:
            raise ArgumentError(f"size is {size}: it must be 1 to {MOST_PIXELS} pixels")
        return views.draw(self, seen_from, size=size)


def _unit_range(picture: np.ndarray) -> Float[np.ndarray, "s s 3"]:
    """Maps a picture from [-1, 1] to [0, 1]."""
    return np.clip(picture / 2 + 0.5, 0, 1)


def save_result(
    result: Reconstruction, folder: str | os.PathLike, *, made_with: Mapping[str, Any] | None = None
) -> None:
    """Writes the arrays and descriptions of `result` as a new `folder`; arguments as for `write_folder`."""
    write_folder(folder, [array_files(result)], made_with)


def array_files(result: Reconstruction) -> dict[str, Any]:
    """Returns the files that `load` reads, as `write_folder` takes them, and `camera.json`."""
    arrays = {name: value for key, (name, _) in _ARRAYS.items() if (value := getattr(result, key)) is not None}
    record = {"format": _FORMAT, "camera": result.camera.record(), "arrays": list(arrays)}
    record |= {key: getattr(result, key) for key in _FACTS}
    files: dict[str, Any] = {f"{name}.npy": value for name, value in arrays.items()}
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


def load(folder: str | os.PathLike[str]) -> Reconstruction:
    """Reads the results folder of one image, bit for bit; raises `UserError`, which names a missing or damaged file."""
    folder = pathlib.Path(folder)
    record = _record_of(folder)
    path = folder
    try:
        facts = {key: record[key] for key in _FACTS if key in record}
        for key, (name, _) in _ARRAYS.items():
            if name in record["arrays"] or key not in _OPTIONAL:
                path = folder / f"{name}.npy"
                open_file(folder, path.name).close()
                facts[key] = np.load(path, mmap_mode="r", allow_pickle=False)  # a wrong header allocates nothing
        if (path := folder / TEXTURE).exists():
            open_file(folder, TEXTURE).close()
            facts["texture"] = np.asarray(open_upright(path, least=1).picture)
        path = folder
        return Reconstruction(camera=Camera(**record["camera"]), **facts)
    except (OSError, KeyError, TypeError, ValueError, EOFError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): reconstruct again") from error


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
    if fault := next(_faults(record), ""):
        raise UserError(f"{path} is damaged, {fault}: reconstruct again")
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
