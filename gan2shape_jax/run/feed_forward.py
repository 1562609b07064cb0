"""Trained networks that explain images feed-forward: D, A, V and L see each image once.

Neither a latent nor a GAN is needed. If the image's latent file and the GAN are available, the GAN can also draw
pictures.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan2shape_jax.io import data
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction, see_together
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem, TrainState, initial_state
from gan2shape_jax.results import Result
from gan2shape_jax.run import lifted_model, refining, results, trust
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files

__all__ = ["FeedForward", "load", "needed_networks", "stand_in_sizes"]

_NEEDED = ("depth", "albedo", "view", "light")


def stand_in_sizes(config: ConfigDict) -> Architecture:
    """Returns a stand-in architecture for the GAN that the configuration describes, for use when none is loaded."""
    levels = config.gan.size.bit_length() - 2
    return Architecture(
        size=config.gan.size,
        style_dim=config.gan.style_dim,
        mapping_layers=8,
        channels=(1,) * levels,
        discriminator_channels=(1,) * levels,
    )


def needed_networks(*, gan: bool) -> tuple[str, ...]:
    """Returns the networks that explaining an image requires, with or without pictures through the GAN."""
    return (*_NEEDED, "encoder") if gan else _NEEDED


@dataclasses.dataclass(frozen=True)
class FeedForward:
    """Networks and what they were trained with; created by `load`.

    Attributes:
      architecture: the GAN's architecture, or its stand-in.
      frozen: the frozen networks; `frozen.generator` is None if there is no GAN.
      settings: static settings.
      state: the networks.
      l1_p95: see `lifted_model.typical_l1`.
      judge: the judge of the results.
    """

    architecture: Architecture
    frozen: FrozenModels
    settings: Settings
    state: TrainState
    l1_p95: float | None
    judge: trust.Judge

    def prepared(self, item: data.Item) -> PreparedImage:
        """Returns an image, prepared without a latent, ready to be explained."""
        problem = Problem(
            image=jnp.asarray(item.image)[None],
            mask=jnp.asarray(item.mask),
            latent=None,
            gan_image=None,
            prior=None,
            true_depth=None if item.depth is None else jnp.asarray(item.depth),
            key=jax.random.key(0),
        )
        return PreparedImage(name=item.name, problem=problem, settings=self.settings, inversion_l1=None)

    def seen(self, prepared: PreparedImage, *, category: str, view: Reconstruction | None = None) -> Result:
        """Returns the networks' result for an image, and whether they know such images (`refining.nearness`).

        Args:
          prepared: the image.
          category: the object's category, for the record.
          view: the image's entry from `views_of`, if that has been called.
        """
        result = results.result_of(self.state, prepared, self.frozen, [], category=category, view=view)
        near = refining.nearness(self.l1_p95, result.metrics["reconstruction_l1"])
        return dataclasses.replace(result, metrics=result.metrics | near)

    def explained(self, prepared: PreparedImage, *, category: str, view: Reconstruction | None = None) -> Result:
        """Returns the result of `seen`, with how far to trust it."""
        return trust.judged(self.judge, self.seen(prepared, category=category, view=view))

    def views_of(self, images: Sequence[PreparedImage | None]) -> list[Reconstruction | None]:
        """Returns the networks' reconstructions of several images at once, see `reconstruction.see_together`."""
        problems = [None if one is None else one.problem for one in images]
        return see_together(self.state, problems, self.frozen, self.settings)


def load(config: ConfigDict, gan: tuple[Architecture, FrozenModels] | None) -> FeedForward:
    """Reads the networks of `config.networks.pretrained`.

    Args:
      config: the run's configuration; validated.
      gan: the GAN, for pictures through it, which also need the encoder; or None.

    Raises:
      UserError: the networks or the statistics are unusable, or do not fit the configuration.
    """
    architecture, frozen = gan or _without_gan(config)
    settings = lifted_model.settings_of(config, architecture, original_size=config.image_size)
    lifted_model.require_fits(config, settings, gan=gan is not None)
    like = models.init_params(jax.random.key(config.seed), settings)
    needed = needed_networks(gan=gan is not None)
    params = network_files.load_networks(pathlib.Path(config.networks.pretrained), like, settings, needed=needed)
    typical = lifted_model.typical_l1(config)
    known = None if gan is None else (architecture, frozen.discriminator)
    judge = trust.load(config, known, model=typical is not None)
    return FeedForward(architecture, frozen, settings, initial_state(params, settings), typical, judge)


def _without_gan(config: ConfigDict) -> tuple[Architecture, FrozenModels]:
    """Returns stand-ins for the GAN, for use when none is loaded: its architecture, and the mean view and light."""
    sizes = stand_in_sizes(config)
    nothing = jnp.zeros((1, sizes.style_dim))
    view, light = (
        jnp.asarray(data.load_mvn(path, count)[0], jnp.float32)
        for path, count in ((config.sampling.view_mvn, 6), (config.sampling.light_mvn, 4))
    )
    return sizes, FrozenModels(
        generator=None,
        discriminator=None,
        lpips=None,
        view_mean=view,
        view_factor=jnp.zeros((6, 6)),
        light_mean=light,
        mean_w=nothing,
        center_h=nothing,
        center_w=nothing,
    )
