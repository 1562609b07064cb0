"""The run over prepared photos: its configuration, what frames them, and the run itself."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from gan2shape_jax.apps.export.texture import write_photo_textured
from gan2shape_jax.apps.photo import guide
from gan2shape_jax.apps.photo.framing import Score
from gan2shape_jax.apps.photo.preparation import FOLDER, Framer, Prepared, opened, records_in
from gan2shape_jax.config.validation import validate
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import scaled_box
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.io.masks import load_mask, usual_file
from gan2shape_jax.results.result import load_metrics, load_result
from gan2shape_jax.run import experiment, prepare, runtime, trust
from gan2shape_jax.stylegan2 import Architecture, typicality

__all__ = ["config_of", "reconstruct", "score_by", "sentence_on", "start", "write_textures"]

_LIST = "list.txt"
_BATCH = 32  # crops that are scored per batch


def config_of(kind: ConfigDict, out: pathlib.Path, *, refine: bool) -> ConfigDict:
    """Returns the configuration of a run over the prepared photos in a folder.

    Args:
      kind: configuration with a model, see `sources.load_kind`.
      out: the folder.
      refine: whether the model is refined on each photo, or used as is.
    """
    config = kind.copy_and_resolve_references().unlock()
    folder = out / FOLDER
    config.workdir = str(out)
    config.mode = "instance" if refine else "predict"
    config.data.image_list = str(folder / _LIST)
    config.data.image_root = str(folder / "image")
    config.data.mask_root = str(folder / "mask")
    config.data.mask_source = "file"
    config.data.latent_root = str(folder / "latent") if refine else ""
    config.outputs.preset = "overview"  # the page rotates and relights the object
    config.logging.tensorboard = False
    config.runtime.hosts = "one"
    validate(config)
    return config.lock()


def start(config: ConfigDict, *, say: Callable[[str], None], foreign: bool = False) -> Framer:
    """Starts the runtime, loads the GAN and returns what frames photos.

    Args:
      config: see `config_of`.
      say: called with messages about what takes time.
      foreign: whether photos come from strangers.

    Raises:
      UserError: the GAN is unusable.
    """
    runtime.set_up_runtime(config)
    architecture, weights = prepare.load_gan(config)
    checkpoint = pathlib.Path(config.gan.checkpoint)
    found = guide.guide_of(checkpoint, lambda: (architecture, weights), say=say)
    side = config.lift.cropped_from if config.data.crop else config.gan.size
    usual = usual_file(config)
    return Framer(
        side=side,
        style_dim=config.gan.style_dim,
        alignment=found.alignment,
        usual_mask=load_mask(pathlib.Path(usual), side) if usual else found.usual_mask,
        finds_masks=not usual,
        score=score_by(found, architecture, weights),
        limit=typicality.LIMIT,
        foreign=foreign,
    )


def score_by(found: guide.Guide, architecture: Architecture, weights: dict[str, Any]) -> Score:
    """Returns a function that scores crops in batches: one compiled program for any number."""

    def score(crops: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, " n"]:
        filled = np.concatenate([crops, np.repeat(crops[-1:], -len(crops) % _BATCH, axis=0)])
        parts = []
        for first in range(0, len(filled), _BATCH):
            images = jnp.asarray(filled[first : first + _BATCH], jnp.float32) / 127.5 - 1
            parts.append(typicality.atypicality(found.typicality, weights["discriminator"], images, arch=architecture))
        return np.concatenate(jax.device_get(parts))[: len(crops)]

    return score


def reconstruct(config: ConfigDict, out: pathlib.Path, prepared: Sequence[Prepared]) -> int:
    """Runs over all photos of a folder; returns the exit status.

    Args:
      config: see `config_of`.
      out: the folder.
      prepared: photos of this command; results of those that have changed are recomputed.
    """
    for photo in prepared:
        if photo.changed:
            shutil.rmtree(out / "results" / photo.name, ignore_errors=True)
    quoted = (f"{name}.png".replace("\\", "\\\\").replace('"', '\\"') for name in sorted(records_in(out)))
    atomic_text(out / FOLDER / _LIST, "".join(f'"{name}"\n' for name in quoted))
    if config.data.latent_root and not pathlib.Path(config.data.latent_root).is_dir():
        config = ConfigDict(config).unlock()
        config.data.latent_root = ""  # none was given: the run finds them by inversion
        config.lock()
    return experiment.run(config)


def write_textures(out: pathlib.Path, prepared: Sequence[Prepared], framer: Framer) -> None:
    """Writes the meshes of finished photos with the photo's own texture, if they do not exist yet.

    Args:
      out: the folder of results.
      prepared: photos.
      framer: that they were prepared with.

    Raises:
      UserError: the files cannot be written.
    """
    for photo in prepared:
        result, folder = out / "results" / photo.name, out / FOLDER / "textured" / photo.name
        if not (result / "result.json").is_file() or not (photo.changed or not (folder / "textured.glb").is_file()):
            continue
        whole, _, reduction = opened(photo.path, framer)
        folder.mkdir(parents=True, exist_ok=True)
        box = scaled_box(photo.frames[photo.chosen].box, 1 / reduction)
        write_photo_textured(load_result(result), np.asarray(whole), box, folder)


def sentence_on(out: pathlib.Path, photo: Prepared) -> str | None:
    """Returns the line that tells how far to trust a photo's result; None if there is none."""
    try:
        return trust.sentence_of(photo.name, load_metrics(out / "results" / photo.name))
    except UserError:
        return None
