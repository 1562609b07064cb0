"""Prediction: trained networks explain new images feed-forward, without any training.

No latent, GAN or mask is needed. If a mask is given, the outputs are cut to it; if true depth is known, they are
measured against it; and if the GAN, an encoder and an image's latent file are available, `outputs.gan_images` also
makes the pictures through the GAN.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan2shape_jax.io import data
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.lift import model_file
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction, see_together
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem
from gan2shape_jax.results import Result
from gan2shape_jax.run import explain, interrupt, prepare, start, trust
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.runner import FAILURES, Units
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files

__all__ = ["Predictor", "load", "needed_networks", "no_gan_because", "run", "stand_in_sizes"]

_AT_ONCE = 8  # images that go through the networks together
_MANY = 32  # number of images from which a separate program for that pays off


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Networks that explain images, and what they were trained with; created by `load`.

    Attributes:
      architecture: the GAN's architecture, or its stand-in.
      frozen: the frozen networks; `frozen.generator` is None if there is no GAN.
      settings: of the method.
      params: the networks.
      judge: the judge of the results.
    """

    architecture: Architecture
    frozen: FrozenModels
    settings: Settings
    params: models.Params
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

    def explain(self, prepared: PreparedImage, view: Reconstruction | None = None) -> Result:
        """Returns the networks' result for an image; `view` is its entry from `views_of`, if that has been called."""
        return explain.explain(self.params, prepared, self.frozen, self.judge, view=view)

    def views_of(self, images: Sequence[PreparedImage | None]) -> list[Reconstruction | None]:
        """Returns the networks' reconstructions of several images at once, see `reconstruction.see_together`."""
        problems = [None if one is None else one.problem for one in images]
        return see_together(self.params, problems, self.frozen, self.settings)


def load(config: ConfigDict, gan: tuple[Architecture, FrozenModels] | None) -> Predictor:
    """Reads the networks of `config.networks.pretrained`.

    Args:
      config: the run's configuration; validated.
      gan: the GAN, for pictures through it, which also need the encoder; or None.

    Raises:
      UserError: the networks or the statistics are unusable, or do not fit the configuration.
    """
    architecture, frozen = gan or _without_gan(config)
    settings = model_file.settings_of(config, architecture, original_size=config.image_size)
    model_file.require_fits(config, settings, gan=gan is not None)
    like = models.init_params(jax.random.key(config.seed), settings)
    needed = needed_networks(gan=gan is not None)
    params = network_files.load_networks(pathlib.Path(config.networks.pretrained), like, settings, needed=needed)
    judge = trust.load(config, None if gan is None else (architecture, frozen.discriminator))
    return Predictor(architecture, frozen, settings, params, judge)


def needed_networks(*, gan: bool) -> tuple[str, ...]:
    """Returns the networks that explaining an image requires, with or without pictures through the GAN."""
    return ("depth", "albedo", "view", "light", *(["encoder"] if gan else []))


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


def no_gan_because(config: ConfigDict) -> str:
    """Returns why there are no pictures through the GAN, so that it is not loaded; '' if there can be."""
    if not _asks_for_gan(config):
        return (
            f"config.outputs.gan_images is {config.outputs.gan_images}, config.outputs.preset {config.outputs.preset!r}"
        )
    if not pathlib.Path(config.gan.checkpoint).is_file():
        return f"there is no config.gan.checkpoint {config.gan.checkpoint}"
    if not config.data.latent_root:
        return "config.data.latent_root is empty, and predicting does not invert the GAN"
    return ""


def _asks_for_gan(config: ConfigDict) -> bool:
    return config.outputs.gan_images and config.outputs.preset == "all"


@dataclasses.dataclass(frozen=True)
class _Images:
    """The images of a run, several of which go through the networks at once.

    Attributes:
      config: the run's configuration.
      networks: the networks that explain the images.
      folder: the run's folder.
      names: the names of all images that this host explains.
      seen: images that have gone through the networks along with others and are still waiting their turn, or their
        errors; mutable.
    """

    config: ConfigDict
    networks: Predictor
    folder: RunFolder
    names: list[str]
    seen: dict[str, tuple[PreparedImage, Reconstruction] | Exception] = dataclasses.field(default_factory=dict)

    def get(self, name: str) -> tuple[PreparedImage, Reconstruction | None]:
        """Returns an image, and the networks' reconstruction of it if images go through them together."""
        if len(self.names) < _MANY or self.networks.frozen.generator is not None:
            return self._prepare(name), None
        if name not in self.seen:
            self._see_with_others(name)
        found = self.seen.pop(name)
        if isinstance(found, Exception):
            raise found
        return found

    def _prepare(self, name: str) -> PreparedImage:
        item, known = data.load_item(self.config, name), self.networks
        if known.frozen.generator is not None and item.latent is not None:
            return prepare.load_image(self.config, name, known.architecture, known.frozen, self.folder.latents)
        return known.prepared(item)

    def _see_with_others(self, name: str) -> None:
        """Sends an image and its neighbours in the list through the networks.

        Which images go together, and in which positions, depends on the list alone, not on what is already finished.
        """
        first = self.names.index(name) // _AT_ONCE * _AT_ONCE
        images: list[PreparedImage | None] = [None] * _AT_ONCE
        for place, one in enumerate(self.names[first : first + _AT_ONCE]):
            if not self.folder.is_finished(stem_of(one)):
                try:
                    images[place] = self._prepare(one)
                except FAILURES as error:
                    self.seen[one] = error
        if any(image is not None for image in images):
            for one, image, view in zip(self.names[first:], images, self.networks.views_of(images), strict=False):
                if image is not None and view is not None:
                    self.seen[one] = image, view


def run(config: ConfigDict, names: list[str]) -> int:
    """Explains every image of the list with the networks of `config.networks.pretrained`.

    Args:
      config: the run's configuration; validated.
      names: the names in the image list.

    Returns:
      0, or 1 if an image failed.

    Raises:
      UserError: the networks or the statistics are unusable.
    """
    with start.begin(config, names) as begun:
        reason, folder = no_gan_because(config), begun.folder
        networks = load(config, None if reason else prepare.load_frozen(config, perceptual_weights=False))
        folder.describe(config)
        with Monitor((), None) as monitor, interrupt.noted() as check:
            if reason and _asks_for_gan(config):
                monitor.say(f"no pictures through the GAN: {reason}")
            mine = [name for (name,) in begun.units]
            images = _Images(config, networks, folder, mine)

            def make(name: str) -> Callable[[], None]:
                check()
                folder.require()
                prepared, view = images.get(name)
                result = networks.explain(prepared, view)
                if sentence := trust.sentence_of(result.name, result.metrics):
                    monitor.say(sentence)
                has_latent = prepared.problem.latent is not None
                project = explain.projector(networks.params, prepared, networks.frozen) if has_latent else None
                return functools.partial(explain.write, result, folder.result(result.name), config, project=project)

            # While eight images go through the networks, the previous eight are written.
            with Units(folder, names, monitor.say, ahead=_AT_ONCE) as units:
                return units.each(mine, make)
