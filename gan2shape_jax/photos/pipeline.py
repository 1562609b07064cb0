"""The way of a photo, for the command, the server, the cluster and Python.

`load_photo_model`, once; then of each photo `find.search`, of each object in it `explained` or `refined`, which judge
what they return, and `textured`.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.io.data import Item
from gan2shape_jax.io.image_files import Picture, crop_and_resize, shrunk_mask
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.photos import explain, judge
from gan2shape_jax.photos.explain import Predictor
from gan2shape_jax.photos.find import Finder, NoDetectionError, Subject, load_finder
from gan2shape_jax.photos.texture import Seen, photo_textured, texture_from_all
from gan2shape_jax.plan import inputs, runtime
from gan2shape_jax.plan.identity import resolve_auto
from gan2shape_jax.plan.recipe import Plan, resolve
from gan2shape_jax.results import Reconstruction
from gan2shape_jax.stylegan2 import Architecture


@dataclasses.dataclass(frozen=True, eq=False)
class Refiner:
    """What refines a model on single photos; made by `load_refiner`."""

    plan: Plan
    architecture: Architecture  # the GAN's
    frozen: FrozenModels
    grader: judge.Grader


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoModel:
    """What makes 3D of photos of one kind of object; made by `load_photo_model`."""

    finder: Finder
    predictor: Predictor
    refiner: Refiner | None = None  # what refines it on each photo, if that is asked for

    @property
    def mirror(self) -> bool:
        """Whether objects are symmetric enough to take hidden parts from their other half."""
        return any(self.predictor.plan.config.schedule.flip3)


def load_photo_model(kind: ConfigDict, *, log: Callable[[str], None], refine: bool = False) -> PhotoModel:
    """Starts the runtime and loads what makes 3D of photos; `kind` is a configuration of `explain.load_kind`.

    Raises `UserError`: the GAN or the model is unusable, or `load_refiner` does.
    """
    plan = _plan_of(kind, "predict")
    runtime.keep_programs(plan.config.runtime.compilation_cache)
    finder = load_finder(plan.config, inputs.load_gan(plan.config), log=log)
    predictor = explain.load_predictor(plan, None, assesses=False)
    return PhotoModel(finder, predictor, load_refiner(kind) if refine else None)


def load_refiner(kind: ConfigDict) -> Refiner:
    """Loads what refines a model on photos; `kind` as for `load_photo_model`.

    Raises `UserError`: a file is unusable, or the model was lifted from another GAN than the configuration's.
    """
    plan = _plan_of(kind, "refine")
    plan.require_gan_of_model()
    architecture, frozen = inputs.load_frozen(plan)
    return Refiner(plan, architecture, frozen, judge.load_grader(plan, assesses=False))


def _plan_of(kind: ConfigDict, recipe: str) -> Plan:
    config = kind.copy_and_resolve_references().unlock()
    config.recipe = recipe
    plan = resolve(config.lock())
    return dataclasses.replace(plan, config=resolve_auto(plan.config, plan.recipe))


def explained(subject: Subject, model: PhotoModel) -> Reconstruction:
    """Returns an object's 3D, as the model's networks see it in one pass, with how far to trust it."""
    config = model.predictor.plan.config
    result = model.predictor.reconstruct(_item(subject, config), subject.assessment)
    return _in_own_light(result, subject, config)


def require_found(result: Reconstruction, subject: Subject, model: PhotoModel) -> None:
    """Raises `NoDetectionError` if the verdict, which knows more than the detector, is that there is no object."""
    if result.metrics.get("trust", {}).get("category", 1) < judge.UNLIKELY:
        raise NoDetectionError(
            f"{subject.name}: no {model.finder.kind} found at a closer look, so it has no 3D result", [subject.box]
        )


def invert(subject: Subject, refiner: Refiner) -> np.ndarray:
    """Returns the latent (1, W) of an object's crop, found by inverting the GAN."""
    picture = Image.fromarray(subject.exposed)
    return inputs.find_latent(refiner.plan.config, subject.name, picture, refiner.architecture, refiner.frozen)


def refined(
    subject: Subject, refiner: Refiner, latent: np.ndarray, **keeping: Any
) -> tuple[Reconstruction, dict[str, bytes]]:
    """Returns an object's 3D from a model that is refined on it, and the files that are kept from that.

    `latent` is of the crop; `keeping` is the folder of checkpoints and the like, see `explain.train`.
    """
    plan, config = refiner.plan, refiner.plan.config
    item = _item(subject, config)
    prepared = inputs.prepare_image(plan, item, latent, refiner.architecture, refiner.frozen)
    result, params = explain.train(
        plan, prepared, refiner.frozen, refiner.grader, plan.schedule, assessment=subject.assessment, **keeping
    )
    kept = {"networks": config.outputs.networks, "depth": config.networks.depth}
    return _in_own_light(result, subject, config), explain.training_files(params, result.history, **kept)


def textured(
    result: Reconstruction, subject: Subject, picture: Picture, *, mirror: bool
) -> tuple[Reconstruction, dict[str, Any]]:
    """Returns an object's 3D with the texture of its photo, and the files that go with that.

    `mirror` says whether the object is symmetric enough to take hidden parts from its other half.
    """
    photo = np.asarray(picture.picture)
    seen = Seen(photo, subject.box, result.view, 0.0, result.input_mask)
    texture = texture_from_all(result, [seen], mirror=mirror)
    return photo_textured(result, photo, texture, subject.box)


def _item(subject: Subject, config: ConfigDict) -> Item:
    """Returns an object as networks see it, from its crop as they are to see it."""
    size, crop = config.image_size, config.data.crop
    picture = Image.fromarray(subject.exposed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a mask, its photo's notes say
        mask = shrunk_mask(Image.fromarray(subject.mask), crop, size, subject.name)
    return Item(
        name=subject.name,
        image=np.asarray(crop_and_resize(picture, crop, size), np.float32) / 255 * 2 - 1,
        mask=mask,
        depth=None,
        latent=None,
        original_size=picture.width,
    )


def _in_own_light(result: Reconstruction, subject: Subject, config: ConfigDict) -> Reconstruction:
    """Returns the result of a crop that was lightened as one of the crop itself, under a light that much darker."""
    if (gain := subject.gain) == 1:
        return result
    crop = crop_and_resize(Image.fromarray(subject.crop), config.data.crop, result.camera.image_size)
    lit = {"canonical": result.canonical, "reconstruction": result.reconstruction, "gan_image": result.gan_image}
    darker: dict[str, Any] = {name: None if values is None else (values + 1) / gain - 1 for name, values in lit.items()}
    light = result.light / np.array([gain, gain, 1, 1], np.float32)
    picture = np.asarray(crop, np.float32) / 127.5 - 1
    return dataclasses.replace(result, signed_image=picture, light=light, **darker)
