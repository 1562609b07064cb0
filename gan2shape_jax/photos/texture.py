"""The photo's own texture on a mesh, or that of several photos of one object.

The texture is the photo on the mesh, with its light removed and hidden parts filled in. Colours come from three
sources: the photo, wherever its camera sees the surface; elsewhere the other half of the object, mirrored, since the
canonical frame has the object's plane of symmetry in the middle; and where neither is available, the model's albedo.
Each is matched in colour to the one before where both are known, and fades into it. Where the camera sees the other
half much better, that counts as not seeing this one.

Of several photos, the first shows as much as it can, and each other texel is from the one that sees it much better:
facing it, with more pixels, sharper. So eyes and mouths, which no two photos show alike, are those of one. Each photo
is freed from its own light; then their mean colours are those of all together, which shadows of one hardly darken, and
details are of one. They fade into each other along the seams.

Textures cover the canonical picture, as those of the plain mesh do: texel (i, j) of T x T lies at column
(j + 1/2) S / T - 1/2 of the depth map, and on the surface as its triangles are drawn, flat between the vertices. So
mesh, texture and photo agree to a fraction of a photo pixel, whatever T is. Colours are in [0, 1], weights too.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epy
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage, optimize

from gan2shape_jax import program_cache
from gan2shape_jax.detection.detector import LUMA
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, require_crop, sample_crop
from gan2shape_jax.photos.judge import blur
from gan2shape_jax.results import meshes, surface
from gan2shape_jax.results.reconstruction import Reconstruction

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import cv2

# Of texels; of a picture, upright RGB.
Colours = Float[np.ndarray, "t t 3"]
Plane = Float[np.ndarray, "t t"]  # one of their colours, or weights
Places = Float[np.ndarray, "t t 2"]
Photo = UInt8[np.ndarray, "h w 3"]
# Distinguishable for the colour-blind.
_SOURCE_COLOURS = np.array([(0.85, 0.85, 0.85), (0.34, 0.71, 0.91), (0.9, 0.62, 0.0)], np.float32)
_SOURCES_SIDE = 512


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoTexture:
    """Textures over the canonical picture, T texels per side."""

    albedo: np.ndarray  # (T, T, 3) uint8, without light
    lit: np.ndarray  # (T, T, 3) uint8, as the photo shows it
    sources: np.ndarray  # (T, T, 3) float32, the shares of photos, mirror image and model in the albedo; they sum to 1
    shares: np.ndarray  # (K + 2,) means over the object, each photo's own, in the order given, mirror image, model


class Seen(NamedTuple):
    """A photo of an object, and how its camera sees that."""

    photo: Photo  # upright RGB
    box: CropBox  # the crop that the view is of
    view: np.ndarray  # (6,) the pose from the canonical frame, as `Reconstruction.view`
    size: float  # log of the factor by which the object is larger than the view says, about its rotation centre
    mask: np.ndarray  # (S, S) in [0, 1], where the object is in the crop


def photo_textured(
    result: Reconstruction, photo: Photo, texture: PhotoTexture, box: CropBox
) -> tuple[Reconstruction, dict[str, Any]]:
    """Returns a result with its texture, and the files of its folder that are not made of that result alone.

    Contents are as for `write_folder`; docs/how-to/exporting.md says what they are.
    """
    mesh, side = meshes.build_mesh(result, texture=texture.albedo), len(texture.albedo)
    height, width = photo.shape[:2]
    kinds = [texture.shares[:-2].sum(), *texture.shares[-2:]]
    record = {
        "photo": {"width": width, "height": height},
        "box": dataclasses.asdict(box),
        "texture_size": side,
        "sources": dict(zip(("photo", "mirrored", "model"), np.round(kinds, 3).tolist(), strict=True)),
        "conventions": {
            "box": "the result's input in the upright photo: centre and side in its pixels, the centre of the first "
            "one being (0.5, 0.5); roll_deg: how far the input's content is turned clockwise in the photo",
            "sources": "shares of the object's texels: shown by the photo, by its mirror image, by neither",
            "texture": "over the canonical picture: texel (i, j) of T x T lies at column (j + 1/2) S/T - 1/2 and row "
            "(i + 1/2) S/T - 1/2 of depth.npy, S being its side",
        },
    }
    files = {
        "texture.png": texture.albedo,
        "texture_sources.png": source_colours(texture.sources),
        "textured.glb": meshes.glb_bytes(mesh, name="textured", lit=True),
        "photo_crop.jpg": meshes.jpeg(sample_crop(photo, box, side)).content,
        "photo.json": (json.dumps(record, indent=2) + "\n").encode(),
    }
    return dataclasses.replace(result, texture=texture.lit), files


def source_colours(sources: Colours) -> UInt8[np.ndarray, "k k 3"]:
    """Returns a picture, at most 512 pixels per side, of where a texture's colours come from."""
    colours = Image.fromarray(np.rint(np.clip(sources @ _SOURCE_COLOURS, 0, 1) * 255).astype(np.uint8))
    side = min(_SOURCES_SIDE, len(sources))
    return np.asarray(colours.resize((side, side), Image.Resampling.BOX))


