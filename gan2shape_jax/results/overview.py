"""Everything at a glance: the picture of a whole result, and of what networks make of several images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan2shape_jax.errors import message_line
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import pictures, views
from gan2shape_jax.results.pictures import Tile
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import normals, shading
from gan2shape_jax.results.table import COLUMNS, Row, complete_metrics
from gan2shape_jax.results.views import GanViews

__all__ = ["draw_overview", "draw_sample_sheet"]

_LONGEST = 200  # characters of a verdict
_SIDES = ("from the right", "half right", "from above", "half left", "from the left")


def draw_overview(result: Result, *, gan: GanViews | None = None, size: int = 192) -> Image.Image:
    """Draws the overview with tiles of `size` pixels; the GAN's rows only if `gan` is given."""
    step = 20 if views.yaws_deg(result.category)[-1] > 60 else 15
    yaws = [step * k for k in range(-3, 4)]
    turns = views.sweep_views(yaw_deg=yaws)
    turned = views.draw(result, turns, size=size, window=views.fitting_window(result, turns))
    rows = [
        ("The input and its explanation", _tiles(_inputs(result), size)),
        ("The factors, seen from the front", _tiles(_factors(result), size)),
    ]
    for heading, show in (("Shape without colour", "shape"), ("Turned mesh", "image")):
        drawn = views.picture(turned, show, light=result.light)
        rows.append((heading, [Tile(p, f"yaw {yaw:+d}°" if yaw else "frontal") for p, yaw in zip(drawn, yaws)]))
    lights = views.relight_rows(result.light)[-1]
    relit = views.picture(views.draw(result, result.view[None], size=size), "image", light=lights)
    chosen = range(len(lights)) if gan is None else (0, 2, 4)
    tiles = [Tile(relit[k], f"light {_SIDES[k]}") for k in chosen]
    if gan is not None:
        degrees = views.yaws_deg(result.category)[1:-1]
        turned_by_gan = zip(views.gan_tiles(gan.yaws[1:-1], size), degrees, strict=True)
        rows.append(("Turned by the GAN", [Tile(p, f"yaw {degree:+.0f}°") for p, degree in turned_by_gan]))
        by_gan = views.gan_tiles(gan.lights[-1], size)
        tiles += [Tile(by_gan[k], f"GAN, {_SIDES[k]}") for k in chosen]
    rows.append(("Relit mesh" if gan is None else "Relit: mesh, then GAN", tiles))
    return pictures.sheet(rows, title=result.name, subtitle=_subtitle(result), footer=_footer(result))


def _tiles(shown: list[tuple[np.ndarray, str]], size: int) -> list[Tile]:
    return [Tile(pictures.enlarge(picture, size), caption) for picture, caption in shown]


def _inputs(result: Result) -> list[tuple[np.ndarray, str]]:
    near, far = pictures.depth_range(result.warped_depth, result.input_mask)
    off = np.abs(result.image - result.reconstruction).mean(axis=-1)  # shown dark where it is half the range or more
    seen = [(result.image, "input"), (result.gan_image, "the GAN's image of it")]
    seen.append((result.reconstruction, "reconstruction"))
    masks = [(result.input_mask, "object mask"), (1 - np.clip(off, 0, 1), "|input - reconstruction|")]
    depths = [(result.warped_depth, "depth in this view"), (result.true_depth, "true depth")]
    return [
        *((pictures.to_uint8(picture), caption) for picture, caption in seen if picture is not None),
        *((pictures.colour_mask(mask), caption) for mask, caption in masks),
        *(
            (pictures.colour_depth(depth, near, far, mask=result.input_mask), caption)
            for depth, caption in depths
            if depth is not None
        ),
    ]


def _factors(result: Result) -> list[tuple[np.ndarray, str]]:
    near, far = pictures.depth_range(result.depth, result.mask)
    normal = normals(result.depth, result.camera)
    shown = [
        (pictures.to_uint8(result.canonical), "lit texture"),
        (pictures.to_uint8(result.albedo), "albedo"),
        (pictures.colour_mask(np.clip(shading(normal, result.light), 0, 1)), "shading"),
        (pictures.colour_depth(result.depth, near, far, mask=result.mask), f"depth, {near:.3f} to {far:.3f}"),
        (pictures.to_uint8(normal), "normals"),
        (pictures.colour_mask(result.mask), "canonical mask"),
    ]
    if result.true_depth is not None:
        true_normal = normals(result.true_depth, result.camera)
        shown.append((pictures.to_uint8(true_normal), "true normals, input view"))
    return shown


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
    lines: dict[bool, list[str]] = {False: [], True: []}
    for column, value in zip(COLUMNS, Row("", metrics=complete_metrics(result)).figures, strict=True):
        if value is not None:
            lines[column.title.endswith("_l1")].append(f"{column.title} {column.text(value)}{column.unit}")
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

    Pictures are in [-1, 1], depths in scene units and of the one camera; each is shown with `size` pixels a side.
    """
    rows = [
        *map(pictures.to_uint8, (images, reconstructions, albedos)),
        pictures.colour_depth(depths, camera.min_depth, camera.max_depth),
        pictures.to_uint8(normals(depths, camera)),
    ]
    return pictures.strip([[pictures.enlarge(picture, size) for picture in row] for row in rows])
