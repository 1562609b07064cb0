"""What a run does, resolved once at its start; whatever comes later reads this and no file of its own.

The configuration names a recipe (`run.recipes`). A refinement has `config.refinement` in place of the schedule and of
fields of the optimiser and the sampling. A file of networks that does not go with the recipe is refused here.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import sha256
from gan2shape_jax.lift import model_file, refinement
from gan2shape_jax.lift.model_file import LiftedModel
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.run.recipes import RECIPES, Recipe
from gan2shape_jax.stylegan2 import Architecture

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
        return self.recipe.name == "train" or (
            self.recipe.name == "refine" and bool(self.config.refinement.new_encoder)
        )

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
    return Plan(recipe, refinement.as_refinement(config), model)
