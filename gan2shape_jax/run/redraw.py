"""Drawing finished results anew, from what is kept of them: nothing is trained, and no factor changes."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.networks.modules import param_shapes
from gan2shape_jax.photos import explain
from gan2shape_jax.results import Projection, examine, load
from gan2shape_jax.results.outputs import BY_GAN, undrawn_files
from gan2shape_jax.training import network_files


def draws_by_gan(config: ConfigDict) -> bool:
    """Whether a configuration's results have pictures by the GAN, if there is one."""
    return bool(config.outputs.gan_images) and config.outputs.preset == "all"


def kept_projector(path: pathlib.Path, prepared: PreparedImage, frozen: FrozenModels) -> Projection | None:
    """Returns the projector of the trained encoder in a file of networks; None if that was not kept."""
    if not path.is_file():
        return None
    like = {"encoder": param_shapes(models.modules(prepared.settings)["encoder"])}
    params = network_files.load_networks(path, like, prepared.settings, needed=("encoder",))
    return explain.projector({"encoder": params["encoder"]}, prepared, frozen)


def redraw(
    folder: pathlib.Path, config: ConfigDict, drawing: str, projector: Callable[[], Projection | None] = lambda: None
) -> None:
    """Writes a finished result's folder anew, drawn as `config.outputs` says, with all else that is in it.

    Args:
      folder: the result's.
      config: the run's.
      drawing: the hash of how it is drawn, for its record.
      projector: returns what draws the GAN's pictures; where it returns None, those that are there stay.

    Raises `UserError`: the result cannot be read, or the folder cannot be written.
    """
    result = load(folder)
    made_with: dict[str, Any] = examine(folder) | {"drawing": drawing}
    project = projector() if draws_by_gan(config) else None
    keep = BY_GAN if draws_by_gan(config) and project is None else ()
    explain.write(result, folder, config, project=project, extra=undrawn_files(folder, keep), made_with=made_with)
