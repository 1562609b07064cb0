"""The mesh coloured by how far its depth may be off, one colour per vertex: dark where it is sure, bright elsewhere."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, cast

import numpy as np

from gan2shape_jax.io.atomic_files import atomic_bytes
from gan2shape_jax.errors import UserError
from gan2shape_jax.results import pictures
from gan2shape_jax.results.mesh import build_mesh
from gan2shape_jax.results.result import Result

if TYPE_CHECKING:
    import trimesh
    from trimesh.visual import TextureVisuals

__all__ = ["ENDINGS", "build_spread_mesh", "write_spread_mesh"]

ENDINGS = (".glb", ".ply")


def build_spread_mesh(result: Result, *, full: bool = False) -> trimesh.Trimesh:
    """Returns the mesh of `build_mesh` with the spread of depth as colours; brightest is the greatest on the mesh.

    Args:
      result: with a spread.
      full: whether to keep the whole sheet, see `build_mesh`.

    Raises:
      UserError: the result has no spread.
    """
    if result.depth_spread is None:
        raise UserError(
            f"{result.name} has no spread of depth: that is known where a model whose errors have been measured, as "
            "the bundled one's, explains an image that looks like what its GAN draws"
        )
    from trimesh.visual import ColorVisuals  # here, because its import is slow

    mesh = build_mesh(result, full=full)
    size = result.camera.image_size
    uv = np.asarray(cast("TextureVisuals", mesh.visual).uv)
    columns, rows = np.rint(uv[:, 0] * size - 0.5).astype(int), np.rint((1 - uv[:, 1]) * size - 0.5).astype(int)
    values = result.depth_spread[rows, columns]
    colours = pictures.colour_depth(-values[None], -max(float(values.max()), 1e-9), 0.0)[0]
    mesh.visual = ColorVisuals(mesh, vertex_colors=colours)
    return mesh


def write_spread_mesh(result: Result, path: pathlib.Path) -> None:
    """Writes the mesh coloured by the spread of its depth.

    Args:
      result: with a spread.
      path: the file, whose name ends in one of `ENDINGS`.

    Raises:
      UserError: see `build_spread_mesh`; or the file cannot be written.
    """
    mesh = build_spread_mesh(result)
    atomic_bytes(path, cast(bytes, mesh.export(file_type=path.suffix[1:].lower())))
