"""How typical pictures are of a GAN: the bundled one knows its samples and the bundled faces from anything else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_stylegan2 import TINY, random_parameters
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.stylegan2 import typicality
from gan2shape_jax.stylegan2.latents import random_images


@pytest.fixture(scope="module")
def gan():
    arch, params = stylegan2.load(asset("ictface/gan.safetensors"))
    mean = stylegan2.mean_w(jax.random.key(0), params["generator"], arch=arch, samples=256)
    key = jax.random.key(1)
    images, _ = random_images(key, params["generator"], arch=arch, count=120, truncation=1.0, mean=mean)
    fitted = typicality.measure(params["discriminator"], images[:80], arch=arch, seed=0)
    return arch, params["discriminator"], images, fitted


def _scores(gan, images):
    arch, discriminator, _, fitted = gan
    return np.asarray(typicality.atypicality(fitted, discriminator, jnp.asarray(images), arch=arch))


def _faces():
    names = ("001", "002", "005", "006", "008", "009")
    return np.stack([np.asarray(Image.open(asset(f"ictface/image/{n}.png")), np.float32) / 127.5 - 1 for n in names])


def _others():
    """Pictures of none of the kinds that `unlike` makes."""
    rows, columns = np.mgrid[:64, :64] / 63
    rings = np.sin(40 * np.hypot(rows - 0.4, columns - 0.6))
    board = np.where((rows * 8).astype(int) % 2 == (columns * 8).astype(int) % 2, 0.8, -0.9)
    sky = np.stack([rows * 0.5 - 0.2, rows * 0.3, 1 - rows], -1)
    grass = np.random.default_rng(3).normal([-0.4, 0.2, -0.5], 0.25, (64, 64, 3)).clip(-1, 1)
    grey = [np.repeat(picture[..., None], 3, -1) for picture in (rings, board)]
    return np.stack([*grey, sky, grass, -np.ones((64, 64, 3)), np.ones((64, 64, 3))]).astype(np.float32)


def test_samples_are_typical_and_other_things_are_not(gan):
    held_out = _scores(gan, gan[2][80:])
    assert abs(held_out.mean()) < 0.6 and held_out.std() < 1.6
    faces, others = _scores(gan, _faces()), _scores(gan, _others())
    assert faces.max() < 3.5 < others.min()


def test_a_face_is_the_less_typical_the_further_it_is_out_of_its_frame(gan):
    """What a search for the frame goes by."""
    faces = _faces()
    moved = [np.mean(_scores(gan, np.roll(faces, (step, step), (1, 2)))) for step in (0, 6, 16)]
    assert moved[0] < moved[1] < moved[2]


def test_pictures_that_are_named_as_others_become_less_typical(gan):
    arch, discriminator, images, fitted = gan
    faces = _faces()
    without = typicality.measure(discriminator, images[:80], arch=arch, seed=0, others=faces[:3])
    before, after = (_scores((arch, discriminator, images, first), faces) for first in (fitted, without))
    assert (after[:3] > before[:3] + 1).all() and (after - before)[3:].max() < (after - before)[:3].min()


def test_the_same_arguments_give_the_same_bits_whatever_the_batch(gan):
    arch, discriminator, images, _ = gan
    first, again = (typicality.measure(discriminator, images[:40], arch=arch, seed=5) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True))
    together = _scores(gan, images[:6])  # as many as there are faces, and one: no further program
    np.testing.assert_allclose(together[0], _scores(gan, images[:1])[0], atol=2e-3)


def test_the_plane_is_that_of_regularised_least_squares():
    """Solved among rows; here among columns, as textbooks have it."""
    rng = np.random.default_rng(0)
    like, other = rng.normal(0, 1, (40, 7)), rng.normal(0.5, 2, (30, 7))
    scale = like.std(0) + 1e-6
    middle = (like.mean(0) + other.mean(0)) / 2
    a, b = (like - middle) / scale, (other - middle) / scale
    moments = a.T @ a / 80 + b.T @ b / 60
    wanted = -a.mean(0) / 2 + b.mean(0) / 2
    expected = np.linalg.solve(moments + 1e-4 * np.trace(moments) * np.eye(7), wanted) / scale
    np.testing.assert_allclose(typicality._plane(like, other), expected, rtol=1e-6)


def test_the_distance_is_that_of_mahalanobis():
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(0, 1, (9, 9)))[0]
    rows = (rng.normal(0, 1, (300, 9)) * np.array([5, 4, 3, 1, 1, 1, 1, 1, 0.5]) @ turned).astype(np.float32)
    middle, scale = rows.mean(0), rows.std(0)
    axes, deviations, rest = typicality._directions((rows - middle) / scale)
    arrays = (jnp.asarray(value) for value in (np.zeros(1), middle, scale, axes, deviations, rest, np.zeros(6)))
    _, distance = typicality.answers(typicality.Typicality(*arrays), jnp.zeros((300, 1)), jnp.asarray(rows))
    values, vectors = np.linalg.eigh(np.cov((rows - middle) / scale, rowvar=False, ddof=0))
    parts = (((rows - middle) / scale) @ vectors) ** 2 / values  # the least direction first; all others are leading
    np.testing.assert_allclose(distance, np.sqrt(parts[:, 0] + parts[:, 1:].mean(1)), rtol=2e-3)


def test_any_discriminator_serves_and_any_side_of_pictures():
    params = random_parameters()["discriminator"]
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (20, 32, 32, 3)).astype(np.float32)
    fitted = typicality.measure(params, images, arch=TINY, seed=0)
    scores = typicality.atypicality(fitted, params, jnp.asarray(images), arch=TINY)
    assert scores.shape == (20,) and np.isfinite(scores).all()
    assert typicality.side_of(TINY) == 16
