"""What a camera sees of a drawn object, whatever it is: its lights, their shadow, and the picture's development.

Conventions are those of `geometry.camera`: x right, y down, z away, the rotation centre one unit from the camera.
"""

import jax
import jax.numpy as jnp

from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import rasterize

FAR = 1.6  # depth of the background, scene units
FOV = 10.0  # degrees, of the method's camera
_SHADOW = 112  # side of the shadow's map
_SPREAD = ((0.0, 0.0), (0.9, 0.4), (-0.4, 0.9), (-0.9, -0.4), (0.4, -0.9))  # where a shadow is looked up


def unit(vectors):
    return vectors / jnp.sqrt(jnp.maximum((vectors**2).sum(-1, keepdims=True), 1e-12))


def step(value, low, high):
    t = jnp.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def curve(value, places, heights):
    return jnp.interp(value, jnp.array(places), jnp.array(heights))


def bell(*distances):
    return jnp.exp(-sum(d**2 for d in distances))


def harmonics(s):
    """Returns coefficients (9, 3) of 1, x, y, z, xy, xz, yz, x2 - y2, 3 z2 - 1 for an ambient light and lobes."""
    x, y, z = s["lobes"].T
    # (1 + n.d)^2 / 4 on the unit sphere, expanded
    constant, squares = jnp.full_like(x, 1 / 3), [(x**2 - y**2) / 8, z**2 / 8 - 1 / 24]
    basis = jnp.stack([constant, x / 2, y / 2, z / 2, x * y / 2, x * z / 2, y * z / 2, *squares])
    return (basis @ s["lobe_colour"]).at[0].add(s["ambient"])


def harmonic_light(normal, coefficients):
    x, y, z = normal[..., 0], normal[..., 1], normal[..., 2]
    basis = jnp.stack([jnp.ones_like(x), x, y, z, x * y, x * z, y * z, x**2 - y**2, 3 * z**2 - 1], -1)
    return jnp.maximum(basis @ coefficients, 0)


def shadow(points, faces, position, direction, soft, offsets=_SPREAD):
    """Returns how much of the key light reaches positions (..., 3): a map of depths seen from the light, softened."""
    up = jnp.array([0.02, 1.0, 0.03])
    side = unit(jnp.cross(up, direction))
    frame = jnp.stack([side, jnp.cross(direction, side), -direction])
    camera = Camera(image_size=_SHADOW, fov_deg=20.0)
    middle = jnp.array([0, 0, 1.0])
    depth = rasterize((points - middle) @ frame.T + middle, camera, faces=faces).depth
    at = (position - middle) @ frame.T + middle
    xy = at[..., :2] / at[..., 2:] * camera.focal_length + (camera.width - 1) / 2
    lit = 0.0
    for offset in offsets:
        near = xy + soft * jnp.array(offset)
        low = jnp.floor(near)
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            c = jnp.clip(low + jnp.array(corner), 0, _SHADOW - 1).astype(jnp.int32)
            weight = jnp.maximum(1 - jnp.abs(low + jnp.array(corner) - near), 0).prod(-1)
            lit += weight * (at[..., 2] < depth[c[..., 1], c[..., 0]] + 0.0012)
    return lit / len(offsets)


def gamma(linear):
    return jnp.where(linear <= 0.0031308, 12.92 * linear, 1.055 * jnp.maximum(linear, 1e-4) ** (1 / 2.4) - 0.055)


def _blurred(image, sigma):
    reach = jnp.arange(-2, 3)
    kernel = jnp.exp(-(reach**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = jnp.pad(image, [(2, 2) if k == axis else (0, 0) for k in range(3)], mode="edge")
        image = sum(kernel[k] * jax.lax.slice_in_dim(padded, k, k + image.shape[axis], axis=axis) for k in range(5))
    return image


def developed(picture, s, supersample: int):
    """Returns what a camera makes of linear samples (N, N, 3): pixels from 0 to 1, maybe a little outside.

    `s` has blur (pixels of 64), grain and its seed, saturation and contrast; see `chance.film`.
    """
    picture = resample.average_cells(jnp.minimum(picture, 2.0), supersample)
    picture = _blurred(picture, s["blur"] * picture.shape[0] / 64)
    picture = picture / (1 + 0.15 * picture)
    grain = jax.random.normal(jax.random.PRNGKey(s["grain_seed"]), picture.shape)
    picture = picture + s["grain"] * grain * (0.3 + jnp.sqrt(jnp.maximum(picture, 0)))
    grey = picture.mean(-1, keepdims=True)
    shown = jnp.clip(gamma(grey + s["saturation"] * (picture - grey)), 0, 1)
    return shown + s["contrast"] * (shown * shown * (3 - 2 * shown) - shown)


def told(shown, surface, s, *, gain, supersample: int):
    """Returns a picture and what is true of it, as `folders` writes it; what is true holds at the middle of a pixel.

    `surface` has, of every sample (N, N): depth in the method's scene, visible, albedo (linear), normal (out of the
    surface) and shading, the light on it; and the key's colour and direction. `s` has the other lights, by which a
    surface is seen: `lobes` are in the same frame as its normals.
    """
    cell = slice(supersample // 2, None, supersample)
    visible, normal, direction = surface["visible"], surface["normal"], surface["direction"]
    whole, toward = visible[..., None], direction.at[2].min(-0.2)  # a light of the method's comes from the front
    albedo = jnp.clip(gamma(jnp.where(whole, surface["albedo"], 0)[cell, cell]), 0, 1)
    return {
        "image": jnp.round(jnp.clip(shown, 0, 1) * 255).astype(jnp.uint8),
        "depth": jnp.where(visible, surface["depth"], 0)[cell, cell],
        "mask": visible[cell, cell],
        "albedo": jnp.round(albedo * 255).astype(jnp.uint8),
        "normal": jnp.where(whole, -normal, 0)[cell, cell],
        "light": as_one_light(surface["shading"].mean(-1) * gain, normal, visible, toward),
        # Of the method's normals, which point the other way
        "harmonics": harmonics(s) * jnp.array([1, -1, -1, -1, 1, 1, 1, 1, 1])[:, None] * gain,
        "key": jnp.stack([surface["key"] * gain, -direction]),
    }


def as_one_light(shading, normal, visible, toward):
    """Returns ambient, diffuse, dx and dy that explain what light falls onto a head best, in least squares."""
    direct = jnp.maximum(normal @ unit(toward), 0)
    count = jnp.maximum(visible.sum(), 1)
    mean, mean_direct = ((values * visible).sum() / count for values in (shading, direct))
    together = ((shading - mean) * (direct - mean_direct) * visible).sum()
    diffuse = jnp.maximum(together / jnp.maximum(((direct - mean_direct) ** 2 * visible).sum(), 1e-6), 0)
    return jnp.stack([jnp.maximum(mean - diffuse * mean_direct, 0), diffuse, *(toward[:2] / toward[2])])
