"""Prediction: trained networks explain new images feed-forward, without any training.

D, A, V and L see each image once; no latent, no GAN and no mask is needed. Where a mask is given the outputs
are cut to it, where true depth is known they are measured against it, and where the GAN, an encoder and an
image's latent file are there, `outputs.gan_images` makes the pictures through the GAN too.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan2shape_jax.inputs import data
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem, TrainState, initial_state
from gan2shape_jax.run import interrupt, lifted_model, loading, refining, results, start
from gan2shape_jax.run.each_image import for_each_image
from gan2shape_jax.run.monitor import Monitor
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.verdict import FAR, far_in_words
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files

__all__ = ["needed_networks", "no_gan_because", "run", "stand_in_sizes"]

_NEEDED = ("depth", "albedo", "view", "light")


def stand_in_sizes(config: ConfigDict) -> Architecture:
    """Returns the outward sizes of the GAN that the configuration describes, where none is loaded."""
    levels = config.gan.size.bit_length() - 2
    return Architecture(
        size=config.gan.size,
        style_dim=config.gan.style_dim,
        mapping_layers=8,
        channels=(1,) * levels,
        discriminator_channels=(1,) * levels,
    )


def needed_networks(*, gan: bool) -> tuple[str, ...]:
    """Returns the networks without which nothing can be predicted, with or without pictures through the GAN."""
    return (*_NEEDED, "encoder") if gan else _NEEDED


def _without_gan(config: ConfigDict) -> tuple[Architecture, FrozenModels]:
    """Returns what stands for the GAN where none is loaded: its outward sizes, and the mean view and light."""
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


def _wants_gan(config: ConfigDict) -> bool:
    return config.outputs.gan_images and config.outputs.preset == "all"


def no_gan_because(config: ConfigDict) -> str:
    """Returns why there are no pictures through the GAN, so that it is not loaded; '' where there can be."""
    if not _wants_gan(config):
        return (
            f"config.outputs.gan_images is {config.outputs.gan_images}, config.outputs.preset {config.outputs.preset!r}"
        )
    if not pathlib.Path(config.gan.checkpoint).is_file():
        return f"there is no config.gan.checkpoint {config.gan.checkpoint}"
    if not config.data.latent_root:
        return "config.data.latent_root is empty, and predicting does not invert the GAN"
    return ""


@dataclasses.dataclass(frozen=True)
class _Predictor:
    """What all images share; `frozen.generator` is None where there is no GAN."""

    config: ConfigDict
    architecture: Architecture
    frozen: FrozenModels
    settings: Settings
    state: TrainState
    folder: RunFolder
    check_interrupt: Callable[[], None]
    say: Callable[[str], None]
    l1_p95: float | None

    def _prepare(self, name: str) -> PreparedImage:
        item = data.load_item(self.config, name)
        if self.frozen.generator is not None and item.latent is not None:
            return loading.load_problem(self.config, name, self.architecture, self.frozen, self.folder.latents)
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

    def __call__(self, name: str) -> Callable[[], None]:
        """Returns what writes the results of one image."""
        self.check_interrupt()
        self.folder.require()
        prepared = self._prepare(name)
        category = self.config.category
        near = refining.nearness(self.l1_p95, self.state, prepared, self.frozen)
        if near.get(FAR):
            self.say(far_in_words(prepared.name, category, near))
        result = results.result_of(self.state, prepared, self.frozen, [], category=category, measured=near)
        project = None if prepared.problem.latent is None else results.projector(self.state, prepared, self.frozen)
        folder = self.folder.result(prepared.name)
        return functools.partial(results.write_result, result, folder, project, self.config, {})


def run(config: ConfigDict, names: list[str]) -> int:
    """Explains every image of the list with the networks of `config.networks.pretrained`.

    Args:
      config: of the run; validated.
      names: of the image list.

    Returns:
      0, or 1 when an image failed.

    Raises:
      UserError: the networks or the statistics are unusable.
    """
    with start.begin(config, names) as begun:
        reason = no_gan_because(config)
        architecture, frozen = _without_gan(config) if reason else loading.load_frozen(config, perceptual_weights=False)
        settings = lifted_model.settings_of(config, architecture, original_size=config.image_size)
        lifted_model.require_fits(config, settings, gan=not reason)
        like = models.init_params(jax.random.key(config.seed), settings)
        needed = needed_networks(gan=not reason)
        params = network_files.load_networks(pathlib.Path(config.networks.pretrained), like, settings, needed=needed)
        state, folder = initial_state(params, settings), begun.folder
        folder.describe(config)
        with Monitor((), None) as monitor, interrupt.noted() as check:
            if reason and _wants_gan(config):
                monitor.say(f"no pictures through the GAN: {reason}")
            l1_p95 = lifted_model.typical_l1(config)
            predictor = _Predictor(config, architecture, frozen, settings, state, folder, check, monitor.say, l1_p95)
            return for_each_image(folder, names, monitor.say, predictor, [name for (name,) in begun.units])
