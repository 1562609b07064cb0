"""Surface normals and diffuse shading.

Normals `(..., H, W, 3)` are in the camera's frame (x right, y down, z away); a plane facing
the camera has normal (0, 0, 1). A light `(..., 4)` is ambient strength, diffuse strength, and the x
and y of its direction (x, y, 1), which is normalised before use. Shading multiplies albedo on
[0, 1].
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax import platforms
from gan2shape_jax.geometry import camera as camera_lib

# What the published implementation adds to the length of a normal before dividing by it.
_REFERENCE_EPSILON = 1e-7
GAMMA = 2.2  # of sRGB, about: pictures to this power are in linear light, which harmonics shade


@platforms.arrays
@platforms.per_shard(depth=2)
def normals(
    depth: Float[Array, "*batch h w"], camera: camera_lib.Camera, *, unit: bool = True
) -> Float[Array, "*batch h w 3"]:
    """Returns the normals of a depth map, from central differences of its points (GAN2Shape, section 3.1).

    The one-pixel border is (0, 0, 1). `unit=False` reproduces the published implementation, which divides by
    length + 1e-7 where the length is about 3e-5: its normals are slightly short.
    """
    points = camera_lib.back_project(depth, dataclasses.replace(camera, extrinsics=None))
    along_x = points[..., 1:-1, 2:, :] - points[..., 1:-1, :-2, :]
    along_y = points[..., 2:, 1:-1, :] - points[..., :-2, 1:-1, :]
    if unit:
        # Differences are about one pixel in size: measured in pixels, their squares stay far from underflow.
        inside = jnp.cross(along_x, along_y) * (camera.intrinsics[0] * camera.intrinsics[1] / 4)
        squared = jnp.sum(inside**2, -1, keepdims=True)
        proper = squared > jnp.finfo(inside.dtype).tiny  # others become (0, 0, 1), with zero gradient
        inside = jnp.where(proper, inside, jnp.array([0, 0, 1], inside.dtype))
        inside = inside / jnp.sqrt(jnp.where(proper, squared, 1))
    else:
        inside = jnp.cross(along_x, along_y)
        length = jnp.sqrt(jnp.sum(inside**2, -1, keepdims=True))
        inside = inside / (length + _REFERENCE_EPSILON)
    border = 1.0 if unit else 1 / (1 + _REFERENCE_EPSILON)
    frontal = jnp.zeros(points.shape, points.dtype).at[..., 2].set(border)
    return frontal.at[..., 1:-1, 1:-1, :].set(inside)


@platforms.arrays
def light_direction(light: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3"]:
    """Returns the unit vector (x, y, 1) / length of a light.

    Examples:
      >>> light_direction(jnp.array([0.5, 0.5, 0.0, 0.0])).tolist()  # ambient, diffuse, x, y: from the camera
      [0.0, 0.0, 1.0]
    """
    direction = jnp.concatenate([light[..., 2:], jnp.ones_like(light[..., :1])], -1)
    return direction / jnp.sqrt(jnp.sum(direction**2, -1, keepdims=True))


@platforms.arrays
def diffuse_shading(
    normal: Float[Array, "*#batch h w 3"], direction: Float[Array, "*#batch 3"]
) -> Float[Array, "*#batch h w"]:
    """Returns max(0, normal . direction), for unit normals in [0, 1]."""
    turned = direction[..., None, None, :]
    # Written out: another order of the sum rounds differently, and results are compared bit by bit.
    cosine = normal[..., 0] * turned[..., 0] + normal[..., 1] * turned[..., 1] + normal[..., 2] * turned[..., 2]
    return jnp.maximum(cosine, 0)


@platforms.arrays
def shade(
    normal: Float[Array, "*#batch h w 3"], light: Float[Array, "*#batch 4"]
) -> tuple[Float[Array, "*#batch h w"], Float[Array, "*#batch h w"]]:
    """Returns (shading, diffuse): ambient + strength * diffuse, and diffuse without strength."""
    diffuse = diffuse_shading(normal, light_direction(light))
    return light[..., None, None, 0] + light[..., None, None, 1] * diffuse, diffuse


@platforms.arrays
def apply_shading(
    albedo: Float[Array, "*#batch h w 3"], shading: Float[Array, "*#batch h w"]
) -> Float[Array, "*#batch h w 3"]:
    """Returns albedo in [-1, 1] multiplied, on [0, 1], by shading; the texture may exceed 1."""
    return (albedo / 2 + 0.5) * shading[..., None] * 2 - 1


@platforms.arrays
def harmonics(normal: Float[Array, "*batch 3"]) -> Float[Array, "*batch 9"]:
    """Returns the spherical harmonics up to the second order of unit normals, unnormalised.

    A light of nine numbers a colour shades a surface by their sum: 1, x, y, z, xy, xz, yz, x^2 - y^2, 3z^2 - 1.
    """
    x, y, z = (normal[..., axis] for axis in range(3))
    return jnp.stack([jnp.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)
