"""`gan2shape-jax export print`: a saved result as a solid for a 3D printer.

Slicers read STL, and 3MF, which states that its numbers are millimetres. 3MF is a ZIP of XML (3MF Core Specification
1.3), written here since trimesh needs two further packages for it and puts random identifiers into the file.
"""

from __future__ import annotations

import argparse
import pathlib
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io import option_types
from gan2shape_jax.io.files import atomic_bytes, atomic_file, require_file_place
from gan2shape_jax.results.result import load_result
from gan2shape_jax.results.solid import BACKS, LARGEST_MM, LEAST_WALL_MM, build_solid

if TYPE_CHECKING:
    import trimesh

__all__ = ["FORMATS", "run", "write_solid"]

FORMATS = (".stl", ".3mf")

_EPILOG = """\
examples:
  gan2shape-jax export print RESULT
  gan2shape-jax export print RESULT --height 120 --thickness 5 --out face.3mf
  gan2shape-jax export print RESULT --width 40 --back mirrored --out pendant.stl
"""
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold; fixed, so that the same solid gives the same file
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_PARTS = {
    "[Content_Types].xml": f"""{_XML}<Types xmlns="{_PACKAGE}/content-types">
 <Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
 <Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
</Types>
""",
    "_rels/.rels": f"""{_XML}<Relationships xmlns="{_PACKAGE}/relationships">
 <Relationship Id="rel0" Target="/3D/3dmodel.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>
""",
}
_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_MODEL = f"""{_XML}<model unit="millimeter" xml:lang="en-US" xmlns="{_CORE}">
 <metadata name="Application">gan2shape_jax</metadata>
 <resources>
  <object id="1" type="model">
   <mesh>
    <vertices>
%s    </vertices>
    <triangles>
%s    </triangles>
   </mesh>
  </object>
 </resources>
 <build>
  <item objectid="1"/>
 </build>
</model>
"""


def run(argv: Sequence[str]) -> None:
    """Writes the solid that the arguments ask for and prints a summary; raises `UserError`."""
    options = _parser().parse_args(argv)
    out = options.out or options.result / "print.3mf"
    _require_format(out)
    require_file_place(out)
    result = load_result(options.result)
    solid = build_solid(
        result,
        width_mm=options.width,
        height_mm=options.height,
        thickness_mm=options.thickness,
        back=options.back,
    )
    write_solid(solid.mesh, out)
    for note in solid.notes:
        print(one_line(f"note: {note}"))
    width, height, tall = solid.mesh.extents
    print(
        one_line(
            f"wrote {out}: {result.name}, {width:.1f} x {height:.1f} mm on the bed, {tall:.1f} mm high, "
            f"{solid.mesh.volume / 1000:.1f} cm3, {len(solid.mesh.faces)} triangles, closed"
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax export print",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes a saved result as a closed solid in millimetres, lying on its back.",
    )
    option_types.add_result(parser)
    for name, otherwise in (("width", ""), ("height", "; with both it is as large as fits; with none, 80 at most")):
        parser.add_argument(
            f"--{name}",
            type=option_types.number(f"--{name}", 1, LARGEST_MM, "mm"),
            metavar="MM",
            help=f"of the finished solid on the bed{otherwise}",
        )
    parser.add_argument(
        "--thickness",
        type=option_types.number("--thickness", LEAST_WALL_MM, LARGEST_MM, "mm"),
        default=3.0,
        metavar="MM",
        help="material where it is thinnest, behind the farthest point of the front (default: 3)",
    )
    parser.add_argument(
        "--back",
        choices=BACKS,
        default="flat",
        help="flat, to lie on the bed, or the front once more, mirrored (default: flat)",
    )
    parser.add_argument(
        "--out",
        type=option_types.path("--out"),
        metavar="FILE",
        help=f"{' or '.join(FORMATS)} (default: RESULT/print.3mf)",
    )
    return parser


def write_solid(mesh: trimesh.Trimesh, path: pathlib.Path) -> None:
    """Writes a mesh in millimetres in the format of the path's extension; the folder must exist.

    Raises:
      UserError: the extension is not one of `FORMATS`, or the file system refuses.
    """
    _require_format(path)
    if path.suffix.lower() == ".stl":
        atomic_bytes(path, cast(bytes, mesh.export(file_type="stl")))
    else:
        atomic_file(path, lambda part: _write_3mf(mesh, part))


def _require_format(path: pathlib.Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: its ending has to be one of {', '.join(FORMATS)}")


def _write_3mf(mesh: trimesh.Trimesh, path: pathlib.Path) -> None:
    vertices = _rows('<vertex x="%.6f" y="%.6f" z="%.6f"/>\n', np.asarray(mesh.vertices))
    model = _MODEL % (vertices, _rows('<triangle v1="%d" v2="%d" v3="%d"/>\n', np.asarray(mesh.faces)))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (_PARTS | {"3D/3dmodel.model": model}).items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), text, zipfile.ZIP_DEFLATED)


def _rows(pattern: str, values: np.ndarray) -> str:
    return pattern * len(values) % tuple(values.reshape(-1).tolist())
