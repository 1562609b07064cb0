"""Errors of a depth map against the ground truth: scale-invariant error, normal angles, plain errors.

Depths are `(..., H, W)` in scene units, in the input view; normals `(..., H, W, 3)`; masks
`(..., H, W)`, 0 or 1. Every metric is one number per item, of shape `(...)`; angles in degrees. An
empty mask gives NaN: there is nothing to measure.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera

# Nine equal pixels of 1 average to 1 up to rounding; one zero among them gives 0.89.
_ALL_NINE = 0.99


def side(
    depth: Float[Array, "*batch h w"],
    true_depth: Float[Array, "*batch h w"],
    mask: Float[Array, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Returns the scale-invariant depth error: the standard deviation of the log ratio over the mask.

    Source: Eigen et al., NeurIPS 2014, as GAN2Shape (section 4) reports it. A common factor cancels out.
    """
    difference = (jnp.log(depth) - jnp.log(true_depth)) * mask
    mean = _masked_mean(difference, mask)[..., None, None]
    return jnp.sqrt(_masked_mean(jnp.square(difference - mean), mask))


def mean_angle(
    normal: Float[Array, "*batch h w 3"],
    true_normal: Float[Array, "*batch h w 3"],
    mask: Float[Array, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Returns the mean angle in degrees between normals over the mask, `acos` of their dot product clipped to [-1, 1].

    Normals shorter than 1, which the original computes, come out a few degrees apart even where they are equal.
    """
    # A sum, not a matrix product: acos is too steep at 1 for a matrix unit's reduced precision.
    cosine = jnp.sum(normal * true_normal, axis=-1)
    return _masked_mean(jnp.rad2deg(jnp.arccos(jnp.clip(cosine, -1.0, 1.0))), mask)


def erode(mask: Float[Array, "*batch h w"]) -> Float[Array, "*batch h w"]:
    """Returns 1 where a pixel and its eight neighbours are all 1; outside the image counts as 0."""
    total = jax.lax.reduce_window(
        mask,
        np.zeros((), mask.dtype),
        jax.lax.add,
        window_dimensions=(1,) * (mask.ndim - 2) + (3, 3),
        window_strides=(1,) * mask.ndim,
        padding="SAME",
    )
    eroded: Float[Array, "*batch h w"] = (total / 9 > _ALL_NINE).astype(mask.dtype)
    return eroded


def evaluation_mask(
    true_depth: Float[Array, "*batch h w"], valid: Float[Array, "*batch h w"]
) -> Float[Array, "*batch h w"]:
    """Returns where depth is compared: the eroded object, nearer than the background, times the eroded valid pixels."""
    background = jnp.max(true_depth, axis=(-2, -1), keepdims=True)
    return erode((true_depth < background).astype(true_depth.dtype)) * erode(valid)


@functools.partial(jax.jit, static_argnames="camera")
def depth_metrics(
    warped_depth: Float[Array, "*batch h w"],
    true_depth: Float[Array, "*batch h w"],
    valid: Float[Array, "*batch h w"],
    camera: Camera,
) -> dict[str, Float[Array, "*batch"]]:
    """Returns all metrics of a depth map in the input view (GAN2Shape, section 4.1).

    They are `side`; `mad` with the original's short normals and `mad_unit` with unit ones, in degrees; `mae` in scene
    units and `mse` in their square. `valid` is 1 where the warped depth shows the object's surface; the maximum of the
    true depth is the background.
    """
    mask = evaluation_mask(true_depth, valid)
    error = warped_depth - true_depth

    def angle(unit: bool) -> Float[Array, "*batch"]:
        ours, theirs = (lighting.normals(depth, camera, unit=unit) for depth in (warped_depth, true_depth))
        return mean_angle(ours, theirs, mask)

    return {
        "side": side(warped_depth, true_depth, mask),
        "mad": angle(unit=False),
        "mad_unit": angle(unit=True),
        "mae": _masked_mean(jnp.abs(error), mask),
        "mse": _masked_mean(jnp.square(error), mask),
    }


def depth_errors(
    depth: ArrayLike,
    true_depth: ArrayLike,
    camera: Camera,
    *,
    valid: ArrayLike | None = None,
) -> dict[str, np.ndarray]:
    """Validates depth maps and measures their errors against the ground truth; inside `jax.jit`, use `depth_metrics`.

    Args:
      depth: `(..., S, S)` seen from the ground truth's view, scene units.
      true_depth: `(..., S, S)` scene units; its maximum is the background.
      camera: used to compute the normals; also defines the background depth.
      valid: 1 where `depth` shows a surface; by default where it is nearer than `camera.background_depth`.

    Returns:
      NumPy arrays with the errors of `depth_metrics`, each of shape `(...)`.

    Raises:
      ArgumentError: the shapes are wrong, depths are not positive and finite, or there is nothing to compare.
    """
    shape = (camera.image_size, camera.image_size)
    maps = {"depth": np.asarray(depth, np.float32), "true_depth": np.asarray(true_depth, np.float32)}
    for name, values in maps.items():
        if values.shape[-2:] != shape or values.shape != maps["depth"].shape:
            shapes = " and ".join(str(array.shape) for array in maps.values())
            raise ArgumentError(
                f"depth and true_depth have the shapes {shapes}: (..., {shape[0]}, {shape[1]}), the same"
            )
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ArgumentError(
                f"{name} has values that are not positive and finite (such as 0 in the background): set the "
                f"background to the greatest depth, such as camera.max_depth ({camera.max_depth:g})"
            )
    if valid is None:
        valid = maps["depth"] < camera.background_depth
    shown = np.broadcast_to(np.asarray(valid, np.float32), maps["depth"].shape)
    if not np.asarray(evaluation_mask(jnp.asarray(maps["true_depth"]), jnp.asarray(shown))).any(axis=(-2, -1)).all():
        raise ArgumentError(
            "nothing can be compared: no pixel with a true_depth below its maximum, and valid, has all of its eight "
            "neighbours"
        )
    errors = depth_metrics(maps["depth"], maps["true_depth"], shown, camera=camera)
    return {name: np.asarray(value) for name, value in errors.items()}


def _masked_mean(values: Float[Array, "*batch h w"], mask: Float[Array, "*batch h w"]) -> Float[Array, "*batch"]:
    """Returns the mean over the mask, per item."""
    return jnp.sum(values * mask, axis=(-2, -1)) / jnp.sum(mask, axis=(-2, -1))
