"""New views of a result, drawn from its mesh or by the GAN: turned, relit, as strips, films and the overview.

A view of the mesh is drawn once, into `Surfaces` (albedo, normal, depth and coverage of every pixel), and can then be
lit in any number of ways. Where the result has the photo's texture, that is shown as the photo has it under the
result's light, and under another one times the ratio of the two, `AMBIENCE` added to both: what the method takes for
black need not be. Normals are those of the canonical frame, in which the light is given too; so the light stays
with the object when the view turns. Views are `(n, 6)`: rx, ry, rz in radians, tx, ty, tz in scene units, from the
canonical frame. Lights are `(n, 4)`: ambient, diffuse, dx, dy. Angles are in degrees where a name says so.

The sweeps of views and lights are the reference's (GAN2Shape, appendix; `save_results`). The GAN does not see the mesh:
the factors are rendered the way the training does, by sampling the canonical texture at the warped depth, and the
caller's projection turns these pseudo-images into the GAN's own (GAN2Shape, section 3.3).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from gan2shape_jax import program_cache
from gan2shape_jax.errors import message_line
from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import lighting, rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces, interpolate
from gan2shape_jax.geometry.render import pseudo_image
from gan2shape_jax.geometry.resample import average_cells, grid_sample
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.platforms import default_numerics, in_batches
from gan2shape_jax.results import pictures
from gan2shape_jax.results.pictures import Tile
from gan2shape_jax.results.result import COLUMNS, Photograph, Result, Row
from gan2shape_jax.results.surface import lit, normals, points, rotations, shading, surface

SHOWS = ("image", "albedo", "normals", "shape", "depth")
AMBIENCE = 0.15  # light that no estimate knows of, of what makes white; as in assets/viewer/shaders.js
AMBIENT_SHARE = 0.6  # ambient loses this much of what diffuse gains

# One angle, or one for each view. (NumPy's `ArrayLike` leaves tuples out where types are checked at run time.)
Degrees = float | np.number | Sequence[Any] | np.ndarray
Views = Float[np.ndarray, "n 6"]
Lights = Float[np.ndarray, "n 4"]
SomeLights = Float[np.ndarray, "*n 4"]
# Pictures (n, S, S, 3) in [-1, 1] to the GAN's pictures of the same objects (n, s, s, 3).
Projection = Callable[[np.ndarray], np.ndarray]

# The name of a picture's file without ".png", or "" if it has none; the picture; its caption.
_Still = tuple[str, UInt8[np.ndarray, "s s 3"], str]

_MARGIN = 0.04  # share of the picture's side that stays free at each border
_CHUNK = 4  # views drawn together: one compiled program serves any number of them
_SAMPLES = 2  # per pixel along each side
_SHAPE_GREY = 0.74  # albedo of the grey shape
_HEADLIGHT = np.array([0.2, 0.9, 0.0, 0.25], np.float32)  # ambient, diffuse, dx, dy
_YAWS = 9
_PITCHES_DEG = np.linspace(-20, 20, 5)
_DXS = (-1.5, -0.7, 0.0, 0.7, 1.5)
_SIDES = ("from the right", "half right", "from above", "half left", "from the left")
_LONGEST = 200  # characters of a verdict in the overview
_RATIO, _DIM = 4.0, 0.02  # the most that a light changes a colour by, and the least shading that one is known by
_LIGHT_ROWS = tuple((strength, dy) for strength in (0.3, 0.6) for dy in (0.0, 0.6))


@dataclasses.dataclass(frozen=True, eq=False)
class Surfaces:
    """What `n` views show at `s` x `s` pixels."""

    albedo: np.ndarray  # (n, s, s, 3) in [0, 1]
    normal: np.ndarray  # (n, s, s, 3) unit, canonical frame, into the surface; 0 where there is nothing
    depth: np.ndarray  # (n, s, s) along the view's own z, scene units
    coverage: np.ndarray  # (n, s, s) in [0, 1], the share of the pixel that the object covers
    views: np.ndarray  # (n, 6)
    photo: np.ndarray | None = None  # (n, s, s, 3) the photo's texture, divided by the result's light and `AMBIENCE`

    def __getitem__(self, some: slice) -> "Surfaces":
        return Surfaces(**{name: value[some] for name, value in vars(self).items() if value is not None})


def sweep_views(*, pitch_deg: Degrees = 0.0, yaw_deg: Degrees = 0.0, roll_deg: Degrees = 0.0) -> Views:
    """Returns views turned by the given degrees from the canonical one; scalars and lists are broadcast."""
    angles = np.broadcast_arrays(*(np.atleast_1d(np.asarray(a, np.float32)) for a in (pitch_deg, yaw_deg, roll_deg)))
    views = np.zeros((len(angles[0]), 6), np.float32)
    views[:, :3] = np.deg2rad(np.stack(angles, axis=-1))
    return views


def draw(result: Result, views: Views, **options: Any) -> Surfaces:
    """Draws the mesh in the given views; options as for `draw_in_parts`."""
    fields = [vars(part) for part in draw_in_parts(result, views, **options)]
    names = [name for name, value in fields[0].items() if value is not None]
    return Surfaces(**{name: np.concatenate([field[name] for field in fields]) for name in names})


def draw_in_parts(
    result: Result, views: Views, *, size: int, cut: bool = True, window: float | Sequence[float] = 1.0
) -> Iterator[Surfaces]:
    """Draws the mesh in the given views, a few at a time and in order, so that memory stays bounded.

    With `cut`, what lies outside the object mask is left out. `window` is the side of what a picture of `size` pixels
    shows relative to the camera's own picture, see `fitting_window`, or that of each view.
    """
    part, texture = surface(result, cut=cut), None
    attributes = np.concatenate([result.signed_albedo / 2 + 0.5, part.normal, part.field[..., None]], axis=-1)
    if result.texture is not None and cut:
        side = _SAMPLES * size  # about what is drawn, so that there is no aliasing
        texture = np.asarray(Image.fromarray(result.texture).resize((side, side), Image.Resampling.BILINEAR))
        cells = result.camera.image_size
        reach = (1 - 1 / cells) * side / (side - 1)  # of the vertices; the outer texels' centres are at -1 and 1
        place = np.meshgrid(*2 * (np.linspace(-reach, reach, cells),))
        attributes = np.concatenate([attributes, np.stack(place, axis=-1)], axis=-1, dtype=np.float32)
    static = {"camera": result.camera, "size": size, "exchanged": result.reference}
    windows = np.broadcast_to(np.asarray(window, np.float32), len(views))
    for start in range(0, len(views), _CHUNK):
        numbers = np.minimum(np.arange(start, start + _CHUNK), len(views) - 1)
        some = np.asarray(views[start : start + _CHUNK], np.float32)
        seen_from = np.asarray(views, np.float32)[numbers], windows[numbers]
        drawn = _draw_chunk(part.depth, attributes, part.mask, *seen_from, texture, **static)
        *shown, coverage = np.split(np.asarray(drawn)[: len(some)], [7, drawn.shape[-1] - 1], axis=-1)
        straight, photo = (part / np.maximum(coverage, 1e-6) for part in shown)
        coverage = np.clip(coverage[..., 0], 0, 1)
        normal = straight[..., 3:6]
        normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
        unlit = None if texture is None else photo / 255 / (np.maximum(_shading(normal, result.light), 0) + AMBIENCE)
        yield Surfaces(np.clip(straight[..., :3], 0, 1), normal, straight[..., 6], coverage, some, unlit)


@default_numerics()
@functools.partial(program_cache.jit, static_argnames=("camera", "size", "exchanged"))
def _draw_chunk(
    depth: Float[jax.Array, "S S"],
    attributes: Float[jax.Array, "S S c"],
    mask: Float[jax.Array, "S S"],
    views: Float[jax.Array, "n 6"],
    window: Float[jax.Array, " n"],
    texture: UInt8[jax.Array, "T T 3"] | None,
    *,
    camera: Camera,
    size: int,
    exchanged: bool,
) -> Float[jax.Array, "n s s d"]:
    """Draws premultiplied albedo (3), normal (3), depth (1), texture (3, or 0 without one) and coverage (1) of views.

    `attributes` are albedo, normal, the outline's field, and with a texture their places in it, as `grid_sample` takes
    them. The field decides sample by sample, so samples are averaged here, not by the renderer.
    """
    count = len(views)
    points = cameras.back_project(depth, camera)
    points_seen = cameras.transform(jnp.broadcast_to(points, (count, *points.shape)), views, camera)
    # Scaled down laterally at the same depth, so that the camera's picture shows a window that much wider.
    framed = points_seen / jnp.stack([window, window, jnp.ones_like(window)], axis=-1)[:, None, None]
    lattice = rasterizer.SampleGrid.over(camera, supersample=_SAMPLES, size=size)
    kept = jnp.broadcast_to(mask >= 0.5, framed.shape[:-1])
    fragments = rasterizer.rasterize(framed, camera, samples=lattice, mask=kept)
    shared = jnp.broadcast_to(attributes, (count, *attributes.shape))
    values = jnp.concatenate([shared, points_seen[..., 2:]], axis=-1).reshape(count, depth.size, -1)
    faces = grid_faces(*depth.shape)
    drawn = jnp.asarray(exchanged_faces(faces) if exchanged else faces)
    samples = interpolate(fragments, values, faces=drawn, supersample=1)
    inside = (samples[..., 6:7] >= 0.5).astype(samples.dtype)
    shown = jnp.concatenate([samples[..., :6], samples[..., -1:]], axis=-1)
    if texture is not None:
        colours = texture.astype(samples.dtype)
        shown = jnp.concatenate([shown, jax.vmap(lambda at: grid_sample(colours, at))(samples[..., 7:9])], axis=-1)
    shown = jnp.concatenate([shown, jnp.ones_like(inside)], axis=-1) * inside
    return average_cells(shown, _SAMPLES)


def exchanged_faces(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f 3"]:
    """Returns a grid's faces with the ends of every cell's diagonal swapped, as in the published mesh renderer."""
    first, second = np.split(faces, 2)
    return np.concatenate([first[:, [0, 2, 1]], second[:, [1, 0, 2]]])


def picture(
    surfaces: Surfaces, show: str, *, light: SomeLights, near: float | None = None, far: float | None = None
) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns pictures on white of what `show` names, one of `SHOWS`.

    `image` is albedo, or the photo's texture, under `light`: one for all views, one for each, or several for one view.
    `shape` is grey under a light that stays with the camera, so that form shows in every view. `depth` is coloured from
    `near` to `far`, by default the range of all these views together.
    """
    if show == "depth":
        if near is None or far is None:
            near, far = pictures.depth_range(surfaces.depth, surfaces.coverage)
        colours = pictures.colour_depth(surfaces.depth, near, far).astype(np.float32) / 127.5 - 1
    elif show == "image":
        colours = _lit(surfaces, light) * 2 - 1
    elif show == "albedo":
        colours = surfaces.albedo * 2 - 1
    elif show == "normals":
        colours = surfaces.normal
    else:
        towards = np.einsum("nij,nhwj->nhwi", rotations(surfaces.views[:, :3]), surfaces.normal)
        colours = np.repeat(_SHAPE_GREY * _shading(towards, _HEADLIGHT), 3, axis=-1) * 2 - 1
    coverage = np.broadcast_to(surfaces.coverage, colours.shape[:-1])
    return pictures.to_uint8(pictures.on_white(np.clip(colours, -1, 1), coverage))


