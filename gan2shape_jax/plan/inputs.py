"""Reading a configuration's files as arrays: the frozen networks of a run, and an image with its mask and latent."""

import dataclasses
import pathlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config.schema import gan_problems
from gan2shape_jax.detection.faces import landmarks_in
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import arrays, data, image_files
from gan2shape_jax.io.files import atomic_file, set_aside
from gan2shape_jax.method import models, perceptual, prior, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.frozen import build as build_frozen
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Example, PreparedImage
from gan2shape_jax.method.streams import FIXED_SEED, Stream, key_of, run_key
from gan2shape_jax.plan.recipe import Plan
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2 import Architecture, inversion
from gan2shape_jax.training import network_files


def load_gan(config: ConfigDict) -> tuple[Architecture, dict[str, Any]]:
    """Loads the generator and the discriminator.

    Raises `UserError`: the file is missing or damaged, or the GAN is not the one that the configuration describes.
    """
    architecture, weights = stylegan2.load(config.gan.checkpoint)
    if problems := gan_problems(config, architecture):
        raise UserError("\n".join(problems))
    return architecture, weights


def mean_latent(weights: dict[str, Any], architecture: Architecture) -> jax.Array:
    """Returns the mean latent (1, W) that latents are truncated towards: always the same for a given GAN's file."""
    key = key_of(run_key(FIXED_SEED), Stream.MEAN_LATENT)
    return stylegan2.mean_w(key, weights["generator"], arch=architecture)


def load_frozen(
    plan: Plan, gan: tuple[Architecture, dict[str, Any]] | None = None, *, perceptual_weights: bool = True
) -> tuple[Architecture, FrozenModels]:
    """Loads the GAN, unless given, perceptual distances (unless disabled), and the view and light statistics.

    Raises `UserError`: a file is missing or damaged, or the GAN is not the one that the configuration describes.
    """
    config = plan.config
    architecture, weights = gan or load_gan(config)
    distances = [config.loss.perceptual] if perceptual_weights else []
    frozen = build_frozen(
        weights,
        architecture,
        view_mvn=arrays.load_mvn(config.sampling.view_mvn, 6),
        light_mvn=arrays.load_mvn(config.sampling.light_mvn, 4),
        F1_d=config.gan.F1_d,
        distances={name: perceptual.load(name, config) for name in distances if perceptual.named(name).load},
        mean_w=mean_latent(weights, architecture) if config.gan.truncation < 1 or plan.recipe.lifts else None,
    )
    of_model = jax.tree.map(jnp.asarray, {"pose_edit": plan.pose_edit, "landmarks": plan.landmarks})
    return architecture, dataclasses.replace(frozen, **of_model)


def initial_params(plan: Plan, settings: Settings) -> models.Params:
    """Returns what an image starts from: the pretrained networks, or random ones from the seed.

    If a model is refined by projected samples, with an encoder of the image's own, that encoder is random too.
    """
    config, path = plan.config, plan.config.networks.pretrained
    like = models.shapes(settings)
    params, random = like, list(like)
    if path:
        plan.require_model_fits(settings, gan=True)
        params = network_files.load_networks(pathlib.Path(path), like, settings, needed=("depth",))
        own_encoder = plan.model is not None and plan.trains_encoder
        random = [name for name in like if params[name] is like[name] or (name == "encoder" and own_encoder)]
    if not random:  # computing random networks takes seconds, which go into compiling
        return params
    fresh = models.init_params(key_of(run_key(config.seed), Stream.NETWORKS), settings)
    return params | {name: fresh[name] for name in random}


