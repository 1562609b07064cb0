"""How good shapes are where no true depth is known.

Three measures, lower is better for each:

* the error that remains after a photo on its shape is turned and relit to match pictures of the same object that were
  never trained on (`evaluation.unseen`), compared with a flat plane, an ellipsoid and another image's shape;
* how far apart the shapes of several runs (such as several seeds) are, as SIDE;
* for networks that explain an image in one pass, how far its shape is from that of its mirror image, as SIDE.

Depths are (S, S) in the input's view, scene units.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.apps.evaluate import unseen
from gan2shape_jax.apps.evaluate.draping import ITERATIONS
from gan2shape_jax.apps.evaluate.folders import FoundRun, listed_entry, read_config
from gan2shape_jax.apps.evaluate.prepared_again import prepared_again
from gan2shape_jax.apps.evaluate.scores import depth_errors
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import data
from gan2shape_jax.method import metrics, prior
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.results.result import Result
from gan2shape_jax.run import feed_forward, loading
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["BASELINES", "ELLIPSOID", "Measured", "Subject", "apart", "measure", "mirrored_apart", "subject_of"]

FLAT, ELLIPSOID, ANOTHER = (
    "(flat)",
    "(ellipsoid)",
    "(another image's)",
)  # runs are called by their folders, such as flat
BASELINES = (FLAT, ELLIPSOID, ANOTHER)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured for one image.

    Attributes:
      name: of the image.
      errors: on unseen pictures, by run and by baseline, in units of pictures in [-1, 1].
      apart: mean SIDE between a run's shape and the other runs' shapes, by run; empty for a single run.
      mirrored: SIDE between a run's shape and that of the mirrored image, if its networks explain images in one pass.
      sides: SIDE against the true depth, by run and by baseline; empty if it is not known.
    """

    name: str
    errors: dict[str, float]
    apart: dict[str, float]
    mirrored: dict[str, float]
    sides: dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What runs on one list share.

    Attributes:
      config: of the first run.
      plain: the same, but for the GAN alone, without trained networks.
      architecture: of the GAN.
      frozen: the GAN.
      latents: folder of the latents that the first run found.
    """

    config: ConfigDict
    plain: ConfigDict
    architecture: Architecture
    frozen: FrozenModels
    latents: pathlib.Path


def subject_of(runs: Sequence[FoundRun]) -> Subject:
    """Loads the GAN that the runs share.

    Raises:
      UserError: a run has no configuration, the runs differ in GAN, size or camera, or a file is missing.
    """
    named_alike = [run.label for run in runs if run.label in BASELINES]
    if named_alike:
        raise UserError(f"a run is called {named_alike[0]}, as what runs are compared with is: rename its folder")
    configs = [read_config(run) for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        for field in ("gan.checkpoint", "image_size", "camera", "data.crop"):
            first, other = (_field(each, field) for each in (configs[0], config))
            if first != other:
                raise UserError(
                    f"{run.label} differs from {runs[0].label} in config.{field}: only runs of one GAN and one camera "
                    "can be measured together"
                )
    plain = configs[0].copy_and_resolve_references().unlock()
    plain.mode, plain.networks.pretrained = "predict", ""  # needs no masks, which results have, and no model
    architecture, frozen = loading.load_frozen(plain)
    return Subject(configs[0], plain.lock(), architecture, frozen, runs[0].home / "latents")


def measure(
    name: str,
    results: Mapping[str, Result],
    another: Result | None,
    subject: Subject,
    *,
    rounds: int = 1,
    iterations: int = unseen.ENCODER_ITERATIONS,
    search_iterations: int = ITERATIONS,
) -> Measured:
    """Measures the shapes that runs gave one image; `mirrored` is left empty.

    Args:
      name: of the image, as results folders are named.
      results: of the image, by run.
      another: result of another image, for its shape; or None.
      subject: of the runs.
      rounds: number of rounds, each of 4 pictures of each shape.
      iterations: for which the encoder is trained.
      search_iterations: of the search for the views and lights of unseen pictures.

    Raises:
      UserError: the image is no longer in the run's list, its mask shows no object, or no part of it is visible on all
        shapes.
    """
    first = next(iter(results.values()))
    prepared = _prepared(name, subject)
    shapes = {run: result.warped_depth for run, result in results.items()}
    drawn = shapes | _baselines(first, another, subject.config)
    compared = drawn | {FLAT: np.full_like(first.depth, (first.camera.min_depth + first.camera.max_depth) / 2)}
    pictures = unseen.pictures_of(drawn, first.light, prepared, subject.frozen, batches=rounds, iterations=iterations)
    errors = unseen.errors_by(
        compared, pictures, first.image, first.input_mask, first.light, first.camera, iterations=search_iterations
    )
    if not all(map(np.isfinite, errors.values())):
        raise UserError(f"{name}: no part of the object is seen on all shapes from the sides that were drawn")
    return Measured(name, errors, _all_apart(shapes, first), {}, _sides(compared, first))


def mirrored_apart(networks: feed_forward.FeedForward, subject: Subject, name: str, result: Result) -> float:
    """Returns the SIDE between the shape of an image and the mirrored shape of its mirror image.

    Args:
      networks: that produced the result.
      subject: of the runs.
      name: of the image, as results folders are named.
      result: of the image.

    Raises:
      UserError: the image is no longer in the run's list.
    """
    item = data.load_item(subject.plain, listed_entry(subject.config, name))
    mirror = dataclasses.replace(item, image=item.image[:, ::-1].copy(), mask=item.mask[:, ::-1].copy(), depth=None)
    other = networks.explained(networks.prepared(mirror), category=subject.config.category)
    return apart(result.warped_depth, other.warped_depth[:, ::-1].copy(), result.input_mask, result.camera)


def apart(
    first: Float[np.ndarray, "s s"],
    second: Float[np.ndarray, "s s"],
    mask: Float[np.ndarray, "s s"],
    camera: Camera,
) -> float:
    """Returns the SIDE between two depths over the object, where both show a surface; NaN if they share none."""
    return float(_apart(*(jnp.asarray(each) for each in (first, second, mask)), camera=camera))


@functools.partial(jax.jit, static_argnames="camera")
def _apart(first: jax.Array, second: jax.Array, mask: jax.Array, *, camera: Camera) -> jax.Array:
    shown = render.valid_pixels(first, camera) * render.valid_pixels(second, camera) * (mask > 0.5)
    return metrics.side(first, second, metrics.erode(shown))


def _prepared(name: str, subject: Subject) -> PreparedImage:
    """Returns an image with its latent: from a file, as found by the run, or found now."""
    entry = listed_entry(subject.config, name)
    return prepared_again(subject.plain, entry, subject.architecture, subject.frozen, subject.latents)


def _all_apart(shapes: Mapping[str, np.ndarray], first: Result) -> dict[str, float]:
    """Returns the mean SIDE of each shape to the others."""
    return {
        run: float(
            np.mean(
                [apart(depth, other, first.input_mask, first.camera) for key, other in shapes.items() if key != run]
            )
        )
        for run, depth in shapes.items()
        if len(shapes) > 1
    }


def _sides(shapes: Mapping[str, np.ndarray], first: Result) -> dict[str, float]:
    if first.true_depth is None:
        return {}
    return {name: depth_errors(depth, first.true_depth, first.camera)["side"] for name, depth in shapes.items()}


def _baselines(first: Result, another: Result | None, config: ConfigDict) -> dict[str, np.ndarray]:
    near, far = config.prior.near, config.prior.far
    ellipsoid = prior.ellipsoid(first.input_mask, category=config.category, near=near, far=far)
    found = {ELLIPSOID: np.asarray(ellipsoid, np.float32)}
    if another is not None:
        found[ANOTHER] = unseen.seen_from_the_input(another.depth, first.view, first.camera)
    return found


def _field(config: ConfigDict, path: str) -> object:
    value = config
    for part in path.split("."):
        value = value[part]
    return value.to_dict() if isinstance(value, ConfigDict) else value
