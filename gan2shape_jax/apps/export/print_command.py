"""`gan2shape-jax export print`: a saved result as a solid for a 3D printer."""

import argparse
from collections.abc import Sequence

from gan2shape_jax.errors import one_line
from gan2shape_jax.io import option_types
from gan2shape_jax.io.writable import require_file_place
from gan2shape_jax.results import print_files
from gan2shape_jax.results.result import load_result
from gan2shape_jax.results.solid import BACKS, LARGEST_MM, LEAST_WALL_MM, build_solid

__all__ = ["run"]

_EPILOG = """\
examples:
  gan2shape-jax export print RESULT
  gan2shape-jax export print RESULT --height 120 --thickness 5 --out face.3mf
  gan2shape-jax export print RESULT --width 40 --back mirrored --out pendant.stl
"""


def run(argv: Sequence[str]) -> None:
    """Writes the solid that the arguments ask for and prints a summary; raises `UserError`."""
    options = _parser().parse_args(argv)
    out = options.out or options.result / "print.3mf"
    print_files.require_format(out)
    require_file_place(out)
    result = load_result(options.result)
    solid = build_solid(
        result,
        width_mm=options.width,
        height_mm=options.height,
        thickness_mm=options.thickness,
        back=options.back,
    )
    print_files.write_solid(solid.mesh, out)
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
    parser.add_argument(
        "result",
        type=option_types.path("RESULT"),
        metavar="RESULT",
        help="the folder of one image's results (it contains result.json)",
    )
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
        help=f"{' or '.join(print_files.FORMATS)} (default: RESULT/print.3mf)",
    )
    return parser