LARGEST_TEXTURE = 4096  # texels per side
_LEAST_TIMES = 4  # texels per pixel of the depth map: fewer would show the blending's steps
_AROUND = 1.25  # how much more than the crop is kept of a photo that is shrunk
_SEAM = 1.5  # width of a seam, in pixels of the depth map
_BETTER = 1.4  # times: by how much another photo must show a place better than those that it is laid over
OTHER_THING = (0.3, 0.7)  # difference of log colours, beyond the usual one, from which two photos show two things
_SEAM_OF_PHOTOS = 4.0  # the same between two photos, whose colours are matched
# Shares of the brightest shading. Below the first pair, the photo shows too little of a surface to be brightened; up to
# the second, its colour is due more to the lens and the room than to the surface.
BLACK = (0.08, 0.25)
_DARK = (0.3, 0.6)
_LIGHTEST = 0.9  # the lightest well-lit colour, assumed if nothing is well lit
SURE = (0.3, 0.8)  # known shares above which a texel's own colour is used, and above which only that is used
_HUES = 16  # cells along a side that take the model's hue where the photo's own cannot be trusted, or other photos'
_DIRECTIONS = np.linspace(-1.5, 1.5, 7)  # of a photo's light, along x and y, that are tried
ALBEDO_RIM = (0.5, 2.5)  # pixels inside the object's outline over which the model's albedo becomes the object's own
_BRIGHT = (0.94, 0.99)  # of what a photo can hold: beyond this, a channel is clipped and tells too little
_SHADOW_SAMPLES = 1024  # along a side of the depth map seen by the photo's camera, at most
_SHADOW_FINENESS = 8  # such samples per pixel of the depth map
TOLERANCE = 0.25  # of a pixel's width: texels this far behind what the camera sees first still count as seen
GRAZING = (0.2, 0.45)  # cosines between which a surface seen at a grazing angle fades out
OTHER_HALF = (0.5, 0.8)  # of the other half's mean cosine, below which that half shows both
WIDE = 3.0  # columns of the depth map over which the means are smoothed
RIM = (1.0, 2.5)  # pixels inside the object's outline in the photo, where the background's colours fade out
_CELLS = 128  # along a side, in which mean colours are matched
_FINE = 4  # subdivisions of a cell along a side, at which colours are weighted
GAIN = 3.0  # the most by which a source may be made lighter or darker to match another
DARKEST = 0.004  # the smallest step that 8 bits resolve; it makes ratios of black 1


