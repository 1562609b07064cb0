"""The weak shape prior: an ellipsoid-like cap where the object is (GAN2Shape, section 3.1), and its alternatives.

Rows run down and columns right; the mask and the depth are `(S, S)`, depth in scene units along the
camera's axis. All of this happens once per image, on the host, with NumPy.

The paper shows results with other priors; its authors say how they were made (issue 16 of their repository): the
ellipsoid's centre is moved sideways, or `far` is set to 0.96 for a weaker one.

`whole_ellipsoid` is ours. The published box ends where the frame does, so a face that fills its image falls away
wrongly at brow and chin; and the published cap is equally deep whatever its width (docs/reports/lift.md).

`cuboid` is ours too, for objects with deep sides, whose halves are not each other's mirror images in the picture. An
ellipsoid that is turned never becomes wider, so that nothing tells a car's side from its front; a cuboid does, and how
wide an outline is says how far an object is turned (docs/reports/cars.md).
"""

import math

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.method import models
from gan2shape_jax.method.factors import view_from_raw
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Context, LossAndMetrics, Step

# Parsers mark a whole head with 0.5 and the face with 1: only the face should be covered.
_OBJECT_THRESHOLD = 0.7
# Radius in scene units of the sphere whose cap is stretched over the box.
_RADIUS = 0.4
# A pixel of which at least so much is the object's belongs to its outline.
_OUTLINE_THRESHOLD = 0.5
# Lessons of V before a lift, in pictures, whose yaws are those of outlines.
_LESSONS, _TOGETHER, _LEARNING_RATE = 1000, 32, 3e-4
# How far an object is assumed to extend beyond the frame that cuts it off, above or below, as a share of its visible
# height.
_BEYOND = 1 / 3


