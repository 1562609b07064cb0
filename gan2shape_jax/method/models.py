"""The five networks of the method as one bundle: how they are built, initialised and applied.

D depth, A albedo, V view, L light, E latent offset (GAN2Shape, section 3.1). Parameters live in one
dictionary with the keys of `NAMES`; images are (N, S, S, 3) in [-1, 1].
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax.method.factors import depth_from_raw, light_from_raw, view_from_raw
from gan2shape_jax.method.settings import NetworkSizes, Settings
from gan2shape_jax.networks.modules import Encoder, EncoderDecoder, ResidualEncoder, initial_params
from gan2shape_jax.networks.precision import to_compute_dtype, to_float32

NAMES = ("depth", "albedo", "view", "light", "encoder")
Params = dict[str, Any]
_Images = Float[Array, "n s s 3"]
# Signs under mirroring: pitch, yaw, roll, x, y, z; ambient, diffuse, dx, dy.
MIRRORED = {"view": (1.0, -1.0, -1.0, -1.0, 1.0, 1.0), "light": (1.0, 1.0, -1.0, 1.0)}


def modules(settings: Settings) -> dict[str, Any]:
    """Returns the linen modules by name, the same objects for equal sizes."""
    return _modules(settings.image_size, settings.networks, settings.architecture.style_dim)


@functools.cache
def _modules(size: int, sizes: NetworkSizes, style_dim: int) -> dict[str, Any]:
    image_network = functools.partial(
        EncoderDecoder, size=size, width=sizes.width, zdim=sizes.zdim, group_base=sizes.group_base
    )
    vector_network = functools.partial(Encoder, size=size, width=sizes.view_light_width or sizes.width)
    return {
        "depth": image_network(channels_out=1, final=None),
        "albedo": image_network(channels_out=3, final="tanh"),
        "view": vector_network(channels_out=6),
        "light": vector_network(channels_out=4),
        "encoder": ResidualEncoder(size=size, channels_out=style_dim, width=sizes.encoder_width),
    }


@jax.jit
def init_params(key: PRNGKeyArray, settings: Settings) -> Params:
    """Returns initial parameters of all five networks, determined by the key."""
    return initial_params(key, modules(settings))


def _apply(params: Params, name: str, images: _Images, settings: Settings) -> jax.Array:
    """Returns a network's output in float32: its last layer always computes in it, see `precision`."""
    chosen = to_compute_dtype(params[name], settings.precision, keep=("output",))
    return to_float32(modules(settings)[name].apply({"params": chosen}, to_compute_dtype(images, settings.precision)))


def depth(params: Params, images: _Images, settings: Settings) -> Float[Array, "n s s"]:
    """Returns canonical depth in [min_depth, max_depth], without the border blending."""
    raw = _apply(params, "depth", images, settings)[..., 0]
    return depth_from_raw(raw, settings.camera)


def albedo(params: Params, images: _Images, settings: Settings) -> Float[Array, "n s s 3"]:
    """Returns canonical albedo in [-1, 1]."""
    return _apply(params, "albedo", images, settings)


def views(params: Params, images: _Images, mean: Float[Array, "6"], settings: Settings) -> Float[Array, "n 6"]:
    """Returns views in radians and scene units; `mean` (network units) is added if the settings say so."""
    added = mean if settings.add_mean_V else 0
    return _seen(params, "view", images, lambda raw: view_from_raw(raw + added, settings.view_range), settings)


def lights(params: Params, images: _Images, mean: Float[Array, "4"], settings: Settings) -> Float[Array, "n 4"]:
    """Returns lights as ambient, diffuse, dx, dy; `mean` (network units) is added if the settings say so."""
    added = mean if settings.add_mean_L else 0
    return _seen(params, "light", images, lambda raw: light_from_raw(raw + added), settings)


def _seen(params: Params, name: str, images: _Images, of: Callable[..., Any], settings: Settings) -> jax.Array:
    """Returns what a network sees in images, averaged with what it sees in their mirror images if `mirrored`."""
    seen: jax.Array = of(_apply(params, name, images, settings))
    if settings.mirrored:
        there = of(_apply(params, name, images[:, :, ::-1], settings))
        seen = (seen + jnp.array(MIRRORED[name]) * there) / 2
    return seen


def offsets(params: Params, images: _Images, settings: Settings) -> Float[Array, "n w"]:
    """Returns the encoder's output for images, before the mapping network regularises it.

    Always in float32: what matters is the difference between the codes of two nearly equal images.
    """
    codes: Float[Array, "n w"] = modules(settings)["encoder"].apply({"params": params["encoder"]}, images)
    return codes
