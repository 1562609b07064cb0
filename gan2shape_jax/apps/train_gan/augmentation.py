"""Random augmentation of photos and samples alike, so that a discriminator cannot memorise a small data set (ADA).

Karras et al., "Training generative adversarial networks with limited data", 2020, appendix B: pixel blitting, geometry
and colour ("bgc"), each with probability p. Only what the discriminator sees is augmented, never what the generator
makes: as long as p stays well below 1, the distribution of unchanged images can be inferred from the augmented ones.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax.stylegan2.layers import blur_half, upsample

_SHIFT = 0.125  # of the side: largest whole-pixel shift, and the standard deviation of any other
_SCALE = 0.2  # standard deviation of log2 of scale and of aspect
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0
_MARGIN = 3  # pixels around an image that filters may reach into
_TAPS = 12
# A filter that halves the bandwidth: a sinc with a Kaiser window, symmetric.
_WINDOWED = np.sinc((np.arange(_TAPS) - (_TAPS - 1) / 2) / 2) * np.kaiser(_TAPS, 4.0)
_FILTER = tuple(float(tap) for tap in _WINDOWED / _WINDOWED.sum())


def augment(
    key: PRNGKeyArray, images: Float[Array, "b s s 3"], probability: Float[Array, ""]
) -> Float[Array, "b s s 3"]:
    """Returns randomly augmented images; colours may leave [-1, 1].

    Each kind of change is drawn with this probability for each image; one without any stays exactly as it is.
    """
    where, what = jax.random.split(key)
    images = _geometry(where, images, probability)
    return _colours(what, images, probability)


def _chosen(key: PRNGKeyArray, count: int, probability: Array) -> Float[Array, " b"]:
    return (jax.random.uniform(key, (count,)) < probability).astype(jnp.float32)


def _matrix(rows: list[list[Array | float]]) -> Float[Array, "b 3 3"]:
    """Stacks entries, numbers or (b,), into matrices."""
    entries = jnp.broadcast_arrays(*(jnp.asarray(entry, jnp.float32) for row in rows for entry in row))
    return jnp.stack(entries, axis=-1).reshape(-1, 3, 3)


def _scaling(x: Array, y: Array) -> Float[Array, "b 3 3"]:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def _turning(angle: Array) -> Float[Array, "b 3 3"]:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _shifting(x: Array, y: Array) -> Float[Array, "b 3 3"]:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _geometry(key: PRNGKeyArray, images: Array, probability: Array) -> Array:
    count, side = images.shape[:2]
    keys = iter(jax.random.split(key, 24))
    chosen = functools.partial(_chosen, count=count)

    def uniform() -> Array:
        return jax.random.uniform(next(keys), (count,), minval=-1.0, maxval=1.0)

    def normal(*shape: int) -> Array:
        return jax.random.normal(next(keys), (*shape, count))

    mirror = chosen(next(keys), probability=probability / 2)
    quarters = jnp.floor(2 * (uniform() + 1)) * chosen(next(keys), probability=probability)
    whole = chosen(next(keys), probability=probability)
    shift_x, shift_y = (jnp.round(uniform() * _SHIFT * side) * whole for _ in range(2))
    scale = 2 ** (_SCALE * normal() * chosen(next(keys), probability=probability))
    aspect = 2 ** (_SCALE * normal() * chosen(next(keys), probability=probability))
    # Two rotations, before and after the change of aspect, with the same joint probability as the other changes.
    turn = 1 - jnp.sqrt(1 - probability)
    before, after = (math.pi * uniform() * chosen(next(keys), probability=turn) for _ in range(2))
    drift = normal(2) * _SHIFT * side * chosen(next(keys), probability=probability)
    # From positions in the result to positions in the image, so each change is the inverse of what is seen.
    steps = (
        _scaling(1 - 2 * mirror, 1.0 + 0 * mirror),
        _turning(quarters * (math.pi / 2)),
        _shifting(shift_x, shift_y),
        _scaling(scale, scale),
        _turning(before),
        _scaling(aspect, 1 / aspect),
        _turning(after),
        _shifting(*drift),
    )
    places = functools.reduce(jnp.matmul, steps)
    untouched = jnp.all(jnp.abs(places - jnp.eye(3)) < 1e-6, axis=(1, 2))
    return jnp.where(untouched[:, None, None, None], images, _resampled(images, places))


def _resampled(images: Array, places: Float[Array, "b 3 3"]) -> Array:
    """Returns images sampled where affine maps send their pixels, mirrored beyond their edges.

    Sampled at twice the side between two low-pass filters, so that rotating and shrinking neither blurs nor aliases.
    """
    side = images.shape[1]
    edges = ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
    fine = upsample(jnp.pad(images, edges, mode="symmetric"), _FILTER)
    fine = fine[:, 2 * _MARGIN : -2 * _MARGIN, 2 * _MARGIN : -2 * _MARGIN]
    along = (jnp.arange(2 * (side + 2 * _MARGIN)) + 0.5) / 2 - _MARGIN - side / 2
    x, y = jnp.meshgrid(along, along)
    points = jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
    led = jnp.einsum("bij,hwj->bhwi", places[:, :2], points, precision="highest")
    drawn = _bilinear(fine, 2 * (led + side / 2) - 0.5)
    return blur_half(drawn, _FILTER)[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _bilinear(images: Float[Array, "b s s 3"], at: Float[Array, "b h w 2"]) -> Float[Array, "b h w 3"]:
    """Samples images at positions in pixels, (column, row); beyond an edge the image continues mirrored."""
    count, side = images.shape[:2]
    # The image and its mirror image repeat with a period of twice the side.
    at = jnp.mod(at + 0.5, 2 * side)
    at = jnp.where(at > side, 2 * side - at, at) - 0.5
    low = jnp.floor(at)
    share = at - low
    first = jnp.clip(low, 0, side - 1).astype(jnp.int32)
    last = jnp.clip(low + 1, 0, side - 1).astype(jnp.int32)
    flat = images.reshape(count * side * side, 3)
    base = (jnp.arange(count) * side * side)[:, None, None]

    def pixels(column: Array, row: Array) -> Array:
        return flat[base + row * side + column]

    right, down = share[..., :1], share[..., 1:]
    upper = pixels(first[..., 0], first[..., 1]) * (1 - right) + pixels(last[..., 0], first[..., 1]) * right
    lower = pixels(first[..., 0], last[..., 1]) * (1 - right) + pixels(last[..., 0], last[..., 1]) * right
    return upper * (1 - down) + lower * down


def _colours(key: PRNGKeyArray, images: Array, probability: Array) -> Array:
    count = images.shape[0]
    keys = iter(jax.random.split(key, 12))
    chosen = functools.partial(_chosen, count=count)

    def normal() -> Array:
        return jax.random.normal(next(keys), (count,)) * chosen(next(keys), probability=probability)

    brightness, contrast = _BRIGHTNESS * normal(), 2 ** (_CONTRAST * normal())
    saturation = 2 ** (_SATURATION * normal())
    inverted = chosen(next(keys), probability=probability / 2)
    hue = jax.random.uniform(next(keys), (count,), minval=-math.pi, maxval=math.pi)
    hue = hue * chosen(next(keys), probability=probability)
    grey = jnp.full((3, 3), 1 / 3)  # the projection onto the grey axis
    coloured = jnp.eye(3) - grey
    crossed = jnp.asarray([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], jnp.float32) / math.sqrt(3)
    # Rotated about the grey axis (Rodrigues), stretched away from it, and mirrored along it.
    turned = (
        (1 - 2 * inverted)[:, None, None] * grey
        + (saturation * jnp.cos(hue))[:, None, None] * coloured
        + (saturation * jnp.sin(hue))[:, None, None] * crossed
    )
    mixed = contrast[:, None, None] * turned
    moved = brightness * contrast * (1 - 2 * inverted)
    return jnp.einsum("bhwi,boi->bhwo", images, mixed, precision="highest") + moved[:, None, None, None]
