"""A small result from several photographs."""

import dataclasses

import numpy as np

from gan2shape_jax.method.joint_refinement import Joint
from gan2shape_jax.results import Reconstruction
from gan2shape_jax.results.result import Photograph
from helpers import bump

NAMES = ("front.jpg", "<b>side</b>.jpg", "other.jpg")


def held(start, views, *_, **__) -> Joint:
    """Fits nothing, in place of `joint_refinement.reconstruct`."""
    count = len(views)
    lights, none = np.zeros((count, 9, 3), np.float32), np.zeros((count, 2), np.float32)
    lights[:, 0] = 1
    albedo = np.full((*start.shape, 3), 0.3, np.float32)
    return Joint(start, views, none[:, 0], albedo, lights, np.ones(count, bool), False, 60.0, none)


def result() -> Reconstruction:
    """The bump in three photographs, the last of which was not used."""
    one, rng = bump.result(), np.random.default_rng(1)
    lights = np.zeros((3, 9, 3), np.float32)
    lights[:, 0], lights[1, 1] = (1.0, 1.0, 1.0), (0.4, 0.2, 0.0)  # the second from the right, in colour
    photographs = tuple(
        Photograph(
            name,
            signed_image=one.signed_image if number == 0 else rng.uniform(-1, 1, one.signed_image.shape),
            mask=one.input_mask,
            view=one.view + number * np.array([0, 0.3, 0.02, 0.001, 0.002, 0]),
            size=0.04 * number,
            light=lights[number],
            errors=(0.2, 0.1) if number else None,
            used=number < 2,
        )
        for number, name in enumerate(NAMES)
    )
    return dataclasses.replace(one, photographs=photographs)
