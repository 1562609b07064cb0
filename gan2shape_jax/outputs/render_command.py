"""`gan2shape-jax render`: new views of a saved result, without GAN or networks.

Angles are in degrees on the command line. Several angles or lights make several frames: a strip
when the output is a still picture, an animation when it is a GIF or MP4.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.outputs import animation, layout, pictures, views
from gan2shape_jax.outputs.result import Result, load_result

__all__ = ["main", "render"]

_STILLS = (".png", ".jpg", ".jpeg", ".webp")
_MOVING = (".gif", ".mp4")
_LARGEST = 4096
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
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def render(
    result: Result,
    angles_deg: Float[np.ndarray, "n 3"],
    lights: Float[np.ndarray, "n 4"],
    *,
    show: str = "image",
    size: int = 512,
    cut: bool = True,
    from_input: bool = False,
) -> list[np.ndarray]:
    """Pictures, uint8 (size, size, 3), one for each row of (pitch, yaw, roll) in degrees and light.

    `from_input` adds the angles to the view of the input instead of starting from the front.
    """
    turned = views.sweep_views(
        pitch_deg=angles_deg[:, 0], yaw_deg=angles_deg[:, 1], roll_deg=angles_deg[:, 2]
    )
    if from_input:
        turned = turned + result.view
    surfaces = views.draw(result, turned, size=size, cut=cut)
    return list(views.picture(surfaces, show, light=lights))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax render",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Draws new views of a saved result from its mesh, without GAN or networks.",
    )
    parser.add_argument(
        "result",
        type=pathlib.Path,
        metavar="RESULT",
        help="the folder of one image's results (it contains result.json)",
    )
    parser.add_argument(
        "--yaw",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="DEG",
        help="turn about the vertical, degrees; positive turns the front to the "
        "picture's left (default: 0)",
    )
    parser.add_argument(
        "--pitch",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="DEG",
        help="nod, degrees; positive lowers the front (default: 0)",
    )
    parser.add_argument(
        "--roll",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="DEG",
        help="turn in the picture's plane, degrees, positive clockwise (default: 0)",
    )
    parser.add_argument(
        "--base",
        choices=("canonical", "input"),
        default="canonical",
        help="the view that the angles start from (default: canonical, the front)",
    )
    parser.add_argument(
        "--light",
        type=float,
        nargs=2,
        action="append",
        metavar=("DX", "DY"),
        help="light direction (DX, DY, 1): positive DX from the picture's left, "
        "positive DY from above; may be repeated (default: the result's own)",
    )
    parser.add_argument(
        "--ambient", type=float, help="strength of ambient light (default: the result's)"
    )
    parser.add_argument(
        "--diffuse", type=float, help="strength of directed light (default: the result's)"
    )
    parser.add_argument(
        "--what",
        choices=views.SHOWS,
        default="image",
        help="what to show (default: image); shape is grey under a light at the camera",
    )
    parser.add_argument(
        "--mask",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show only the object, or the whole sheet (default: the object)",
    )
    parser.add_argument(
        "--size", type=int, default=512, help="side of a view, pixels (default: 512)"
    )
    parser.add_argument(
        "--frames",
        type=int,
        help="frames, spread evenly from the first angle or light given to the last "
        "(default: one for each)",
    )
    parser.add_argument("--fps", type=float, default=16, help="frames a second of animations")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        metavar="FILE",
        help=f"{', '.join(_STILLS)}: a strip; {', '.join(_MOVING)}: an animation "
        "(default: RESULT/render.png)",
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    out = arguments.out or arguments.result / "render.png"
    _check(arguments, out)
    result = load_result(arguments.result)
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    angles, lights = _frames(arguments, result)
    frames = render(
        result,
        angles,
        lights,
        show=arguments.what,
        size=arguments.size,
        cut=arguments.mask,
        from_input=arguments.base == "input",
    )
    _write(out, frames, fps=arguments.fps)
    print(f"wrote {out}: {len(frames)} view{'s' if len(frames) > 1 else ''} of {result.name}")


def _check(arguments: argparse.Namespace, out: pathlib.Path) -> None:
    if out.suffix.lower() not in _STILLS + _MOVING:
        raise UserError(f"--out {out}: the name must end in one of {', '.join(_STILLS + _MOVING)}")
    if not 1 <= arguments.size <= _LARGEST:
        raise UserError(f"--size {arguments.size}: must be between 1 and {_LARGEST} pixels")
    if arguments.frames is not None and not 1 <= arguments.frames <= 1000:
        raise UserError(f"--frames {arguments.frames}: must be between 1 and 1000")
    if not 0.1 <= arguments.fps <= 100:
        raise UserError(f"--fps {arguments.fps:g}: must be between 0.1 and 100")
    given = [
        *arguments.yaw,
        *arguments.pitch,
        *arguments.roll,
        *np.ravel(arguments.light or []),
        *(value for value in (arguments.ambient, arguments.diffuse) if value is not None),
    ]
    if not np.isfinite(given).all():
        raise UserError("angles and lights must be finite numbers")


def _frames(arguments: argparse.Namespace, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Angles (n, 3) in degrees and lights (n, 4) of every frame."""
    own = result.light
    directions = arguments.light or [own[2:].tolist()]
    tracks = {
        "--pitch": np.array(arguments.pitch)[:, None],
        "--yaw": np.array(arguments.yaw)[:, None],
        "--roll": np.array(arguments.roll)[:, None],
        "--light": np.array(directions),
    }
    longest = max(len(track) for track in tracks.values())
    count = arguments.frames or longest
    if arguments.frames is None:
        for name, track in tracks.items():
            if len(track) not in (1, longest):
                raise UserError(
                    f"{name} has {len(track)} values, another option {longest}: give one, or "
                    "as many, or spread them over --frames"
                )
    pitch, yaw, roll, direction = (_spread(track, count) for track in tracks.values())
    strengths = [
        own[0] if arguments.ambient is None else arguments.ambient,
        own[1] if arguments.diffuse is None else arguments.diffuse,
    ]
    lights = np.concatenate([np.broadcast_to(strengths, (count, 2)), direction], axis=-1)
    return np.concatenate([pitch, yaw, roll], axis=-1), lights.astype(np.float32)


def _spread(track: np.ndarray, count: int) -> np.ndarray:
    """Resamples keyframes (k, c) evenly to (count, c), linearly in between."""
    where = np.linspace(0, len(track) - 1, count)
    columns = [np.interp(where, np.arange(len(track)), column) for column in track.T]
    return np.stack(columns, axis=-1)


def _write(out: pathlib.Path, frames: list[np.ndarray], *, fps: float) -> None:
    """Writes beside `out` and renames, so that a full disk leaves no half picture."""
    part = out.with_name(f".{out.stem}.part{out.suffix.lower()}")
    try:
        if out.suffix.lower() == ".png":
            pictures.write_png(part, layout.strip([frames], gap=0))
        elif out.suffix.lower() in _STILLS:
            Image.fromarray(layout.strip([frames], gap=0)).save(part, quality=95)
        else:
            animation.write_animation(part, frames, fps=fps)
        part.replace(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
