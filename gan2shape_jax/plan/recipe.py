"""What a run does: the recipe that `config.recipe` names, and the plan that comes of it, resolved once at its start.

A recipe says what networks a run begins with, in which phases they are trained, and which fields it does not read.
Whatever comes later reads the `Plan` and no file of its own. A refinement has `config.refinement` in place of the
schedule and of fields of the optimiser and the sampling. A file of networks that does not go with the recipe is
refused here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.config.schema import LIFTS, validate
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.image_lists import read_names
from gan2shape_jax.io.required_files import require_files, require_images
from gan2shape_jax.lift import detail_training, model_file, steps
from gan2shape_jax.lift.model_file import LiftedModel
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.schedule import Phase, make_schedule
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.method.state import Step
from gan2shape_jax.method.step3 import FROZEN_GEOMETRY
from gan2shape_jax.stylegan2 import Architecture

Start = Literal["nothing", "networks", "model"]  # random networks, plain ones, those of a lifted model


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a run does."""

    name: str
    words: str  # the same in a sentence
    begins_with: tuple[Start, ...]  # what `config.networks.pretrained` may name
    schedule: Callable[[ConfigDict], tuple[Phase, ...]]  # the phases of training, from the resolved configuration
    unread: tuple[str, ...] = ()  # fields, and groups of fields, that change nothing in it
    single: bool = False  # whether every image has a result of its own, whatever the others are

    @property
    def trains(self) -> bool:
        """Whether networks are trained, so that there are checkpoints."""
        return self.name != "predict"

    @property
    def shares_networks(self) -> bool:
        """Whether one set of networks is trained for all images."""
        return self.trains and not self.single

    @property
    def lifts(self) -> bool:
        """Whether a GAN's own samples are trained on."""
        return self.name in LIFTS


def _staged(
    config: ConfigDict, *, third: Step | None = None, before: tuple[tuple[Step, int], ...] = ()
) -> tuple[Phase, ...]:
    """Returns the phases of `config.schedule`, with a step in place of step 3; the prior where nothing is given."""
    count = len(config.schedule.stages)
    return make_schedule(
        config.schedule.stages,
        flip1=config.schedule.flip1[:count],
        flip3=config.schedule.flip3[:count],
        prior_iterations=0 if config.networks.pretrained else config.prior.iterations,
        first=before,
        thirds=() if third is None else count * (third,),
    )


def _untrained(config: ConfigDict) -> tuple[Phase, ...]:
    return ()


def _refined(config: ConfigDict) -> tuple[Phase, ...]:
    return _staged(config, third=FROZEN_GEOMETRY if config.refinement.freeze_geometry else None)


def _lifted(config: ConfigDict) -> tuple[Phase, ...]:
    third = steps.ANCHORED_STEP if config.recipe == "lift" else steps.FROZEN_VIEW_STEP
    return _staged(config, third=third, before=((steps.INVERSION_STEP, config.lift.inversion_iterations),))


def _detailed(config: ConfigDict) -> tuple[Phase, ...]:
    together = 2 * max(1, config.schedule.batches_per_iteration)
    return (Phase(0, 1, detail_training.DETAIL_STEP, -(-config.detail.pictures // together), flip=False),)


# A lift's fields that runs on images do not read; masks of images may be those of the lift.
_OF_LIFTS = (
    *("detail", "lift.samples", "lift.truncation", "lift.batches", "lift.cropped_from", "lift.held_out"),
    *("lift.measured", "lift.inversion_iterations", "lift.inversion_samples", "lift.first_learning_rate"),
    *("lift.encoder_learning_rate", "lift.latent_iterations", "lift.latent_learning_rate", "lift.anchor_view"),
    *("lift.own_encoder_iterations", "lift.warmup_iterations", "lift.view_iterations", "lift.average"),
)
_OF_JOINT = ("schedule.batches_per_iteration", "schedule.distinct_images", "schedule.average_gradients")
_OF_IMAGES = ("data.crop", "data.mask_source", "inversion", "refinement")

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "train",
            "trains networks of its own for each image",
            ("nothing", "networks"),
            _staged,
            unread=("refinement", *_OF_LIFTS, *_OF_JOINT),
            single=True,
        ),
        Recipe(
            "refine",
            "refines a lifted model on each image, by config.refinement",
            ("model",),
            _refined,
            # What `config.refinement` puts in the place of others is compared by its own names.
            unread=(
                *("optimizer.learning_rate", "sampling.collect_iters", "sampling.batch_size", "schedule.stages"),
                *("schedule.flip1", "prior.iterations", *_OF_LIFTS, *_OF_JOINT),
            ),
            single=True,
        ),
        Recipe(
            "predict",
            "trained networks explain each image, without any training",
            ("networks", "model"),
            _untrained,
            unread=(
                *("refinement", "prior", "loss", "optimizer", "inversion", *_OF_LIFTS),
                *("schedule.stages", "schedule.flip1", "schedule.reset_weight", "schedule.use_mask", *_OF_JOINT),
                *("sampling.view_scale", "sampling.rand_light", "sampling.collect_iters", "sampling.batch_size"),
            ),
            single=True,
        ),
        Recipe(
            "joint",
            "trains one set of networks on all images",
            ("nothing", "networks", "model"),
            _staged,
            unread=("refinement", "schedule.reset_weight", *_OF_LIFTS),
        ),
        Recipe(
            "lift",
            "lifts the GAN: trains one set of networks on its own samples, from nothing",
            ("nothing",),
            _lifted,
            unread=(*_OF_IMAGES, "detail"),
        ),
        Recipe(
            "finetune",
            "finetunes a lift: two more stages, on the GAN's own turned pictures",
            ("networks", "model"),
            _lifted,
            unread=(*_OF_IMAGES, "detail", "lift.anchor_view"),
        ),
        Recipe(
            "train_detail",
            "teaches a lifted model the detail of its albedo, by pictures of which none comes twice",
            ("model",),
            _detailed,
            unread=("refinement", "inversion", "schedule.stages", "schedule.flip1"),
        ),
    )
}


