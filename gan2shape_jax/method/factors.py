"""The four factors of an image, depth, view, light and albedo, from the networks' raw outputs.

Axes: depth (..., S, S) in scene units (about 1 from the camera), view (..., 6) = rotations rx, ry, rz in
radians and translations tx, ty, tz in scene units, light (..., 4) = ambient, diffuse, dx, dy where the
light's direction is (dx, dy, 1) normalised; albedo (..., S, S, 3) in [-1, 1].

"Network units" are the networks' tanh outputs in [-1, 1]; view and light statistics are in these units.
Source: GAN2Shape (arXiv 2011.00844), section 3.1 and appendix; the ranges follow Unsup3d (Wu et al., 2020).
"""

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from gan2shape_jax.geometry.camera import Camera

# The border columns are pushed past the border depth by this factor, the published code's value.
BORDER_WEIGHT = 1.02
_BORDER_COLUMNS = 2


@flax.struct.dataclass
class Factors:
    """The factors of one image in its canonical frame."""

    depth: jax.Array  # (S, S), border blended
    albedo: jax.Array  # (S, S, 3) in [-1, 1]
    view: jax.Array  # (6,) radians and scene units
    light: jax.Array  # (4,) ambient, diffuse, dx, dy
    mask: jax.Array  # (S, S) object mask in the canonical frame, fractional; ones where masks are not used


@flax.struct.dataclass
class ViewRange:
    """The range of a view: degrees of rotation and scene units of translation per network unit."""

    rotation_deg: Any = 60.0
    xy: Any = 0.1
    z: Any = 0.0

    def units(self, dtype: DTypeLike = jnp.float32) -> Float[Array, "6"]:
        """Returns radians (three times) and scene units (three times) per network unit."""
        angle = jnp.asarray(self.rotation_deg, dtype) * (math.pi / 180)
        xy, z = (jnp.asarray(value, dtype) for value in (self.xy, self.z))
        return jnp.stack([angle, angle, angle, xy, xy, z])


def depth_from_raw(raw: Float[Array, "*batch h w"], camera: Camera) -> Float[Array, "*batch h w"]:
    """Maps raw network depth to [min_depth, max_depth]: zero mean, tanh, linear."""
    centred = raw - raw.mean(axis=(-2, -1), keepdims=True)
    unit = jnp.tanh(centred)
    return jnp.asarray((1 + unit) / 2 * camera.max_depth + (1 - unit) / 2 * camera.min_depth)


def blend_border(depth: Float[Array, "*batch h w"], camera: Camera) -> Float[Array, "*batch h w"]:
    """Replaces the two outermost columns on each side by the border depth, 0.7 max + 0.3 min.

    The depth map needs fixed sides: otherwise a foreground that reaches the image's edge would tear it.
    """
    weight = jnp.where(on_border(depth.shape[-1]), BORDER_WEIGHT, 0.0).astype(depth.dtype)
    border_depth = 0.7 * camera.max_depth + 0.3 * camera.min_depth
    return jnp.asarray(depth * (1 - weight) + weight * border_depth)


def on_border(width: int) -> Bool[Array, " w"]:
    """Returns which columns have the border depth instead of a depth of their own."""
    column = jnp.arange(width)
    return (column < _BORDER_COLUMNS) | (column >= width - _BORDER_COLUMNS)


def view_from_raw(raw: Float[Array, "*batch 6"], scale: ViewRange) -> Float[Array, "*batch 6"]:
    """Scales a view in network units to radians and scene units."""
    return raw * scale.units(raw.dtype)


def light_from_raw(raw: Float[Array, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Maps the first two entries (ambient, diffuse) from [-1, 1] to [0, 1]; the direction is unchanged."""
    strength = raw[..., :2] / 2 + 0.5
    return jnp.concatenate([strength, raw[..., 2:]], axis=-1)
