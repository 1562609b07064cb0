"""What the GAN's version of a saved result needs, collected from its folder and its run's configuration.

The result's folder holds the factors and the trained encoder; the run's folder around it holds the configuration,
which names the GAN and the latent. Files may have moved since then, so each path can be given explicitly.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import resample
from gan2shape_jax.io import data, image_files
from gan2shape_jax.io.image_names import stem_of
from gan2shape_jax.lift import model_file
from gan2shape_jax.method import frozen, models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.run import prepare
from gan2shape_jax.run.folder import SavedRun, find_run, open_run
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files

__all__ = ["Editor", "load_editor"]

_LATENT_KINDS = (".pt", ".pth", ".npy")
_SAME_PICTURE = 0.02  # mean absolute difference; rounding on another machine stays far below it


@dataclasses.dataclass(frozen=True, eq=False)
class Editor:
    """What the GAN's version of a result needs.

    Attributes:
      result: the reconstruction.
      settings: the settings of its run.
      frozen: the GAN; its view statistics are the run's, or zero if their file is gone.
      params: the trained encoder, under the key `encoder`.
      latent: (1, W) or (1, L, W), the input's latent code.
      reference: (1, S, S, 3), the GAN's picture of that latent code.
      picture: (c, c, 3), the same picture at the size the GAN draws it, c = `size`.
    """

    result: Result
    settings: Settings
    frozen: FrozenModels
    params: models.Params
    latent: jax.Array
    reference: jax.Array
    picture: np.ndarray

    @property
    def size(self) -> int:
        """Side of the GAN's pictures in pixels: the GAN's own, or that of the crop."""
        return self.picture.shape[0]


def load_editor(
    folder: str | pathlib.Path,
    *,
    run: str | pathlib.Path | None = None,
    gan: str | pathlib.Path | None = None,
    latent: str | pathlib.Path | None = None,
    image: str | pathlib.Path | None = None,
) -> Editor:
    """Loads what a results folder and its run's configuration refer to.

    Args:
      folder: the folder of one image's results.
      run: the run's folder, if the result is no longer inside it.
      gan: the GAN's file, if it is no longer where the configuration says.
      latent: the latent code's file, likewise.
      image: the image's file, likewise; only needed if the configuration crops.

    Raises:
      UserError: a file is missing or damaged, or does not belong to the result.
    """
    folder = pathlib.Path(folder)
    result = load_result(folder)
    saved = find_run(folder, result.name) if run is None else open_run(pathlib.Path(run))
    config = saved.config.copy_and_resolve_references().unlock()
    config.gan.checkpoint = str(_checkpoint(saved, gan))
    architecture, gan_weights = prepare.load_gan(config)
    settings = model_file.settings_of(config, architecture, original_size=_original_size(saved, result, image))
    if settings.camera != result.camera:
        raise UserError(
            f"{folder} was not made by the run of {saved.root}: its camera is {result.camera}, the "
            f"run's {settings.camera}; name the run's folder with --run FOLDER"
        )
    frozen = _frozen(config, saved, architecture, gan_weights)
    params = _encoder(folder, saved, settings)
    w = prepare.usable_latent(
        _latent(saved, result.name, latent, architecture.style_dim), result.name, config, architecture, frozen
    )
    picture, reference = _gan_images(w, frozen, settings=settings)
    editor = Editor(result, settings, frozen, params, w, reference, np.asarray(picture[0]))
    _require_same_gan(editor, config.gan.checkpoint)
    return editor


@jax.jit
def _gan_images(w: jax.Array, frozen: FrozenModels, *, settings: Settings) -> tuple[jax.Array, jax.Array]:
    """Draws the GAN's picture of the latent at its own size, and at side S as `projection.gan_image` does."""
    large = projection.synthesize_large(w, frozen, settings)
    return large, resample.resize(large, settings.image_size)


def _checkpoint(saved: SavedRun, given: str | pathlib.Path | None) -> pathlib.Path:
    path = pathlib.Path(given) if given else saved.locate(saved.config.gan.checkpoint)
    if not path.is_file():
        raise UserError(
            f"--gan {path}: there is no such file"
            if given
            else f"the GAN of this run, {path}, is not there any more: name it with --gan FILE"
        )
    return path