_WITHOUT = "train without a model (config.recipe='train', config.networks.pretrained='')"
# What to do where `config.networks.pretrained` does not go with a recipe, by the recipe and what the file holds.
_INSTEAD = {
    (
        "train",
        "model",
    ): "refine it with config.recipe='refine', or train from random networks with config.networks.pretrained=''",
    ("refine", "networks"): "config.recipe='train' goes on from them on each image",
    ("train_detail", "networks"): "name a lift's model.safetensors, whose detail it teaches",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What a run does; made by `resolve`."""

    recipe: Recipe
    config: ConfigDict  # resolved: with what refining puts in place of other fields
    model: LiftedModel | None  # that the networks begin with, or that explains images; None: none, or plain networks

    @property
    def schedule(self) -> tuple[Phase, ...]:
        """The phases of training; () where nothing is trained."""
        return self.recipe.schedule(self.config)

    @property
    def ends_with_detail(self) -> bool:
        """Whether a lift ends with training the detail of its model's albedo."""
        return self.recipe.name in ("lift", "finetune") and bool(self.config.lift.detail_pictures)

    @property
    def record(self) -> dict[str, Any]:
        """What `config.json` says of the plan, as JSON values."""
        phases = [f"{phase.label}: {phase.iterations}" for phase in self.schedule]
        return {"recipe": self.recipe.name, "what": self.recipe.words, "schedule": phases}

    @property
    def pose_edit(self) -> LatentPoseEdit | None:
        """How the GAN turns what it draws, along which step 3's samples are turned; None: they are projected."""
        # Training the detail keeps its model's; refining may be by projected samples alone.
        used = self.recipe.name in ("predict", "train_detail") or self.turns
        return self.model.pose_edit if self.model and used else None

    @property
    def turns(self) -> bool:
        """Whether a model is refined by the GAN's own turned pictures."""
        return self.recipe.name == "refine" and self.config.refinement.samples == "turned"

    @property
    def mask(self) -> np.ndarray | None:
        """Where the model's objects are in the canonical frame (S, S); None if no model says so of single images."""
        return self.model.mask if self.model and self.recipe.single else None

    @property
    def landmarks(self) -> np.ndarray | None:
        """Where a detector's landmarks are on the model's mean shape (5, 3), scene units; None if none were measured.

        Joint training moves the networks away from the shape that they were measured on.
        """
        return self.model.landmarks if self.model and self.recipe.single else None

    @property
    def trains_encoder(self) -> bool:
        """Whether each image trains an encoder from scratch, though the run has a model."""
        return self.recipe.name == "train" or (self.recipe.name == "refine" and not self.turns)

    def settings(self, architecture: Architecture, *, original_size: int) -> Settings:
        """Returns the method's settings; a model's encoder, if it is used, is interpreted as in that model.

        A model of symmetric objects sees single images together with their mirror images (`Settings.mirrored`).
        `original_size` is the side of the image before cropping and resizing, in pixels.
        """
        settings = from_config(self.config, architecture, original_size=original_size)
        if self.model is None:
            return settings
        names = () if self.trains_encoder else ("relative_enc", "regularize_offset")
        fits = self.model.facts.fits
        changes: dict[str, Any] = {
            name: bool(fits.get(f"config.gan.{name}", getattr(settings, name))) for name in names
        }
        mirrored = self.recipe.single and any(self.config.schedule.flip3)
        return dataclasses.replace(settings, mirrored=mirrored, **changes)

    def require_gan_of_model(self) -> None:
        """Raises `UserError` if the run's GAN is not the one that its model, if there is one, was lifted from.

        A lift may be finetuned on another GAN: all that a model knows of its GAN is measured anew.
        """
        if self.model is None or self.recipe.name == "finetune":
            return
        checkpoint, lifted_from = pathlib.Path(self.config.gan.checkpoint), self.model.facts.gan_sha256
        if checkpoint.is_file() and (own := sha256(checkpoint)) != lifted_from:
            raise UserError(
                f"model {self.model.path} was lifted from another GAN (SHA-256 {lifted_from[:16]}, "
                f"config.gan.checkpoint has {own[:16]}): name the model of this GAN, lift it with the variant `lift`, "
                f"or {_WITHOUT}"
            )

    def require_model_fits(self, settings: Settings, *, gan: bool) -> None:
        """Raises `UserError` if the model, if there is one, does not fit the run.

        `gan` says whether the run uses the GAN, for which see `require_gan_of_model`, and with it the model's encoder,
        unless it trains its own.
        """
        if self.model is None:
            return
        config, facts, model = self.config, self.model.facts, f"model {self.model.path}"
        if gan:
            self.require_gan_of_model()
        if config.category != facts.category:
            raise UserError(
                f"{model} is of category {facts.category[:80]!r}, this run of {config.category!r} (config.category): "
                f"name another model, or {_WITHOUT}"
            )
        needs = model_file.needs_of(config, settings, encoder=gan and not self.trains_encoder)
        other = [
            f"{name} is {json.dumps(facts.fits.get(name))[:200]} in the model and {json.dumps(value)} in this run"
            for name, value in needs.items()
            if facts.fits.get(name) != value
        ]
        if other:
            raise UserError(f"{model} does not fit this run: {'; '.join(other)}. Set the model's values, or {_WITHOUT}")


def resolve(config: ConfigDict) -> Plan:
    """Reads the model that a configuration names, if it is one, and returns the plan of the run.

    Raises `UserError`: the model is unusable or does not go with the recipe, or `config.reference` is set: the
    published code has no models.
    """
    recipe, pretrained = RECIPES[config.recipe], pathlib.Path(config.networks.pretrained)
    model = model_file.read_model(pretrained) if config.networks.pretrained else None
    holds = "model" if model else "networks" if config.networks.pretrained else "nothing"
    if holds not in recipe.begins_with:
        what = {"model": "is a lifted model", "networks": "is not a lifted model", "nothing": "is empty"}[holds]
        field, file = "config.networks.pretrained", config.networks.pretrained
        instead = _INSTEAD.get((recipe.name, holds), "name another file" if file else "name a file")
        raise UserError(
            f"{f'{file} ({field})' if file else field} {what}, which does not go with "
            f"config.recipe {recipe.name!r}: {instead}"
        )
    if recipe.name != "refine":
        return Plan(recipe, config, model)
    if config.reference:
        raise UserError(
            "config.reference repeats the published code, which starts without a model: use a variant that does, such "
            "as ictface:scratch"
        )
    if config.refinement.samples == "turned" and model is not None and model.pose_edit is None:
        raise UserError(
            f"{pretrained} does not know how its GAN turns what it draws, as config.refinement.samples='turned' needs: "
            "set it to 'projected'"
        )
    return Plan(recipe, _as_refinement(config), model)


def _as_refinement(config: ConfigDict) -> ConfigDict:
    """Returns a run's configuration with `config.refinement` in place of the fields that it overrides.

    The GAN's own turned pictures (`config.refinement.samples`) need no encoder, and so no step 2.
    """
    chosen, mirrored = config.copy_and_resolve_references().unlock(), any(config.schedule.flip3)
    stages = tuple(tuple(stage) for stage in config.refinement.stages)
    if config.refinement.samples == "turned":
        stages = tuple((first, 0, third) for first, _, third in stages)
    chosen.schedule.stages = stages
    chosen.schedule.flip1 = chosen.schedule.flip3 = len(stages) * (mirrored,)
    chosen.optimizer.learning_rate = config.refinement.learning_rate
    chosen.sampling.collect_iters = config.refinement.collect_iters
    chosen.sampling.batch_size = config.refinement.batch_size
    return chosen.lock()


def ready(config: ConfigDict, only: Sequence[str] | None = None) -> tuple[Plan, list[str]]:
    """Checks values and files; returns the plan of the run and the names of its images, as for `run_experiment`."""
    validate(config)
    reads = config.recipe not in ("lift", "finetune") and os.path.exists(config.data.image_list)
    names = read_names(config.data.image_list, config.data.image_root) if reads else []
    names = [name for name in names if only is None or name in only]
    require_files(config, names)
    require_images(config, names)
    return resolve(config), names
