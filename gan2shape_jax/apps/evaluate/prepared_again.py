"""An image of a finished run, prepared as the run had it; nothing in the run's folder is changed."""

import pathlib

from ml_collections import ConfigDict

from gan2shape_jax.io import data
from gan2shape_jax.io.array_files import load_latent
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.run import loading
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["prepared_again"]


def prepared_again(
    config: ConfigDict, entry: str, architecture: Architecture, frozen: FrozenModels, latents: pathlib.Path
) -> PreparedImage:
    """Returns an image with its latent: from a file, as found by the run, or found now.

    A run (`loading.load_problem`) sets aside a latent whose record does not match; here it is used, whatever its record
    says.

    Args:
      config: of the run.
      entry: the image's line in the run's list.
      architecture: of the GAN.
      frozen: the run's frozen networks.
      latents: folder of the latents that the run found.

    Raises:
      UserError: a file is missing or unusable.
    """
    item = data.load_item(config, entry)
    latent, kept = item.latent, latents / f"{item.name}.npy"
    if latent is None and kept.is_file():
        latent = load_latent(kept, architecture.style_dim)
    if latent is None:
        picture = data.open_picture(config, entry, expected=architecture.size)
        latent = loading.find_latent(config, item.name, picture, architecture, frozen)
    return loading.prepare(config, item, latent, architecture, frozen)
