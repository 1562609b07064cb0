"""V taught by a model's own samples, turned and lit anew: what a lift of people or cars ends with.

V learns along with depth and albedo to explain each sample by itself, and is content with views that are half right: it
takes nods for half of what they are, and light from a side for a turn. Here it sees samples' own textures on the
model's depth of them, from random views and under random lights. What V has wrong in a sample is the same in all of its
views; by how much they differ is known.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.lift.detail_training import varied
from gan2shape_jax.lift.model_file import as_with_single_images
from gan2shape_jax.lift.samples import SampleMaker
from gan2shape_jax.method import models
from gan2shape_jax.method.factors import blend_border
from gan2shape_jax.method.models import Params
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.streams import Stream, generator_of, key_of
from gan2shape_jax.platforms import in_batches

# Chosen by 512 rendered heads (docs/reports/views.md).
_SAMPLES, _BATCH, _LEARNING_RATE = 3200, 32, 2e-4
_PLAIN = 0.25  # share of samples that are drawn from where they were taken, only lit anew
# By how much the others are turned at most, pitch, yaw and roll in radians; the deviation of their shift, scene units.
_TURNS, _SHIFT = np.deg2rad([15, 30, 6]), 0.004
_FARTHEST = 1.0  # radians of yaw
_LEAST_AMBIENT, _SIDES = 0.3, ((-1.0, -0.4), (1.0, 0.8))  # the lights: x and y of directions, least and largest


def taught(
    config: ConfigDict, params: Params, maker: SampleMaker, *, on_iteration: Callable[[int], None] = lambda number: None
) -> Params:
    """Returns networks whose V has been taught by turned samples, for `config.lift.view_iterations`; all else stays.

    `on_iteration` is called before each iteration with its number, from 0; what it raises ends the training.
    """
    iterations, settings = config.lift.view_iterations, as_with_single_images(config, maker.settings)
    if not iterations:
        return params
    mean, rng = maker.frozen.view_mean, generator_of(maker.key, Stream.TURNED_TEXTURES)
    images, _ = maker.images(Stream.TEXTURED_SAMPLE, range(min(_SAMPLES, iterations * _BATCH)))
    depth, views = in_batches(lambda some: _explained(params, jnp.asarray(some), mean, settings), images, size=_BATCH)

    def batches() -> Iterator[tuple[Array, np.ndarray]]:
        for number in range(iterations):
            on_iteration(number)
            some = rng.choice(len(images), _BATCH)
            turned = np.where(rng.uniform(size=(_BATCH, 1)) < _PLAIN, views[some], _turned(rng, views[some]))
            key = key_of(maker.key, Stream.TURNED_TEXTURES, number + 1)
            yield _drawn(key, images[some], depth[some], views[some], turned, settings), turned

    rate = optax.cosine_decay_schedule(_LEARNING_RATE, iterations)
    return models.taught_views(params, batches(), mean, settings, learning_rate=rate)


def _turned(rng: np.random.Generator, views: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 6"]:
    """Returns views turned and shifted at random."""
    turned = views.copy()
    turned[:, :3] += rng.uniform(-_TURNS, _TURNS, (len(views), 3))
    turned[:, 3:5] += rng.normal(0, _SHIFT, (len(views), 2))
    turned[:, 1] = np.clip(turned[:, 1], -_FARTHEST, _FARTHEST)
    return turned


@jax.jit
def _explained(
    params: Params, images: Float[Array, "n s s 3"], mean: Float[Array, "6"], settings: Settings
) -> tuple[Float[Array, "n s s"], Float[Array, "n 6"]]:
    """Returns the model's depth of images, its border blended, and their views."""
    depth = models.depth(params, images, settings)
    if settings.mirrored:
        depth = (depth + models.depth(params, images[:, :, ::-1], settings)[:, :, ::-1]) / 2
    return blend_border(depth, settings.camera), models.views(params, images, mean, settings)


@jax.jit
def _drawn(
    key: PRNGKeyArray,
    images: Float[Array, "n s s 3"],
    depth: Float[Array, "n s s"],
    views: Float[Array, "n 6"],
    turned: Float[Array, "n 6"],
    settings: Settings,
) -> Float[Array, "n s s 3"]:
    """Returns images of known views as seen from others, under other lights and by other cameras.

    What images hide is taken from their mirror images. Beyond the frame the outermost texels go on, since an edge there
    would tell the view.
    """
    shining, dimming, varying = jax.random.split(key, 3)
    camera = settings.camera
    texture, visible = models.unprojected(images, depth, views, settings)
    if settings.mirrored:
        hidden = (visible == 0) & (visible[:, :, ::-1] > 0)
        texture = jnp.where(hidden, texture[:, :, ::-1], texture)
    least, largest = jnp.array(_SIDES)
    sides = jax.random.uniform(shining, (len(images), 2), minval=least, maxval=largest)
    ambient = jax.random.uniform(dimming, (len(images), 1), minval=_LEAST_AMBIENT)
    light = jnp.concatenate([ambient, 1 - ambient, sides], axis=1)
    shading, _ = lighting.shade(lighting.normals(depth, camera), light)
    texture = lighting.apply_shading(texture, shading / shading.mean(axis=(1, 2), keepdims=True))
    warped = render.warp_depth(depth, turned, camera, sampling=settings.sampling)
    outermost = 1 - 1 / images.shape[1]
    grid = jnp.clip(cam.inverse_warped_grid(warped, turned, camera), -outermost, outermost)
    return varied(varying, jnp.clip(resample.grid_sample(texture, grid), -1, 1))
