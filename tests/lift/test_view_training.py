"""V taught by samples' own textures, turned and lit anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_lift

from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.lift import model_file, samples, view_training
from gan2shape_jax.method import models
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import resolve

_BATCH = 8  # of all that is drawn here: one program


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    config = tiny_lift(tmp_path_factory.mktemp("lift"), lift__view_iterations=80)
    maker = samples.maker_of(config, *inputs.load_frozen(resolve(config)))
    settings = model_file.as_with_single_images(config, maker.settings)
    return config, maker, settings, models.init_params(jax.random.key(0), settings)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    for name, value in {"_LEARNING_RATE": 2e-3, "_SAMPLES": 32, "_BATCH": _BATCH}.items():
        monkeypatch.setattr(view_training, name, value)


def _bowl(size):
    """Returns the depth of a face without features."""
    down, across = np.mgrid[:size, :size] - size / 2
    return jnp.minimum(0.95 + 0.05 * jnp.asarray(down**2 + across**2, jnp.float32) / (size / 2) ** 2, 1.02)


@pytest.mark.parametrize("turn", [(0.3, 0, 0), (0, 0.3, 0), (0, -0.3, 0.1)])
def test_a_spot_is_drawn_where_the_turned_surface_has_it(case, turn):
    """Where the point of the canonical surface that a sample shows at one place is seen from another view."""
    settings = case[2]
    camera, size = settings.camera, settings.image_size
    down, across = np.mgrid[:size, :size]
    depth = jnp.broadcast_to(_bowl(size), (_BATCH, size, size))
    texel = (size // 2 - 2, size // 2 + 3)  # row and column
    views = np.array([[0.05, 0.1, 0, 0, 0, 0]], np.float32)
    turned = views + np.float32([*turn, 0.004, -0.002, 0])
    places = [
        np.asarray(cam.project(cam.moved_points(depth[:1], jnp.asarray(view), camera), camera))[0][texel]
        for view in (views, turned)
    ]
    away = (across - places[0][0]) ** 2 + (down - places[0][1]) ** 2
    image = np.repeat(-0.8 + 1.6 * np.exp(-away / 3)[None, ..., None], 3, axis=-1).astype(np.float32)
    images, *both = (np.repeat(each, _BATCH, axis=0) for each in (image, views, turned))
    for key in jax.random.split(jax.random.key(1), 3):
        grey = np.asarray(view_training._drawn(key, images, depth, *both, settings))[0].mean(-1)
        weight = np.maximum(grey - grey.max() / 2 - grey.min() / 2, 0)
        found = [(weight * along).sum() / weight.sum() for along in (across, down)]
        np.testing.assert_allclose(found, places[1], atol=0.9)
    assert np.abs(places[1] - places[0]).max() > 1.5


def test_only_v_changes_and_sees_by_how_much_samples_are_turned(case, monkeypatch):
    config, maker, settings, params = case
    depth = jnp.broadcast_to(_bowl(settings.image_size), (_BATCH, *2 * (settings.image_size,)))
    monkeypatch.setattr(view_training, "_explained", lambda *_: (depth, jnp.zeros((_BATCH, 6))))
    taught = view_training.taught(config, params, maker)
    assert all(taught[name] is params[name] for name in params if name != "view")
    images, _ = maker.images(samples.Stream.HELD_OUT_SAMPLE, range(2 * _BATCH))
    every, seen = view_training._turned(np.random.default_rng(0), np.zeros((2 * _BATCH, 6), np.float32)), []
    for some, turned in zip(np.split(images, 2), np.split(every, 2)):
        drawn = view_training._drawn(jax.random.key(2), some, depth, 0 * turned, turned, settings)
        seen.append(jax.jit(models.views)(taught, drawn, maker.frozen.view_mean, settings))
    assert np.corrcoef(every[:, 1], np.concatenate(seen)[:, 1])[0, 1] > 0.5


def test_the_same_key_teaches_the_same_and_no_iterations_nothing(case):
    config, maker, _, params = case

    def stop(number):
        if number:
            raise KeyboardInterrupt

    config = config.copy_and_resolve_references().unlock()
    config.lift.view_iterations = 2
    one, again = (view_training.taught(config, params, maker)["view"] for _ in range(2))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, again))
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, params["view"]))
    numbers = []
    with pytest.raises(KeyboardInterrupt):  # as Ctrl-C does
        view_training.taught(config, params, maker, on_iteration=lambda number: (numbers.append(number), stop(number)))
    assert numbers == [0, 1]
    config.lift.view_iterations = 0
    assert view_training.taught(config, params, maker) is params