def texture_from_all(
    result: Reconstruction, photos: Sequence[Seen], *, largest: int = 2048, mirror: bool = True
) -> PhotoTexture:
    """Makes the textures of a result from photos of its object, the first of which shows its front best.

    The result's light is that of the first, under which it is shown lit. The textures have `largest` texels per side at
    most, fewer if the photos' own resolution is lower. `mirror` says whether the object is symmetric enough to take
    hidden parts from its other half. `ArgumentError` as of `require_crop`, or if `largest` is less than the result's
    own side.
    """
    if largest < result.camera.image_size:
        raise ArgumentError(f"largest is {largest}: at least {result.camera.image_size}, the result's side, are needed")
    for seen in photos:
        require_crop(seen.photo, seen.box)
    finest = max(math.ceil(seen.box.side) for seen in photos)
    size = min(max(finest, _LEAST_TIMES * result.camera.image_size), largest)
    part = surface.surface(result)
    inside = on_texels(part.field, size) >= surface.OUTLINE
    # At the object's border the model's albedo contains background, as it may wherever a photo shows background.
    rim = on_texels(inner_share(surface.object_mask(result.mask), *ALBEDO_RIM), size)
    shading = on_texels(surface.shading(part.normal, result.light), size, smooth=True)
    layer = _layer(result, part, photos[0], inside, rim, shading, mirror=mirror, light=result.light)
    by_photo = np.ones((1, _CELLS, _CELLS), np.float32)
    apart = [np.linalg.norm((seen.view - photos[0].view)[:3]) for seen in photos[1:]]
    order = [0, *1 + np.argsort(apart, kind="stable")]
    for number in order[1:]:
        above = _layer(result, part, photos[number], inside, rim, shading, mirror=mirror, light=None)
        layer, share = _laid_over(layer, above, result.camera.image_size)
        coarse = _means(share, _CELLS)
        by_photo = np.concatenate([by_photo * (1 - coarse), coarse[None]])
    sources = _Sources.of(
        layer.visible * layer.lit_at_all, layer.lit_well, layer.clean / np.float32(len(photos)), mirror=mirror
    )
    relit = _both(inside.astype(np.float32), ramp(layer.visible, *SURE))

    def made(colour: int) -> tuple[UInt8[np.ndarray, "t t"], UInt8[np.ndarray, "t t"]]:
        """Returns one colour of the texture without light, and as the photo shows it."""
        seen = layer.seen[colour]
        model = on_texels(result.signed_albedo[..., colour] / 2 + 0.5, size, smooth=True)
        albedo = _joined(layer.albedo[colour], np.clip(model, 0, 1, out=model), sources)
        unlit = _eight_bits(albedo)
        albedo *= shading
        return unlit, _eight_bits(_between(matched(albedo, seen, relit), seen, layer.visible))

    albedo, lit = (cv2.merge(planes) for planes in zip(*_of_colours(made), strict=True))
    shares = cv2.merge([sources.shown, sources.mirrored, 1 - sources.covered])
    kinds = np.array(cv2.mean(shares, inside.view(np.uint8))[:3]) if inside.any() else np.array([0.0, 0.0, 1.0])
    mass = (by_photo * _means(sources.shown * inside, _CELLS)).sum((1, 2), dtype=np.float64)[np.argsort(order)]
    own = kinds[0] * mass / max(mass.sum(), 1e-9)
    return PhotoTexture(albedo=albedo, lit=lit, sources=shares, shares=np.concatenate([own, kinds[1:]]))


def _of_colours(made: Callable[[int], Any]) -> list[Any]:
    """Returns what a function makes of red, green and blue, at once."""
    with futures.ThreadPoolExecutor(3) as pool:
        return list(pool.map(made, range(3)))


class _Layer(NamedTuple):
    """What a photo shows of the surface, or several that are laid over each other, on the texels."""

    seen: list[Plane]  # red, green and blue as it shows them
    albedo: list[Plane]  # the same without light
    visible: Plane  # how well it shows them, 0 to 1
    lit_well: Plane
    lit_at_all: Plane
    clean: Plane  # how far the model's albedo is not of what lies before or beside the object, summed over the photos
    score: Plane  # how good it is there, beside other photos
    mass: Plane  # sum of the photos' scores


