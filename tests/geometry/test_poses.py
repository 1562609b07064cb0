"""A pose from its silhouette alone, from far: what docs/how-to/rasterizing.md says of several starts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trimesh

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import antialias, rasterize

_CAMERA = Camera(48, fov_deg=35.0)
_POSES, _STARTS, _ITERATIONS, _ROUNDS = 8, 16, 100, 4
_FITTED = 3e-4  # of the loss: what is left of poses elsewhere is above 0.01


def _body():
    """Returns vertices and faces of three bars: no two poses have one outline."""
    parts = [
        trimesh.creation.box((0.5, 0.3, 0.2)),
        trimesh.creation.box((0.2, 0.2, 0.5)).apply_translation((0.2, 0.1, 0.25)),
        trimesh.creation.box((0.15, 0.4, 0.15)).apply_translation((-0.2, -0.25, -0.05)),
    ]
    body = trimesh.util.concatenate(parts)
    return np.asarray(body.vertices, np.float32), np.asarray(body.faces)


def _rotation(quaternion):
    w, x, y, z = quaternion / jnp.linalg.norm(quaternion)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row) for row in rows])


def _mask(pose, body):
    vertices, faces = body
    vertices = vertices @ _rotation(pose[:4]).T + pose[4:]
    fragments = rasterize(vertices, _CAMERA, faces=faces)
    covered = (fragments.triangle >= 0).astype(jnp.float32)[..., None]
    return antialias(covered, fragments, vertices, _CAMERA, faces=faces)[..., 0]


def _fit(start, target, body):
    """Returns the pose that Adam ends at, and what is left of the loss."""
    optimizer = optax.adam(optax.cosine_decay_schedule(4e-2, _ITERATIONS))

    def loss(pose):
        return ((_mask(pose, body) - target) ** 2).mean()

    def step(state, _):
        pose, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(pose), moments)
        pose = optax.apply_updates(pose, updates)
        return (pose.at[:4].divide(jnp.linalg.norm(pose[:4])), moments), None

    (pose, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=_ITERATIONS)
    return pose, loss(pose)


@pytest.mark.slow
def test_of_random_starts_one_ends_at_the_pose_and_what_is_left_tells_which():
    rng, body = np.random.default_rng(5), _body()

    def rotations(*shape):
        quaternions = rng.normal(size=(*shape, 4))
        return quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)

    places = np.concatenate([rng.uniform(-0.1, 0.1, (_POSES, 2)), np.full((_POSES, 1), 2.0)], -1)
    poses = np.concatenate([rotations(_POSES), places], -1).astype(np.float32)
    off = places + rng.uniform(-0.1, 0.1, (_POSES, 3))
    targets = np.asarray(jax.jit(lambda poses: jax.lax.map(functools.partial(_mask, body=body), poses))(poses))
    fit = jax.jit(lambda *arrays: jax.lax.map(lambda one: _fit(*one, body), arrays))
    missed, rounds, arrived = np.arange(_POSES), 0, []
    while len(missed) and rounds < _ROUNDS:
        rounds += 1
        which = np.resize(missed, _POSES * _STARTS)  # so that one program serves all rounds
        starts = np.concatenate([rotations(len(which)), off[which]], -1).astype(np.float32)
        ends, left = map(np.asarray, fit(starts, targets[which]))
        cosines = np.abs((ends[:, :4] * poses[which, :4]).sum(-1))
        fitted = left < _FITTED
        assert np.degrees(2 * np.arccos(np.minimum(cosines, 1)))[fitted].max(initial=0) < 1.0
        arrived.append(fitted.mean())
        missed = np.setdiff1d(missed, which[fitted])
    assert not len(missed) and 0.02 < arrived[0] < 0.5  # one start alone would not do
