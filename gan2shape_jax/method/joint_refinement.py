"""Joint refinement: one shape from several pictures of one object, in the manner of bundle adjustment.

Step 3 of the method (`step3`) with photographs in the place of the GAN's pictures, and without networks. All pictures
share a canonical depth map and an albedo; each has a view, a size and a light of its own, nine spherical harmonics a
channel (R. Basri and D. Jacobs, Lambertian Reflectance and Linear Subspaces, 2003). Gradient steps move the depth, by a
smooth change of what the model makes of the pictures, the views and the sizes. Albedo and lights follow by alternating
least squares, weighted robustly, in linear light; outlines tell the sides of an object, whose colours say little. A
size is needed, as crops frame an object with an error of about 5%, which no view explains.

Where the pictures are larger than what a model sees, `refine` goes on from there on a finer grid: coarse to fine.

How stiff the change is follows from how far the views are spread: from in front alone, pictures tell no depth. Whether
they tell any is judged by pictures that are left out: these get views, sizes and lights, but teach no depth or albedo.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epy
from jaxtyping import Array, Bool, Float

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method.factors import blend_border, on_border

with epy.lazy_imports():  # importing it takes a while
    from scipy import ndimage

_TOGETHER = 3  # pictures are padded to a multiple of this, so that few numbers of them need a program of their own
_CELL = 4  # pixels between control points of the change of depth
_DEPTH_UNIT = 0.01  # scene units that a control point moves by
_VIEW_UNITS = (0.05, 0.05, 0.05, 0.0005, 0.0005)  # radians and scene units: translations are nearly held, as they drift
_SIZE_UNIT = 0.05
_RATE = 0.03  # Adam's, in those units
_ROUNDS, _ROUNDS_LEFT_OUT, _ROUNDS_FINER = (
    13,
    4,
    4,
)  # each of a new visibility, `_SOLVED` times albedo and lights, and `_STEPS` steps
_SOLVED, _STEPS, _ALTERNATIONS = 3, 10, 3
# Weights of the loss, and the variance of the views' directions, in squared degrees, at which the first two are this.
_SMALL, _SMOOTH, _VARIANCE = 3e-3, 3.0, 750.0
_VIEW, _SIZE = 8e-4, 1e-3
_OUTSIDE, _UNCOVERED = 0.1, 0.02  # a pixel that points lie off the object's mask, or its outline off all points
_AROUND, _MARGIN = 0.3, 4  # weight of colours around the region that the model knows, and outer columns without
_FARTHEST, _OUTLINE, _SPACING = 8, 64, 3  # pixels, points of an outline, pixels between points that may be on it
_SHADOWED = 0.012  # scene units behind what is seen that are hidden
_GRAZING = 0.2  # cosine of the normal up to which nothing is seen well
_DIM, _DARK, _ROBUST = 0.02, 0.003, 0.03  # shading and colours, at least; differences that count less, linear light
_FIRST_ALBEDO = 0.3
_UNLIKE = 0.5  # difference of halves, in logarithms of albedo, at which they are hardly alike
_BETTER = 0.997  # of the start's error in what is left out that a joint shape has at most: by noise it is 0.9995
# Log of the error over the others' median, less this times how much more alike the others are: another object's.
_LIKENESS, _STRANGE = 1.5, 0.42


class Joint(NamedTuple):
    """One object in k pictures."""

    depth: Float[np.ndarray, "s s"]  # canonical, scene units
    views: Float[np.ndarray, "k 6"]
    sizes: Float[np.ndarray, " k"]  # log of the factor by which the object is larger than the picture's frame says
    albedo: Float[np.ndarray, "s s 3"]  # canonical, linear light
    lights: Float[np.ndarray, "k 9 3"]  # of `lighting.harmonics` in each picture's frame, linear light
    used: Bool[np.ndarray, " k"]  # whether the picture shows the same object as the others
    better: bool  # whether pictures left out are explained better than by the start; if not, `depth` is the start
    spread_deg: float  # how far the views are spread
    errors: Float[np.ndarray, "k 2"]  # of each picture left out: by the start and by the joint shape


class _Pictures(NamedTuple):
    """What is known of n pictures, some of which are nothing but padding."""

    colours: Any  # (n, s, s, 3) linear light
    masks: Any  # (n, s, s) 1 inside the object
    distance: Any  # (n, s, s) pixels to the object, `_FARTHEST` at most
    outline: Any  # (n, o, 2) points of the object's outline, pixels
    outlined: Any  # (n, o) whether there are such
    views: Any  # (n, 6) about
    sizes: Any  # (n,) about
    masked: Any  # (n,) 1, and 0 where nobody knows where the object ends
    shown: Any  # (n,) 1, and 0 for padding


class _Object(NamedTuple):
    """What is known of the object."""

    start: Any  # (s, s) canonical depth
    region: Any  # (s, s) how far colours count
    around: Any  # (s, s) how far they count where it is known what belongs to the object
    covered: Any  # (s, s) whether it is the object that is there, and not what is behind it


class _Wish(NamedTuple):
    """What is to be found."""

    teaches: Any  # (n,) 1, and 0 for pictures that depth and albedo do not follow from
    free: Any  # 1, and 0 to hold the depth
    stiffness: Any  # of the change
    halves: Any  # 1 where the object's halves are alike, else 0


class _Fit(NamedTuple):
    """What was found, as `Joint` has it, and how far each of n pictures is from what the fit makes of it."""

    depth: np.ndarray
    views: np.ndarray
    sizes: np.ndarray
    albedo: np.ndarray
    lights: np.ndarray
    errors: np.ndarray


def reconstruct(
    start: Float[np.ndarray, "s s"],
    views: Float[np.ndarray, "k 6"],
    images: Float[np.ndarray, "k s s 3"],
    masks: Float[np.ndarray, "k s s"],
    region: Float[np.ndarray, "s s"],
    camera: Camera,
    *,
    symmetric: bool,
    likeness: Float[np.ndarray, " k"] | None = None,
    fit: Callable[..., Any] | None = None,
) -> Joint:
    """Returns one shape of the object in several pictures, or the start where these do not tell a better one.

    Args:
      start: canonical depth, scene units, such as the mean of what a model makes of the pictures.
      views: the pictures' views, about.
      images: sRGB in [0, 1].
      masks: where the object is in the pictures, in [0, 1]; all 1 in a picture where nobody is sure of that: the
        outline of a mask that cuts off hair, or takes in the background, misleads.
      region: canonical mask in [0, 1], where the model knows the object; around it, colours of masked pictures count.
      camera: of all pictures.
      symmetric: whether the object's halves are alike.
      likeness: correlation of each picture's object with the others', where something else than this fit tells it.
      fit: the function `fit` as it is to be called, such as one whose compiled programs are cached.
    """
    count = len(views)
    solved = functools.partial(_solved, fit or joint_fit, camera=camera)
    pictures = _padded(views, np.zeros(count), images, masks)
    known = _Object(start.astype(np.float32), *_regions(region), _covered(start, views, masks, camera))
    used = np.ones(count, bool)
    errors = _left_out(pictures, known, used, solved, symmetric=symmetric)
    if count > 2:
        strange = _above_others(np.log(errors.min(axis=1)), np.log(errors[:, 0]))
        if likeness is not None:
            strange = strange - _LIKENESS * _above_others(likeness, likeness)
        strange = strange > _STRANGE
        if strange.any() and (~strange).sum() > 1:
            used = ~strange
            errors = np.where(used[:, None], _left_out(pictures, known, used, solved, symmetric=symmetric), errors)
    better = bool(used.sum() > 1 and errors[used, 1].mean() < _BETTER * errors[used, 0].mean())
    wish = _wish(pictures, used, free=better, symmetric=symmetric)
    found = solved(pictures, known, wish, rounds=_ROUNDS)
    return Joint(
        depth=found.depth,
        views=found.views[:count],
        sizes=found.sizes[:count],
        albedo=found.albedo,
        lights=found.lights[:count],
        used=used,
        better=better,
        spread_deg=float(np.degrees(np.ptp(found.views[:count][used][:, 1]))),
        errors=errors,
    )


def refine(
    joint: Joint,
    images: Float[np.ndarray, "k s s 3"],
    masks: Float[np.ndarray, "k s s"],
    region: Float[np.ndarray, "c c"],
    camera: Camera,
    *,
    symmetric: bool,
    fit: Callable[..., Any] | None = None,
) -> Joint:
    """Goes on with a joint shape on the grid of larger pictures; arguments as for `reconstruct`, whose `region` it is.

    The camera is that of the larger pictures, see `enlarged_camera`, and masks are of their size.
    """
    count, size = images.shape[:2]
    start = enlarged_depth(joint.depth, camera)
    regions = _regions(np.asarray(resample.resize(jnp.asarray(region)[..., None], size))[..., 0])
    known = _Object(start, *regions, _covered(start, joint.views, masks, camera))
    pictures = _padded(joint.views, joint.sizes, images, masks)
    wish = _wish(pictures, joint.used, free=True, symmetric=symmetric)
    found = _solved(fit or joint_fit, pictures, known, wish, camera=camera, rounds=_ROUNDS_FINER)
    views, sizes, lights = (values[:count] for values in (found.views, found.sizes, found.lights))
    return joint._replace(depth=found.depth, views=views, sizes=sizes, albedo=found.albedo, lights=lights)


def enlarged_camera(camera: Camera, size: int) -> Camera:
    """Returns the camera of the same picture in `size` x `size` pixels, whose outer ones are farther apart."""
    times = (1 - 1 / size) / (1 - 1 / camera.image_size)
    fov_deg = 2 * math.degrees(math.atan(times * math.tan(math.radians(camera.fov_deg) / 2)))
    return dataclasses.replace(camera, image_size=size, fov_deg=fov_deg)


def enlarged_depth(depth: Float[np.ndarray, "c c"], camera: Camera) -> Float[np.ndarray, "s s"]:
    """Returns a depth map with as many pixels as the camera has; only the outermost columns have the border's depth."""
    own = np.flatnonzero(~np.asarray(on_border(depth.shape[-1])))
    inside = jnp.asarray(np.pad(depth[:, own], ((0, 0), (own[0], own[0])), mode="edge"))
    finer = jax.image.resize(inside, (camera.image_size, camera.image_size), "cubic")
    return np.asarray(blend_border(finer, camera))


