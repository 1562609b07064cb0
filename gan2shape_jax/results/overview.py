"""Everything at a glance: the picture of a whole result, and of what networks make of several images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan2shape_jax.errors import message_line
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import pictures, views
from gan2shape_jax.results.pictures import Tile
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import normals, shading
from gan2shape_jax.results.table import COLUMNS, complete_metrics, figure
from gan2shape_jax.results.turntable import GanViews, gan_tiles, max_yaw_deg, relight_rows, yaws_deg
from gan2shape_jax.results.views import Surfaces

__all__ = ["draw_overview", "draw_sample_sheet"]

_YAWS_DEG = (-60, -40, -20, 0, 20, 40, 60)
_NARROW_YAWS_DEG = (-45, -30, -15, 0, 15, 30, 45)
_LONGEST = 200  # characters of a verdict
_UNITS = {"mad": "°", "mad_unit": "°", "prior_mad": "°"}


def draw_overview(result: Result, *, gan: GanViews | None = None, size: int = 192) -> Image.Image:
    """Draws the overview with tiles of `size` pixels; the GAN's rows only if `gan` is given."""
    yaws = _YAWS_DEG if max_yaw_deg(result.category) > 60 else _NARROW_YAWS_DEG
    turned = _turned_mesh(result, yaws, size)
    captions = [f"yaw {yaw:+d}°" if yaw else "frontal" for yaw in yaws]
    rows = [
        ("The input and its explanation", _inputs(result, size)),
        ("The factors, seen from the front", _factors(result, size)),
    ]
    for heading, show in (("Shape without colour", "shape"), ("Turned mesh", "image")):
        drawn = views.picture(turned, show, light=result.light)
        rows.append((heading, [Tile(p, c) for p, c in zip(drawn, captions, strict=True)]))
    if gan is not None:
        degrees = yaws_deg(result.category)[1:-1]
        tiles = gan_tiles(gan.yaws[1:-1], size)
        rows.append(
            (
                "Turned by the GAN",
                [Tile(p, f"yaw {d:+.0f}°") for p, d in zip(tiles, degrees, strict=True)],
            )
        )
    rows.append(("Relit mesh" if gan is None else "Relit: mesh, then GAN", _relit(result, gan, size)))
    return pictures.sheet(rows, title=result.name, subtitle=_subtitle(result), footer=_footer(result))


def _turned_mesh(result: Result, yaws: Sequence[float], size: int) -> Surfaces:
    """Draws the mesh at each yaw, framed so that nothing is cut off."""
    turns = views.sweep_views(yaw_deg=yaws)
    return views.draw(result, turns, size=size, window=views.fitting_window(result, turns))


def _inputs(result: Result, size: int) -> list[Tile]:
    shown = [
        (result.image, "input"),
        (result.gan_image, "the GAN's image of it"),
        (result.reconstruction, "reconstruction"),
    ]
    tiles = [
        Tile(pictures.enlarge(pictures.to_uint8(picture), size), caption)
        for picture, caption in shown
        if picture is not None
    ]
    tiles.append(Tile(pictures.enlarge(pictures.colour_mask(result.input_mask), size), "object mask"))
    tiles.append(Tile(_difference(result, size), "|input - reconstruction|"))
    near, far = pictures.depth_range(result.warped_depth, result.input_mask)
    depths = [(result.warped_depth, "depth in this view"), (result.true_depth, "true depth")]
    tiles += [
        Tile(
            pictures.enlarge(pictures.colour_depth(depth, near, far, mask=result.input_mask), size),
            caption,
        )
        for depth, caption in depths
        if depth is not None
    ]
    return tiles


def _difference(result: Result, size: int) -> np.ndarray:
    """Draws white where the reconstruction agrees, dark where it is off by half the range or more."""
    off = np.abs(result.image - result.reconstruction).mean(axis=-1)
    return pictures.enlarge(pictures.colour_mask(1 - np.clip(off, 0, 1)), size)


