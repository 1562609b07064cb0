"""Pseudo-images: the factors rendered roughly under drawn views and lights, for the encoder to project onto the GAN.

Images are (n, S, S, 3) in [-1, 1]. Source: GAN2Shape, section 3.2, step 2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from gan2shape_jax.geometry.lighting import apply_shading, normals
from gan2shape_jax.geometry.render import rough_rendering
from gan2shape_jax.method import sampling
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import KnownConditions

__all__ = ["draw_pseudo_images", "known_conditions", "pseudo_images", "render_factors"]


def render_factors(
    factors: Factors,
    shading: Float[Array, "n s s"],
    view: Float[Array, "n 6"],
    settings: Settings,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Renders the factors roughly, once for each shading and view.

    Args:
      factors: depth, albedo and mask are used.
      shading: in the canonical frame.
      view: in radians and scene units.
      settings: of the method.

    Returns:
      Images clamped to [-1, 1], and the canonical mask seen from each view (nearest, zero outside).
    """
    texture = apply_shading(factors.albedo[None], shading)
    mask = factors.mask if settings.use_mask else jnp.ones_like(factors.mask)
    return rough_rendering(texture, factors.depth, mask, view, settings.camera, sampling=settings.sampling)


def pseudo_images(
    factors: Factors,
    views: Float[Array, "n 6"],
    direction_xy: Float[Array, "n 2"],
    strength: Float[Array, " n"],
    settings: Settings,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Renders the factors under drawn views and lights.

    Args:
      factors: factors of the input image.
      views: in network units.
      direction_xy: directions of the drawn lights.
      strength: strengths of the drawn lights.
      settings: of the method.

    Returns:
      Images clamped to [-1, 1], and the canonical mask seen from each view (nearest, zero outside).
    """
    normal = normals(factors.depth, settings.camera, unit=settings.unit_normals)
    shading = sampling.relit_shading(normal, factors.light, direction_xy, strength, alpha=settings.rand_light[6])
    return render_factors(factors, shading, view_from_raw(views, settings.view_range), settings)


def draw_pseudo_images(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""] | int,
    factors: Factors,
    frozen: FrozenModels,
    settings: Settings,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Draws a batch of views and lights and renders the factors under them; no gradient flows out.

    Args:
      key: the phase's key.
      iteration: determines the draws, together with the key.
      factors: factors of the input image.
      frozen: holds the statistics of views.
      settings: of the method.

    Returns:
      As `pseudo_images`, with n the batch size.
    """
    return jax.lax.stop_gradient(pseudo_images(factors, *_draw_conditions(key, iteration, frozen, settings), settings))


def known_conditions(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""] | int,
    factors: Factors,
    frozen: FrozenModels,
    settings: Settings,
) -> KnownConditions:
    """Returns the views and lights that `draw_pseudo_images` draws with the same arguments.

    The lights are those that the renderings show: the input's, with the drawn direction in place of its own and the
    drawn strength added to its strengths (see `sampling.relit_shading`).
    """
    views, direction, strength = _draw_conditions(key, iteration, frozen, settings)
    ambient = factors.light[0] + settings.rand_light[6] * strength
    diffuse = factors.light[1] + strength
    lights = jnp.concatenate([ambient[:, None], diffuse[:, None], direction], axis=-1)
    return jax.lax.stop_gradient(KnownConditions(views=views, lights=lights))


def _draw_conditions(
    key: PRNGKeyArray, iteration: Int[Scalar, ""] | int, frozen: FrozenModels, settings: Settings
) -> tuple[Float[Array, "n 6"], Float[Array, "n 2"], Float[Array, " n"]]:
    """Draws views in network units, and directions and strengths of lights."""
    view_key, light_key = jax.random.split(jax.random.fold_in(key, iteration))
    count = settings.batch_size
    views = sampling.draw_views(view_key, frozen.view_mean, frozen.view_factor, count, yaw_scale=settings.view_scale)
    return views, *sampling.draw_lights(light_key, count, rand_light=settings.rand_light)
