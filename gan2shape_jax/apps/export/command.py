"""`gan2shape-jax export`: a saved result for other programs, without GAN or networks."""

from __future__ import annotations

import argparse
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from gan2shape_jax.apps.export import solid_file, texture
from gan2shape_jax.errors import ConfigError, UserError, exit_code, one_line
from gan2shape_jax.io import bundled, option_types
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.results import pictures
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.surface import build_mesh

if TYPE_CHECKING:
    import trimesh
    from trimesh.visual import TextureVisuals

__all__ = ["SCRIPT", "build_spread_mesh", "main"]

SCRIPT = "open_in_blender.py"

_ENDINGS = (".glb", ".ply")  # of the mesh that shows the spread
_USAGE = """\
usage: gan2shape-jax export print RESULT [OPTION ...]
       gan2shape-jax export texture RESULT PHOTO [OPTION ...]
       gan2shape-jax export blender RESULT
       gan2shape-jax export spread RESULT [--out FILE]

Writes a saved result for other programs. RESULT is the folder of one image's results (it contains result.json).

  print     a closed solid in millimetres for a 3D printer: STL or 3MF
  texture   the mesh with the texture of the photo that RESULT was cut out of, at the photo's own resolution: GLB
  blender   a script that opens mesh, camera and photo in Blender
  spread    the mesh, coloured by how far its depth may be off: GLB or PLY

The options: gan2shape-jax export print --help, and likewise"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, 1 after an error that has been printed, 2 for an unknown kind."""
    kinds: dict[str, Callable[[Sequence[str]], None]] = {
        "print": solid_file.run,
        "texture": texture.run,
        "blender": _blender,
        "spread": _spread,
    }
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if not arguments or arguments[0] not in kinds:
        print(f"error: name what to export first: {', '.join(kinds)}\n\n{_USAGE}", file=sys.stderr)
        return 2
    return exit_code(lambda: kinds[arguments[0]](arguments[1:]))


def _blender(argv: Sequence[str]) -> None:
    """Writes the script that opens a result in Blender and says how to start it; raises `UserError`.

    The script reads `camera.json`, a mesh and the photo from its own folder, and contains nothing of the result itself.
    """
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax export blender",
        description="Writes open_in_blender.py into RESULT: it opens the mesh, textured.glb if there is one, with the "
        "photo's camera and the photo behind it, in Blender 4.2 or newer.",
    )
    option_types.add_result(parser)
    folder = parser.parse_args(argv).result
    load_result(folder)  # reports what is wrong with the folder now, not in Blender
    source, path = bundled.folder("tools") / SCRIPT, folder / SCRIPT
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} is missing: install the package again") from error
    atomic_bytes(path, content)
    print(one_line(f"wrote {path}; start it with: blender --python {shlex.quote(str(path))}"))


def _spread(argv: Sequence[str]) -> None:
    """Writes the mesh coloured by the spread of its depth and says where; raises `UserError`."""
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax export spread",
        description="Writes the mesh of RESULT with a colour for every vertex: dark where depth is sure, bright where "
        "it may be off. Four of five pixels are within the spread.",
    )
    option_types.add_result(parser)
    parser.add_argument(
        "--out", type=option_types.path("--out"), metavar="FILE", help="GLB or PLY (default: RESULT/spread.glb)"
    )
    options = parser.parse_args(argv)
    path: pathlib.Path = options.out or options.result / "spread.glb"
    kind = path.suffix.lower()
    if kind not in _ENDINGS:
        raise ConfigError(f"--out {path}: a name that ends with {' or '.join(_ENDINGS)} is needed")
    result = load_result(options.result)
    atomic_bytes(path, cast(bytes, build_spread_mesh(result).export(file_type=kind[1:])))
    assert result.depth_spread is not None
    inside = result.depth_spread[result.mask > 0.5]
    greatest = float((inside if inside.size else result.depth_spread).max())
    print(one_line(f"wrote {path}: depth is off by up to about {greatest:.3f} scene units where it is brightest"))


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