def _lit(surfaces: Surfaces, light: SomeLights) -> np.ndarray:
    """Returns the colours that surfaces show under a light, of which 0 to 1 can be seen."""
    if surfaces.photo is not None:
        return np.asarray(surfaces.photo * (np.maximum(_shading(surfaces.normal, light), 0) + AMBIENCE))
    return np.asarray(surfaces.albedo * _shading(surfaces.normal, light))


def _shading(normal: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Returns ambient plus diffuse light, (n, s, s, 1); a plane facing the light has their sum."""
    light = np.asarray(light, np.float32).reshape(-1, 1, 1, 4)
    direction = np.concatenate([light[..., 2:], np.ones_like(light[..., :1])], axis=-1)
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    facing = np.maximum(0, np.sum(normal * direction, axis=-1, keepdims=True))
    return light[..., :1] + light[..., 1:2] * facing


def photograph_rows(result: Result, size: int) -> list[list[UInt8[np.ndarray, "s s 3"]]]:
    """Returns four pictures for each photograph of an object, of `size` pixels a side.

    They are: the photograph itself; the model seen from there, in that photograph's light; its shape in grey, from
    there; and the model from in front, in that light. Colours are those of the first photograph, times the ratio of the
    two lights' shading of the surface, so that neither needs to be known in full.
    """
    photographs = result.photographs
    there = draw(result, np.stack([one.seen_from(result.camera) for one in photographs]), size=size)
    front = draw(result, sweep_views(), size=size)
    rows, grey = [], picture(there, "shape", light=result.light)
    for number, one in enumerate(photographs):
        seen = [_in_light_of(some, result, one) for some in (there[number : number + 1], front)]
        shown = pictures.enlarge(pictures.to_uint8(one.signed_image), size)
        rows.append([shown, seen[0], grey[number], seen[1]])
    return rows


def _in_light_of(surfaces: Surfaces, result: Result, photograph: Photograph) -> UInt8[np.ndarray, "s s 3"]:
    """Returns the picture of one view in the light of a photograph, on white."""
    own, first = (_harmonic_shading(surfaces.normal[0], one) for one in (photograph, result.photographs[0]))
    linear = np.clip(_lit(surfaces, result.light)[0], 0, 1) ** lighting.GAMMA * np.clip(own / first, 1 / _RATIO, _RATIO)
    colours = np.clip(linear, 0, 1) ** (1 / lighting.GAMMA) * 2 - 1
    return pictures.to_uint8(pictures.on_white(colours, surfaces.coverage[0]))


def _harmonic_shading(normal: Float[np.ndarray, "s s 3"], photograph: Photograph) -> Float[np.ndarray, "s s 3"]:
    """Returns how a photograph's light shades surfaces of these canonical normals, in linear light, above 0."""
    turned = normal @ rotations(photograph.view[None, :3])[0].T
    return np.maximum(np.asarray(lighting.harmonics(turned)) @ photograph.light, _DIM)


def pictures_in_turn(
    result: Result,
    turned: Views,
    lights: Lights,
    *,
    show: str = "image",
    size: int,
    cut: bool = True,
    window: float = 1.0,
) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
    """Yields what `picture` shows of each view under its light, with no more than a few views in memory.

    The colours of `depth` span the range over all views. For that, all views are drawn twice.
    """
    drawn = functools.partial(draw_in_parts, result, turned, size=size, cut=cut, window=window)
    near, far = 0.0, 1.0
    if show == "depth":
        depths = np.concatenate([part.depth[part.coverage > 0.5] for part in drawn()])[None]
        near, far = pictures.depth_range(depths, np.ones_like(depths)) if depths.size else (near, far)
    start = 0
    for part in drawn():
        end = start + len(part.views)
        yield from picture(part, show, light=lights[start:end], near=near, far=far)
        start = end


def fitting_window(result: Result, views: Views, *, cut: bool = True) -> float:
    """Returns the side of the smallest picture that holds the mesh in every view, relative to the camera's own: >= 1.

    It stays centred on the principal point, so that the mesh neither shifts nor changes size while it turns. In
    reference mode it is the camera's own, as in the published code.
    """
    if result.reference:
        return 1.0
    part = surface(result, cut=cut)
    corners = points(part.depth, result.camera)[part.mask >= 0.5]
    center = np.array([0, 0, result.camera.rot_center_depth])
    turned = np.einsum("nij,kj->nki", rotations(views[:, :3]), corners - center) + center + views[:, None, 3:]
    reach = np.abs(turned[..., :2] / turned[..., 2:]).max() * result.camera.focal_length
    return max(1.0, float(reach / (result.camera.image_size / 2) / (1 - 2 * _MARGIN)))


@dataclasses.dataclass(frozen=True, eq=False)
class GanViews:
    """Pictures by the GAN in [-1, 1]: yaws (9, s, s, 3), pitches (5, s, s, 3), lights (4, 5, s, s, 3)."""

    yaws: np.ndarray
    pitches: np.ndarray
    lights: np.ndarray


def yaws_deg(category: str) -> Float[np.ndarray, "9"]:
    """Returns evenly spaced yaws from side to side: objects with deep sides turn less far."""
    return np.linspace(-1, 1, _YAWS) * category_of(category).max_yaw_deg


def turn_views(category: str) -> Float[np.ndarray, "14 6"]:
    """Returns the views of nine yaws, then of five pitches."""
    return np.concatenate([sweep_views(yaw_deg=yaws_deg(category)), sweep_views(pitch_deg=_PITCHES_DEG)])


def relight_rows(light: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4 5 4"]:
    """Returns lights around an object lit by `light`: one row per strength and height, five directions each."""
    return np.array([[stronger(light, more, dx, dy) for dx in _DXS] for more, dy in _LIGHT_ROWS], np.float32)


def stronger(light: Float[np.ndarray, "4"], strength: float, dx: float, dy: float) -> Float[np.ndarray, "4"]:
    """Returns a light from (dx, dy, 1) with `strength` more diffuse light and accordingly less ambient light."""
    return np.array([light[0] - AMBIENT_SHARE * strength, light[1] + strength, dx, dy], np.float32)


def mesh_strips(result: Result, *, size: int) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Returns strips of the turned mesh, of the whole depth map (`_full`), and of the relit mesh, by file name."""
    strips = {}
    turns = turn_views(result.category)
    names = {"image": "turntable", **{show: f"turntable_{show}" for show in ("albedo", "normals", "shape")}}
    for cut, suffix in ((True, ""), (False, "_full")):
        window = fitting_window(result, turns, cut=cut)
        tiles: dict[str, list[np.ndarray]] = {show: [] for show in names}
        for some in draw_in_parts(result, turns, size=size, cut=cut, window=window):
            for show, row in tiles.items():
                row += list(picture(some, show, light=result.light))
        for show, row in tiles.items():
            strips[f"{names[show]}{suffix}.png"] = pictures.strip([row[:_YAWS], row[_YAWS:]])
    still = draw(result, result.view[None], size=size)
    rows = [picture(still, "image", light=row) for row in relight_rows(result.light)]
    return strips | {"relight.png": pictures.strip(rows)}


def turned_frames(result: Result, size: int, frames: int) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
    """Yields pictures of the mesh from side to side, slow at its ends: the first half of a film of that many frames."""
    share = -np.cos(np.linspace(0, np.pi, max(2, frames // 2 + 1)))
    turns = sweep_views(yaw_deg=category_of(result.category).max_yaw_deg * share)
    lights = np.broadcast_to(result.light, (len(turns), 4))
    return pictures_in_turn(result, turns, lights, size=size, window=fitting_window(result, turns))


def relit_frames(result: Result, size: int, frames: int) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
    """Yields pictures of the mesh in the input's view under a strong light that circles once."""
    still, angles = draw(result, result.view[None], size=size), 2 * np.pi * np.arange(frames) / frames
    lights = (stronger(result.light, 0.6, 1.3 * np.sin(angle), 0.8 * np.cos(angle)) for angle in angles)
    return (picture(still, "image", light=light)[0] for light in lights)


def gan_tiles(drawn: Float[np.ndarray, "n s s 3"], size: int) -> list[UInt8[np.ndarray, "size size 3"]]:
    """Returns the GAN's pictures, in [-1, 1], as tiles of `size` pixels."""
    return [pictures.enlarge(picture, size) for picture in pictures.to_uint8(drawn)]


def draw_gan_views(result: Result, project: Projection, *, batch: int = 8) -> GanViews:
    """Projects the reference's sweeps of views and lights, always `batch` pictures at a time."""
    turns = turn_views(result.category)
    lights = relight_rows(result.light).reshape(-1, 4)
    facing = normals(result.depth, result.camera)
    relit = np.stack([lit(result.signed_albedo, shading(facing, light)) for light in lights])
    textures = np.concatenate([np.repeat(result.canonical[None], len(turns), axis=0), relit])
    seen_from = np.concatenate([turns, np.broadcast_to(result.view, (len(lights), 6))]).astype(np.float32)
    sampling: Literal["centred", "half"] = "half" if result.reference else "centred"

    def drawn(some: np.ndarray) -> np.ndarray:
        rough = rough_views(result.depth, textures[some], seen_from[some], camera=result.camera, sampling=sampling)
        return project(np.asarray(rough))

    yaws, pitches, lit_ones = np.split(in_batches(drawn, np.arange(len(seen_from)), size=batch), [_YAWS, len(turns)])
    return GanViews(yaws, pitches, lit_ones.reshape(len(_LIGHT_ROWS), len(_DXS), *lit_ones.shape[1:]))


@default_numerics()
@functools.partial(jax.jit, static_argnames=("camera", "sampling"))
def rough_views(
    depth: Float[jax.Array, "s s"],
    textures: Float[jax.Array, "n s s 3"],
    views: Float[jax.Array, "n 6"],
    *,
    camera: Camera,
    sampling: Literal["centred", "half"],
) -> Float[jax.Array, "n s s 3"]:
    """Renders each lit texture in its view by sampling it at the warped depth, as training does."""
    return pseudo_image(textures, depth, jnp.ones_like(depth), views, camera, sampling=sampling)[0]


def draw_overview(result: Result, *, gan: GanViews | None = None, size: int = 192) -> Image.Image:
    """Draws the overview with tiles of `size` pixels; the GAN's rows only if `gan` is given."""
    step = 20 if yaws_deg(result.category)[-1] > 60 else 15
    yaws = [step * k for k in range(-3, 4)]
    turns = sweep_views(yaw_deg=yaws)
    # With the input's view at the end, which takes no more time: a few views are drawn at once.
    windows = [fitting_window(result, turns)] * len(turns) + [1.0]
    every = draw(result, np.concatenate([turns, result.view[None]]), size=size, window=windows)
    turned, still = every[:-1], every[-1:]
    stills = {"Input and reconstruction": input_stills(result), "The factors, from the front": factor_stills(result)}
    rows = [
        (heading, [Tile(pictures.enlarge(shown, size), caption) for _, shown, caption in tiles])
        for heading, tiles in stills.items()
    ]
    for heading, show in (("Shape without colour", "shape"), ("Turned mesh", "image")):
        drawn = picture(turned, show, light=result.light)
        rows.append((heading, [Tile(p, f"yaw {yaw:+d}°" if yaw else "frontal") for p, yaw in zip(drawn, yaws)]))
    lights = relight_rows(result.light)[-1]
    relit = picture(still, "image", light=lights)
    chosen = range(len(lights)) if gan is None else (0, 2, 4)
    tiles = [Tile(relit[k], f"light {_SIDES[k]}") for k in chosen]
    if gan is not None:
        turned_by_gan = zip(gan_tiles(gan.yaws[1:-1], size), yaws_deg(result.category)[1:-1], strict=True)
        rows.append(("Turned by the GAN", [Tile(p, f"yaw {degree:+.0f}°") for p, degree in turned_by_gan]))
        by_gan = gan_tiles(gan.lights[-1], size)
        tiles += [Tile(by_gan[k], f"GAN, {_SIDES[k]}") for k in chosen]
    rows.append(("Relit mesh" if gan is None else "Relit: mesh, then GAN", tiles))
    pitch, yaw, roll = np.rad2deg(result.view[:3])
    ambient, diffuse, dx, dy = result.light
    subtitle = (
        f"{result.category or 'object'}, {result.camera.image_size} pixels    "
        f"view: yaw {yaw:+.0f}°, pitch {pitch:+.0f}°, roll {roll:+.0f}°    light: ambient "
        f"{ambient:.2f}, diffuse {diffuse:.2f}, direction ({dx:+.2f}, {dy:+.2f}, 1)"
    )
    return pictures.contact_sheet(rows, title=result.name, subtitle=subtitle, footer=_footer(result))


def input_stills(result: Result) -> list[_Still]:
    """Returns pictures of the input and its explanation."""
    near, far = pictures.depth_range(result.input_depth, result.input_mask)
    coloured = functools.partial(pictures.colour_depth, near=near, far=far, mask=result.input_mask)
    off = np.abs(result.signed_image - result.reconstruction).mean(axis=-1)  # dark where it is half the range or more
    shown: list[tuple[str, Callable[[np.ndarray], np.ndarray], np.ndarray | None, str]] = [
        ("input", pictures.to_uint8, result.signed_image, "input"),
        ("gan_image", pictures.to_uint8, result.gan_image, "the GAN's image of it"),
        ("reconstruction", pictures.to_uint8, result.reconstruction, "reconstruction"),
        ("input_mask", pictures.colour_mask, result.input_mask, "object mask"),
        ("", pictures.colour_mask, 1 - np.clip(off, 0, 1), "|input - reconstruction|"),
        ("", coloured, result.input_depth, "depth in this view"),
        ("", coloured, result.true_depth, "true depth"),
    ]
    return [(name, show(values), caption) for name, show, values, caption in shown if values is not None]


def factor_stills(result: Result) -> list[_Still]:
    """Returns pictures of the factors, seen from the front."""
    near, far = pictures.depth_range(result.depth, result.mask)
    normal = normals(result.depth, result.camera)
    shown = [
        ("canonical", pictures.to_uint8(result.canonical), "lit texture"),
        ("albedo", pictures.to_uint8(result.signed_albedo), "albedo"),
        ("", pictures.colour_mask(np.clip(shading(normal, result.light), 0, 1)), "shading"),
        ("", pictures.colour_depth(result.depth, near, far, mask=result.mask), f"depth, {near:.3f} to {far:.3f}"),
        ("normals", pictures.to_uint8(normal), "normals"),
        ("mask", pictures.colour_mask(result.mask), "canonical mask"),
    ]
    if result.true_depth is not None:
        shown.append(("", pictures.to_uint8(normals(result.true_depth, result.camera)), "true normals, input view"))
    return shown


def _footer(result: Result) -> list[str]:
    """Returns lines for depth, pictures and trust, as far as they are known."""
    lines: dict[bool, list[str]] = {False: [], True: []}
    for column, value in zip(COLUMNS, Row("", metrics=result.metrics).figures, strict=True):
        if value is not None:
            lines[column.title.endswith("_l1")].append(f"{column.title} {column.text(value)}{column.unit}")
    shown = ["     ".join(entries) for entries in lines.values() if entries]
    if trust := result.metrics.get("trust"):
        shown.append(message_line(trust["verdict"])[:_LONGEST])
    return shown


def draw_sample_sheet(
    images: Float[np.ndarray, "n s s 3"],
    reconstructions: Float[np.ndarray, "n s s 3"],
    albedos: Float[np.ndarray, "n s s 3"],
    depths: Float[np.ndarray, "n s s"],
    camera: Camera,
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns one column per image: the image, its reconstruction, albedo, depth (bright is near) and normals.

    Pictures are in [-1, 1], depths in scene units and of the one camera; each is shown with 128 pixels a side.
    """
    rows = [
        *map(pictures.to_uint8, (images, reconstructions, albedos)),
        pictures.colour_depth(depths, camera.min_depth, camera.max_depth),
        pictures.to_uint8(normals(depths, camera)),
    ]
    return pictures.strip([[pictures.enlarge(picture, 128) for picture in row] for row in rows])
