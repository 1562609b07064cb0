"""Views from landmarks: where an object is seen from, by a few points of it, with a first guess as the prior.

Perspective-n-point as a least-squares problem (Hartley and Zisserman, "Multiple View Geometry", 2nd edition, chapters
7.3 and A6.3), solved by Gauss-Newton steps: five points of one face say less than five of a rigid body, since faces
differ, so a guess is corrected and not replaced. The points themselves come from many pictures of different objects of
a kind (`fit_points`): bundle adjustment of a rigid, symmetric mean shape (Hartley and Zisserman, chapter 18).
Landmarks are pixel coordinates with pixel centres at integers, as in `camera`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry.camera import Camera

# Standard deviations: of a landmark about its place on the mean shape, as a share of the picture's side; of the guess,
# rx, ry, rz in radians, and of tx, ty about 0, in scene units; by how much that of yaw grows with the guess's own yaw,
# since networks err most where an object is turned far; and of the object's size, as a logarithm. Chosen by rendered
# heads (docs/reports/views.md). Pictures are framed alike, which says more of where an object lies than a network
# does: with its translations for the truth, yaw makes up for their errors.
LANDMARK = 1.5 / 64
GUESS, MORE_OF_YAW = (0.06, 0.06, 0.04, 0.004, 0.004), 0.3
SIZE = 0.04
OUTLIER = 3.0  # standard deviations beyond which a landmark's distance counts linearly (Huber)
LARGEST_TURN = 0.6  # radians by which a guess is corrected at most
STEPS, _ROUNDS = 8, 30

Landmarks = Float[Array, "k 2"]
Points = Float[Array, "k 3"]


def corrected_view(
    view: Float[Array, "6"], landmarks: Landmarks, points: Points, camera: Camera
) -> tuple[Float[Array, "6"], Float[Scalar, ""]]:
    """Returns a view that agrees with landmarks, too, and how far these are then from their places.

    Args:
      view: the guess, as of `camera.transform`; of its translation, tx and ty are not used if landmarks are finite.
      landmarks: where the object's points are in the picture; a view is returned as it is where one is not finite.
      points: where the same points are on the object, in its canonical frame, scene units.
      camera: the picture's camera.

    Returns:
      The view, and the root mean square distance of the points, seen from there, from the landmarks, in sides of the
      picture; NaN where a landmark is not finite.
    """
    finite = jnp.isfinite(landmarks).all()
    known = jnp.where(finite, landmarks, 0.0)
    guess = _framed(view)
    unknowns = _solved(points, known, guess, camera)
    apart = _distances(unknowns, points, known, camera)
    error = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(apart), -1))) / camera.width
    change = unknowns[:5] - guess[:5]
    # One that a detector has misplaced may be the nose, which alone says where a face is turned to.
    share = jnp.minimum(1.0, LARGEST_TURN / jnp.maximum(jnp.abs(change[:3]).max(), 1e-9))
    return jnp.where(finite, guess.at[:5].add(change * share), view), jnp.where(finite, error, jnp.nan)


def fit_points(
    landmarks: Float[np.ndarray, "n k 2"],
    views: Float[np.ndarray, "n 6"],
    start: Float[np.ndarray, "k 3"],
    mirrored: tuple[int, ...],
    camera: Camera,
) -> Float[np.ndarray, "k 3"]:
    """Returns where landmarks lie on the mean of the objects in n pictures, canonical frame, scene units.

    Args:
      landmarks: the landmarks of each picture, finite.
      views: a guess of each picture's view, which is corrected along with the points.
      start: the points to start from.
      mirrored: which landmark each one is in the mirror image.
      camera: the pictures' camera.
    """
    points = jnp.asarray(start, jnp.float32)
    pictures = jnp.asarray(landmarks, jnp.float32), jax.vmap(_framed)(jnp.asarray(views, jnp.float32))
    for _ in range(_ROUNDS):
        points = _symmetric(points + _step(points, *pictures, mirrored, camera), mirrored)
    return np.asarray(points)


def _framed(view: Float[Array, "6"]) -> Float[Array, "6"]:
    """Returns the view of an object that lies where objects are framed to lie."""
    return view.at[3:5].set(0.0)


def _symmetric(points: Points, mirrored: tuple[int, ...]) -> Points:
    return (points + points[jnp.asarray(mirrored)] * jnp.array([-1.0, 1.0, 1.0])) / 2


def _distances(unknowns: Float[Array, "6"], points: Points, landmarks: Landmarks, camera: Camera) -> Landmarks:
    """Returns how far points are from their landmarks, pixels; unknowns are rx, ry, rz, tx, ty and the log of size."""
    centre = jnp.array([0.0, 0.0, 1.0]) * camera.rot_center_depth
    sized = (points - centre) * jnp.exp(unknowns[5]) + centre
    view = unknowns.at[5].set(0.0)
    return cam.project(cam.transform(sized, view, camera), camera) - landmarks


def _residuals(
    unknowns: Float[Array, "6"], points: Points, landmarks: Landmarks, view: Float[Array, "6"], camera: Camera
) -> Float[Array, " r"]:
    """Returns what is minimised, in standard deviations; far landmarks have the weights of Huber's loss."""
    apart = _distances(unknowns, points, landmarks, camera).ravel() / (LANDMARK * camera.width)
    far = jnp.maximum(jnp.abs(jax.lax.stop_gradient(apart)), OUTLIER)
    guess = (unknowns[:5] - view[:5]) / jnp.array(GUESS).at[1].add(MORE_OF_YAW * jnp.abs(view[1]))
    return jnp.concatenate([apart * jnp.sqrt(OUTLIER / far), guess, unknowns[5:] / SIZE])