def prior_depth(config: ConfigDict, mask: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns the depth that training starts from, for an object mask in [0, 1], in the mask's floating type.

    It is the configuration's prior, or all ones if networks are pretrained. "flat" is a plane in the middle of the
    range, the only prior that a network with a centred output can show; "category" is what the category's record says.

    Raises:
      UserError: as for the functions of the shapes; the category brings no prior, or one of other values than depths.
    """
    shape, near, far, camera = config.prior.shape, config.prior.near, config.prior.far, config.camera
    if config.networks.pretrained:
        return np.ones_like(mask)
    if shape == "flat":
        return np.full(np.shape(mask), (camera.min_depth + camera.max_depth) / 2, mask.dtype)
    if shape == "category":
        return _of_category(config, mask)
    pixel = 2 * math.tan(math.radians(camera.fov_deg) / 2) / (config.image_size - 1)  # its width at depth 1
    if shape == "cuboid":
        size, centre = config.image_size, camera.rot_center_depth
        return cuboid(config.prior.cuboid, size=size, pixel=pixel, centre=centre, far=far).astype(mask.dtype)
    if shape == "whole_ellipsoid":
        return whole_ellipsoid(mask, far=far, least=camera.min_depth, pixel=pixel)
    moved = config.prior.shift if shape == "shifted_ellipsoid" else 0.0
    return ellipsoid(mask, category=config.category, near=near, far=far, shift=moved)


def _of_category(config: ConfigDict, mask: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    function = category_of(config.category).prior
    if function is None:
        raise ConfigError(
            f"config.prior.shape is 'category', but the category {config.category!r} has no prior of its own: name "
            "another shape, or give its CATEGORY a prior"
        )
    depth = np.asarray(function(mask, config), mask.dtype)
    if depth.shape != mask.shape or not (np.isfinite(depth).all() and depth.min() > 0):
        raise UserError(
            f"the prior of the category {config.category!r} must return {mask.shape[0]} x {mask.shape[1]} positive "
            f"depths: it returned an array {depth.shape} from {depth.min():g} to {depth.max():g}"
        )
    return depth


def ellipsoid(
    mask: Float[np.ndarray, "s s"],
    *,
    category: str,
    near: float = 0.91,
    far: float = 1.02,
    shift: float = 0.0,
) -> Float[np.ndarray, "s s"]:
    """Returns the depth of a stretched spherical cap over the object's bounding box, as published.

    Args:
      mask: object mask in [0, 1]; at least 0.7 counts as object.
      category: decides how the box is adjusted: see `Category.box`.
      near: depth of the cap's top, in scene units.
      far: depth of its rim and of everything outside, in scene units.
      shift: how far the cap is moved to the right, in widths of the box.

    Raises:
      UserError: `near` is not in front of `far`, or by 0.4 scene units or more; or the mask has no object large enough
        for a box.
    """
    if not 0 < far - near < _RADIUS:
        raise UserError(f"the prior's far depth {far} must lie behind its near depth {near}, by less than {_RADIUS}")
    # The rows are stretched about the image's centre, not the box's: the original's choice.
    return _cap(mask, _bounding_box(mask, category_of(category).box), near, far, shift=shift, about=mask.shape[0] / 2)


def whole_ellipsoid(
    mask: Float[np.ndarray, "s s"], *, far: float, least: float, pixel: float
) -> Float[np.ndarray, "s s"]:
    """Returns the depth of a stretched spherical cap over the whole object, of which the frame may show only part.

    The cap is as deep as half the object's width, `pixel` scene units a pixel, but no point is nearer than `least`.
    Where the mask touches the upper or lower edge of the frame, the object is assumed to extend beyond it by a third of
    its visible height.

    Raises:
      UserError: the mask has no object large enough for a box, or `least` is not in front of `far`.
    """
    left, right, top, bottom = _bounding_box(mask, "none")
    height, last = bottom - top, mask.shape[0] - 1
    box = left, right, top - _BEYOND * height * (top == 0), bottom + _BEYOND * height * (bottom == last)
    near = max(far - (right - left) / 2 * pixel, least, far - 0.99 * _RADIUS)
    if not near < far:
        raise UserError(f"the prior's far depth {far} must lie behind the least depth {least}")
    return _cap(mask, box, near, far, shift=0.0, about=(box[2] + box[3]) / 2)


def cuboid(
    measures: tuple[float, ...], *, size: int, pixel: float, centre: float, far: float
) -> Float[np.ndarray, "s s"]:
    """Returns the depth of an upright cuboid, seen level.

    Args:
      measures: its length, width and height, scene units, and how far its front is turned to the right, degrees.
      size: pixels of the picture's side.
      pixel: width of a pixel at depth 1, in scene units.
      centre: depth of its centre, in scene units.
      far: depth of everything outside it, in scene units.
    """
    *sides, azimuth = measures
    sine, cosine = np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
    axes = np.array([[sine, 0, cosine], [0, 1, 0], [-cosine, 0, sine]])  # columns: along length, height and width
    slopes = (np.arange(size) - (size - 1) / 2) * pixel
    x, y = np.meshgrid(slopes, slopes)
    rays, start = np.stack([x, y, np.ones_like(x)], axis=-1) @ axes, np.array([0, 0, -centre]) @ axes
    half = np.array([sides[0], sides[2], sides[1]]) / 2
    with np.errstate(divide="ignore"):
        bounds = (np.stack([-half, half])[:, None, None] - start) / rays
    enters, leaves = bounds.min(axis=0).max(axis=-1), bounds.max(axis=0).min(axis=-1)
    return np.where(enters <= leaves, enters, far)


def outline_yaws(
    masks: Float[np.ndarray, "n s s"], measures: tuple[float, ...], *, farthest: float
) -> Float[np.ndarray, "n"]:
    """Returns yaws (radians) by the widths of outlines in pictures of objects that are about a cuboid, see `cuboid`.

    The order of widths says more than each width, since objects and pictures differ in size: it is compared with the
    cuboid's own widths at as many yaws, evenly as far as `farthest` degrees to either side.
    """
    columns = np.asarray(masks).max(axis=1) >= _OUTLINE_THRESHOLD
    wide = columns.shape[1] - columns.argmax(axis=1) - columns[:, ::-1].argmax(axis=1)
    yaws = np.linspace(-farthest, farthest, len(masks))
    length, width, _, azimuth = measures
    towards = np.radians(azimuth - yaws)
    order = np.argsort(length * np.abs(np.sin(towards)) + width * np.abs(np.cos(towards)), kind="stable")
    result = np.empty(len(masks))
    result[np.argsort(wide, kind="stable")] = np.radians(yaws[order])
    return result


def taught_yaws(
    params: models.Params,
    images: Float[np.ndarray, "n s s 3"],
    yaws: Float[np.ndarray, "n"],
    view_mean: Float[Array, "6"],
    settings: Settings,
    *,
    rng: np.random.Generator,
) -> models.Params:
    """Returns networks whose V sees images with these yaws, in radians, and else in the mean view."""
    told = np.tile(np.asarray(view_from_raw(view_mean, settings.view_range)), (len(images), 1))
    told[:, 1] = yaws
    drawn = (rng.choice(len(images), _TOGETHER) for _ in range(_LESSONS))
    batches = ((images[some], told[some]) for some in drawn)
    rate = optax.cosine_decay_schedule(_LEARNING_RATE, _LESSONS)
    return models.taught_views(params, batches, view_mean, settings, learning_rate=rate)


def _cap(
    mask: np.ndarray, box: tuple[float, float, float, float], near: float, far: float, *, shift: float, about: float
) -> Float[np.ndarray, "s s"]:
    """Returns the depth of a spherical cap over a box (left, right, top, bottom), rows stretched about `about`."""
    left, right, top, bottom = box
    size_y, size_x = mask.shape
    radius = (right - left) / 2
    ratio = (bottom - top) / (right - left)
    rows, columns = np.mgrid[:size_y, :size_x].astype(np.float64)
    rows = (rows - about) / ratio + about
    centre = (left + right) / 2 + shift * (right - left)
    distance = np.hypot(rows - (top + bottom) / 2, columns - centre)
    rim = np.sqrt(_RADIUS**2 - (_RADIUS - (far - near)) ** 2)
    height = np.sqrt(np.abs(_RADIUS**2 - (distance / radius * rim) ** 2))
    return np.where(distance <= radius, _RADIUS - height + near, far).astype(mask.dtype)


def _bounding_box(mask: np.ndarray, fit: str) -> tuple[float, float, float, float]:
    """Returns left, right, top and bottom of the object in pixels, adjusted as `fit` says."""
    _require_object(mask)
    rows, columns = np.nonzero(mask >= _OBJECT_THRESHOLD)
    left, right = float(np.min(columns)), float(np.max(columns))
    top, bottom = float(np.min(rows)), float(np.max(rows))
    height, width = bottom - top, right - left
    if fit == "forehead":
        top -= height / 6
    elif fit == "neck":
        bottom = mask.shape[0] - 1.0
        left, right = left + width / 12, right - width / 12
    elif fit == "ground":
        bottom += height / 6
    if right <= left or bottom <= top:
        raise UserError(
            f"the object mask is only {width + 1:.0f} pixels wide and {height + 1:.0f} high: "
            "use another mask or another image"
        )
    return left, right, top, bottom


def _require_object(mask: np.ndarray) -> None:
    if not (mask >= _OBJECT_THRESHOLD).any():
        raise UserError(
            f"the object mask is empty: none of its {mask.shape[0]} x {mask.shape[1]} pixels "
            f"reaches {_OBJECT_THRESHOLD}; use another mask or another image"
        )


def prior_loss(params: models.Params, batch: None, context: Context, *, flip: bool = False) -> LossAndMetrics:
    """Returns the mean squared difference between the depth, before its border is blended, and the prior.

    There is no batch and no mirrored depth map: `batch` and `flip` are not used.
    """
    example = context.example
    depth = models.depth(params, example.image, context.settings)
    loss = jnp.mean(jnp.square(depth[0] - example.prior))
    return loss, ({"loss": loss}, depth)


PRIOR_STEP = Step("prior", networks=("depth",), loss=prior_loss)
