"""The latents that a run finds by inverting the GAN, kept for its next start.

WORKDIR/latents/NAME.npy    (1, W)
WORKDIR/latents/NAME.json   the file's size and checksum, and the hash of the configuration that it was found with
"""

from __future__ import annotations

import os
import pathlib

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import records
from gan2shape_jax.io.atomic_files import atomic_file
from gan2shape_jax.io.data import load_latent
from gan2shape_jax.io.set_aside import Aside

__all__ = ["keep", "kept"]


def kept(folder: pathlib.Path, stem: str, width: int, configuration: str) -> np.ndarray | None:
    """Returns an image's latent kept by an earlier start; None if there is none that can be used.

    Unusable files are set aside. A latent from an earlier version of this program, which has no checksum, is used as it
    is and gets one.

    Args:
      folder: the folder of the latents.
      stem: the image's name without extension.
      width: W.
      configuration: the hash of the run's configuration.

    Raises:
      UserError: the file system refuses.
    """
    path, record = folder / f"{stem}.npy", folder / f"{stem}.json"
    if not os.path.lexists(path):
        return None
    try:
        known = _recorded(path, record, configuration)
        latent = load_latent(path, width)
    except UserError as error:
        aside = Aside(folder.parent)
        aside(path, str(error), "the GAN is inverted again")
        if os.path.lexists(record):
            aside(record, f"{record} belongs to it", "it is written again")
        return None
    if not known:
        _write_record(path, record, configuration)
    return latent


def keep(folder: pathlib.Path, stem: str, latent: np.ndarray, configuration: str) -> None:
    """Saves a latent (1, W); raises `UserError` if the file system refuses."""
    path, record = folder / f"{stem}.npy", folder / f"{stem}.json"

    def write(part: pathlib.Path) -> None:
        np.save(part, latent)
        _write_record(part, record, configuration)  # before the latent itself, so that none lacks a record

    atomic_file(path, write, parents=True)


def _recorded(path: pathlib.Path, record: pathlib.Path, configuration: str) -> bool:
    """Returns whether there is a record of a latent; raises `UserError` if the latent does not match it."""
    try:
        content = records.unseal(records.read(record, "the record of a latent"), record)
    except FileNotFoundError:
        return False
    harm = records.harm_below(path.parent, {path.name: content.get("file")})
    if harm:
        raise records.Damaged(f"{path} is damaged ({harm})")
    if content.get("configuration") != configuration:
        raise UserError(f"{path} was found with another configuration")
    return True


def _write_record(path: pathlib.Path, record: pathlib.Path, configuration: str) -> None:
    records.write(record, {"file": records.measure(path), "configuration": configuration})