def _above_others(values: Float[np.ndarray, " k"], of: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Returns how far each value is above the median of the others."""
    return np.array([value - np.median(np.delete(of, k)) for k, value in enumerate(values)])


def _left_out(
    pictures: _Pictures, known: _Object, used: Bool[np.ndarray, " k"], solved: Callable[..., _Fit], *, symmetric: bool
) -> Float[np.ndarray, "k 2"]:
    """Returns the error of each picture left out, by the start and by the joint shape: half of those used at a time."""
    errors = np.full((len(used), 2), np.nan, np.float32)
    order = np.flatnonzero(used)[np.argsort(pictures.views[: len(used)][used][:, 1], kind="stable")]
    for half in (order[::2], order[1::2]):
        teaches = used.copy()
        teaches[half] = False
        if not teaches.any():
            continue
        for free in (False, True):
            wish = _wish(pictures, teaches, free=free, symmetric=symmetric)
            found = solved(pictures, known, wish, rounds=_ROUNDS_LEFT_OUT)
            left = ~teaches  # pictures that are not used are judged by both halves, at last by the second
            errors[left, int(free)] = found.errors[: len(used)][left]
    return errors


def _wish(pictures: _Pictures, teaches: Bool[np.ndarray, " k"], *, free: bool, symmetric: bool) -> _Wish:
    """Returns what is to be found by these pictures: the less their views are spread, the stiffer is the depth."""
    angles = np.degrees(pictures.views[: len(teaches)][teaches][:, :2])
    variance = float(np.var(angles, axis=0).sum())
    padded = np.zeros(len(pictures.shown), np.float32)
    padded[: len(teaches)] = teaches
    stiffness = np.clip(_VARIANCE / max(variance, 1e-3), 1, 1e4)
    return _Wish(padded, np.float32(free), np.float32(stiffness), np.float32(symmetric))


def _padded(
    views: Float[np.ndarray, "k 6"],
    sizes: Float[np.ndarray, " k"],
    images: Float[np.ndarray, "k s s 3"],
    masks: Float[np.ndarray, "k s s"],
) -> _Pictures:
    count, size = masks.shape[:2]
    inside = masks > 0.5
    distance = np.full(masks.shape, 0, np.float32)
    outline, outlined = np.zeros((count, _OUTLINE, 2), np.float32), np.zeros((count, _OUTLINE), np.float32)
    for k, one in enumerate(inside):
        if one.any():
            distance[k] = np.minimum(ndimage.distance_transform_edt(~one), _FARTHEST)
        edge = one & ~ndimage.binary_erosion(one, border_value=1)
        edge[:3] = edge[-3:] = edge[:, :3] = edge[:, -3:] = False  # where it leaves the picture is no outline
        row, column = np.nonzero(edge)
        if row.size:
            some = np.linspace(0, row.size - 1, _OUTLINE).astype(int)
            outline[k], outlined[k] = np.stack([column[some], row[some]], -1), 1
    eroded = ndimage.minimum_filter(inside.astype(np.float32), (0, 3, 3)) if count else inside
    colours, shown = images.astype(np.float32) ** lighting.GAMMA, np.ones(count, np.float32)
    masked = _masked(masks).astype(np.float32)
    placed = views.astype(np.float32), sizes.astype(np.float32)
    rows = [colours, eroded, distance, outline, outlined, *placed, masked, shown]
    more = -count % _TOGETHER
    padding = [np.repeat(row[:1], more, axis=0) for row in rows[:-1]] + [np.zeros(more, np.float32)]
    return _Pictures(*map(np.concatenate, zip(rows, padding, strict=True)))


def _regions(region: Float[np.ndarray, "s s"]) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
    around = np.full(region.shape, _AROUND)
    around[:, :_MARGIN] = around[:, -_MARGIN:] = 0  # whose depth is the border's
    return region.astype(np.float32), np.maximum(region, around).astype(np.float32)


def _masked(masks: Float[np.ndarray, "k s s"]) -> Bool[np.ndarray, " k"]:
    return np.asarray(np.min(masks, axis=(1, 2)) <= 0.5)


def _covered(
    start: Float[np.ndarray, "s s"], views: Float[np.ndarray, "k 6"], masks: Float[np.ndarray, "k s s"], camera: Camera
) -> Float[np.ndarray, "s s"]:
    """Returns where the canonical picture shows the object, by the masked picture that is seen most from in front."""
    front = int(np.argmin(np.abs(views[:, :2]).sum(-1) + 10 * ~_masked(masks)))
    at = camera_lib.project(
        camera_lib.moved_points(jnp.asarray(start)[None], jnp.asarray(views[front : front + 1]), camera), camera
    )
    mask = jnp.asarray(masks[front : front + 1, ..., None] > 0.5, jnp.float32)
    seen = resample.grid_sample(mask, camera_lib.to_grid(at, camera))[0, ..., 0]
    return np.where(on_border(start.shape[-1]), 0, np.asarray(seen)).astype(np.float32)


def _solved(fit: Callable[..., Any], *arguments: Any, **options: Any) -> _Fit:
    return _Fit(*map(np.asarray, fit(*arguments, **options)))


@functools.partial(jax.jit, static_argnames=("camera", "rounds"))
def joint_fit(pictures: _Pictures, known: _Object, wish: _Wish, *, camera: Camera, rounds: int) -> tuple[Array, ...]:
    """Fits from the start, in `rounds` rounds; returns what `_Fit` holds."""
    optimiser = optax.adam(_RATE)
    count, size = len(pictures.shown), known.start.shape[0]
    points = size // _CELL
    first = {"depth": jnp.zeros((points, points)), "view": jnp.zeros((count, 5)), "size": jnp.zeros(count)}
    albedo = jnp.full((size, size, 3), _FIRST_ALBEDO)
    region = jnp.where(pictures.masked[:, None, None] > 0, known.around, known.region)
    lights = jnp.zeros((count, 9, 3)).at[:, 0].set(1.0)

    def loss(unknown: dict[str, Array], weight: Array, albedo: Array, lights: Array) -> Array:
        depth, views, sizes = _placed(unknown, pictures, known, wish, camera)
        shared = wish.teaches[:, None, None]  # the shape is held for pictures that teach nothing
        depths = shared * depth + (1 - shared) * jax.lax.stop_gradient(depth)
        colours, basis = _seen(depths, views, sizes, pictures, camera)
        weight = weight * pictures.shown[:, None, None]
        apart = (weight * _distance(colours, weight, albedo, basis, lights)).sum((1, 2))
        alike = jnp.where(wish.teaches > 0, 1 / jnp.maximum((weight.sum((1, 2)) * wish.teaches).sum(), 1), 0)
        alone = jnp.where(wish.teaches > 0, 0, 1 / (jnp.maximum(weight.sum((1, 2)), 1) * count))
        placed = depths, views, sizes
        # Without masks nothing is known of outlines, which take 40% of the time.
        outline: Array = jax.lax.cond(
            pictures.masked.any(), lambda: _off_outline(*placed, pictures, known, camera), lambda: jnp.zeros(())
        )
        return jnp.asarray((apart * (alike + alone)).sum() + outline + _regularised(unknown, wish, size))

    def step(carry: Any, fixed: tuple[Array, Array, Array]) -> Any:
        unknown, state = carry
        updates, state = optimiser.update(jax.grad(loss)(unknown, *fixed), state)
        return optax.apply_updates(unknown, updates), state

    def solve(carry: Any, weight: Array) -> Any:
        unknown, state, albedo, lights = carry
        depth, views, sizes = _placed(unknown, pictures, known, wish, camera)
        colours, basis = _seen(jnp.broadcast_to(depth, (count, size, size)), views, sizes, pictures, camera)
        albedo, lights = _appearance(colours, basis, weight, albedo, lights, wish)
        fixed = weight, albedo, lights
        unknown, state = jax.lax.fori_loop(0, _STEPS, lambda _, moved: step(moved, fixed), (unknown, state))
        return unknown, state, albedo, lights

    def round_(_: Any, carry: Any) -> Any:
        depth, views, _ = _placed(carry[0], pictures, known, wish, camera)
        weight = _visibility(depth, views, camera) * region
        mask = _at(pictures.masks[..., None], *_placed(carry[0], pictures, known, wish, camera), camera)[..., 0]
        return jax.lax.fori_loop(0, _SOLVED, lambda _, carry: solve(carry, weight * mask), carry)

    unknown, _, albedo, lights = jax.lax.fori_loop(0, rounds, round_, (first, optimiser.init(first), albedo, lights))
    depth, views, sizes = _placed(unknown, pictures, known, wish, camera)
    depths = jnp.broadcast_to(depth, (count, size, size))
    weight = _visibility(depth, views, camera) * region
    weight = weight * _at(pictures.masks[..., None], depth, views, sizes, camera)[..., 0]
    colours, basis = _seen(depths, views, sizes, pictures, camera)
    apart = (weight * _distance(colours, weight, albedo, basis, lights)).sum((1, 2))
    return depth, views, sizes, albedo, lights, apart / jnp.maximum(weight.sum((1, 2)), 1e-3)


def _placed(
    unknown: dict[str, Array], pictures: _Pictures, known: _Object, wish: _Wish, camera: Camera
) -> tuple[Float[Array, "s s"], Float[Array, "n 6"], Float[Array, " n"]]:
    """Returns the depth, the views and the sizes that the unknowns stand for."""
    change = unknown["depth"]
    change = jnp.where(wish.halves > 0, (change + change[:, ::-1]) / 2, change) * wish.free
    depth = known.start + _DEPTH_UNIT * jax.image.resize(change, known.start.shape, "cubic")
    moved = jnp.pad(unknown["view"] * jnp.array(_VIEW_UNITS), ((0, 0), (0, 1)))  # nearer or larger: the size says it
    return blend_border(depth, camera), pictures.views + moved, pictures.sizes + _SIZE_UNIT * unknown["size"]


def _places(
    depths: Float[Array, "*n s s"], views: Float[Array, "n 6"], sizes: Float[Array, " n"], camera: Camera
) -> Float[Array, "n s s 2"]:
    """Returns the pixels at which the points of the canonical depth map are in each picture."""
    centre = jnp.array([0.0, 0.0, 1.0]) * camera.rot_center_depth
    points = (camera_lib.back_project(depths, camera) - centre) * jnp.exp(sizes)[:, None, None, None] + centre
    return camera_lib.project(camera_lib.transform(points, views, camera), camera)


def _at(
    values: Float[Array, "n s s c"],
    depth: Float[Array, "*n s s"],
    views: Float[Array, "n 6"],
    sizes: Float[Array, " n"],
    camera: Camera,
) -> Float[Array, "n s s c"]:
    """Returns the pictures' values at the points of the canonical depth map."""
    places = _places(jnp.broadcast_to(depth, values.shape[:3]), views, sizes, camera)
    return resample.grid_sample(values, camera_lib.to_grid(places, camera))


def _seen(
    depths: Float[Array, "n s s"],
    views: Float[Array, "n 6"],
    sizes: Float[Array, " n"],
    pictures: _Pictures,
    camera: Camera,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s 9"]]:
    """Returns each picture's colours at the points of the depth map, and the harmonics of their normals there."""
    colours = _at(pictures.colours, depths, views, sizes, camera)
    return colours, lighting.harmonics(_turned(lighting.normals(depths, camera), views))


def _turned(normal: Float[Array, "n s s 3"], views: Float[Array, "n 6"]) -> Float[Array, "n s s 3"]:
    return jnp.einsum("nij,nhwj->nhwi", camera_lib.rotation_matrix(views[:, :3]), normal)


def _visibility(depth: Float[Array, "s s"], views: Float[Array, "n 6"], camera: Camera) -> Float[Array, "n s s"]:
    """Returns how well each picture sees each point: 0 where it is hidden or turned away."""
    depths = jnp.broadcast_to(depth, (len(views), *depth.shape))
    points = camera_lib.moved_points(depths, views, camera)
    grid = camera_lib.to_grid(camera_lib.project(points, camera), camera)
    front = resample.grid_sample(render.warp_depth(depths, views, camera)[..., None], grid)[..., 0]
    facing = jnp.clip(_turned(lighting.normals(depths, camera), views)[..., 2] - _GRAZING, 0, 1)
    return jnp.where(jnp.abs(front - points[..., 2]) < _SHADOWED, facing, 0.0)


def _appearance(
    colours: Float[Array, "n s s 3"],
    basis: Float[Array, "n s s 9"],
    weight: Float[Array, "n s s"],
    albedo: Float[Array, "s s 3"],
    lights: Float[Array, "n 9 3"],
    wish: _Wish,
) -> tuple[Float[Array, "s s 3"], Float[Array, "n 9 3"]]:
    """Returns albedo and lights by alternating least squares, in which shadows and highlights count less."""
    ridge = 1e-2 * jnp.diag(jnp.array([0.0, 1, 1, 1, 3, 3, 3, 3, 3]))

    def alternate(_: Any, known: tuple[Array, Array]) -> tuple[Array, Array]:
        albedo, lights = known
        lit = albedo[None, ..., None, :] * basis[..., None]  # (n, s, s, 9, 3)
        apart = jnp.abs(colours - jnp.einsum("nhwjc,njc->nhwc", lit, lights)).mean(-1)
        robust = weight / (apart + _ROBUST)
        matrix = jnp.einsum("nhw,nhwic,nhwjc->ncij", robust, lit, lit) + 1e-4 * jnp.eye(9)
        matrix += ridge * jnp.einsum("nhw,hwc->nc", robust, jnp.square(albedo))[..., None, None]
        right = jnp.einsum("nhw,nhwic,nhwc->nci", robust, lit, colours)
        lights = jnp.swapaxes(jnp.linalg.solve(matrix, right[..., None])[..., 0], 1, 2)
        shading = _shading(basis, lights)
        taught = (robust * wish.teaches[:, None, None])[..., None] * shading
        over, under = (taught * colours).sum(0), (taught * shading).sum(0)
        alike = wish.halves * _alike(over, under)
        over, under = (one + alike * one[:, ::-1] for one in (over, under))
        albedo = jnp.clip((over + 1e-3 * albedo) / (under + 1e-3), _DARK, 1.5)
        gain = jnp.median(albedo) / _FIRST_ALBEDO  # a brighter albedo in weaker lights is the same
        return albedo / gain, lights * gain

    found: tuple[Array, Array] = jax.lax.fori_loop(0, _ALTERNATIONS, alternate, (albedo, lights))
    return found


def _alike(over: Float[Array, "s s 3"], under: Float[Array, "s s 3"]) -> Float[Array, "s s 1"]:
    """Returns how far albedo, which is `over / under`, is that of the other half: a fringe over one eye is not.

    Where only one half is seen, the other is like it.
    """
    mean = (over + over[:, ::-1]) / (under + under[:, ::-1] + 1e-3)
    albedo = jnp.log((over + mean) / (under + 1) + _DARK)
    return jnp.exp(-jnp.square(jnp.abs(albedo - albedo[:, ::-1]).mean(-1, keepdims=True) / _UNLIKE))


def _shading(basis: Float[Array, "n s s 9"], lights: Float[Array, "n 9 3"]) -> Float[Array, "n s s 3"]:
    return jnp.maximum(jnp.einsum("nhwj,njc->nhwc", basis, lights), _DIM)


def _distance(
    colours: Float[Array, "n s s 3"],
    weight: Float[Array, "n s s"],
    albedo: Float[Array, "s s 3"],
    basis: Float[Array, "n s s 9"],
    lights: Float[Array, "n 9 3"],
) -> Float[Array, "n s s"]:
    """Returns how far colours are from what albedo and lights make there, in units of the picture's brightness."""
    square = (weight[..., None] * jnp.square(colours)).sum((1, 2, 3))
    level = square / (3 * jnp.maximum(weight.sum((1, 2)), 1e-3)) + 1e-6
    drawn = albedo * _shading(basis, lights)
    apart = (jnp.sqrt(colours + _DARK) - jnp.sqrt(drawn + _DARK)) / (level**0.25)[:, None, None, None]
    return jnp.sqrt(jnp.square(apart) + _ROBUST**2).mean(-1)


def _off_outline(
    depths: Float[Array, "n s s"],
    views: Float[Array, "n 6"],
    sizes: Float[Array, " n"],
    pictures: _Pictures,
    known: _Object,
    camera: Camera,
) -> Float[Array, ""]:
    """Returns how far points of the object lie outside its masks, and the masks' outlines off its points."""
    places = _places(depths, views, sizes, camera)
    far = resample.grid_sample(pictures.distance[..., None], camera_lib.to_grid(places, camera))[..., 0]
    shown = pictures.shown / pictures.shown.sum()
    outside = ((far * known.covered).mean((1, 2)) * shown).sum()
    some = slice(1, None, _SPACING), slice(1, None, _SPACING)
    points = places[(slice(None), *some)].reshape(len(views), 1, -1, 2)
    squares = jnp.square(pictures.outline[:, :, None] - points).sum(-1)
    away = jnp.sqrt(squares + 1e-4) + 100 * (1 - known.covered[some].reshape(-1))
    nearest = -0.7 * jax.nn.logsumexp(-away / 0.7, axis=-1)
    uncovered = jnp.clip(nearest - 1, 0, 6) * pictures.outlined * pictures.shown[:, None]
    return jnp.asarray(_OUTSIDE * outside + _UNCOVERED * uncovered.sum() / jnp.maximum(pictures.outlined.sum(), 1))


def _regularised(unknown: dict[str, Array], wish: _Wish, size: int) -> Float[Array, ""]:
    """Returns how unlikely the unknowns are: large or rough changes of depth, large ones of views and sizes."""
    change = jax.image.resize(unknown["depth"], (size, size), "cubic")
    rough = sum(jnp.square(jnp.diff(change, 2, axis=axis)).mean() for axis in (0, 1))
    stiff = wish.stiffness * (_SMALL * jnp.square(unknown["depth"]).mean() + _SMOOTH * rough)
    moved = _VIEW * jnp.square(unknown["view"]).mean() + _SIZE * jnp.square(unknown["size"]).mean()
    return jnp.asarray(stiff + moved)
