"""Recipes: what a run does, by the name that `config.recipe` gives it.

A recipe says what networks it begins with, in which phases they are trained, and which fields it does not read. Nothing
else decides what a run does: a file that does not go with its recipe is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from ml_collections import ConfigDict

from gan2shape_jax.config.schema import LIFTS
from gan2shape_jax.lift import detail_training, steps
from gan2shape_jax.method.schedule import Phase, make_schedule
from gan2shape_jax.method.state import Step
from gan2shape_jax.method.step3 import FROZEN_GEOMETRY

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
    lists_images: bool = True  # whether it needs a list of images

    @property
    def trains(self) -> bool:
        """Whether networks are trained, so that there are checkpoints."""
        return self.name != "predict"

    @property
    def trains_each(self) -> bool:
        """Whether each image trains networks of its own."""
        return self.single and self.trains

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
            lists_images=False,
        ),
        Recipe(
            "finetune",
            "finetunes a lift: two more stages, on the GAN's own turned pictures",
            ("networks", "model"),
            _lifted,
            unread=(*_OF_IMAGES, "detail", "lift.anchor_view"),
            lists_images=False,
        ),
        Recipe(
            "train_detail",
            "teaches a lifted model the detail of its albedo, by pictures of which none comes twice",
            ("model",),
            _detailed,
            unread=("refinement", "inversion", "schedule.stages", "schedule.flip1"),
            lists_images=False,
        ),
    )
}


def recipe_of(config: ConfigDict) -> Recipe:
    """Returns the recipe that a configuration names."""
    return RECIPES[config.recipe]
