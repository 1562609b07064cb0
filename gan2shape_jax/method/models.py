"""The five networks of the method as one bundle: how they are built, initialised and applied.

D depth, A albedo, V view, L light, E latent offset (GAN2Shape, section 3.1). Parameters live in one
dictionary with the keys of `NAMES`; images are (N, S, S, 3) in [-1, 1].

A lifted model may have a sixth, `DETAIL`, which the published method has not. A then paints what a picture does not
show, and takes the rest from the picture itself: its texture, unprojected into the canonical frame by depth and view
and freed of its shading, and the mirror image of that.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from gan2shape_jax import extensions
from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.method.factors import depth_from_raw, light_from_raw, view_from_raw
from gan2shape_jax.method.settings import NetworkSizes, Settings
from gan2shape_jax.networks import Params as Params
from gan2shape_jax.networks.modules import (
    Encoder,
    EncoderDecoder,
    Network,
    ResidualEncoder,
    SkipDecoder,
    initial_params,
    param_shapes,
)

NAMES = ("depth", "albedo", "view", "light", "encoder")
DETAIL = "detail"
_HIDDEN = 0.012  # scene units behind the nearest surface, beyond which a texel is hidden
_DARKEST = 0.15  # shading that textures are divided by at least: what is darker is mostly noise
_Images = Float[Array, "n s s 3"]
# Signs under mirroring: pitch, yaw, roll, x, y, z; ambient, diffuse, dx, dy.
MIRRORED = {"view": (1.0, -1.0, -1.0, -1.0, 1.0, 1.0), "light": (1.0, 1.0, -1.0, 1.0)}


def modules(settings: Settings) -> dict[str, Any]:
    """Returns the linen modules by name, the same objects for equal sizes."""
    return modules_of(settings.image_size, settings.networks, settings.architecture.style_dim)


@functools.cache
def modules_of(size: int, sizes: NetworkSizes, style_dim: int) -> dict[str, Any]:
    """Returns the linen modules by name for images of side `size` and a GAN's style width.

    A depth network that another package adds is a function of size and sizes, which returns a `Network` of three
    channels to one. Its last layer is called `output`, and stays in float32.
    """
    image_network = functools.partial(
        EncoderDecoder, size=size, width=sizes.width, zdim=sizes.zdim, group_base=sizes.group_base
    )
    vector_network = functools.partial(Encoder, size=size, width=sizes.view_light_width or sizes.width)
    if sizes.depth == "encoder_decoder":
        depth_network: Network = image_network(channels_out=1, final=None)
    else:
        depth_network = extensions.load("depth_network", sizes.depth)(size, sizes)
    return {
        "depth": depth_network,
        "albedo": image_network(channels_out=3, final="tanh"),
        "view": vector_network(channels_out=6),
        "light": vector_network(channels_out=4),
        "encoder": ResidualEncoder(size=size, channels_out=style_dim, width=sizes.encoder_width),
    }


def detail_module(settings: Settings) -> SkipDecoder:
    """Returns the linen module of `DETAIL`."""
    return SkipDecoder(size=settings.image_size, channels_in=_CHANNELS, channels_out=6)


@jax.jit
def init_detail(key: PRNGKeyArray, settings: Settings) -> Params:
    """Returns initial parameters of `DETAIL`, determined by the key."""
    return initial_params(key, {DETAIL: detail_module(settings)})


def trained(params: Params, names: tuple[str, ...]) -> Params:
    """Returns the networks that a step trains; not A where there is `DETAIL`, which has its place.

    `DETAIL` stays as it is in refinement: the GAN's turned pictures of a photo show somebody else, and would take from
    the albedo what it has of the photo.
    """
    return {name: params[name] for name in names if name != "albedo" or DETAIL not in params}


def published(params: Params) -> Params:
    """Returns the networks without `DETAIL`."""
    return {name: value for name, value in params.items() if name != DETAIL}


def shapes(settings: Settings) -> Params:
    """Returns the shape and dtype of every parameter of the five networks, without computing any."""
    return {name: param_shapes(module) for name, module in modules(settings).items()}


@jax.jit
def init_params(key: PRNGKeyArray, settings: Settings) -> Params:
    """Returns initial parameters of all five networks, determined by the key."""
    return initial_params(key, modules(settings))


def _apply(params: Params, name: str, images: Float[Array, "n s s c"], settings: Settings) -> jax.Array:
    """Returns a network's output."""
    module: Any = detail_module(settings) if name == DETAIL else modules(settings)[name]
    return jnp.asarray(module.apply({"params": params[name]}, images))


def depth(params: Params, images: _Images, settings: Settings) -> Float[Array, "n s s"]:
    """Returns canonical depth in [min_depth, max_depth], without the border blending."""
    raw = _apply(params, "depth", images, settings)[..., 0]
    return depth_from_raw(raw, settings.camera)


def albedo(
    params: Params,
    images: _Images,
    depth: Float[Array, "n s s"],
    view: Float[Array, "n 6"],
    light: Float[Array, "n 4"],
    settings: Settings,
    *,
    held: bool = True,
) -> Float[Array, "n s s 3"]:
    """Returns canonical albedo in [-1, 1]; depth (its border blended), view and light are those of the images.

    `held` says whether no gradient flows through the input of `DETAIL`, as in all training.
    """
    if DETAIL not in params:
        return _apply(params, "albedo", images, settings)
    texture = canonical_texture(images, depth, view, light, settings)
    return detailed(params, jax.lax.stop_gradient(texture) if held else texture, settings)