def _layer(
    result: Reconstruction,
    part: surface.Surface,
    seen: Seen,
    inside: Bool[np.ndarray, "t t"],
    rim: Plane,
    shading: Plane,
    *,
    mirror: bool,
    light: Float[np.ndarray, "4"] | None,
) -> _Layer:
    """Projects a photo to the texels and takes its light away, which is estimated if it is not given."""
    size, side = len(inside), result.camera.image_size
    projection = project_texels(seen, part, result.camera, size)
    shown, within = project_photo(seen.photo, seen.box, projection.place, side)
    visible = projection.visible * within
    visible *= on_texels(part.mask, size)  # nothing is matched to what lies beside the object
    blurred = _blurred(visible, _SEAM, side)
    visible = visible * ramp(blurred, 0.5, 1.0)  # fades out towards where it is 0, and stays 0 there
    own = 1 - (1 - projection.own_half) * visible[:, ::-1] if mirror else np.ones_like(visible)
    visible = visible * own
    clean = rim * (1 - (projection.faced - projection.visible)) * within * own
    if not (given := light is not None):
        luma = _means(np.stack(shown).mean(axis=0, dtype=np.float32), side) / 255
        light = _light(luma, _means(visible, side), result.signed_albedo.mean(-1) / 2 + 0.5, part.normal)
    bounded, lit_well, lit_at_all = _bounded_shading(
        cv2.max(cv2.max(*shown[:2]), shown[2]),
        on_texels(surface.shading(part.normal, light), size, smooth=True),
        inside & (visible > 0.5),
        side,
    )
    colours = [plane.astype(np.float32) for plane in shown]
    for plane in colours:
        plane /= 255
    albedo = [plane / bounded for plane in colours]
    if not given:
        colours = [plane * shading for plane in albedo]
    score = visible * lit_at_all * np.maximum(projection.cosine, 0)
    score *= np.float32(_fineness(seen, size))
    return _Layer(colours, albedo, visible, lit_well, lit_at_all, clean, score, score)


def _fineness(seen: Seen, size: int) -> float:
    """Returns how fine what a photo shows is, by its pixels, as many as a texture has, and its sharpness."""
    side = 4 * len(seen.mask)
    luma = sample_crop(seen.photo, seen.box, side) @ np.array(LUMA)
    inside = cv2.resize(np.asarray(seen.mask, np.float32), (side, side)) >= 0.5
    return math.sqrt(min(seen.box.side, size)) * (1.5 - blur(luma, inside))


def _light(
    luma: Float[np.ndarray, "s s"],
    weight: Float[np.ndarray, "s s"],
    albedo: Float[np.ndarray, "s s"],
    normal: Float[np.ndarray, "s s 3"],
) -> Float[np.ndarray, "4"]:
    """Returns the light, as `Reconstruction.light`, under which an albedo comes nearest to what a photo shows of it."""
    best, least = np.zeros(4, np.float32), np.inf
    for dx in _DIRECTIONS:
        for dy in _DIRECTIONS:
            terms = np.stack([np.ones_like(albedo), surface.shading(normal, np.array([0, 1, dx, dy], np.float32))], -1)
            strengths, error = optimize.nnls(
                (terms * (weight * albedo)[..., None]).reshape(-1, 2).astype(np.float64),
                (weight * luma).reshape(-1).astype(np.float64),
            )
            if error < least:
                best, least = np.array([*strengths, dx, dy], np.float32), error
    return best


