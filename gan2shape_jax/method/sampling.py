"""Random views, lights and sample orders, as functions of a key, and the pseudo-images that are rendered under them.

Views are drawn in network units from a normal distribution and lights uniformly (GAN2Shape, section 3.2, step 2); see
`factors` for units. Images are (n, S, S, 3) in [-1, 1]; masks are the canonical object mask seen from each view
(nearest, zero outside).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from gan2shape_jax.geometry.lighting import apply_shading, diffuse_shading, light_direction, normals
from gan2shape_jax.geometry.render import pseudo_image
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Context, Iteration, PseudoImages, SampledConditions


def draw_views(
    key: PRNGKeyArray,
    mean: Float[Array, "6"],
    factor: Float[Array, "6 6"],
    count: int,
    *,
    yaw_scale: Float[Scalar, ""] | float = 1.0,
) -> Float[Array, "count 6"]:
    """Draws views in network units from N(mean, factor factor^T), the yaw multiplied by `yaw_scale`."""
    normal = jax.random.normal(key, (count, 6), mean.dtype)
    drawn = mean + jnp.matmul(normal, factor.T, precision=jax.lax.Precision.HIGHEST)
    return drawn.at[:, 1].multiply(yaw_scale)


def view_deviations(factor: Float[Array, "6 6"], yaw_scale: Float[Scalar, ""] | float) -> Float[Array, "6"]:
    """Returns the standard deviations of the views that `draw_views` draws, in network units."""
    return jnp.sqrt(jnp.sum(jnp.square(factor), axis=1)).at[1].multiply(yaw_scale)


def draw_lights(
    key: PRNGKeyArray,
    count: int,
    *,
    rand_light: Float[Array, "7"] | tuple[float, ...],
) -> tuple[Float[Array, "count 2"], Float[Array, " count"]]:
    """Draws light directions (dx, dy) and strengths, uniform in `rand_light` = (x0, x1, y0, y1, r0, r1, alpha)."""
    x_key, y_key, strength_key = jax.random.split(key, 3)
    x0, x1, y0, y1, r0, r1, _ = rand_light
    dx = jax.random.uniform(x_key, (count,), jnp.float32, x0, x1)
    dy = jax.random.uniform(y_key, (count,), jnp.float32, y0, y1)
    strength = jax.random.uniform(strength_key, (count,), jnp.float32, r0, r1)
    return jnp.stack([dx, dy], axis=-1), strength


def relit_shading(
    normal: Float[Array, "s s 3"],
    light: Float[Array, "4"],
    direction_xy: Float[Array, "count 2"],
    strength: Float[Array, " count"],
    *,
    alpha: Float[Scalar, ""] | float,
) -> Float[Array, "count s s"]:
    """Returns the shading under drawn lights: ambient + alpha r + (diffuse + r) max(0, n . direction).

    A stronger directional light reduces the ambient one (alpha < 0), as if a flash replaced the sky.
    """
    drawn = jnp.concatenate([jnp.zeros_like(direction_xy), direction_xy], axis=-1)
    diffuse = diffuse_shading(normal, light_direction(drawn))
    ambient = light[0] + alpha * strength
    return ambient[:, None, None] + (light[1] + strength)[:, None, None] * diffuse


def batch_indices(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""] | int,
    *,
    count: int,
    batch_size: int,
    skip_first: bool = False,
) -> Int[Array, " batch"]:
    """Returns which of the `count` kept samples an iteration of step 3 sees, a function of key and iteration alone.

    The first pass goes through the samples in order, each later one through a fresh permutation; a pass ends when less
    than a batch remains. With `skip_first`, as published, it starts at the second batch and ends one batch early.
    """
    per_pass = max(count // batch_size - int(skip_first), 1)
    position = jnp.asarray(iteration) + int(skip_first and per_pass > 1)
    number, place = position // per_pass, position % per_pass
    shuffled = jax.random.permutation(jax.random.fold_in(key, number), count)
    order = jnp.where(number == 0, jnp.arange(count), shuffled)
    return jax.lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)


def render_factors(
    factors: Factors,
    shading: Float[Array, "n s s"],
    view: Float[Array, "n 6"],
    settings: Settings,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Renders depth, albedo and mask roughly, once for each canonical shading and view in radians and scene units."""
    texture = apply_shading(factors.albedo[None], shading)
    mask = factors.mask if settings.use_mask else jnp.ones_like(factors.mask)
    return pseudo_image(texture, factors.depth, mask, view, settings.camera, sampling=settings.sampling)


def pseudo_images(
    factors: Factors,
    views: Float[Array, "n 6"],
    direction_xy: Float[Array, "n 2"],
    strength: Float[Array, " n"],
    settings: Settings,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Renders the input's factors under views in network units and lights of these directions and strengths."""
    normal = normals(factors.depth, settings.camera, unit=settings.unit_normals)
    shading = relit_shading(normal, factors.light, direction_xy, strength, alpha=settings.rand_light[6])
    return render_factors(factors, shading, view_from_raw(views, settings.view_range), settings)


def draw_pseudo_images(iteration: Iteration, context: Context) -> PseudoImages:
    """Draws a batch of views and lights and renders the input's factors under them; no gradient flows out."""
    views, direction, strength = draw_conditions(iteration, context)
    images, masks = pseudo_images(iteration.factors, views, direction, strength, context.settings)
    return jax.lax.stop_gradient(PseudoImages(images=images, masks=masks))


def sampled_conditions(iteration: Iteration, context: Context) -> SampledConditions:
    """Returns the views and lights that `draw_pseudo_images` draws with the same arguments.

    The lights are those that the renderings show: the input's, with the drawn direction in place of its own and the
    drawn strength added to its strengths (see `relit_shading`).
    """
    views, direction, strength = draw_conditions(iteration, context)
    factors = iteration.factors
    ambient = factors.light[0] + context.settings.rand_light[6] * strength
    diffuse = factors.light[1] + strength
    lights = jnp.concatenate([ambient[:, None], diffuse[:, None], direction], axis=-1)
    return jax.lax.stop_gradient(SampledConditions(views=views, lights=lights))


def draw_conditions(
    iteration: Iteration, context: Context
) -> tuple[Float[Array, "n 6"], Float[Array, "n 2"], Float[Array, " n"]]:
    """Draws views in network units, and directions and strengths of lights, by the phase's key and the iteration."""
    frozen, settings = context.frozen, context.settings
    view_key, light_key = jax.random.split(jax.random.fold_in(iteration.key, iteration.number))
    count = settings.batch_size
    views = draw_views(view_key, frozen.view_mean, frozen.view_factor, count, yaw_scale=settings.view_scale)
    return views, *draw_lights(light_key, count, rand_light=settings.rand_light)
