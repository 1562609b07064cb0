"""Errors of a depth map against the truth: scale-invariant error, normal angles, plain errors.

Depths are `(..., H, W)` in scene units, in the input view; normals `(..., H, W, 3)`; masks
`(..., H, W)`, 0 or 1. Every metric is one number per item, of shape `(...)`; angles in degrees. An
empty mask gives NaN: there is nothing to measure.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera

__all__ = ["depth_metrics", "erode", "evaluation_mask", "mean_angle", "side"]

# Nine equal pixels of 1 average to 1 up to rounding; one zero among them gives 0.89.
_ALL_NINE = 0.99


def side(
    depth: Float[Array, "*batch h w"],
    true_depth: Float[Array, "*batch h w"],
    mask: Float[Array, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Returns the scale-invariant depth error: the standard deviation of the log ratio over the mask.

    Source: Eigen et al., NeurIPS 2014, as GAN2Shape (section 4) reports it. A common
    factor cancels.
    """
    difference = (jnp.log(depth) - jnp.log(true_depth)) * mask
    mean = _masked_mean(difference, mask)[..., None, None]
    return jnp.sqrt(_masked_mean(jnp.square(difference - mean), mask))


def mean_angle(
    normal: Float[Array, "*batch h w 3"],
    true_normal: Float[Array, "*batch h w 3"],
    mask: Float[Array, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Returns the mean angle in degrees between normals over the mask, `acos` of their product cut to [-1, 1].

    The normals are taken as they come: ones shorter than 1, which the original computes, read a few
    degrees apart even where they are equal.
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
    """Returns where depth is compared: the eroded object times the eroded valid pixels.

    The object is where the true depth is below its maximum in that item, the background.
    """
    background = jnp.max(true_depth, axis=(-2, -1), keepdims=True)
    return erode((true_depth < background).astype(true_depth.dtype)) * erode(valid)


def depth_metrics(
    warped_depth: Float[Array, "*batch h w"],
    true_depth: Float[Array, "*batch h w"],
    valid: Float[Array, "*batch h w"],
    camera: Camera,
) -> dict[str, Float[Array, "*batch"]]:
    """Returns all metrics of a depth map in the input view (GAN2Shape, section 4.1).

    Args:
        warped_depth: the reconstructed depth seen from the input view.
        true_depth: the truth there; its maximum is the background.
        valid: 1 where the warped depth shows the object's surface.
        camera: gives the normals.

    Returns:
        `side`; `mad` with the original's short normals and `mad_unit` with unit ones, in degrees;
        `mae` and `mse` in scene units and their square.
    """
    mask = evaluation_mask(true_depth, valid)
    error = warped_depth - true_depth

    def angle(unit: bool) -> Float[Array, "*batch"]:
        return mean_angle(
            lighting.normals(warped_depth, camera, unit=unit),
            lighting.normals(true_depth, camera, unit=unit),
            mask,
        )

    return {
        "side": side(warped_depth, true_depth, mask),
        "mad": angle(unit=False),
        "mad_unit": angle(unit=True),
        "mae": _masked_mean(jnp.abs(error), mask),
        "mse": _masked_mean(jnp.square(error), mask),
    }


def _masked_mean(values: Float[Array, "*batch h w"], mask: Float[Array, "*batch h w"]) -> Float[Array, "*batch"]:
    """Returns the mean over the mask, per item."""
    return jnp.sum(values * mask, axis=(-2, -1)) / jnp.sum(mask, axis=(-2, -1))