def _laid_over(below: _Layer, above: _Layer, cells: int) -> tuple[_Layer, Plane]:
    """Lays a photo over others where it is better than they, and returns with them where that is, 0 to 1.

    As it shows the object, it is matched to theirs, smoothly, so that what they do not show goes on with their
    exposure. Without light, it and they are matched to the mean of all.
    """
    better = _blurred((above.score > _BETTER * below.score).astype(np.float32), _SEAM_OF_PHOTOS, cells)
    own, others = better * above.visible, (1 - better) * below.visible
    share = own / np.maximum(own + others, 1e-6)
    both = _both(
        ramp(above.visible * above.lit_at_all, *SURE), ramp(below.visible * below.lit_at_all, *SURE), cells=_HUES
    )
    both *= _same_thing(below.albedo[1], above.albedo[1], both)
    mass = below.mass + above.mass
    part = above.mass / np.maximum(mass, 1e-6)

    def joined(colour: int) -> tuple[Plane, Plane]:
        seen = matched(above.seen[colour], below.seen[colour], both, cells=_HUES)
        first, second = below.albedo[colour], above.albedo[colour]
        mean = _between(first, second.copy(), part)
        first, second = (matched(albedo, mean, both, cells=_HUES) for albedo in (first, second))
        return _between(below.seen[colour], seen, share), _between(first, second, share)

    seen, albedo = (list(planes) for planes in zip(*_of_colours(joined), strict=True))
    visible, lit_well, lit_at_all, score = (
        _between(getattr(below, name), getattr(above, name), share)
        for name in ("visible", "lit_well", "lit_at_all", "score")
    )
    return _Layer(seen, albedo, visible, lit_well, lit_at_all, below.clean + above.clean, score, mass), share


def _same_thing(below: Plane, above: Plane, both: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    """Returns 1, and 0 where two photos differ by so much more than elsewhere that one shows skin, the other hair."""
    first, second = (np.log(_means(green, len(both)) + DARKEST) for green in (below, above))
    seen = both > 0.5
    usual = np.median((second - first)[seen]) if seen.any() else 0.0
    return 1 - ramp(np.abs(second - first - usual), *OTHER_THING)


def _blurred(values: Plane, width: float, cells: int) -> Plane:
    """Returns values that a tent averages, which is so wide in pixels of the depth map of `cells` a side."""
    length = 2 * round(width * len(values) / cells / 2) + 1
    for _ in range(2):
        values = cv2.blur(values, (length, length), borderType=cv2.BORDER_REPLICATE)
    return values


def project_photo(
    photo: Photo, box: CropBox, place: Places, size: int
) -> tuple[tuple[UInt8[np.ndarray, "t t"], ...], Plane]:
    """Returns the photo's red, green and blue at points of its crop, and 1 where these lie in the photo, else 0.

    Points are column and row in a crop of `size` pixels, whose centres are integers.
    """
    texels = len(place)
    height, width = photo.shape[:2]
    x, y = cv2.split(cv2.transform(place, _affine(box, size)))
    within = ((x > 0) & (x < width) & (y > 0) & (y < height)).astype(np.float32)
    if box.side > texels:  # finer than the texture: shrunk first to avoid aliasing
        photo = sample_crop(photo, dataclasses.replace(box, side=box.side * _AROUND), math.ceil(texels * _AROUND))
        place_there = _affine(CropBox(len(photo) / 2, len(photo) / 2, len(photo) / _AROUND), size)
        x, y = cv2.split(cv2.transform(place, place_there))
    x -= 0.5
    y -= 0.5
    shown = cv2.remap(photo, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return tuple(map(np.asarray, cv2.split(shown))), within


def _affine(box: CropBox, size: int) -> Float[np.ndarray, "2 3"]:
    """Returns the matrix from a crop's pixels, whose centres are integers, to the photo's coordinates."""
    origin, right, below = crop_to_photo(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]), box, size)
    return np.stack([right - origin, below - origin, origin], axis=-1)


def _bounded_shading(
    lightest: UInt8[np.ndarray, "t t"], shading: Plane, where: Bool[np.ndarray, "t t"], cells: int
) -> tuple[Plane, Plane, Plane]:
    """Returns the estimated shading that the photo's colours are divided by; `lightest` is the largest of the three.

    The shading is a guess. It is bounded from below, so that dark sides do not blow up, and, in `cells` cells a side,
    so that nothing comes out lighter than nearly all well-lit parts; clipped channels tell too little. Also returns
    how well colours are lit, 0 to 1, and whether they are lit at all.
    """
    brightest = max(float(np.percentile(shading[where], 95)) if where.any() else 1.0, 1e-3)
    largest = lightest.astype(np.float32)
    largest /= 255
    lit_well = ramp(shading / brightest, *_DARK) * (1 - ramp(largest, *_BRIGHT))
    bounded = np.maximum(shading, BLACK[1] * brightest)
    mean = on_texels(cv2.resize(largest, (cells, cells), interpolation=cv2.INTER_AREA), len(largest))
    sample = (mean / bounded)[where & (lit_well > 0.9)]
    most = min(float(np.percentile(sample, 98)), 1.0) if sample.size else _LIGHTEST
    return np.maximum(bounded, mean / max(most, 1e-3)), lit_well, ramp(shading / brightest, *BLACK)