def _frozen(
    config: ConfigDict, saved: SavedRun, architecture: Architecture, gan_weights: dict[str, Any]
) -> FrozenModels:
    """Returns the GAN with what the projection needs; the statistics only serve to judge how usual a view is."""
    mvn = {}
    for name, dims in (("view_mvn", 6), ("light_mvn", 4)):
        path = saved.locate(config.sampling[name])
        mvn[name] = data.load_mvn(path, dims) if path.is_file() else (np.zeros(dims), np.zeros((dims, dims)))
    truncated = config.gan.truncation < 1
    mean_w = prepare.mean_latent(gan_weights, architecture) if truncated else None
    return frozen.build(gan_weights, architecture, **mvn, F1_d=config.gan.F1_d, mean_w=mean_w)


def _encoder(folder: pathlib.Path, saved: SavedRun, settings: Settings) -> models.Params:
    """Loads the trained encoder: the image's own, or the one that all images of the run share."""
    places = [folder / "networks.safetensors", saved.root / "networks.safetensors"]
    if saved.config.mode == "predict":
        places.append(saved.locate(saved.config.networks.pretrained))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"{places[0]} is missing: the GAN's pictures need the trained encoder, which a run leaves "
            "there unless config.outputs.networks is 'none'; reconstruct again, or --version 3d"
        )
    like = jax.eval_shape(functools.partial(models.init_params, settings=settings), jax.random.key(0))
    params = {"encoder": network_files.load_networks(path, like, settings)["encoder"]}
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)):
        raise UserError(f"{path} holds no encoder, which the GAN's pictures need; use --version 3d")
    return params


def _latent(saved: SavedRun, name: str, given: str | pathlib.Path | None, style_dim: int) -> np.ndarray:
    """Loads the latent that the run read, or the one that it computed by inverting the GAN."""
    if given:
        return data.load_latent(given, style_dim)
    places = [saved.root / "latents"]
    if saved.config.data.latent_root:
        places.insert(0, saved.locate(saved.config.data.latent_root))
    path = next((path for place in places if (path := data.find_by_stem(str(place), name, _LATENT_KINDS))), None)
    if path is None:
        looked = " and ".join(str(place) for place in places)
        raise UserError(f"the latent of {name} is not there any more (looked in {looked}): name it with --latent FILE")
    return data.load_latent(path, style_dim)


def _original_size(saved: SavedRun, result: Result, given: str | pathlib.Path | None) -> int:
    """Returns the side of the image file, which determines what a crop cuts out; without a crop it does not matter."""
    if not saved.config.data.crop:
        return result.camera.image_size
    base = saved.locate(saved.config.data.image_root) / result.name
    files = [pathlib.Path(given)] if given else _pictures_called(base)
    if not files or not files[0].is_file():
        raise UserError(
            f"the image file of {result.name} is not there any more ({given or base}); its size decides "
            f"what config.data.crop={saved.config.data.crop} cuts out: name it with --image FILE"
        )
    return min(image_files.picture_size(files[0]))


def _pictures_called(base: pathlib.Path) -> list[pathlib.Path]:
    """Returns the picture files at this path, whatever their extension."""
    there = sorted(base.parent.glob(f"{glob.escape(base.name)}*"))
    kinds = ("", *Image.registered_extensions())
    return [path for path in there if stem_of(path.name) == base.name and path.suffix.lower() in kinds]


def _require_same_gan(editor: Editor, checkpoint: str) -> None:
    """Raises `UserError` if the latent and the GAN do not reproduce the picture of it that the run saved."""
    kept = editor.result.gan_image
    if kept is None:
        return
    difference = float(np.abs(np.asarray(editor.reference[0]) - kept).mean())
    if not difference < _SAME_PICTURE:
        raise UserError(
            f"{checkpoint} draws another picture of {editor.result.name}'s latent than the result's gan_image.png "
            f"(mean difference {difference:.3f}): this is not the run's GAN or not its latent; name them with "
            "--gan FILE and --latent FILE"
        )