def image_key(seed: int, name: str) -> jax.Array:
    """Returns the image's random key, a function of seed and name, so that results do not depend on the list."""
    return key_of(run_key(seed), Stream.IMAGE, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def find_latent(
    config: ConfigDict, name: str, picture: Image.Image, architecture: Architecture, frozen: FrozenModels
) -> np.ndarray:
    """Finds the latent (1, W) of an image by inverting the GAN.

    `picture` is the whole image, RGB and square, before it is cropped; random numbers are a function of seed and name.
    """
    target = np.asarray(image_files.crop_and_resize(picture, None, architecture.size), np.float32) / 127.5 - 1
    latent = inversion.invert(
        key_of(image_key(config.seed, name), Stream.INVERSION),
        frozen.generator,
        jnp.asarray(target)[None],
        arch=architecture,
        disc_params=frozen.discriminator,
        steps=config.inversion.steps,
        learning_rate=config.inversion.learning_rate,
    )
    return np.asarray(latent)


def load_image(
    plan: Plan,
    name: str,
    architecture: Architecture,
    frozen: FrozenModels,
    latents: pathlib.Path,
    *,
    keep: bool = True,
) -> PreparedImage:
    """Reads an image of the list and its files, inverting the GAN if no latent is given or was found before.

    Latents found by inversion are kept in `latents` as NAME.npy (1, W), unless `keep` is False; one that cannot be read
    is set aside, and found again. Raises `UserError`: a file is missing or unusable.
    """
    config = plan.config
    item = data.load_item(config, name)
    latent, path = item.latent, latents / f"{item.name}.npy"
    if latent is None and path.is_file():
        try:
            latent = arrays.load_latent(path, architecture.style_dim)
        except UserError as error:
            if keep:
                set_aside(path, error)
    if latent is None:
        picture = data.open_picture(config, name, expected=architecture.size).picture
        latent = find_latent(config, item.name, picture, architecture, frozen)
        if keep:
            atomic_file(path, lambda part: np.save(part, latent), parents=True)
    return prepare_image(plan, item, latent, architecture, frozen)


def prepare_image(
    plan: Plan, item: data.Item, latent: np.ndarray | None, architecture: Architecture, frozen: FrozenModels
) -> PreparedImage:
    """Returns an image and everything known about it, as arrays ready for training.

    `latent` is (1, W) or (1, L, W), or None where trained networks are to explain the image without the GAN. Raises
    `UserError`: the latent does not fit the generator, or the mask shows no object.
    """
    # The file's size matters to the GAN's picture only; without one, images of all sizes share a program.
    config = plan.config
    size = config.image_size if latent is None else item.original_size
    settings = plan.settings(architecture, original_size=size)
    image = jax.device_put(item.image[None])
    w = None if latent is None else usable_latent(latent, item.name, config, architecture, frozen)
    gan_image = None if w is None else jax.jit(projection.synthesize)(w, frozen, settings=settings)
    error = None if gan_image is None else float(jnp.mean(jnp.abs(gan_image - image)))
    example = Example(
        image=image,
        mask=jax.device_put(item.mask),
        latent=w,
        gan_image=gan_image,
        prior=jax.device_put(prior.prior_depth(config, item.mask).astype(np.float32)),
        true_depth=None if item.depth is None else jax.device_put(item.depth),
        key=None if w is None else image_key(config.seed, item.name),
        landmarks=None if frozen.landmarks is None else jax.device_put(landmarks_in(to_uint8(item.image))),
    )
    return PreparedImage(name=item.name, example=example, settings=settings, inversion_l1=error)


def usable_latent(
    latent: np.ndarray, name: str, config: ConfigDict, architecture: Architecture, frozen: FrozenModels
) -> jax.Array:
    """Returns the latent that the run works with: truncated if the configuration says so.

    Raises `UserError`: a W+ latent has a different number of layers than the generator.
    """
    require_layers(latent, name, architecture)
    w = jnp.asarray(latent)
    return stylegan2.truncate(w, frozen.mean_w, config.gan.truncation) if config.gan.truncation < 1 else w


def require_layers(latent: np.ndarray, name: str, architecture: Architecture) -> None:
    """Raises `UserError` if a W+ latent has a different number of layers than the generator takes."""
    if latent.ndim == 3 and latent.shape[1] != architecture.latents:
        raise UserError(
            f"the W+ latent of {name} has {latent.shape[1]} layers: this generator takes {architecture.latents}"
        )