def _solved(points: Points, landmarks: Landmarks, view: Float[Array, "6"], camera: Camera) -> Float[Array, "6"]:
    """Returns the unknowns by Gauss-Newton steps from the guess."""

    def step(_: Any, unknowns: Array) -> Array:
        arguments = unknowns, points, landmarks, view, camera
        residuals, slopes = _residuals(*arguments), jax.jacfwd(_residuals)(*arguments)
        return unknowns - _solve(slopes.T @ slopes, slopes.T @ residuals)

    solved: Array = jax.lax.fori_loop(0, STEPS, step, view.at[5].set(0.0))
    return solved


def _solve(matrix: Float[Array, "u u"], right: Float[Array, " u"]) -> Float[Array, " u"]:
    return jnp.asarray(jax.scipy.linalg.solve(matrix, right, assume_a="pos"))


@functools.partial(jax.jit, static_argnames="mirrored")
def _step(
    points: Points,
    landmarks: Float[Array, "n k 2"],
    views: Float[Array, "n 6"],
    mirrored: tuple[int, ...],
    camera: Camera,
) -> Points:
    """Returns a Gauss-Newton step of the points, with each picture's unknowns eliminated (Schur complement)."""

    def of_picture(landmarks: Array, view: Array) -> tuple[Array, Array]:
        unknowns = _solved(points, landmarks, view, camera)

        def residuals(unknowns: Array, moved: Array) -> Array:
            shape = _symmetric(points + moved.reshape(points.shape), mirrored)
            return _residuals(unknowns, shape, landmarks, view, camera)

        at = unknowns, jnp.zeros(points.size)
        own, shared = jax.jacfwd(residuals, argnums=(0, 1))(*at)
        left = jnp.eye(len(own)) - own @ jnp.linalg.pinv(own)  # what a picture's own unknowns cannot explain
        return shared.T @ left @ shared, shared.T @ left @ residuals(*at)

    matrix, right = (jnp.sum(part, 0) for part in jax.vmap(of_picture)(landmarks, views))
    # Asymmetric moves change nothing: the smallest change that solves the equations has none.
    return -(jnp.linalg.pinv(matrix, rtol=1e-5, hermitian=True) @ right).reshape(points.shape)
