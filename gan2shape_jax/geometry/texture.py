"""Textures on meshes: bilinear in each level of a pyramid of halved images, and linear between two levels.

Coordinates `(..., 2)` are (u, v) as in glTF: u runs along the image's rows, v down its columns; (0, 0) and (1, 1) are
the outer corners of its first and last texel. Their derivatives along the picture, which choose the level, are those
of `mesh_rasterizer.interpolate`:

    fragments = rasterize(vertices, camera, faces=faces, derivatives=True)
    places, slopes = interpolate(fragments, coordinates, faces=faces, derivatives=True)
    picture = texture(image, places, slopes)
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gan2shape_jax import platforms
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import resample

_WRAPS = "repeat", "mirror", "clamp", "zero"


@platforms.arrays
@platforms.per_shard(image=3, coordinates=3, slopes=4, level=2)
def texture(
    image: Float[Array, "*#batch H W C"],
    coordinates: Float[Array, "*#batch h w 2"],
    slopes: Float[Array, "*#batch h w 2 2"] | None = None,
    *,
    level: Float[Array, "*#batch h w"] | None = None,
    wrap: str = "repeat",
) -> Float[Array, "*batch h w C"]:
    """Looks up a texture, which is differentiable in all of its arrays.

    Level k is the image halved k times, by means of 2 x 2 texels: level 0 alone without `slopes` and `level`. Leading
    axes broadcast. Where coordinates are not finite, the value is 0.

    Args:
      image: the texture; its sides are halved for as long as both are even, or 1.
      coordinates: (u, v).
      slopes: derivatives of (u, v) along x and y of the picture, per pixel (of samples looked up for themselves, times
        their spacing). The level is log2 of the longer axis, in texels, of the ellipse that is a circle on the picture;
        it has no gradient beyond the first and last level.
      level: added to that level, or the level itself without `slopes`.
      wrap: what is beyond the image: "repeat" of it, its "mirror" image, "clamp" for its outermost texels, or "zero".

    Raises:
      ArgumentError: the wrap mode is unknown.
    """
    if wrap not in _WRAPS:
        raise ArgumentError(f"wrap is {wrap!r}; it must be one of {', '.join(_WRAPS)}")
    levels = mipmaps(image) if slopes is not None or level is not None else [image]
    batch, channels = image.shape[:-3], image.shape[-1]
    sizes = [each.shape[-3:-1] for each in levels]
    flat = jnp.concatenate([each.reshape(*batch, -1, channels) for each in levels], -2)
    table = np.array([(*size, start) for size, start in zip(sizes, _starts(sizes))], np.int32)
    start = np.arange(math.prod(batch), dtype=np.int32).reshape(*batch, 1, 1) * flat.shape[-2]
    flat = flat.reshape(-1, channels)

    finite = jnp.isfinite(coordinates).all(-1)
    coordinates = _wrapped(jnp.where(finite[..., None], coordinates, 0), wrap)
    if len(levels) == 1:
        values = _bilinear(flat, coordinates, jnp.asarray(table[0]), start, wrap)
    else:
        at = _level(slopes, sizes[0], len(levels) - 1, coordinates.dtype) if slopes is not None else 0
        at = jnp.clip(at if level is None else at + jnp.where(jnp.isnan(level), 0, level), 0, len(levels) - 1)
        low = jnp.minimum(jnp.floor(jax.lax.stop_gradient(at)), len(levels) - 2).astype(jnp.int32)
        fine, coarse = (_bilinear(flat, coordinates, jnp.asarray(table)[low + k], start, wrap) for k in (0, 1))
        values = fine + (at - low)[..., None] * (coarse - fine)
    return jnp.where(finite[..., None], values, 0)


@platforms.arrays
def mipmaps(image: Float[Array, "*batch H W C"]) -> list[Float[Array, "*batch h w C"]]:
    """Returns an image and its halves, for as long as both sides are even, or 1."""
    levels = [image]
    while max(size := levels[-1].shape[-3:-1]) > 1 and all(side % 2 == 0 or side == 1 for side in size):
        last = levels[-1]
        last = jnp.concatenate([last, last], -3) if size[0] == 1 else last
        last = jnp.concatenate([last, last], -2) if size[1] == 1 else last
        levels.append(resample.average_cells(last, 2))
    return levels


def _starts(sizes: list[tuple[int, ...]]) -> list[int]:
    return [0, *itertools.accumulate(map(math.prod, sizes))][:-1]


def _wrapped(coordinates: Array, wrap: str) -> Array:
    """Returns coordinates near the image that mean the same, so that no texel's number overflows."""
    if wrap in ("clamp", "zero"):
        return jnp.clip(coordinates, -1, 2)
    period = 1 if wrap == "repeat" else 2
    return coordinates - jax.lax.stop_gradient(period * jnp.floor(coordinates / period))


def _level(slopes: Array, size: tuple[int, ...], most: int, dtype: jnp.dtype) -> Array:
    """Returns log2 of the longer axis of the ellipse of a sample, in texels."""
    scaled = slopes * jnp.array([size[1], size[0]], dtype)[:, None]
    scaled = jnp.where(jnp.isfinite(scaled), jnp.clip(scaled, -(2.0**24), 2.0**24), 2.0**24)
    along, down = (scaled**2).sum(-2)[..., 0], (scaled**2).sum(-2)[..., 1]
    mean, across = (along + down) / 2, (scaled[..., 0] * scaled[..., 1]).sum(-1)
    apart = ((along - down) / 2) ** 2 + across**2
    circular = apart <= jnp.finfo(dtype).tiny
    longer = mean + jnp.where(circular, 0, jnp.sqrt(jnp.where(circular, 1, apart)))
    return jnp.log2(jnp.clip(longer, 1, 4.0**most)) / 2


def _bilinear(flat: Array, coordinates: Array, table: Array, start: np.ndarray, wrap: str) -> Array:
    """Returns values of one level for each sample: `table` says height, width and first texel, `start` the image."""
    height, width, first = (table[..., k] for k in range(3))
    fixed = jax.lax.stop_gradient(coordinates)
    axes = []
    for k, length in ((0, width), (1, height)):
        low = jnp.floor(fixed[..., k] * length - 0.5)
        share = coordinates[..., k] * length - 0.5 - low
        axes.append(
            [_texel(low.astype(jnp.int32) + end, length, wrap) + ((share, 1 - share)[1 - end],) for end in (0, 1)]
        )
    values = jnp.zeros((), flat.dtype)
    for (x, x_inside, x_share), (y, y_inside, y_share) in itertools.product(*axes):
        texel = flat.at[start + first + y * width + x].get(mode="promise_in_bounds")
        values = values + texel * jnp.where(x_inside & y_inside, x_share * y_share, 0)[..., None]
    return values


def _texel(number: Array, length: Array, wrap: str) -> tuple[Array, Array]:
    """Returns which texel of a row has a number that may be beyond it, and whether there is one."""
    inside = jnp.ones(number.shape, bool) if wrap != "zero" else (number >= 0) & (number < length)
    if wrap == "repeat":
        return number % length, inside
    if wrap == "mirror":
        number = number % (2 * length)
        return jnp.minimum(number, 2 * length - 1 - number), inside
    return jnp.clip(number, 0, length - 1), inside
