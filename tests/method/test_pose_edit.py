"""Samples that a GAN turns by itself: where the axes lead, what is masked, when there are none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image
from safetensors import safe_open
from safetensors.numpy import save

import gan2shape_jax
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.lift import model_file
from gan2shape_jax.method import models, pose_edit, projection, sampling, step3
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import Context, Iteration, initial_state
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.stylegan2.flip_subspace import FlipSubspace
from gan2shape_jax.stylegan2.latents import sample_w


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An image of a tiny GAN, its state and a pose edit of random, independent axes that reaches 30 degrees and 0.4."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("pose_edit"))
    settings = changed(prepared.settings, batch_size=6, view_scale=4.0)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(settings.architecture.style_dim, 2)))[0].T
    actual = FlipSubspace(*(jnp.asarray(first, jnp.float32) for first in (axes, axes, np.zeros(axes.shape[1]))))
    ends = jnp.array([[jnp.deg2rad(30)], [0.4]])
    turns = pose_edit.LatentPoseEdit(actual, ends * jnp.linspace(-1, 1, 9), jnp.float32(1e6))
    params = models.init_params(jax.random.key(0), settings)
    return prepared.example, dataclasses.replace(frozen, pose_edit=turns), initial_state(params, settings), settings


def test_samples_are_the_latent_moved_from_the_input_to_the_drawn_yaw_and_light(case):
    example, frozen, state, settings = case
    key, own = jax.random.key(3), np.array([0.1, -0.2])  # 0.1 radians and a dx of -0.2 are what the input shows
    factors = dataclasses.replace(
        state.factors, view=state.factors.view.at[1].set(own[0]), light=state.factors.light.at[2].set(own[1])
    )
    context, iteration = Context(example, frozen, settings), Iteration(key, 0, factors)
    views, direction, _ = sampling.draw_conditions(iteration, context)
    drawn = np.asarray(views[:, 1] * settings.view_range.units()[1])
    end, half = np.array([np.deg2rad(30), 0.4]), np.array([2, 1])  # half an axis are 2 and 1 steps, to these values
    assert np.abs(drawn).max() > end[0] > np.abs(drawn).min()  # some are drawn beyond the axis' end
    reached = np.clip(
        np.stack([drawn, direction[:, 0]], axis=1), np.maximum(-end, own - end), np.minimum(end, own + end)
    )
    samples = jax.jit(step3.collect_batch)(state.params, iteration, context)

    latents = example.latent + (reached - own) / end * half @ frozen.pose_edit.subspace.axes
    images = jax.jit(projection.synthesize)(latents, frozen, settings)
    np.testing.assert_allclose(samples.images, images, atol=1e-4)
    turned = jnp.tile(factors.view, (6, 1)).at[:, 1].set(reached[:, 0])
    unlit = jnp.ones((6, *factors.depth.shape))
    _, masks = jax.jit(sampling.render_factors)(factors, unlit, turned, settings)
    np.testing.assert_allclose(samples.masks, masks, atol=1e-5)


@pytest.mark.parametrize("layers", [(), (3,)])
def test_latents_beyond_most_samples_are_drawn_in_first(case, layers):
    turns = case[1].pose_edit.replace(farthest=jnp.float32(2))
    latent = jnp.ones((1, *layers, turns.subspace.axes.shape[1]))
    moved, _ = turns.apply(latent, jnp.zeros(2), jnp.zeros((1, 2)))
    np.testing.assert_allclose(moved, latent * 2 / jnp.linalg.norm(latent.reshape(-1, latent.shape[-1])[0]), rtol=1e-5)
    near = latent / 100
    np.testing.assert_allclose(turns.apply(near, jnp.zeros(2), jnp.zeros((1, 2)))[0], near, rtol=1e-5)


def test_a_gan_that_does_not_turn_has_none(case, monkeypatch):
    _, frozen, state, settings = case
    monkeypatch.setattr(pose_edit, "NAMED_BY", 32)
    monkeypatch.setattr(pose_edit, "WALKED", 8)
    assert (
        pose_edit.find(jax.random.key(0), state.params, frozen, settings, samples=32) is None
    )  # hardly any yaw is seen
    assert model_file.pose_edit_tensors(None) == {}
    nothing = pose_edit.predicted_sides
    monkeypatch.setattr(pose_edit, "predicted_sides", lambda *arguments: nothing(*arguments) * np.nan)
    monkeypatch.setattr(pose_edit, "named", lambda actual, *_: actual)
    assert pose_edit.find(jax.random.key(0), state.params, frozen, settings, samples=32) is None


def test_v_is_taught_that_yaw_goes_on_beyond_where_it_is_sure(case, monkeypatch):
    """Yaw goes on at 15 degrees a deviation, as the axis says; nearer, and in all else, V sees what it saw."""
    _, frozen, state, settings = case
    actual = frozen.pose_edit.subspace  # 20 times as long, so that this GAN draws other pictures along the axis
    turns = frozen.pose_edit.replace(subspace=actual.replace(axes=20 * actual.axes, dual_basis=actual.dual_basis / 20))
    monkeypatch.setattr(pose_edit, "_LESSONS", 100)
    monkeypatch.setattr(pose_edit, "_TOGETHER", 8)
    monkeypatch.setattr(pose_edit, "_LEARNING_RATE", 1e-3)
    latents = sample_w(jax.random.key(7), frozen.generator, arch=settings.architecture, samples=16)
    taught, subspace = pose_edit.taught(jax.random.key(0), state.params, turns, frozen, settings), turns.subspace
    assert all(taught[name] is state.params[name] for name in models.NAMES if name != "view")

    def views(params, place):
        return pose_edit._predict_all(params, pose_edit.along(subspace, latents, 0, place), frozen, settings)[:, :6]

    for place, more in ((-2.5, -1.25), (-1.0, 0), (0.0, 0), (1.0, 0), (2.5, 1.25)):
        told = views(state.params, np.clip(place, -1.25, 1.25))
        told[:, 1] += np.deg2rad(15) * more
        off = np.abs(views(taught, place) - told).mean(axis=0)
        assert off[1] < np.deg2rad(5) and off[[0, 2]].max() < np.deg2rad(3), place


@pytest.mark.heavy
def test_the_bundled_faces_turn_as_far_as_their_model_says():
    gan, networks = gan2shape_jax.load_gan("ictface"), gan2shape_jax.load_model("ictface").networks
    config = gan2shape_jax.load_config("ictface")
    turns = resolve(config).pose_edit
    frozen = dataclasses.replace(networks.frozen, **gan.weights)
    settings = dataclasses.replace(networks.settings, architecture=gan.architecture)
    latents = sample_w(jax.random.key(5), gan.weights["generator"], arch=gan.architecture, samples=8)
    requested = np.stack([np.deg2rad([-50, -20, 0, 20, 50]), np.zeros(5)], axis=1)
    front = turns.subspace.with_coordinates(latents, jnp.zeros((8, 2)))  # seen from in front, and lit so
    own = pose_edit.predicted_sides(networks.params, np.asarray(front), frozen, settings)
    yaws, told = [], []
    for latent, at in zip(front, own, strict=True):
        moved, reached = turns.apply(latent[None], jnp.asarray(at), jnp.asarray(requested))
        told.append(reached[:, 0])
        yaws.append(pose_edit.predicted_sides(networks.params, np.asarray(moved), frozen, settings)[:, 0])
    yaws, told = (np.rad2deg(np.mean(some, axis=0)) for some in (yaws, told))
    np.testing.assert_allclose(told, [-33, -20, 0, 20, 33], atol=3)
    assert np.abs(yaws - told).max() < 4


@pytest.mark.parametrize("missing", ["turning_readers", "turning_farthest"])
def test_a_model_file_that_lacks_part_of_its_pose_edit_is_refused(tmp_path, missing):
    with safe_open(asset("ictface/model.safetensors"), "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if not name.endswith(missing)}
        (tmp_path / "model.safetensors").write_bytes(save(tensors, file.metadata()))
    with pytest.raises(UserError, match="is damaged: what a lift writes to statistics/ is not there"):
        model_file.read_model(tmp_path / "model.safetensors")
