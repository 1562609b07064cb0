"""What a run does, resolved once at its start; whatever comes later reads this and no file of its own.

A run on single images from a lifted model refines it: `config.refinement` then takes the place of the schedule and of
fields of the optimiser and the sampling. Only the networks' file tells whether they are such a model.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Literal

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import sha256
from gan2shape_jax.lift import model_file, refinement
from gan2shape_jax.lift.model_file import LiftedModel
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.run.runtime import schedule_of
from gan2shape_jax.stylegan2 import Architecture

Kind = Literal["predict", "refine", "train", "joint", "lift"]
_WORDS: dict[Kind, str] = {
    "predict": "trained networks explain each image, without any training",
    "refine": "refines {} on each image, by config.refinement in place of config.schedule",
    "train": "trains networks of its own for each image",
    "joint": "trains one set of networks on all images",
    "lift": "lifts the GAN: trains one set of networks on its own samples",
}
_WITHOUT = "train without a model (config.networks.pretrained='')"


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What a run does; made by `resolve`."""

    kind: Kind
    config: ConfigDict  # resolved: with what refining puts in place of other fields
    schedule: tuple[Phase, ...]  # () where nothing is trained
    model: LiftedModel | None  # that the networks begin with, or that explains images; None: none, or plain networks

    @property
    def words(self) -> str:
        """What the run does, in a sentence."""
        if self.kind == "lift" and self.config.lift.pictures:
            return "teaches a lifted model the detail of its albedo, by pictures of which none comes twice"
        held = self.config.refinement.hold_shape
        return _WORDS[self.kind].format("colours and light, on the model's shape," if held else "the model")

    @property
    def record(self) -> dict[str, Any]:
        """What `config.json` says of the plan, as JSON values."""
        phases = [f"{phase.label}: {phase.iterations}" for phase in self.schedule]
        return {"kind": self.kind, "what": self.words, "schedule": phases}

    @property
    def explains_single(self) -> bool:
        """Whether the run explains single images by networks of their own, or without training any."""
        return self.kind in ("predict", "refine", "train")

    @property
    def pose_edit(self) -> LatentPoseEdit | None:
        """How the GAN turns what it draws, along which step 3's samples are turned; None: they are projected."""
        used = self.explains_single or self.config.lift.pictures  # a lift with pictures keeps its model's
        return self.model.pose_edit if self.model and used else None

    @property
    def mask(self) -> np.ndarray | None:
        """Where the model's objects are in the canonical frame (S, S); None if no model says so of single images."""
        return self.model.mask if self.model and self.explains_single else None

    @property
    def trains_encoder(self) -> bool:
        """Whether each image trains an encoder from scratch, though the run has a model."""
        return self.config.mode == "instance" and bool(self.config.refinement.new_encoder)

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
        mirrored = self.explains_single and any(self.config.schedule.flip3)
        return dataclasses.replace(settings, mirrored=mirrored, **changes)

    def require_model_fits(self, settings: Settings, *, gan: bool) -> None:
        """Raises `UserError` if the model, if there is one, does not fit the run.

        `gan` says whether the run uses the GAN, which must then be the model's, and with it the model's encoder, unless
        it trains its own.
        """
        if self.model is None:
            if self.kind == "lift" and self.config.lift.pictures:
                raise UserError(
                    f"{self.config.networks.pretrained} (config.networks.pretrained) is not a model that lift "
                    "has written: name a lift's model.safetensors, which config.lift.pictures adds to"
                )
            return
        config, facts, model = self.config, self.model.facts, f"model {self.model.path}"
        checkpoint = pathlib.Path(config.gan.checkpoint)
        if gan and checkpoint.is_file() and (own := sha256(checkpoint)) != facts.gan_sha256:
            raise UserError(
                f"{model} was lifted from another GAN (SHA-256 {facts.gan_sha256[:16]}, config.gan.checkpoint has "
                f"{own[:16]}): name the model of this GAN, lift it with config.mode='lift', or {_WITHOUT}"
            )
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

    Raises `UserError`: the model is unusable, or `config.reference` is set: the published code has no models.
    """
    pretrained = pathlib.Path(config.networks.pretrained)
    model = model_file.read_model(pretrained) if config.networks.pretrained else None
    if config.mode != "instance":
        schedule = () if config.mode == "predict" else schedule_of(config)
        return Plan(config.mode, config, schedule, model)
    if model is None:
        return Plan("train", config, schedule_of(config), None)
    if config.reference:
        raise UserError(
            "config.reference repeats the published code, which starts without a model: set config.networks.pretrained "
            "to '', or use a variant that does, such as ictface:scratch"
        )
    config = refinement.as_refinement(config, turns=model.pose_edit is not None)
    return Plan("refine", config, schedule_of(config), model)
