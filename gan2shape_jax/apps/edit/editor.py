"""The GAN's version of rotation and relighting: chosen views and lights rendered roughly, then projected.

Pictures are made as in step 2 of the training: the result's factors are lit and rendered by sampling the canonical
texture at the warped depth; the trained encoder turns such a rendering into an offset of the latent code, and the
frozen generator draws the picture. It follows the angles as far as encoder and GAN can, the mesh exactly. Source:
GAN2Shape, sections 3.2 and 4.3.

The result's folder holds the factors and the trained encoder; the run's folder around it holds the configuration,
which names the GAN and the latent. Files may have moved since then, so each path can be given explicitly.

Views `(n, 6)` are in radians and scene units from the canonical frame, lights `(n, 4)` are ambient, diffuse, dx, dy;
pictures are in [-1, 1].
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.lighting import normals, shade
from gan2shape_jax.io import arrays, data, image_files
from gan2shape_jax.lift import model_file
from gan2shape_jax.method import frozen, losses, models, projection
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.sampling import render_factors
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.run import prepare
from gan2shape_jax.run.folder import SavedRun, find_run
from gan2shape_jax.training import network_files

_LATENT_KINDS = (".pt", ".pth", ".npy")
_SAME_PICTURE = 0.02  # mean absolute difference; rounding on another machine stays far below it
_BATCH = 8  # views drawn together
_USUAL = 2.0  # standard deviations of the sampled views; 5% of a normal distribution lies beyond


@dataclasses.dataclass(frozen=True, eq=False)
class Editor:
    """What the GAN's version of a result needs."""

    result: Result
    settings: Settings  # of its run
    frozen: FrozenModels  # the GAN; its view statistics are the run's, or zero if their file is gone
    params: models.Params  # the trained encoder, under the key `encoder`
    latent: jax.Array  # (1, W) or (1, L, W), of the input
    reference: jax.Array  # (1, S, S, 3), the GAN's picture of the latent
    picture: np.ndarray  # (c, c, 3), the same picture at the size the GAN draws it, c = `size`

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
    """Loads what the folder of one image's results and its run's configuration refer to.

    The run's folder and the files of GAN, latent and image (which only a configuration that crops needs) can be named
    if they are no longer where they were.

    Raises:
      UserError: a file is missing or damaged, or does not belong to the result.
    """
    folder = pathlib.Path(folder)
    result = load_result(folder)
    saved = find_run(folder, run)
    config = saved.config.copy_and_resolve_references().unlock()
    checkpoint = pathlib.Path(gan) if gan else saved.locate(config.gan.checkpoint)
    if not checkpoint.is_file():
        gone = f"the GAN of this run, {checkpoint}, is not there any more: name it with --gan FILE"
        raise UserError(f"--gan {gan}: there is no such file" if gan else gone)
    config.gan.checkpoint = str(checkpoint)
    architecture, gan_weights = prepare.load_gan(config)
    settings = model_file.settings_of(config, architecture, original_size=_original_size(saved, result, image))
    if settings.camera != result.camera:
        raise UserError(
            f"{folder} was not made by the run of {saved.root}: its camera is {result.camera}, the "
            f"run's {settings.camera}; name the run's folder with --run FOLDER"
        )
    mvn = {}  # only serves to judge how usual a view is
    for name, dims in (("view_mvn", 6), ("light_mvn", 4)):
        path = saved.locate(config.sampling[name])
        mvn[name] = arrays.load_mvn(path, dims) if path.is_file() else (np.zeros(dims), np.zeros((dims, dims)))
    mean_w = prepare.mean_latent(gan_weights, architecture) if config.gan.truncation < 1 else None
    fixed = frozen.build(gan_weights, architecture, **mvn, F1_d=config.gan.F1_d, mean_w=mean_w)
    params = _encoder(folder, saved, settings)
    found = _latent(saved, result.name, latent, architecture.style_dim)
    w = prepare.usable_latent(found, result.name, config, architecture, fixed)
    picture, reference = _gan_images(w, fixed, settings=settings)
    apart = 0.0 if result.gan_image is None else float(np.abs(np.asarray(reference[0]) - result.gan_image).mean())
    if not apart < _SAME_PICTURE:
        raise UserError(
            f"{checkpoint} draws another picture of {result.name}'s latent than the result's gan_image.png "
            f"(mean difference {apart:.3f}): this is not the run's GAN or not its latent; name them with "
            "--gan FILE and --latent FILE"
        )
    return Editor(result, settings, fixed, params, w, reference, np.asarray(picture[0]))


@jax.jit
def _gan_images(w: jax.Array, frozen: FrozenModels, *, settings: Settings) -> tuple[jax.Array, jax.Array]:
    """Draws the GAN's picture of the latent at its own size, and at side S as `projection.gan_image` does."""
    large = projection.synthesize_large(w, frozen, settings)
    return large, resample.resize(large, settings.image_size)


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
        return arrays.load_latent(given, style_dim)
    places = [saved.root / "latents"]
    if saved.config.data.latent_root:
        places.insert(0, saved.locate(saved.config.data.latent_root))
    path = next((path for place in places if (path := data.find(str(place), name, _LATENT_KINDS))), None)
    if path is None:
        looked = " and ".join(map(str, places))
        raise UserError(f"the latent of {name} is not there any more (looked in {looked}): name it with --latent FILE")
    return arrays.load_latent(path, style_dim)


