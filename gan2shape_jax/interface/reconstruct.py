"""Reconstructs one image in memory, as the command line does for an image of its list."""

from __future__ import annotations

import os
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from gan2shape_jax.config import to_json
from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.interface import arguments, configuration
from gan2shape_jax.interface.arguments import ImageLike
from gan2shape_jax.interface.gan import Gan
from gan2shape_jax.interface.item import item_of
from gan2shape_jax.interface.progress import Progress, watcher_of
from gan2shape_jax.interface.result import Reconstruction
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.records import checksum
from gan2shape_jax.io.regular_files import MIB, read_text
from gan2shape_jax.io.set_aside import Aside
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage, TrainState
from gan2shape_jax.run import loading, refining, results, trust, xla_flags
from gan2shape_jax.run.checkpoint_folders import require_no_pattern
from gan2shape_jax.run.runtime import cadence_of, schedule_of
from gan2shape_jax.training import checkpoint_record, loop
from gan2shape_jax.training.checkpoint import Keeping

__all__ = ["reconstruct"]


def reconstruct(
    image: ImageLike,
    gan: Gan,
    *,
    mask: ImageLike | None = None,
    latent: ArrayLike | None = None,
    true_depth: ArrayLike | None = None,
    config: str | ConfigDict | None = None,
    seed: int | None = None,
    name: str = "image",
    callback: Callable[[Progress], object] | None = None,
    checkpoint_folder: str | os.PathLike[str] | None = None,
) -> Reconstruction:
    """Finds an image's depth, albedo, view and light by training networks on it (GAN2Shape, section 3).

    The same image, latent, configuration, seed and name give the same bits as the command line. Nothing is written to
    disk unless `checkpoint_folder` is given.

    Args:
      image: a square Pillow image or array (H, W, 3), uint8 from 0 to 255 or floats in [0, 1] (rounded to 8 bits).
      gan: a StyleGAN2 of the image's category.
      mask: the object mask, of the same size as the image: a Pillow image, white on the object, or (H, W), booleans,
        floats in [0, 1] or integers up to 255. Defaults to the image's alpha channel; networks that start from the
        ellipsoid require one or the other.
      latent: the image's latent in W (W,) or W+ (L, W); without one the GAN is inverted.
      true_depth: ground-truth depth (S, S) in the image's view, scene units, with S = `config.image_size` and the
        background at the greatest depth; adds errors to `metrics`.
      config: a configuration's name ('ictface', 'car', 'ictface:quick'), a file, or what `load_config` returned.
        Defaults to `ictface:scratch` for GANs of up to 64 pixels, and above that to the published schedule for faces
        at 128 pixels with the bundled faces' view and light statistics. For other objects, give their configuration,
        whose statistics (`sampling.view_mvn`, `sampling.light_mvn`) are files. Its fields for images, masks, latents
        and the GAN's file and size are ignored: those are arguments here.
      seed: overrides `config.seed`.
      name: the image's name; random numbers are a function of seed and name, as in a run.
      callback: called with a `Progress` after every compiled call: an iteration on CPU, several elsewhere
        (`config.runtime.iterations_per_call`).
      checkpoint_folder: where to keep checkpoints; the same call with the same folder resumes from the last one.

    Returns:
      The reconstruction.

    Raises:
      ArgumentError: an argument of the wrong type, shape or range (a `ValueError` too).
      UserError: a file named in the configuration is missing, the checkpoints belong to another reconstruction, or the
        loss is not finite.
    """
    xla_flags.avoid_wrong_sums()
    if not isinstance(gan, Gan):
        raise ArgumentError(f"gan is a {type(gan).__name__}: load_gan gives what is needed")
    chosen = configuration.complete(config, gan.architecture, seed)
    if chosen.runtime.deterministic:
        xla_flags.add_flag("--xla_gpu_deterministic_ops=true")
    picture = arguments.picture_of(image)
    item = item_of(chosen, picture, arguments.alpha_of(image) if mask is None else mask, true_depth, name)
    if latent is not None:
        latent = arguments.latent_of(latent, gan.style_dim, gan.architecture.latents)
    frozen = loading.freeze(chosen, gan.architecture, gan.weights)
    if latent is None:
        latent = loading.find_latent(chosen, name, picture, gan.architecture, frozen)
    prepared = loading.prepare(chosen, item, latent, gan.architecture, frozen)
    schedule = schedule_of(chosen)
    initial = loading.initial_params(chosen, prepared.settings)
    prepared = refining.held(prepared, initial)
    this = _told(chosen, prepared)
    state, history = loop.train(
        prepared,
        frozen,
        schedule,
        initial,
        None if checkpoint_folder is None else _own_folder(checkpoint_folder, this),
        cadence_of(chosen),
        watcher_of(callback, schedule),
        Keeping({"reconstruction": checksum(this.encode())}),
    )
    state, measured = refining.finished(chosen, initial, state, prepared, frozen)
    known = gan.architecture, frozen.discriminator
    judge = trust.load(chosen, known, checkpoint=gan.file, model=refining.refines(chosen)).without_files()
    return _reconstruction(chosen, prepared, frozen, state, history, measured, judge)


def _told(config: ConfigDict, prepared: PreparedImage) -> str:
    """Returns a text that identifies this very reconstruction."""
    arrays = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(_given(prepared)))
    return f"{zlib.crc32(arrays):08x}\n{to_json(config)}\n"


def _own_folder(folder: str | os.PathLike[str], this: str) -> pathlib.Path:
    """Returns the checkpoint folder, after checking that its checkpoints are of this very reconstruction."""
    root = pathlib.Path(folder)
    require_no_pattern(root)
    record, checkpoints = root / "reconstruction.txt", root / "checkpoints"
    if _kept(record) not in (None, this):
        # The checkpoints record it too: the file may be damaged.
        if checkpoint_record.peek(checkpoints).get("reconstruction") != checksum(this.encode()):
            raise UserError(
                f"{root} holds checkpoints of another image, configuration or seed ({record}): name another folder, or "
                "remove this one to start afresh"
            )
        Aside(root)(record, f"{record} is damaged", "it is written again")
    atomic_text(record, this)
    return checkpoints


def _kept(record: pathlib.Path) -> str | None:
    """Returns the text of a file that an earlier call left; None if there is no file, "" if it is not text."""
    try:
        return read_text(record, limit=MIB)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        raise UserError(f"{record} cannot be read ({error}): name another folder") from error


def _given(prepared: PreparedImage) -> list[Any]:
    """Returns the arrays that determine a reconstruction; the GAN is reflected in its image of the latent."""
    problem = prepared.problem
    return [problem.image, problem.mask, problem.latent, problem.gan_image, problem.true_depth]


def _reconstruction(
    config: ConfigDict,
    prepared: PreparedImage,
    frozen: FrozenModels,
    state: TrainState,
    history: list[dict[str, Any]],
    measured: dict[str, Any],
    judge: trust.Judge,
) -> Reconstruction:
    record = results.result_of(state, prepared, frozen, history, category=config.category, measured=measured)
    record = trust.judged(judge, record)

    def write(folder: str | os.PathLike[str]) -> None:
        files = results.training_files(state, history, networks=config.outputs.networks)
        project = results.projector(state, prepared, frozen)
        results.write_result(record, pathlib.Path(folder), project, config, files)

    return Reconstruction(record, history, write)