class _Sources(NamedTuple):
    """How much of an albedo's colours comes from where, in [0, 1], the same for red, green and blue.

    Where two kinds of colours are both known is at the resolution that `matched` weights them at.
    """

    shown: Plane  # from the photo
    mirrored: Plane  # from its mirror image
    covered: Plane  # from either
    modelled: Plane  # from the model's albedo, which counts where it is clean, the object's own
    whole: Plane  # from any of them
    known: Plane  # how far that is enough
    ill_lit: Plane  # how far the model's hue counts, and not the photo's own
    model_and_photo: Plane  # where two are both known: the model's albedo, and well-lit colours of the photo
    photo_and_hues: Plane
    mirror_and_photo: Plane
    model_and_all: Plane

    @classmethod
    def of(cls, shown: Plane, lit_well: Plane, clean: Plane, *, mirror: bool) -> "_Sources":
        """Returns the shares of what the photo shows, and of the model's albedo where it is clean."""
        mirrored = shown[:, ::-1] * (1 - shown) if mirror else np.zeros_like(shown)
        covered = shown + mirrored
        modelled = clean * (1 - covered)
        whole = covered + modelled
        sure = ramp(shown, *SURE)  # a trace of another thing's colours would count in full where nothing else is known
        return cls(
            shown=shown,
            mirrored=mirrored,
            covered=covered,
            modelled=modelled,
            whole=whole,
            known=ramp(whole, *SURE),
            ill_lit=(1 - lit_well) * clean,
            model_and_photo=_both(lit_well, sure),
            photo_and_hues=_both(shown, np.ones_like(shown), cells=_HUES),
            mirror_and_photo=_both(sure[:, ::-1], sure),
            model_and_all=_both(clean, covered),
        )


def _joined(own: Plane, model: Plane, sources: _Sources) -> Plane:
    """Joins the photo's `own` colours without light, their mirror image and the model's, where each is known."""
    target = _between(own, matched(model, own, sources.model_and_photo), sources.ill_lit)
    own = matched(own, target, sources.photo_and_hues, cells=_HUES)
    colours = matched(own[:, ::-1], own, sources.mirror_and_photo)
    colours *= sources.mirrored
    own *= sources.shown
    colours += own
    rest = matched(model, colours / np.maximum(sources.covered, 1e-6), sources.model_and_all)
    rest *= sources.modelled
    colours += rest
    colours /= np.maximum(sources.whole, 1e-6)
    return filled(colours, sources.known)


