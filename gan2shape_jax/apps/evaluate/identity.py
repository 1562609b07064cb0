"""One object turned in yaw by four methods: the mesh, the GAN guided by it, and two directions of the GAN itself.

"3D" and "GAN" keep the pitch, roll, shift and light of the input and replace its yaw: "3D" samples the lit canonical
texture at the depth seen from each view, as training does, and "GAN" projects those pictures onto the GAN with the
image's encoder (GAN2Shape, section 3.3). GANSpace and SeFa move the input's latent along the direction that turns the
picture most, as judged by the image's own view network. Pictures are (n, S, S, 3) in [-1, 1], yaws in degrees.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.apps.evaluate.folders import listed_entry
from gan2shape_jax.apps.evaluate.prepared_again import prepared_again
from gan2shape_jax.apps.evaluate.traversal import Candidate, find_yaw_direction, style_ranges
from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem
from gan2shape_jax.results.gan_views import rough_views
from gan2shape_jax.results.result import Result
from gan2shape_jax.run import loading
from gan2shape_jax.stylegan2 import Architecture, directions
from gan2shape_jax.training import network_files

__all__ = ["METHODS", "Gan", "Subject", "Turned", "load_gan", "load_subject", "turn"]

METHODS = ("3D", "GAN", "GANSpace", "SeFa")

_COMPONENTS = 10  # directions tried for each rival method
_SAMPLES = 10_000  # latents from which GANSpace's directions and all deviations are computed
_BATCH = 20  # pictures per network call


@dataclasses.dataclass(frozen=True, eq=False)
class Gan:
    """What all images of a run share: the frozen networks and samples (n, W) of W."""

    architecture: Architecture
    frozen: FrozenModels
    latents: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One reconstructed image with its view network and encoder, and its latent."""

    result: Result
    prepared: PreparedImage
    params: models.Params


@dataclasses.dataclass(frozen=True, eq=False)
class Turned:
    """The pictures made by one method.

    Attributes:
        method: one of `METHODS`.
        pictures: (n, S, S, 3).
        yaws_deg: (n,) the view network's prediction for each.
        how: the direction that was used, in words; "" for the mesh and for the GAN guided by it.
        reached: (n,) whether the calibration reached each yaw.
    """

    method: str
    pictures: np.ndarray
    yaws_deg: np.ndarray
    how: str
    reached: np.ndarray


def load_gan(config: ConfigDict) -> Gan:
    """Loads a run's frozen networks and samples its W; raises `UserError` if a file is missing."""
    architecture, frozen = loading.load_frozen(config)
    latents = directions.sample_w(jax.random.key(0), frozen.generator, arch=architecture, samples=_SAMPLES)
    return Gan(architecture, frozen, latents)


def load_subject(
    config: ConfigDict, gan: Gan, name: str, result: Result, folder: pathlib.Path, latents: pathlib.Path
) -> Subject:
    """Loads what belongs to one image of a run.

    Args:
        config: of the run.
        gan: of the run.
        name: of the image, as results folders are named.
        result: its reconstruction.
        folder: of that result.
        latents: folder of the latents that the run computed itself.

    Raises:
        UserError: the image is no longer in the run's list, or a file is missing or does not fit.
    """
    entry = listed_entry(config, name)
    prepared = prepared_again(config, entry, gan.architecture, gan.frozen, latents)
    like = jax.eval_shape(lambda key: models.init_params(key, prepared.settings), jax.random.key(0))
    path = folder / "networks.safetensors"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: turning a result takes its view network and its encoder, which a run keeps where "
            "config.outputs.networks is 'small' or 'full'; reconstruct again"
        )
    networks = network_files.load_networks(path, like, prepared.settings, needed=network_files.SMALL)
    return Subject(result, prepared, {name: networks[name] for name in network_files.SMALL})


def turn(subject: Subject, gan: Gan, yaws_deg: Float[np.ndarray, "n"]) -> list[Turned]:
    """Turns the object to each yaw by each of `METHODS`, in their order."""
    result = subject.result
    views = np.repeat(result.view[None], len(yaws_deg), axis=0)
    views[:, 1] = np.deg2rad(yaws_deg)
    settings, problem = subject.prepared.settings, subject.prepared.problem
    solid = _in_batches(
        lambda part: rough_views(
            result.depth,
            np.broadcast_to(result.canonical, (len(part), *result.canonical.shape)),
            part,
            camera=result.camera,
            sampling=settings.sampling,
        ),
        views,
    )
    projected = _in_batches(
        lambda part: _projected(subject.params, part, problem, gan.frozen, settings=settings), solid
    )
    everywhere = np.ones(len(yaws_deg), bool)
    turned = [
        Turned(name, pictures, _seen_yaws(subject, gan, pictures), "", everywhere)
        for name, pictures in (("3D", solid), ("GAN", projected))
    ]
    for name, candidates in (("GANSpace", _ganspace(gan)), ("SeFa", _sefa(gan))):
        turned.append(_traversed(name, candidates, subject, gan, yaws_deg))
    return turned


