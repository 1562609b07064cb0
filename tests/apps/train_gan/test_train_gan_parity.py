"""Losses, penalties, their gradients and one update of training, against PyTorch's on the same numbers.

The numbers are made by `PYTHONPATH=tests python -m helpers.gan_training_golden`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from helpers.tiny_stylegan2 import TINY, random_parameters

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.train_gan import training as losses
from gan2shape_jax.apps.train_gan.training import TrainingSettings, optimizers

_FILE = "gan_training.npz"
_SETTINGS = TrainingSettings(learning_rate=0.01, r1_every=16, path_weight=1.0, path_every=4)
_PATH_MEAN = 0.3


def _judge(discriminator, images):
    return stylegan2.discriminate(discriminator, images, arch=TINY)[0]


def _paths(generator, golden):
    styles, directions = jnp.asarray(golden["styles"]), jnp.asarray(golden["directions"])
    return losses.path_lengths(lambda w: stylegan2.synthesize(generator, w, arch=TINY), styles, directions)


def _loss(name, params, golden):
    """The loss that an update minimises, of {"generator": ..., "discriminator": ...}."""
    generator, discriminator = params["generator"], params["discriminator"]
    photos, styles = jnp.asarray(golden["photos"]), jnp.asarray(golden["styles"])
    if name == "penalty":
        return losses.gradient_penalty(lambda images: _judge(discriminator, images), photos)
    if name == "paths":
        lengths = _paths(generator, golden)
        return losses.path_length_penalty(lengths, jnp.float32(_PATH_MEAN), decay=_SETTINGS.path_decay)[0]
    fake = _judge(discriminator, stylegan2.synthesize(generator, styles, arch=TINY))
    if name == "generator":
        return losses.generator_loss(fake)
    return losses.discriminator_loss(_judge(discriminator, photos), fake)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["discriminator", "penalty", "generator", "paths"])
def test_losses_gradients_and_one_update_are_pytorchs(name, golden, parity):
    golden = golden(_FILE)
    part = "generator" if name in ("generator", "paths") else "discriminator"
    params = random_parameters()
    value, gradient = jax.jit(jax.value_and_grad(lambda p: _loss(name, {**params, part: p}, golden)))(params[part])
    adam = optimizers(_SETTINGS)[part == "discriminator"]
    step, _ = adam.update(gradient, adam.init(params[part]))
    updated = flatten_dict({part: optax.apply_updates(params[part], step)}, sep="/")
    theirs = golden[f"{name}/loss"]
    parity(f"GAN training: {name}, loss", abs(float(value) - theirs) / abs(theirs), 1e-4)
    gradient = flatten_dict({part: gradient}, sep="/")
    compared = [path for path in gradient if f"{name}/gradient/{path}" in golden]
    assert len(compared) > 10
    for path in compared:
        told = golden[f"{name}/gradient/{path}"]
        apart = np.linalg.norm(gradient[path] - told) / max(np.linalg.norm(told), 1e-6)
        parity(f"GAN training: {name}, gradients", apart, 1e-4)
        # Adam's first step is the gradient's sign: where that is rounding, so is the step.
        clear = np.abs(told) > 1e-4 * np.abs(told).max()
        moved = np.abs(updated[path] - golden[f"{name}/updated/{path}"])[clear]
        parity(f"GAN training: {name}, weights after one update", moved.max(initial=0.0), 1e-4)
    rest = set(gradient) - set(compared)
    assert all(np.abs(gradient[path]).max() == 0 or "/noise/" in path for path in rest)


def test_path_lengths_and_their_moving_average_are_pytorchs(golden, parity):
    golden = golden(_FILE)
    lengths = jax.jit(lambda generator: _paths(generator, golden))(random_parameters()["generator"])
    parity("GAN training: path lengths", np.abs(lengths / golden["lengths"] - 1).max(), 1e-4)
    _, mean = losses.path_length_penalty(lengths, jnp.float32(_PATH_MEAN), decay=_SETTINGS.path_decay)
    assert float(mean) == pytest.approx(float(golden["mean"]), rel=1e-5)
