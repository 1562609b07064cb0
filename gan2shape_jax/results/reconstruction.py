"""A reconstruction in the user's hand: its data, and methods that draw, cut, print and save it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.io.arrays import as_array
from gan2shape_jax.io.image_files import MOST_PIXELS
from gan2shape_jax.results import views
from gan2shape_jax.results.meshes import build_mesh
from gan2shape_jax.results.outputs import write_outputs
from gan2shape_jax.results.result import Result, save_result
from gan2shape_jax.results.solid import build_solid
from gan2shape_jax.results.surface import normals

if TYPE_CHECKING:
    import trimesh


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Reconstruction(Result):
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
      eyes: how far the eyes of such shapes are apart, scene units; 0 where the model knows no eyes.
      eyes_mm: how far they are apart in meshes and prints.
      texture: the photo over the canonical picture (T, T, 3), uint8, as it shows the object, or None.
      history: losses and errors over the iterations, one row each; empty after `load`.
      photographs: of an object in several photographs, each with its view and light; the first is the one that was
        taken most from in front, whose all else is here.
    """

    # Writes the whole folder, including what the arrays lack: networks, pictures by the GAN.
    _write: Callable[[Reconstruction, pathlib.Path], None] | None = None

    @property
    def normals(self) -> Float[np.ndarray, "s s 3"]:
        """Canonical unit normals (S, S, 3) pointing into the surface: a plane that faces the camera has (0, 0, 1)."""
        return normals(self.depth, self.camera)

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
        pairs = as_array(direction, "direction").astype(np.float32)
        if pairs.ndim not in (1, 2) or pairs.shape[-1] != 2 or not len(pairs):
            raise ArgumentError(f"direction has the shape {pairs.shape}: (2,), that is (dx, dy), or (n, 2) is needed")
        lights = np.array([views.stronger(self.light, strength, dx, dy) for dx, dy in pairs.reshape(-1, 2).tolist()])
        still = self._draw(self.view[None] if from_input else views.sweep_views(), size)
        shown = views.picture(still, "image", light=lights)
        return shown if pairs.ndim == 2 else shown[0]

    def mesh(self, *, full: bool = False) -> trimesh.Trimesh:
        """Returns the textured mesh: one vertex per pixel, cut along the object's outline unless `full`.

        It is in glTF's frame: x right, y up, z towards the viewer, the origin at the rotation centre, in metres: a
        face's eyes are `eyes_mm` apart; without eyes, an object that fills the image is 0.2 wide. The texture is the
        photo's own where it is known (`photo`), and else the albedo, in which there is no light.
        """
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
        made = build_solid(self, width_mm=width_mm, height_mm=height_mm, thickness_mm=thickness_mm, back=back)
        for note in made.notes:
            warnings.warn(note, stacklevel=2)
        return made.mesh

    def save(self, folder: str | os.PathLike[str], *, pictures: bool = True) -> None:
        """Writes a results folder as a run does: arrays, pictures, meshes, metrics.

        The folder is written completely or not at all, and replaces an existing result; other files in it stay, and a
        folder of anything else is refused. Without `pictures` it has the arrays only, which is enough for `load` and
        `gan2shape-jax render FOLDER`.
        """
        if not pictures:
            save_result(self, folder)
        else:
            (self._write or write_outputs)(self, pathlib.Path(folder))

    def _draw(self, seen_from: Float[np.ndarray, "n 6"], size: int) -> views.Surfaces:
        if not 1 <= size <= MOST_PIXELS:
            raise ArgumentError(f"size is {size}: it must be 1 to {MOST_PIXELS} pixels")
        return views.draw(self, seen_from, size=size)


def load(folder: str | os.PathLike[str]) -> Reconstruction:
    """Reads the results folder of one image, bit for bit; raises `UserError`, which names a missing or damaged file."""
    return Reconstruction.load(folder)