def unprojected(
    images: _Images, depth: Float[Array, "n s s"], view: Float[Array, "n 6"], settings: Settings
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s 1"]]:
    """Returns what images show at each canonical texel, and where they show it: 1, or 0 where the surface hides it."""
    camera = settings.camera
    points = cam.moved_points(depth, view, camera)
    grid = cam.to_grid(cam.project(points, camera), camera)
    nearest = resample.grid_sample(render.warp_depth(depth, view, camera, sampling=settings.sampling)[..., None], grid)
    inside = jnp.all(jnp.abs(grid) < 1, axis=-1, keepdims=True)
    visible = inside & (points[..., 2:] - nearest < _HIDDEN)
    return resample.grid_sample(images, grid), visible.astype(images.dtype)


def canonical_texture(
    images: _Images,
    depth: Float[Array, "n s s"],
    view: Float[Array, "n 6"],
    light: Float[Array, "n 4"],
    settings: Settings,
) -> Float[Array, "n s s 10"]:
    """Returns the input of `DETAIL`.

    It is the images' own texture without its shading, and where it is visible; the same of its mirror image; shading;
    and depth, in half ranges around the middle.
    """
    camera = settings.camera
    shading, _ = lighting.shade(lighting.normals(depth, camera, unit=settings.unit_normals), light)
    texture, visible = unprojected(images, depth, view, settings)
    unlit = lighting.apply_shading(texture, 1 / jnp.maximum(shading, _DARKEST))
    own = jnp.concatenate([jnp.clip(unlit, -1, 1) * visible, visible], axis=-1)
    relief = (2 * depth - camera.max_depth - camera.min_depth) / (camera.max_depth - camera.min_depth)
    return jnp.concatenate([own, own[:, :, ::-1], shading[..., None], relief[..., None]], axis=-1)


_CHANNELS = 10  # of `canonical_texture`


def detailed(params: Params, texture: Float[Array, "n s s 10"], settings: Settings) -> Float[Array, "n s s 3"]:
    """Returns the albedo: for each texel a mixture of its texture, the mirror image's, and a colour by `DETAIL`.

    A texel that is hidden has no share in the mixture.
    """
    out = _apply(params, DETAIL, texture, settings)
    visible = jnp.concatenate([texture[..., 3:4], texture[..., 7:8], jnp.ones_like(texture[..., :1])], axis=-1)
    share = jax.nn.softmax(jnp.where(visible > 0, out[..., :3], -jnp.inf), axis=-1)
    colours = texture[..., :3], texture[..., 4:7], jnp.tanh(out[..., 3:])
    return sum((share[..., k, None] * colour for k, colour in enumerate(colours)), jnp.zeros_like(colours[0]))


def views(params: Params, images: _Images, mean: Float[Array, "6"], settings: Settings) -> Float[Array, "n 6"]:
    """Returns views in radians and scene units; `mean` (network units) is added if the settings say so."""
    added = mean if settings.add_mean_V else 0
    return _predict(params, "view", images, lambda raw: view_from_raw(raw + added, settings.view_range), settings)


def views_error(
    view: Params, images: _Images, told: Float[Array, "n 6"], mean: Float[Array, "6"], settings: Settings
) -> Float[Scalar, ""]:
    """Returns V's mean squared error from views in radians and scene units, taken in network units."""
    units = settings.view_range.units()
    off = views({"view": view}, images, mean, settings) - told
    return jnp.mean(jnp.square(off / jnp.where(units > 0, units, 1)))


def taught_views(
    params: Params,
    batches: Iterable[tuple[Float[Any, "n s s 3"], Float[Any, "n 6"]]],
    mean: Float[Array, "6"],
    settings: Settings,
    *,
    learning_rate: optax.Schedule,
) -> Params:
    """Returns networks of which V has been trained on images with given views, by one step of Adam for each batch.

    A batch is images, from -1 to 1, and their views, in radians and scene units; `mean` is in network units.
    """
    optimizer = optax.adam(learning_rate)

    @jax.jit
    def step(view: Params, moments: Any, images: Any, told: Any, mean: Any, settings: Any) -> tuple[Params, Any]:
        gradient = jax.grad(views_error)(view, images, told, mean, settings)
        update, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(view, update), moments

    view = params["view"]
    moments = optimizer.init(view)
    for images, told in batches:
        view, moments = step(view, moments, images, told, mean, settings)
    return params | {"view": view}


def lights(params: Params, images: _Images, mean: Float[Array, "4"], settings: Settings) -> Float[Array, "n 4"]:
    """Returns lights as ambient, diffuse, dx, dy; `mean` (network units) is added if the settings say so."""
    added = mean if settings.add_mean_L else 0
    return _predict(params, "light", images, lambda raw: light_from_raw(raw + added), settings)


def _predict(params: Params, name: str, images: _Images, of: Callable[..., Any], settings: Settings) -> jax.Array:
    """Returns what a network predicts from images, averaged over their mirror images if `mirrored`."""
    output: jax.Array = of(_apply(params, name, images, settings))
    if settings.mirrored:
        there = of(_apply(params, name, images[:, :, ::-1], settings))
        output = (output + jnp.array(MIRRORED[name]) * there) / 2
    return output


def offsets(params: Params, images: _Images, settings: Settings) -> Float[Array, "n w"]:
    """Returns the encoder's output for images, before the mapping network regularises it.

    Always in float32: what matters is the difference between the codes of two nearly equal images.
    """
    codes: Float[Array, "n w"] = modules(settings)["encoder"].apply({"params": params["encoder"]}, images)
    return codes