def _factors(result: Result, size: int) -> list[Tile]:
    near, far = pictures.depth_range(result.depth, result.mask)
    normal = normals(result.depth, result.camera)
    shown = [
        (pictures.to_uint8(result.canonical), "lit texture"),
        (pictures.to_uint8(result.albedo), "albedo"),
        (pictures.colour_mask(np.clip(shading(normal, result.light), 0, 1)), "shading"),
        (
            pictures.colour_depth(result.depth, near, far, mask=result.mask),
            f"depth, {near:.3f} to {far:.3f}",
        ),
        (pictures.colour_normals(normal), "normals"),
        (pictures.colour_mask(result.mask), "canonical mask"),
    ]
    if result.true_depth is not None:
        true_normal = normals(result.true_depth, result.camera)
        shown.append((pictures.colour_normals(true_normal), "true normals, input view"))
    return [Tile(pictures.enlarge(picture, size), caption) for picture, caption in shown]


def _relit(result: Result, gan: GanViews | None, size: int) -> list[Tile]:
    lights = relight_rows(result.light)[-1]
    chosen = range(len(lights)) if gan is None else (0, 2, 4)
    still = views.repeated(views.draw(result, result.view[None], size=size), len(lights))
    drawn = views.picture(still, "image", light=lights)
    sides = ("from the right", "half right", "from above", "half left", "from the left")
    tiles = [Tile(drawn[k], f"light {sides[k]}") for k in chosen]
    if gan is not None:
        by_gan = gan_tiles(gan.lights[-1], size)
        tiles += [Tile(by_gan[k], f"GAN, {sides[k]}") for k in chosen]
    return tiles


def _subtitle(result: Result) -> str:
    pitch, yaw, roll = np.rad2deg(result.view[:3])
    ambient, diffuse, dx, dy = result.light
    return (
        f"{result.category or 'object'}, {result.camera.image_size} pixels    "
        f"view: yaw {yaw:+.0f}°, pitch {pitch:+.0f}°, roll {roll:+.0f}°    light: ambient "
        f"{ambient:.2f}, diffuse {diffuse:.2f}, direction ({dx:+.2f}, {dy:+.2f}, 1)"
    )


def _footer(result: Result) -> list[str]:
    """Returns a line for the depth if it could be measured, one for the pictures, and one for trust if known."""
    metrics = complete_metrics(result)
    lines: dict[bool, list[str]] = {False: [], True: []}
    for title, path, digits in COLUMNS:
        value = figure(metrics, path)
        if value is not None:
            lines[title.endswith("_l1")].append(f"{title} {value:.{digits}f}{_UNITS.get(title, '')}")
    shown = ["     ".join(entries) for entries in lines.values() if entries]
    trust = result.metrics.get("trust")
    if isinstance(trust, dict) and isinstance(trust.get("verdict"), str):
        shown.append(message_line(trust["verdict"])[:_LONGEST])
    elif result.metrics.get("far_from_category"):
        shown.append("far from what the GAN draws: not to be trusted")
    return shown


def draw_sample_sheet(
    images: Float[np.ndarray, "n s s 3"],
    reconstructions: Float[np.ndarray, "n s s 3"],
    albedos: Float[np.ndarray, "n s s 3"],
    depths: Float[np.ndarray, "n s s"],
    camera: Camera,
    *,
    size: int = 128,
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns one column per image: the image, its reconstruction, albedo, depth (bright is near) and normals.

    Args:
      images: in [-1, 1].
      reconstructions: of them, in [-1, 1].
      albedos: in [-1, 1].
      depths: in scene units.
      camera: shared by all.
      size: pixels per side of each picture.
    """
    rows = [
        pictures.to_uint8(images),
        pictures.to_uint8(reconstructions),
        pictures.to_uint8(albedos),
        np.stack([pictures.colour_depth(one, camera.min_depth, camera.max_depth) for one in depths]),
        pictures.colour_normals(np.stack([normals(one, camera) for one in depths])),
    ]
    return pictures.strip([[pictures.enlarge(picture, size) for picture in row] for row in rows])
