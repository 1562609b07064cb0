"""`gan2shape-jax render`: new views of a saved result, without GAN or networks.

Angles are in degrees on the command line. Several angles or lights make several frames: a strip
when the output is a still picture, an animation when it is a GIF or MP4, separate files when it is a folder.
"""

import argparse
import functools
from collections.abc import Sequence

from gan2shape_jax.apps.render import out as outs
from gan2shape_jax.apps.render import shots as asked
from gan2shape_jax.errors import exit_code, one_line
from gan2shape_jax.io import option_types
from gan2shape_jax.results import pictures, views
from gan2shape_jax.results.animation import MOVING
from gan2shape_jax.results.result import load_result
from gan2shape_jax.results.views import pictures_in_turn

__all__ = ["main"]

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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax render",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Draws new views of a saved result from its mesh, without GAN or networks.",
    )
    option_types.add_result(parser)
    asked.add_angles(parser)
    asked.add_lights(parser)
    asked.add_sampling(parser)
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
        help=f"{', '.join(outs.STILLS)}: a strip; {', '.join(MOVING)}: an animation; without "
        "extension: a new folder of single frames (default: RESULT/render.png)",
    )


def _run(options: argparse.Namespace) -> None:
    out = options.out or options.result / "render.png"
    result = load_result(options.result)
    outs.check_out(out)
    shots = asked.shots(options, result)
    count, size = len(shots.lights), options.size
    if outs.is_moving(out):
        outs.require_size(out, size, size, count)
    elif not outs.is_folder(out):
        outs.require_size(out, count * size, size)
    turned = asked.shot_views(shots, result, from_input=options.base == "input")
    frames = pictures_in_turn(result, turned, shots.lights, show=options.what, size=size, cut=options.mask)
    if outs.is_folder(out):
        outs.write_frames(out, ((f"{i:03}", frame) for i, frame in enumerate(frames)))
    else:
        strip = functools.partial(pictures.pasted, [frames], columns=count, side=size, gap=0)
        outs.write(out, strip, lambda: frames, fps=options.fps, swing=options.swing)
    print(one_line(f"wrote {out}: {count} view{'s' if count > 1 else ''} of {result.name}"))
