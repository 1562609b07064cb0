"""Prediction: trained networks explain new images feed-forward, without any training.

No latent, GAN or mask is needed. If a mask is given, the outputs are cut to it; if true depth is known, they are
measured against it; and if the GAN, an encoder and an image's latent file are available, `outputs.gan_images` also
makes the pictures through the GAN.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable

from ml_collections import ConfigDict

from gan2shape_jax.io import data
from gan2shape_jax.io.image_names import stem_of
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.run import feed_forward, interrupt, loading, results, start, trust
from gan2shape_jax.run.each_image import FAILURES, for_each_image
from gan2shape_jax.run.feed_forward import FeedForward
from gan2shape_jax.run.monitor import Monitor
from gan2shape_jax.run.run_folder import RunFolder

__all__ = ["no_gan_because", "run"]


def _wants_gan(config: ConfigDict) -> bool:
    return config.outputs.gan_images and config.outputs.preset == "all"


def no_gan_because(config: ConfigDict) -> str:
    """Returns why there are no pictures through the GAN, so that it is not loaded; '' if there can be."""
    if not _wants_gan(config):
        return (
            f"config.outputs.gan_images is {config.outputs.gan_images}, config.outputs.preset {config.outputs.preset!r}"
        )
    if not pathlib.Path(config.gan.checkpoint).is_file():
        return f"there is no config.gan.checkpoint {config.gan.checkpoint}"
    if not config.data.latent_root:
        return "config.data.latent_root is empty, and predicting does not invert the GAN"
    return ""


_AT_ONCE = 8  # images that go through the networks together
_MANY = 32  # number of images from which a separate program for that pays off


@dataclasses.dataclass(frozen=True)
class _Predictor:
    """What all images share.

    Attributes:
      config: the run's configuration.
      networks: the networks that explain the images.
      folder: the run's folder.
      names: the names of all images that this host explains.
      check_interrupt: raises if the run is to end.
      say: prints a line.
      seen: images that have gone through the networks along with others and are still waiting their turn, or their
        errors; mutable.
    """

    config: ConfigDict
    networks: FeedForward
    folder: RunFolder
    names: list[str]
    check_interrupt: Callable[[], None]
    say: Callable[[str], None]
    seen: dict[str, tuple[PreparedImage, Reconstruction] | Exception] = dataclasses.field(default_factory=dict)

    def _prepare(self, name: str) -> PreparedImage:
        item, known = data.load_item(self.config, name), self.networks
        if known.frozen.generator is not None and item.latent is not None:
            return loading.load_problem(self.config, name, known.architecture, known.frozen, self.folder.latents)
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

    def _seen(self, name: str) -> tuple[PreparedImage, Reconstruction | None]:
        """Returns an image, and the networks' reconstruction of it if images go through them together."""
        if len(self.names) < _MANY or self.networks.frozen.generator is not None:
            return self._prepare(name), None
        if name not in self.seen:
            self._see_with_others(name)
        found = self.seen.pop(name)
        if isinstance(found, Exception):
            raise found
        return found

    def __call__(self, name: str) -> Callable[[], None]:
        """Returns the function that writes the results of one image."""
        self.check_interrupt()
        self.folder.require()
        (prepared, view), known = self._seen(name), self.networks
        category = self.config.category
        result = known.explained(prepared, category=category, view=view)
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
      config: the run's configuration; validated.
      names: the names in the image list.

    Returns:
      0, or 1 if an image failed.

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
            mine = [name for (name,) in begun.units]
            predictor = _Predictor(config, networks, folder, mine, check, monitor.say)
            # While eight images go through the networks, the previous eight are written.
            return for_each_image(folder, names, monitor.say, predictor, mine, ahead=_AT_ONCE)
