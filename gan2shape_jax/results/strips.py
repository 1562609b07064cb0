"""Turntable and relighting: PNG strips and animations, from the mesh and through the GAN.

A turntable strip has the nine yaws in its first row and the five pitches in its second; a
relighting strip has one row per strength and height of the light. All tiles of a result have the
same size, in pixels.
"""

import pathlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from gan2shape_jax.results import animation, layout, pictures, sweeps, views
from gan2shape_jax.results.framing import fitting_window
from gan2shape_jax.results.gan_views import GanViews
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.view_frames import pictures_in_turn
from gan2shape_jax.results.views import Surfaces

__all__ = [
    "draw_turns",
    "gan_tiles",
    "swing",
    "write_gan_strips",
    "write_mesh_animations",
    "write_mesh_strips",
]

_FPS = 16
_GAN_FPS = 5  # the GAN's pictures are few


def draw_turns(result: Result, *, size: int, cut: bool) -> Iterator[Surfaces]:
    """Draws the surfaces of the turntable strip: nine yaws, five pitches, framed so that nothing is cut off."""
    turns = sweeps.turn_views(result.category)
    return views.draw_in_parts(result, turns, size=size, cut=cut, window=fitting_window(result, turns, cut=cut))


def swing(result: Result, steps: int) -> tuple[Float[np.ndarray, "n 6"], float]:
    """Returns views of a turn from side to side, slow at its ends, and the window in which nothing is cut off."""
    share = -np.cos(np.linspace(0, np.pi, steps))
    turns = views.sweep_views(yaw_deg=sweeps.max_yaw_deg(result.category) * share)
    return turns, fitting_window(result, turns)


def write_mesh_strips(result: Result, folder: pathlib.Path, *, size: int) -> None:
    """Writes the strips of turned and relit meshes.

    They are `turntable.png`, `_albedo`, `_normals`, `_shape`, the same with `_full` for the whole sheet with its
    background, and `relight.png` in the input's view.
    """
    for cut, suffix in ((True, ""), (False, "_full")):
        tiles: dict[str, list[np.ndarray]] = {show: [] for show in ("image", "albedo", "normals", "shape")}
        for some in draw_turns(result, size=size, cut=cut):
            for show, row in tiles.items():
                row += list(views.picture(some, show, light=result.light))
        for show, row in tiles.items():
            name = "turntable" + ("" if show == "image" else f"_{show}") + suffix
            _write_turns(folder / f"{name}.png", row)
    lights = sweeps.relight_rows(result.light)
    still = views.draw(result, result.view[None], size=size)
    rows = [views.picture(views.repeated(still, len(row)), "image", light=row) for row in lights]
    pictures.write_png(folder / "relight.png", layout.strip(rows))


def write_mesh_animations(result: Result, folder: pathlib.Path, *, size: int, frames: int) -> None:
    """Writes `turntable` and `relight`, `.gif` and `.mp4`; `frames` make a full swing or circle."""
    # Only half of the swing is drawn; the way back shows it again.
    turns, window = swing(result, max(2, frames // 2 + 1))
    lights = np.broadcast_to(result.light, (len(turns), 4))
    turned = pictures_in_turn(result, turns, lights, size=size, window=window)
    animation.write_animations(folder / "turntable", turned, fps=_FPS, swing=True)
    still = views.draw(result, result.view[None], size=size)
    circle = (views.picture(still, "image", light=light)[0] for light in sweeps.light_circle(result.light, frames))
    animation.write_animations(folder / "relight", circle, fps=_FPS)


def write_gan_strips(drawn: GanViews, folder: pathlib.Path, *, size: int, animate: bool) -> None:
    """Writes `turntable_gan` and `relight_gan` as `.png` and, if asked, `.gif` and `.mp4`."""
    yaws, pitches = gan_tiles(drawn.yaws, size), gan_tiles(drawn.pitches, size)
    lights = [gan_tiles(row, size) for row in drawn.lights]
    pictures.write_png(folder / "turntable_gan.png", layout.strip([yaws, pitches]))
    pictures.write_png(folder / "relight_gan.png", layout.strip(lights))
    if animate:
        # From side to side with level light, back with light from above.
        circle = [*lights[-2], *lights[-1][::-1]]
        animation.write_animations(folder / "turntable_gan", yaws, fps=_GAN_FPS, swing=True)
        animation.write_animations(folder / "relight_gan", circle, fps=_GAN_FPS)


def gan_tiles(drawn: np.ndarray, size: int) -> list[np.ndarray]:
    """Returns the GAN's pictures (n, s, s, 3) in [-1, 1] as tiles of `size` pixels."""
    return [pictures.enlarge(picture, size) for picture in pictures.to_uint8(drawn)]


def _write_turns(path: pathlib.Path, tiles: list[np.ndarray]) -> None:
    yaws = len(tiles) - len(sweeps.PITCHES_DEG)
    pictures.write_png(path, layout.strip([tiles[:yaws], tiles[yaws:]]))