def _traversed(name: str, candidates: list[Candidate], subject: Subject, gan: Gan, yaws_deg: np.ndarray) -> Turned:
    """Makes pictures along the candidate that turns the subject most."""

    def yaw_of(some: Sequence[Candidate], steps: np.ndarray) -> np.ndarray:
        latents = np.concatenate([_moved(subject, gan, candidate, steps) for candidate in some])
        return _seen_yaws(subject, gan, _pictures(subject, gan, latents)).reshape(len(some), len(steps))

    traversal = find_yaw_direction(candidates, yaw_of, yaws_deg)
    best = traversal.candidate
    shown = _pictures(subject, gan, _moved(subject, gan, best, traversal.steps))
    how = f"direction {best.number + 1}, styles {best.first} to {best.last - 1}"
    return Turned(name, shown, _seen_yaws(subject, gan, shown), how, traversal.reached)


def _moved(subject: Subject, gan: Gan, candidate: Candidate, steps: np.ndarray) -> np.ndarray:
    """Returns the subject's latent moved by steps in deviations, (n, L, W)."""
    return np.asarray(
        directions.shift(
            subject.prepared.problem.latent,
            jnp.asarray(candidate.direction),
            jnp.asarray(steps * candidate.scale, jnp.float32),
            first=candidate.first,
            last=candidate.last,
            arch=gan.architecture,
        )
    )


def _ganspace(gan: Gan) -> list[Candidate]:
    components = directions.ganspace(gan.latents, count=_COMPONENTS)
    scales = directions.deviations(gan.latents, components)
    return [
        Candidate(components[i], float(scales[i]), first, last, i)
        for first, last in style_ranges(gan.architecture.latents)
        for i in range(len(components))
    ]


def _sefa(gan: Gan) -> list[Candidate]:
    """Returns SeFa's candidates; their directions depend on the layers that are moved."""
    candidates = []
    for first, last in style_ranges(gan.architecture.latents):
        layers = range(first, min(last, gan.architecture.layers))
        components = directions.sefa(gan.frozen.generator, layers=layers, count=_COMPONENTS)
        scales = directions.deviations(gan.latents, components)
        candidates += [Candidate(components[i], float(scales[i]), first, last, i) for i in range(len(components))]
    return candidates


def _pictures(subject: Subject, gan: Gan, latents: np.ndarray) -> np.ndarray:
    settings = subject.prepared.settings
    return _in_batches(lambda part: _synthesized(part, gan.frozen, settings=settings), latents)


def _seen_yaws(subject: Subject, gan: Gan, pictures: np.ndarray) -> np.ndarray:
    """Returns the yaws in degrees that the subject's view network sees in pictures."""
    settings = subject.prepared.settings
    seen = _in_batches(lambda part: _views(subject.params, gan.frozen.view_mean, part, settings=settings), pictures)
    return np.rad2deg(seen[:, 1])


def _in_batches(function: Callable[[np.ndarray], jax.Array], values: np.ndarray) -> np.ndarray:
    """Calls a function with a batch at a time, padding the last: one compiled program serves any number."""
    filled = np.concatenate([values, np.repeat(values[-1:], -len(values) % _BATCH, axis=0)])
    parts = [np.asarray(function(filled[i : i + _BATCH])) for i in range(0, len(filled), _BATCH)]
    return np.concatenate(parts)[: len(values)]


@functools.partial(jax.jit, static_argnames="settings")
def _projected(
    params: models.Params, pictures: jax.Array, problem: Problem, frozen: FrozenModels, *, settings: Settings
) -> jax.Array:
    return projection.project(params, pictures, problem.latent, problem.gan_image, frozen, settings)[0]


@functools.partial(jax.jit, static_argnames="settings")
def _synthesized(latents: jax.Array, frozen: FrozenModels, *, settings: Settings) -> jax.Array:
    return projection.synthesize(latents, frozen, settings)


@functools.partial(jax.jit, static_argnames="settings")
def _views(params: models.Params, view_mean: jax.Array, pictures: jax.Array, *, settings: Settings) -> jax.Array:
    return models.views(params, pictures, view_mean, settings)