def _original_size(saved: SavedRun, result: Result, given: str | pathlib.Path | None) -> int:
    """Returns the side of the image file, which determines what a crop cuts out; without a crop it does not matter."""
    if not saved.config.data.crop:
        return result.camera.image_size
    base = saved.locate(saved.config.data.image_root) / result.name
    kinds = Image.registered_extensions()
    endings = ("", *(form(kind) for form in (str.lower, str.upper, str.title) for kind in kinds))
    path = pathlib.Path(given) if given else data.find(str(base.parent), base.name, endings)
    if path is None or not path.is_file():
        raise UserError(
            f"the image file of {result.name} is not there any more ({given or base}); its size decides "
            f"what config.data.crop={saved.config.data.crop} cuts out: name it with --image FILE"
        )
    return image_files.picture_sides(path)[0]


def edit_in_parts(
    editor: Editor, views: Float[np.ndarray, "n 6"], lights: Float[np.ndarray, "n 4"]
) -> Iterator[tuple[Float[np.ndarray, "k c c 3"], Float[np.ndarray, " k"]]]:
    """Yields the views, each under its light, rendered and projected some at a time: one program serves any number.

    They are the GAN's pictures, c = `Editor.size`, and their mean absolute differences, at side S, to the renderings
    that the encoder was given, over the object's mask.
    """
    result = editor.result
    factors = Factors(*(jnp.asarray(getattr(result, name)) for name in ("depth", "albedo", "view", "light", "mask")))
    known = editor.latent, editor.reference, editor.frozen
    for start in range(0, len(views), _BATCH):
        rows = np.minimum(np.arange(start, start + _BATCH), len(views) - 1)
        turned, lit = (jnp.asarray(values[rows], jnp.float32) for values in (views, lights))
        pictures, l1 = _edit(editor.params, factors, turned, lit, *known, settings=editor.settings)
        yield np.asarray(pictures)[: len(views) - start], np.asarray(l1)[: len(views) - start]


@jax.jit
def _edit(
    params: models.Params,
    factors: Factors,
    views: Float[jax.Array, "n 6"],
    lights: Float[jax.Array, "n 4"],
    latent: jax.Array,
    reference: Float[jax.Array, "1 s s 3"],
    frozen: FrozenModels,
    *,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    normal = normals(factors.depth, settings.camera, unit=settings.unit_normals)
    shading, _ = shade(normal, lights)
    pseudo, masks = render_factors(factors, shading, views, settings)
    offset = projection.latent_offset(params, pseudo, reference, frozen, settings)
    pictures = projection.synthesize_large(projection.moved(latent, offset), frozen, settings)
    return pictures, jax.vmap(losses.photometric)(resample.resize(pictures, settings.image_size), pseudo, masks)


def require_range(editor: Editor, views: Float[np.ndarray, "n 6"]) -> None:
    """Raises `UserError` if a view's angle is beyond the range that the run's networks can represent."""
    limit = float(editor.settings.view_range.rotation_deg)
    degrees = np.rad2deg(views[:, :3])
    worst = np.unravel_index(np.abs(degrees).argmax(), degrees.shape)
    if np.abs(degrees[worst]) > limit + 0.1:
        axis = ("pitch", "yaw", "roll")[worst[1]]
        raise UserError(
            f"a {axis} of {degrees[worst]:.0f}° from the front is more than this run's views hold "
            f"(config.camera.xyz_rotation_range_deg is {limit:g}): the GAN's version cannot show it; --version 3d can"
        )


def beyond_training(editor: Editor, views: Float[np.ndarray, "n 6"], lights: Float[np.ndarray, "n 4"]) -> list[str]:
    """Returns, in words, the range mostly seen in training of each angle or light that the request takes beyond it."""
    settings, frozen = editor.settings, editor.frozen
    scale = float(settings.view_range.rotation_deg) * np.array([1, float(settings.view_scale), 1])
    mean = np.asarray(frozen.view_mean)[:3] * scale
    spread = np.linalg.norm(np.asarray(frozen.view_factor), axis=-1)[:3] * scale
    sentences = []
    for name, values, middle, deviation in zip(("pitch", "yaw", "roll"), np.rad2deg(views[:, :3]).T, mean, spread):
        low, high = middle - _USUAL * deviation, middle + _USUAL * deviation
        if deviation > 0 and ((values < low - 0.5) | (values > high + 0.5)).any():
            sentences.append(f"{name} of {low:+.0f}° to {high:+.0f}°")
    x0, x1, y0, y1, *_ = map(float, settings.rand_light)
    (dx, dy), own = lights[:, 2:].T, editor.result.light[2:]
    outside = (dx < x0) | (dx > x1) | (dy < y0) | (dy > y1)
    if (outside & (lights[:, 2:] != own).any(axis=-1)).any():
        sentences.append(f"light from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})")
    return sentences
