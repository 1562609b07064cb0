"""Textures against texels summed one by one in NumPy, their gradients against finite differences, and what is odd."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from jax.test_util import check_grads

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry.texture import mipmaps, texture

_WRAPS = "repeat", "mirror", "clamp", "zero"


def _texel(image, row, column, wrap):
    height, width = image.shape[:2]
    if wrap == "zero" and not (0 <= row < height and 0 <= column < width):
        return 0 * image[0, 0]
    if wrap == "mirror":
        row, column = (np.r_[0:n, n - 1 : -1 : -1][i % (2 * n)] for i, n in ((row, height), (column, width)))
    places = (row % height, column % width) if wrap == "repeat" else (row, column)
    return image[np.clip(places[0], 0, height - 1), np.clip(places[1], 0, width - 1)]


def _bilinear(image, u, v, wrap):
    x, y = u * image.shape[1] - 0.5, v * image.shape[0] - 0.5
    corners = itertools.product((np.floor(y), np.floor(y) + 1), (np.floor(x), np.floor(x) + 1))
    return sum((1 - abs(y - r)) * (1 - abs(x - c)) * _texel(image, int(r), int(c), wrap) for r, c in corners)


def _brute_force(image, coordinates, slopes, level, wrap):
    levels = [image]
    while levels[-1].shape[0] % 2 == 0 and levels[-1].shape[1] % 2 == 0:
        last = levels[-1]
        levels.append((last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]) / 4)
    values = np.zeros((*coordinates.shape[:-1], image.shape[-1]))
    for at in np.ndindex(coordinates.shape[:-1]):
        lod = 0 if level is None else level[at]
        if slopes is not None:
            ellipse = slopes[at] * [[image.shape[1]], [image.shape[0]]]
            lod += np.clip(np.log2(np.linalg.svd(ellipse)[1][0]), 0, len(levels) - 1)
        lod = np.clip(lod, 0, len(levels) - 1)
        low = min(int(lod), len(levels) - 2)
        fine, coarse = (_bilinear(first, *coordinates[at], wrap) for first in levels[low : low + 2])
        values[at] = fine + (lod - low) * (coarse - fine)
    return values


def _lookups(seed=0):
    rng = np.random.default_rng(seed)
    image, coordinates = rng.normal(size=(24, 8, 2)), rng.uniform(-1.5, 2.5, (9, 11, 2))
    slopes = rng.normal(size=(9, 11, 2, 2)) * np.exp(rng.uniform(-5, 1, (9, 11, 1, 1)))
    return image, coordinates, slopes, rng.uniform(-1, 1, (9, 11))


@pytest.mark.parametrize("wrap", _WRAPS)
def test_equals_sums_of_texels(wrap):
    image, coordinates, slopes, level = _lookups()
    with jax.enable_x64(True):
        for options in ({}, {"slopes": slopes}, {"level": 2 * level}, {"slopes": slopes, "level": level}):
            values = compiled.texture(image, coordinates, wrap=wrap, **options)
            expected = _brute_force(image, coordinates, options.get("slopes"), options.get("level"), wrap)
            np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.parametrize(
    "wrap", ["repeat", "zero", *(pytest.param(wrap, marks=pytest.mark.heavy) for wrap in ("mirror", "clamp"))]
)
def test_gradients_equal_finite_differences(wrap):
    """To the texture, the coordinates, their slopes and the level: forward and backward."""
    arrays = _lookups(1)
    with jax.enable_x64(True):
        draw = jax.jit(lambda image, places, slopes, level: texture(image, places, slopes, level=level, wrap=wrap))
        check_grads(draw, tuple(map(jnp.asarray, arrays)), order=1, atol=1e-5, rtol=1e-5, eps=1e-7)
        gradients = jax.grad(lambda *arrays: jnp.sum(jnp.sin(draw(*arrays))), argnums=(0, 1, 2, 3))(*arrays)
    assert all((np.abs(gradient) > 0).any() for gradient in gradients)


def test_batches_broadcast_and_map():
    image, coordinates, slopes, _ = _lookups()
    images = np.stack([image, 2 * image])
    with jax.enable_x64(True):  # three programs, which may round differently
        both = np.asarray(compiled.texture(images, coordinates, slopes))
        broadcast = np.asarray(compiled.texture(image, np.stack([coordinates] * 2), slopes))
        mapped = jax.jit(jax.vmap(lambda first: texture(first, coordinates, slopes)))(images)
    np.testing.assert_allclose(both[1], 2 * both[0], rtol=1e-12)
    np.testing.assert_allclose(broadcast[1], both[0], rtol=1e-12)
    np.testing.assert_allclose(mapped, both, rtol=1e-12)


def test_levels_are_means_for_as_long_as_sides_are_even():
    assert [level.shape[:2] for level in mipmaps(np.ones((24, 8, 1)))] == [(24, 8), (12, 4), (6, 2), (3, 1)]
    assert [level.shape[:2] for level in mipmaps(np.ones((4, 1, 1)))] == [(4, 1), (2, 1), (1, 1)]
    image = _lookups()[0]
    for level in mipmaps(image):
        np.testing.assert_allclose(level.mean((0, 1)), image.mean((0, 1)), atol=1e-6)
    far = compiled.texture(image, np.full((1, 1, 2), 0.3), np.full((1, 1, 2, 2), np.inf))
    np.testing.assert_allclose(far, _brute_force(image, np.full((1, 1, 2), 0.3), None, np.full((1, 1), 9), "repeat"),
                               atol=1e-6)  # fmt: skip


def test_what_is_not_finite_poisons_nobody_else():
    image, coordinates, slopes, level = _lookups()
    coordinates[0, 0], coordinates[1, 1], coordinates[2, 2] = np.nan, np.inf, 1e30
    slopes[3, 3], slopes[4, 4], slopes[5, 5], slopes[6, 6], level[7, 7] = np.nan, np.inf, 0, 1e30, np.nan
    for wrap in _WRAPS:

        def draw(*arrays, wrap=wrap):
            values = texture(*arrays[:3], level=arrays[3], wrap=wrap)
            return jnp.sum(values**2), values

        gradient = jax.jit(jax.grad(draw, argnums=(0, 1, 2, 3), has_aux=True))
        gradients, values = jax.device_get(gradient(image, coordinates, slopes, level))
        assert np.isfinite(values).all() and all(np.isfinite(gradient).all() for gradient in gradients)
        assert (values[0, 0] == 0).all() and (values[1, 1] == 0).all()


def test_an_unknown_mode_is_refused():
    with pytest.raises(ArgumentError, match="wrap is 'around'; it must be one of repeat, mirror, clamp, zero"):
        texture(*_lookups()[:2], wrap="around")
