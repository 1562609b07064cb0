"""What a lift trains on: a GAN's own samples, each determined by a seed and its number, with an exact latent code."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.data import load_mask, parse_mask
from gan2shape_jax.method import prior, projection
from gan2shape_jax.method import settings as settings_lib
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import Example, PreparedImage
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.stylegan2 import Architecture

Mask = Float[np.ndarray, "s s"]
_TOGETHER = 8  # samples drawn by one call
_USUAL_FROM = 96  # number of samples that the mean mask is estimated from


@dataclasses.dataclass(frozen=True)
class SampleMaker:
    """Draws samples of a GAN."""

    frozen: FrozenModels  # the frozen networks; latents are truncated towards `mean_w`
    settings: settings_lib.Settings  # of the method; `truncation`, psi in (0, 1], controls how varied the samples are
    mask_of: Callable[[Float[np.ndarray, "s s 3"]], Mask]  # maps a sample's image (S, S, 3) to its object mask (S, S)
    # Maps an object mask to the depth (S, S) that training starts from.
    prior_of: Callable[[Mask], Float[np.ndarray, "s s"]]
    key: jax.Array  # the run's

    def images(
        self, stream: Stream, numbers: Sequence[int]
    ) -> tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n w"]]:
        """Returns the images of a stream's samples and their latents in W."""
        draw = functools.partial(_draw, self.key, frozen=self.frozen, settings=self.settings, stream=stream)
        images, latents = in_batches(draw, np.asarray(numbers, np.int32), size=_TOGETHER)
        return images, latents

    def examples(self, stream: Stream, numbers: Sequence[int]) -> list[PreparedImage]:
        """Returns samples ready to be trained on."""
        images, latents = self.images(stream, numbers)
        return [self._example(stream, *sample) for sample in zip(numbers, images, latents, strict=True)]

    def _example(self, stream: Stream, number: int, image: np.ndarray, latent: np.ndarray) -> PreparedImage:
        mask = self.mask_of(image)
        picture = jnp.asarray(image)[None]
        example = Example(
            image=picture,
            mask=jnp.asarray(mask, jnp.float32),
            latent=jnp.asarray(latent)[None],
            gan_image=picture,  # exact: the latent is known
            prior=jnp.asarray(self.prior_of(mask), jnp.float32),
            true_depth=None,
            key=key_of(self.key, stream, number),
        )
        name = f"{stream.name.lower()}_{number:06d}"
        return PreparedImage(name=name, example=example, settings=self.settings, inversion_l1=0.0)


@functools.partial(jax.jit, static_argnames="stream")
def _draw(
    key: jax.Array, numbers: jax.Array, *, frozen: FrozenModels, settings: settings_lib.Settings, stream: Stream
) -> tuple[jax.Array, jax.Array]:
    """Returns the images and latents of the numbered samples, each drawn with its own key."""

    def latent_of(number: jax.Array) -> jax.Array:
        own = key_of(key, stream, number)
        return jax.random.normal(key_of(own, Stream.LATENT), (settings.architecture.style_dim,))

    z = jax.vmap(latent_of)(numbers)
    return projection.sample(z, frozen, settings)


def maker_of(config: ConfigDict, architecture: Architecture, frozen: FrozenModels) -> SampleMaker:
    """Returns the maker of a configuration's samples, their object masks and priors; `frozen` has the mean latent."""
    settings = settings_lib.changed(
        settings_lib.from_config(config, architecture, original_size=config.lift.cropped_from),
        collect_iters=1,  # a step sees one batch of samples at a time
        fresh_samples=config.lift.inversion_samples,
        **{name: config.lift[name] for name in config.lift if name in settings_lib.Settings.__dataclass_fields__},
    )
    depth_of = functools.partial(prior.prior_depth, config)
    maker = SampleMaker(frozen, settings, _whole_square, depth_of, run_key(config.seed))
    return dataclasses.replace(maker, mask_of=_mask_of(config, maker))


def _whole_square(image: np.ndarray) -> Mask:
    return np.ones(image.shape[:2], np.float32)


def _mask_of(config: ConfigDict, maker: SampleMaker) -> Callable[[np.ndarray], Mask]:
    """Returns the function that finds a sample's object mask, as set by `config.lift.masks`."""
    side = config.image_size
    if config.lift.masks == "none":
        return _whole_square
    if config.lift.masks == "parser":
        return lambda image: _parsed(config, image)
    from gan2shape_jax.io import grabcut  # here, because importing OpenCV changes the environment

    mean = (
        load_mask(pathlib.Path(config.lift.mean_mask), side)
        if config.lift.mean_mask
        else grabcut.estimate_mean_mask(maker.images(Stream.MASK_SAMPLE, range(_USUAL_FROM))[0])
    )
    if mean.max() < 0.5:
        source = config.lift.mean_mask or "samples of the GAN"
        raise UserError(
            f"the mean mask from {source} is empty: no pixel shows an object in half of the pictures; name a picture "
            "that is white where the object is (config.lift.mean_mask), or set config.lift.masks='none'"
        )
    if config.lift.masks == "mean":
        return lambda image: mean
    return lambda image: grabcut.grabcut_mask(image, mean)


def _parsed(config: ConfigDict, image: np.ndarray) -> Mask:
    """Returns the mask that the category's parser finds; the whole square where it finds nothing."""
    mask = parse_mask(config, image)
    return mask if mask.max() >= 0.5 else np.ones_like(mask)
