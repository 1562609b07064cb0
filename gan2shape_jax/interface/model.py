"""A model (networks trained by a lift) as an object that explains images one by one, feed-forward."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from jax.typing import ArrayLike
from ml_collections import ConfigDict

from gan2shape_jax.interface import arguments, configuration
from gan2shape_jax.interface.arguments import ImageLike
from gan2shape_jax.interface.item import item_of
from gan2shape_jax.interface.result import Reconstruction
from gan2shape_jax.run import feed_forward, results, xla_flags
from gan2shape_jax.run.feed_forward import FeedForward

__all__ = ["Model", "load_model"]


def load_model(path: str | os.PathLike[str] | None = None, *, config: str | ConfigDict = "ictface:predict") -> Model:
    """Loads networks that explain images feed-forward.

    Args:
      path: file of a model (`gan2shape-jax lift`), or of the networks from joint training. Defaults to the
        configuration's `networks.pretrained`.
      config: the configuration that they were trained with: a name ('ictface', 'car'), a file, or what `load_config`
        returned.

    Raises:
      ConfigError: values of the configuration that no prediction can use.
      UserError: a file is missing, damaged, or of another category, camera or size than the configuration's.
    """
    xla_flags.avoid_wrong_sums()
    chosen = configuration.of_model(config, path)
    networks = feed_forward.load(chosen, None)
    return Model(chosen, dataclasses.replace(networks, judge=networks.judge.without_files()))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
    """Trained networks; made by `load_model`.

    Attributes:
      config: the configuration that they were trained with.
      networks: what is applied to an image.
    """

    config: ConfigDict
    networks: FeedForward

    def __repr__(self) -> str:
        return f"Model({self.config.category}, {self.config.image_size} x {self.config.image_size} pixels)"

    def explain(
        self,
        image: ImageLike,
        *,
        mask: ImageLike | None = None,
        true_depth: ArrayLike | None = None,
        name: str = "image",
    ) -> Reconstruction:
        """Returns an image's depth, albedo, view and light from one pass through the networks.

        The first image compiles the program, or loads it; each further image takes a fraction of a second.

        Args:
          image: a square Pillow image or array (H, W, 3), uint8 from 0 to 255 or floats in [0, 1] (rounded to 8 bits),
            framed like the images of the model's GAN.
          mask: the object mask, of the same size as the image, see `reconstruct`; the mesh is cut to it. Defaults to
            the image's alpha channel, or else the whole square.
          true_depth: (S, S), see `reconstruct`; adds errors to `metrics`.
          name: the image's name.

        Returns:
          The reconstruction. With a lifted model, `metrics` has `trust`: how far to trust the shape, as a sentence
          (`verdict`) and in figures; and `far_from_category`: whether the model explains this image so much worse than
          samples of its GAN that the shape should not be trusted.

        Raises:
          ArgumentError: an argument of the wrong type, shape or range (a `ValueError` too).
        """
        picture = arguments.picture_of(image)
        shown = arguments.alpha_of(image) if mask is None else mask
        prepared = self.networks.prepared(item_of(self.config, picture, shown, true_depth, name))
        record = self.networks.explained(prepared, category=self.config.category)

        def write(folder: str | os.PathLike[str]) -> None:
            results.write_result(record, pathlib.Path(folder), None, self.config, {})

        return Reconstruction(record, [], write)