def _between(
    first: Float[np.ndarray, "h w"], second: Float[np.ndarray, "h w"], share: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Returns the first where the share is 0, and the second, which it overwrites, where it is 1."""
    second -= first
    second *= share
    second += first
    return second


def _eight_bits(colours: Plane) -> UInt8[np.ndarray, "t t"]:
    return cv2.convertScaleAbs(np.maximum(colours, 0), alpha=255)  # rounded, 255 at most


class Projection(NamedTuple):
    """How a texture maps to the photo."""

    place: np.ndarray  # (T, T, 2) column and row in the S x S input where texels are seen; pixel centres are integers
    cosine: np.ndarray  # (T, T) of the surface's normal and the line of sight: 1 faces the camera
    faced: np.ndarray  # (T, T) in [0, 1], how well the camera sees them: not behind something else, nor turned away
    visible: np.ndarray  # (T, T) in [0, 1], how far to trust the photo there: also 0 where it shows something else
    own_half: np.ndarray  # (T, T) in [0, 1], 0 where the other half is seen so much better that it shows both


def on_texels(values: Float[np.ndarray, "s s *c"], size: int, *, smooth: bool = False) -> Float[np.ndarray, "t t *c"]:
    """Resamples values from the pixels of the canonical picture to the texels of a texture of `size` over it.

    At the texture's margin the outermost values are repeated; `smooth` interpolates cubically, which may overshoot.
    """
    method = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return cv2.resize(np.asarray(values, np.float32), (size, size), interpolation=method)


def inner_share(inside: Bool[np.ndarray, "s s"], low: float, high: float) -> Float[np.ndarray, "s s"]:
    """Returns 0 up to `low` pixels inside, 1 from `high` on; the object is taken to extend past the picture."""
    if inside.all():
        return np.ones(inside.shape, np.float32)
    return ramp(ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1] - 0.5, low, high)


def project_texels(seen: Seen, part: surface.Surface, camera: Camera, size: int) -> Projection:
    """Projects the texels of a texture of `size` through a photo's camera; `part` hides what is behind it."""
    center = np.array([0, 0, camera.rot_center_depth])
    rotation = surface.rotations(seen.view[:3]).astype(np.float64)
    points = (surface.points(part.depth, camera) - center) * math.exp(seen.size)
    seen_from = points @ rotation.T + center + seen.view[3:]
    texels = _on_triangles(seen_from.astype(np.float32), size)
    place = texels[..., :2] / texels[..., 2:]
    place *= np.float32(camera.focal_length)
    place += np.float32(camera.intrinsics[2])
    facing = np.sum((part.normal @ rotation.T) * seen_from, axis=-1) / np.linalg.norm(seen_from, axis=-1)
    cosine = on_texels(facing, size)
    faced = ramp(cosine, *GRAZING) * (texels[..., 2] <= _nearest_depth(seen_from, part, camera, place, cosine))
    inner = inner_share(seen.mask >= 0.5, *RIM)
    column, row = cv2.split(place)
    shown = cv2.remap(inner, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return Projection(place, cosine, faced, faced * shown, on_texels(own_half(facing, part.mask), size))


def own_half(facing: Float[np.ndarray, "s s"], mask: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns 1, and 0 in columns where the photo's camera sees the other half so much better that it shows both.

    `facing` are cosines of surface and line of sight. On the far half of a head that is turned far, a small error of
    its view puts a second nose, or the background beside the nose. A column's mean decides, as a socket that faces the
    camera is not better known than the cheek below it.
    """
    mean = (facing * mask).sum(axis=0) / np.maximum(mask.sum(axis=0), 1)
    mean = ndimage.gaussian_filter1d(mean, WIDE, mode="nearest")
    return np.tile(ramp(mean / np.maximum(mean[::-1], GRAZING[0]), *OTHER_HALF), (len(mask), 1))


def _on_triangles(points: Float[np.ndarray, "s s 3"], size: int) -> Float[np.ndarray, "t t 3"]:
    """Returns the texels' points on the triangles between vertices, each of which is half a cell.

    They are off the bilinear surface by the difference between the fourth corner's weights in the two, times how far
    that corner is off the plane of the others.
    """
    side = len(points)
    at = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    cell = np.minimum(at.astype(int), side - 2)
    share = (at - cell).astype(np.float32)
    right, down = share[None, :], share[:, None]
    twist = points[:-1, :-1] + points[1:, 1:] - points[:-1, 1:] - points[1:, :-1]
    fourth = np.maximum(right + down - 1, 0) - right * down
    bent = twist[:, cell][cell]
    bent *= fourth[..., None]
    bent += on_texels(points, size)
    return bent


def _nearest_depth(
    points: Float[np.ndarray, "s s 3"], part: surface.Surface, camera: Camera, place: Places, cosine: Plane
) -> Plane:
    """Returns the depth up to which each texel counts as what the camera sees first at its place.

    That depth is known at samples; between the nearest one and the texel, the surface may recede by its slope.
    """
    count = min(_SHADOW_FINENESS * camera.image_size, _SHADOW_SAMPLES)
    samples = rasterizer.SampleGrid.over(camera, size=count)
    first = np.asarray(_drawn_depth(points.astype(np.float32), part.mask >= 0.5, camera, samples))
    at = place - np.float32(samples.first)
    at /= np.float32(samples.spacing)
    index = np.clip(np.rint(at, out=at), 0, count - 1, out=at).astype(np.int32)
    del at
    facing = np.maximum(cosine, GRAZING[0])
    slope = np.sqrt(np.maximum(1 - facing**2, 0)) / facing
    tolerance = (TOLERANCE + samples.spacing * slope) / camera.focal_length
    tolerance += first[index[..., 1], index[..., 0]]
    return tolerance


@functools.partial(program_cache.jit, static_argnames=("camera", "samples"))
def _drawn_depth(
    points: Float[jax.Array, "s s 3"], mask: Bool[jax.Array, "s s"], camera: Camera, samples: rasterizer.SampleGrid
) -> Float[jax.Array, "n n"]:
    return rasterizer.rasterize(points, camera, samples=samples, mask=mask).depth


def ramp(values: np.ndarray, low: float, high: float) -> Float[np.ndarray, "..."]:
    """Returns 0 up to `low`, 1 from `high` on, and a smooth transition in between."""
    share = values - low
    share /= high - low
    share = np.clip(share, 0, 1, out=share).astype(np.float32, copy=False)
    smooth = share * share
    share *= -2
    share += 3
    smooth *= share
    return smooth


def filled(values: Float[np.ndarray, "h w"], weight: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Returns the values, kept where their weight is 1 and continued smoothly to where it is 0; else 0.

    Means over ever larger cells fill what finer ones leave empty (pull-push: S. Gortler et al., The Lumigraph, 1996).
    """
    height, width = weight.shape
    if max(height, width) == 1:
        return values * (weight > 0).astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    mass = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(values * weight, half, interpolation=cv2.INTER_AREA)
    coarser = filled(sums / np.maximum(mass, 1e-8), np.minimum(mass * 4, 1))  # one of four is enough to know a mean
    return _between(cv2.resize(coarser, (width, height), interpolation=cv2.INTER_LINEAR), values.copy(), weight)


def _means(values: Plane, side: int) -> Float[np.ndarray, "k k"]:
    """Returns the means in `side` cells a side, or fewer if there are fewer texels."""
    side = min(len(values), side)
    return cv2.resize(np.ascontiguousarray(values), (side, side), interpolation=cv2.INTER_AREA)


def _both(first: Plane, second: Plane, *, cells: int = _CELLS) -> Float[np.ndarray, "k k"]:
    """Returns where two kinds of colours are both known, as `matched` takes it."""
    return _means(first, _FINE * cells) * _means(second, _FINE * cells)


def matched(source: Plane, target: Plane, both: Float[np.ndarray, "k k"], *, cells: int = _CELLS) -> Plane:
    """Returns the source with the target's colours where both are known, keeping its own detail.

    The source is multiplied by a smooth field, which makes mean colours match in each of `cells` cells a side where
    `both` are known, and continues smoothly to where they are not, and where the two show different things, such as
    skin and hair.
    """
    ours, theirs = _means(source, len(both)), _means(target, len(both))
    mass, ours, theirs = (_means(values, cells) for values in (both, ours * both, theirs * both))
    total = np.maximum(mass, 1e-8)
    ratio = np.log((theirs / total + DARKEST) / (ours / total + DARKEST))
    limit = np.log(GAIN)
    ratio = np.clip(ratio, -limit, limit).astype(np.float32)
    known = np.minimum(mass * 4, 1)
    usual = np.median(ratio[known > 0.5]) if (known > 0.5).any() else 0.0
    field = filled(ratio, known * (1 - ramp(np.abs(ratio - usual), *OTHER_THING)))
    gain = on_texels(np.exp(field), len(source), smooth=True)
    gain *= source
    return gain
