"""`gan2shape-jax render`: new views of a saved result, without GAN or networks; and what `edit` shares with it.

Angles are in degrees on the command line, light directions are (dx, dy) of (dx, dy, 1); signs are those of a result's
`camera.json`. Several angles or lights make several frames, uint8 `(h, w, 3)`, generated one by one: a strip if the
output is a still picture, an animation if it is a GIF or MP4, single pictures if it is a folder. Files and folders
appear whole or not at all.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from gan2shape_jax.apps import option_types
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.io.files import atomic_file, atomic_folder, require_file_place, require_folder_place
from gan2shape_jax.io.image_files import MOST_GIF_PIXELS
from gan2shape_jax.results import pictures, views
from gan2shape_jax.results.outputs import outputs
from gan2shape_jax.results.pictures import MOVING
from gan2shape_jax.results.reconstruction import Reconstruction, load
from gan2shape_jax.results.views import AMBIENT_SHARE

STILLS = (".png", ".jpg", ".jpeg", ".webp")
_MOST_DEG = 36000  # a hundred turns: float32 still resolves hundredths of a degree

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
    about = "Draws new views of a saved result from its mesh, without GAN or networks."
    parser = option_types.parser("render", about, _EPILOG)
    option_types.add_result(parser)
    add_shots(parser)
    group = parser.add_argument_group("pictures")
    add = group.add_argument
    about = "the view that the angles start from (default: canonical, the front)"
    add("--base", choices=("canonical", "input"), default="canonical", help=about)
    about = "what to show (default: image); shape is grey under a light at the camera"
    add("--what", choices=views.SHOWS, default="image", help=about)
    about = "show only the object, or the whole depth map (default: the object)"
    add("--mask", action=argparse.BooleanOptionalAction, default=True, help=about)
    add("--size", type=option_types.size(), default=512, help="side of a view, pixels (default: 512)")
    kinds = f"{', '.join(STILLS)}: a strip; {', '.join(MOVING)}: an animation; without extension: a new folder of "
    option_types.add_out_file(group, "PATH", kinds + "single frames (default: RESULT/render.png)")
    return parser


def _run(options: argparse.Namespace) -> None:
    result = load(options.result)
    out = checked_out(options, "render.png")
    chosen = shots(options, result)
    count, size = len(chosen.lights), options.size
    require_size(out, (count * size, size), (size, size), count)
    frames = views.pictures_in_turn(result, chosen.views, chosen.lights, show=options.what, size=size, cut=options.mask)
    write(
        out,
        still=lambda: pictures.strip([frames], gap=0),
        moving=lambda: frames,
        single=lambda: ((f"{i:03}.png", frame) for i, frame in enumerate(frames)),
        fps=options.fps,
        swing=options.swing,
    )
    print(one_line(f"wrote {out}: {count} view{'s' if count > 1 else ''} of {result.name}"))


_SIGNS = {
    "pitch": "pitch lowers the front",
    "yaw": "yaw turns the front to the picture's left",
    "roll": "roll turns clockwise",
    "light": "light comes from the picture's left, and from above",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Shots:
    """What each frame shows: `views` (n, 6) in radians and scene units; `lights` (n, 4) ambient, diffuse, dx, dy."""

    views: Float[np.ndarray, "n 6"]
    lights: Float[np.ndarray, "n 4"]
    captions: list[str]  # what sets each frame apart from the others: "yaw -40°", "light -1, +0.3"
    note: str  # what angles and signs in the captions mean, for the reader of a picture


def add_shots(parser: argparse.ArgumentParser) -> None:
    """Adds the options of angles, of light and of the number of frames."""
    group = parser.add_argument_group("angles")
    for name, meaning in (
        ("yaw", "turn about the vertical, degrees; positive turns the front to the picture's left"),
        ("pitch", "nod, degrees; positive lowers the front"),
        ("roll", "turn in the picture's plane, degrees, positive clockwise"),
    ):
        kind = option_types.number(f"--{name}", -_MOST_DEG, _MOST_DEG, "degrees")
        group.add_argument(f"--{name}", type=kind, nargs="+", metavar="DEG", help=f"{meaning} (default: 0)")
    group = parser.add_argument_group("light")
    light = functools.partial(option_types.number, low=-1000, high=1000)  # strengths, and dx and dy
    about = (
        "light direction (DX, DY, 1), from the object's front: positive DX from the picture's left, positive "
        "DY from above; may be repeated (default: the result's own)"
    )
    group.add_argument("--light", type=light("--light"), nargs=2, action="append", metavar=("DX", "DY"), help=about)
    about = (
        f"adds R to the directional light and takes {AMBIENT_SHARE:g} R from the ambient one, as the method's "
        "relighting does with 0.3 and 0.6 (default: 0)"
    )
    group.add_argument("--strength", type=light("--strength"), metavar="R", help=about)
    for name, meaning in (("ambient", "ambient"), ("diffuse", "directional")):
        about = f"strength of {meaning} light (default: the result's)"
        group.add_argument(f"--{name}", type=light(f"--{name}"), help=about)
    group = parser.add_argument_group("frames")
    about = "frames, spread evenly from the first angle or light to the last (default: one for each)"
    group.add_argument(
        "--frames", type=option_types.whole("--frames", 1, option_types.MOST_FRAMES), metavar="N", help=about
    )
    group.add_argument("--swing", action="store_true", help="animations go back the same way instead of starting over")
    about = "frames a second of animations (default: 16)"
    group.add_argument("--fps", type=option_types.number("--fps", 0.1, 100), default=16.0, help=about)


def shots(options: argparse.Namespace, result: Reconstruction) -> Shots:
    """Returns the frames that the options ask for; `UserError` if too many, or the numbers of values disagree.

    Angles start where --base says, else from the front, or from the input's view if only the light is given.
    """
    own = result.light
    tracks = {name: np.array(getattr(options, name) or [0.0])[:, None] for name in ("pitch", "yaw", "roll")}
    tracks["light"] = np.array(options.light or [own[2:].tolist()])
    longest = max(map(len, tracks.values()))
    for name, track in tracks.items():
        if options.frames is None and len(track) not in (1, longest):
            raise UserError(
                f"--{name} has {len(track)} values, another option {longest}: use one, or as many, or spread them "
                "over --frames"
            )
    count = options.frames or longest
    if count > option_types.MOST_FRAMES:
        raise UserError(f"{count} angles or lights: at most {option_types.MOST_FRAMES} views are drawn")
    tracks_by_name = {name: _interpolated(track, count) for name, track in tracks.items()}
    strengths = options.ambient, options.diffuse, None, None
    base = np.array([mine if strength is None else strength for mine, strength in zip(own, strengths)], np.float32)
    lights = np.array(
        [views.stronger(base, options.strength or 0.0, *direction) for direction in tracks_by_name["light"]]
    )
    turned = views.sweep_views(**{f"{name}_deg": tracks_by_name[name][:, 0] for name in ("pitch", "yaw", "roll")})
    chosen = [name for name in tracks_by_name if getattr(options, name)]
    angles = [name for name in chosen if name != "light"]
    from_input = options.base == "input" if options.base else not angles
    note = "positive " + "; positive ".join(_SIGNS[name] for name in chosen) if chosen else ""
    if from_input and angles:
        note += "; angles from the input's view"
    varied = [name for name in chosen if np.ptp(tracks_by_name[name], axis=0).any()] or chosen
    captions = ["  ".join(_caption(name, tracks_by_name[name][i]) for name in varied) for i in range(count)]
    return Shots(turned + result.view if from_input else turned, lights, captions, note)


def _interpolated(track: np.ndarray, count: int) -> np.ndarray:
    """Resamples keyframes (k, c) evenly to (count, c), linearly in between."""
    where = np.linspace(0, len(track) - 1, count)
    return np.stack([np.interp(where, np.arange(len(track)), column) for column in track.T], axis=-1)


def _caption(name: str, values: np.ndarray) -> str:
    digits, unit = (1, "") if name == "light" else (0, "°")
    numbers = (f"{value:+.{digits}f}{unit}" if round(float(value), digits) else f"0{unit}" for value in values)
    return f"{name} " + ", ".join(numbers)


# Sides in pixels; libjpeg itself stops short of the 65535 of its format.
_SIDES = {".gif": 65535, ".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".png": 2**31 - 1, ".mp4": 16384}
_MOST_STILL_PIXELS = 2**28  # of one picture; Pillow itself opens no larger one without being asked to
_INSTEAD = "use a smaller --size, fewer --frames, or a new folder as --out"


def checked_out(options: argparse.Namespace, name: str) -> pathlib.Path:
    """Returns the file that is written, or the folder if it has no extension; by default it is RESULT/`name`.

    Raises `UserError` if it cannot be written.
    """
    out: pathlib.Path = options.out or options.result / name
    if not out.suffix:
        if not os.path.isdir(out.parent):
            raise UserError(f"--out {out}: there is no folder {out.parent}")
        require_new_folder(out)
        return out
    own = {pathlib.PurePath(name).stem for output in outputs() for name in output.files}
    if (out.parent / "result.json").is_file() and out.stem in own:
        raise UserError(f"--out {out} would overwrite a file of the result itself: choose another name")
    require_file_place(out, endings=STILLS + MOVING, overwrite=options.overwrite or options.out is None)
    return out


def require_new_folder(out: pathlib.Path) -> None:
    """Raises `UserError` unless `out` can be created or is an empty folder: nothing is ever overwritten there."""
    require_folder_place(out)
    require_folder_place(out.absolute().parent)  # where it is first written under another name
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out} exists and holds other files: name a new folder, or empty this one")


def require_size(out: pathlib.Path, still: tuple[int, int], moving: tuple[int, int], frames: int) -> None:
    """Raises `UserError` if the format of `out` cannot hold a picture of all views or an animation of this size.

    Sizes are width and height in pixels, that of an animation for each of its frames.
    """
    ending = out.suffix.lower()
    if not ending:
        return
    width, height = moving if ending in MOVING else still
    what = f"--out {out}: {width} x {height} pixels are more than"
    if max(width, height) > _SIDES[ending]:
        raise UserError(f"{what} {ending[1:].upper()} can hold, at most {_SIDES[ending]} a side: {_INSTEAD}")
    if ending == ".gif" and frames * width * height > MOST_GIF_PIXELS:
        raise UserError(
            f"--out {out}: {frames} frames of {width} x {height} pixels are more than fit in memory for a GIF, "
            f"at most {MOST_GIF_PIXELS} pixels in all: write an .mp4, or {_INSTEAD}"
        )
    if ending not in MOVING and width * height > _MOST_STILL_PIXELS:
        raise UserError(f"{what} a picture can have here, at most {_MOST_STILL_PIXELS} in all: {_INSTEAD}")


def write(
    out: pathlib.Path,
    *,
    still: Callable[[], np.ndarray],
    moving: Callable[[], Iterable[np.ndarray]],
    single: Callable[[], Iterable[tuple[str, np.ndarray | str]]],
    fps: float = 16.0,
    swing: bool = False,
) -> None:
    """Writes a picture, an animation or a new folder, as the extension says; `UserError` if that is impossible.

    `still` draws the picture, `moving` the frames of the animation, which swings back or starts over; `single` yields
    a folder's files, pictures or text, each after its name.
    """
    if not out.suffix:
        require_new_folder(out)
        with atomic_folder(out) as fresh:
            for name, content in single():
                if isinstance(content, str):
                    (fresh / name).write_text(content, encoding="utf-8")
                else:
                    pictures.write_png(fresh / name, content)
    elif out.suffix.lower() in MOVING:
        atomic_file(out, functools.partial(pictures.write_animation, frames=moving(), fps=fps, swing=swing))
    elif out.suffix.lower() == ".png":
        atomic_file(out, functools.partial(pictures.write_png, picture=still()))
    else:
        atomic_file(out, functools.partial(Image.fromarray(still()).save, quality=95))
