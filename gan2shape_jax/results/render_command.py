"""`gan2shape-jax render`: new views of a saved result, without GAN or networks.

Angles are in degrees on the command line. Several angles or lights make several frames: a strip
when the output is a still picture, an animation when it is a GIF or MP4, separate files when it is a folder.
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gan2shape_jax.io import option_types
from gan2shape_jax.errors import exit_code
from gan2shape_jax.results import format_limits, frame_files, layout, view_options, views
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.view_frames import pictures_in_turn
from gan2shape_jax.errors import one_line

__all__ = ["main", "render"]

_EPILOG = """\
examples:
  gan2shape-jax render RESULT --yaw 30
  gan2shape-jax render RESULT --yaw -60 -30 0 30 60 --what shape --out strip.png
  gan2shape-jax render RESULT --yaw -60 60 --frames 48 --out turn.mp4
  gan2shape-jax render RESULT --light -1.5 0.3 --light 1.5 0.3 --frames 30 --out relight.gif
  gan2shape-jax render RESULT --base input --light 1 0 --ambient 0.1 --diffuse 0.9
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 1 after an error that has been printed."""
    return exit_code(lambda: _run(_parser().parse_args(argv)))


def render(
    result: Result,
    turned: Float[np.ndarray, "n 6"],
    lights: Float[np.ndarray, "n 4"],
    *,
    show: str = "image",
    size: int = 512,
    cut: bool = True,
) -> list[np.ndarray]:
    """Draws pictures of the mesh, uint8 (size, size, 3), one for each view (radians, scene units) and light."""
    return list(pictures_in_turn(result, turned, lights, show=show, size=size, cut=cut))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax render",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Draws new views of a saved result from its mesh, without GAN or networks.",
    )
    parser.add_argument(
        "result",
        type=option_types.path("RESULT"),
        metavar="RESULT",
        help="the folder of one image's results (it contains result.json)",
    )
    view_options.add_angles(parser)
    view_options.add_lights(parser)
    view_options.add_sampling(parser)
    _add_pictures(parser)
    return parser


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--base",
        choices=("canonical", "input"),
        default="canonical",
        help="the view that the angles start from (default: canonical, the front)",
    )
    group.add_argument(
        "--what",
        choices=views.SHOWS,
        default="image",
        help="what to show (default: image); shape is grey under a light at the camera",
    )
    group.add_argument(
        "--mask",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show only the object, or the whole sheet (default: the object)",
    )
    group.add_argument("--size", type=option_types.size(), default=512, help="side of a view, pixels (default: 512)")
    group.add_argument(
        "--out",
        type=option_types.path("--out"),
        metavar="PATH",
        help=f"{', '.join(frame_files.STILLS)}: a strip; {', '.join(frame_files.MOVING)}: an animation; without "
        "extension: a new folder of single frames (default: RESULT/render.png)",
    )


def _run(options: argparse.Namespace) -> None:
    out = options.out or options.result / "render.png"
    result = load_result(options.result)
    frame_files.check_out(out)
    shots = view_options.shots(options, result)
    count = len(shots.lights)
    _require_size(out, options.size, count)
    turned = view_options.shot_views(shots, result, from_input=options.base == "input")
    frames = pictures_in_turn(result, turned, shots.lights, show=options.what, size=options.size, cut=options.mask)
    if frame_files.is_folder(out):
        frame_files.write_frames(out, ((f"{i:03}", frame) for i, frame in enumerate(frames)))
    elif out.suffix.lower() in frame_files.MOVING:
        frame_files.write_animation(out, frames, fps=options.fps, swing=options.swing)
    else:
        frame_files.write_still(out, layout.pasted([frames], columns=count, side=options.size, gap=0))
    print(one_line(f"wrote {out}: {count} view{'s' if count > 1 else ''} of {result.name}"))


def _require_size(out: pathlib.Path, size: int, count: int) -> None:
    if out.suffix.lower() in frame_files.MOVING:
        format_limits.require_size(out, size, size, count)
    elif not frame_files.is_folder(out):
        format_limits.require_size(out, count * size, size)
