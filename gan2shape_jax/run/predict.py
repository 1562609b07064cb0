"""Prediction: trained networks explain new images feed-forward, without any training.

No latent, no GAN and no mask is needed. Where a mask is given the outputs are cut to it, where true depth is known they
are measured against it, and where the GAN, an encoder and an image's latent file are there, `outputs.gan_images` makes
the pictures through the GAN too.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable

from ml_collections import ConfigDict

from gan2shape_jax.inputs import data
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.run import feed_forward, interrupt, loading, results, start, trust
from gan2shape_jax.run.each_image import for_each_image
from gan2shape_jax.run.feed_forward import FeedForward
from gan2shape_jax.run.monitor import Monitor
from gan2shape_jax.run.run_folder import RunFolder

__all__ = ["no_gan_because", "run"]


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
    """What all images share."""

    config: ConfigDict
    networks: FeedForward
    folder: RunFolder
    check_interrupt: Callable[[], None]
    say: Callable[[str], None]

    def _prepare(self, name: str) -> PreparedImage:
        item, known = data.load_item(self.config, name), self.networks
        if known.frozen.generator is not None and item.latent is not None:
            return loading.load_problem(self.config, name, known.architecture, known.frozen, self.folder.latents)
        return known.prepared(item)

    def __call__(self, name: str) -> Callable[[], None]:
        """Returns what writes the results of one image."""
        self.check_interrupt()
        self.folder.require()
        prepared, known = self._prepare(name), self.networks
        category = self.config.category
        result = known.explained(prepared, category=category)
        sentence = trust.sentence_of(result.name, result.metrics)
        if sentence is not None:
            self.say(sentence)
        has_latent = prepared.problem.latent is not None
        project = results.projector(known.state, prepared, known.frozen) if has_latent else None
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
        gan = None if reason else loading.load_frozen(config, perceptual_weights=False)
        networks, folder = feed_forward.load(config, gan), begun.folder
        folder.describe(config)
        with Monitor((), None) as monitor, interrupt.noted() as check:
            if reason and _wants_gan(config):
                monitor.say(f"no pictures through the GAN: {reason}")
            predictor = _Predictor(config, networks, folder, check, monitor.say)
            return for_each_image(folder, names, monitor.say, predictor, [name for (name,) in begun.units])
