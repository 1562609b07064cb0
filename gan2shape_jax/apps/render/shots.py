"""Angles and lights on a command line: the options, their allowed values, and the frames that they ask for.

Angles are in degrees here, light directions are (dx, dy) of (dx, dy, 1); signs are those of a result's
`camera.json`. The commands `render` and `edit` share this module.
"""

import argparse
import dataclasses

import numpy as np
from jaxtyping import Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import option_types
from gan2shape_jax.results import views
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.turntable import AMBIENT_SHARE

__all__ = [
    "Shots",
    "add_angles",
    "add_lights",
    "add_sampling",
    "captions",
    "shot_views",
    "shots",
    "signs",
]

_SIGNS = {
    "yaw": "yaw turns the front to the picture's left",
    "pitch": "pitch lowers the front",
    "roll": "roll turns clockwise",
    "light": "light comes from the picture's left, and from above",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Shots:
    """What each frame shows.

    Attributes:
      angles_deg: (n, 3) pitch, yaw, roll, degrees.
      lights: (n, 4) ambient, diffuse, dx, dy.
    """

    angles_deg: Float[np.ndarray, "n 3"]
    lights: Float[np.ndarray, "n 4"]


def add_angles(parser: argparse.ArgumentParser) -> None:
    """Adds --yaw, --pitch and --roll."""
    group = parser.add_argument_group("angles")
    for name, meaning in (
        ("yaw", "turn about the vertical, degrees; positive turns the front to the picture's left"),
        ("pitch", "nod, degrees; positive lowers the front"),
        ("roll", "turn in the picture's plane, degrees, positive clockwise"),
    ):
        group.add_argument(
            f"--{name}", type=option_types.angle(f"--{name}"), nargs="+", metavar="DEG", help=f"{meaning} (default: 0)"
        )


def add_lights(parser: argparse.ArgumentParser) -> None:
    """Adds --light, --strength, --ambient and --diffuse."""
    group = parser.add_argument_group("light")
    group.add_argument(
        "--light",
        type=option_types.light("--light"),
        nargs=2,
        action="append",
        metavar=("DX", "DY"),
        help="light direction (DX, DY, 1), from the object's front: positive DX from the picture's left, positive "
        "DY from above; may be repeated (default: the result's own)",
    )
    group.add_argument(
        "--strength",
        type=option_types.light("--strength"),
        metavar="R",
        help=f"adds R to the directed light and takes {AMBIENT_SHARE:g} R from the ambient one, as the method's "
        "relighting does with 0.3 and 0.6 (default: 0)",
    )
    for name, meaning in (("ambient", "ambient"), ("diffuse", "directed")):
        help_text = f"strength of {meaning} light (default: the result's)"
        group.add_argument(f"--{name}", type=option_types.light(f"--{name}"), help=help_text)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Adds --frames, --swing and --fps."""
    group = parser.add_argument_group("frames")
    group.add_argument(
        "--frames",
        type=option_types.frames(),
        metavar="N",
        help="frames, spread evenly from the first angle or light given to the last (default: one for each)",
    )
    group.add_argument("--swing", action="store_true", help="animations go back the same way instead of starting over")
    group.add_argument(
        "--fps", type=option_types.fps(), default=16.0, help="frames a second of animations (default: 16)"
    )


def shots(options: argparse.Namespace, result: Result) -> Shots:
    """Returns the frames that the options ask for.

    Raises:
      UserError: there are too many, or the numbers of values disagree.
    """
    own = result.light
    tracks = {
        "--pitch": np.array(options.pitch or [0.0])[:, None],
        "--yaw": np.array(options.yaw or [0.0])[:, None],
        "--roll": np.array(options.roll or [0.0])[:, None],
        "--light": np.array(options.light or [own[2:].tolist()]),
    }
    longest = max(len(track) for track in tracks.values())
    if options.frames is None:
        for name, track in tracks.items():
            if len(track) not in (1, longest):
                raise UserError(
                    f"{name} has {len(track)} values, another option {longest}: give one, or as many, or spread them "
                    "over --frames"
                )
    count = options.frames or longest
    if count > option_types.MOST_FRAMES:
        raise UserError(f"{count} angles or lights are given: at most {option_types.MOST_FRAMES} views are drawn")
    pitch, yaw, roll, direction = (_spread(track, count) for track in tracks.values())
    extra = options.strength or 0.0
    ambient = (own[0] if options.ambient is None else options.ambient) - AMBIENT_SHARE * extra
    diffuse = (own[1] if options.diffuse is None else options.diffuse) + extra
    strengths = np.broadcast_to([ambient, diffuse], (count, 2))
    return Shots(
        angles_deg=np.concatenate([pitch, yaw, roll], axis=-1).astype(np.float32),
        lights=np.concatenate([strengths, direction], axis=-1).astype(np.float32),
    )


def _spread(track: np.ndarray, count: int) -> np.ndarray:
    """Resamples keyframes (k, c) evenly to (count, c), linearly in between."""
    where = np.linspace(0, len(track) - 1, count)
    columns = [np.interp(where, np.arange(len(track)), column) for column in track.T]
    return np.stack(columns, axis=-1)


def shot_views(chosen: Shots, result: Result, *, from_input: bool) -> Float[np.ndarray, "n 6"]:
    """Returns views in radians and scene units, from the canonical view or, with `from_input`, from the input's."""
    pitch, yaw, roll = chosen.angles_deg.T
    turned = views.sweep_views(pitch_deg=pitch, yaw_deg=yaw, roll_deg=roll)
    return turned + result.view if from_input else turned


def captions(chosen: Shots, options: argparse.Namespace) -> list[str]:
    """Returns what sets each frame apart from the others, in words: "yaw -40°", "light -1, +0.3"."""
    shown = {
        name: chosen.angles_deg[:, [column]]
        for column, name in enumerate(("pitch", "yaw", "roll"))
        if getattr(options, name)
    }
    if options.light:
        shown["light"] = chosen.lights[:, 2:]
    shown = {name: values for name, values in shown.items() if np.ptp(values, axis=0).any()} or shown
    return ["  ".join(_caption(name, values[i]) for name, values in shown.items()) for i in range(len(chosen.lights))]


def signs(options: argparse.Namespace) -> str:
    """Returns what the signs in the captions mean, as a line for the reader of a picture."""
    meant = [_SIGNS[name] for name in _SIGNS if getattr(options, name)]
    return "positive " + "; positive ".join(meant) if meant else ""


def _caption(name: str, values: np.ndarray) -> str:
    digits, unit = (1, "") if name == "light" else (0, "°")
    numbers = (f"{value:+.{digits}f}{unit}" if round(float(value), digits) else f"0{unit}" for value in values)
    return f"{name} " + ", ".join(numbers)
