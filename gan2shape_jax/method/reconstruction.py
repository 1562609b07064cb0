"""Explaining images by one canonical depth map: its geometry, its appearance, and what the networks make of the input.

A leading axis f (1 or 2) holds the map and, under the symmetry assumption, its left-right mirror image; n counts
images, each with its own view and light. Shapes: depth (f, S, S), albedo (f, S, S, 3), views (n, 6), lights (n, 4),
images (n, S, S, 3) in [-1, 1]. Units as in `factors`. Source: GAN2Shape, equations 1 and 4; the mirrored terms follow
Unsup3d (Wu et al., 2020).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from gan2shape_jax import extensions
from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import landmark_pose, lighting, render, resample
from gan2shape_jax.method import losses, models
from gan2shape_jax.method.factors import blend_border
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Context, Example


@flax.struct.dataclass
class Scene:
    """The part of a reconstruction that does not depend on the albedo."""

    depth: jax.Array  # (f, S, S)
    view: jax.Array  # (n, 6)
    light: jax.Array  # (n, 4)
    diffuse: jax.Array  # (f, n, S, S)
    shading: jax.Array  # (f, n, S, S)
    warped: jax.Array  # (f, n, S, S) depth seen from each view
    grid: jax.Array  # (f, n, S, S, 2) where each input pixel lies in the canonical frame
    valid: jax.Array  # (n, S, S) pixels that the surface and its mirror image both cover


def mirror(canonical: Float[Array, "one s s *c"], *, flip: bool) -> Float[Array, "f s s *c"]:
    """Stacks a canonical map (1, S, S, ...) with its left-right mirror image if `flip`."""
    return jnp.concatenate([canonical, canonical[:, :, ::-1]], axis=0) if flip else canonical


def scene(
    depth: Float[Array, "f s s"],
    view: Float[Array, "n 6"],
    light: Float[Array, "n 4"],
    settings: Settings,
) -> Scene:
    """Renders the depth maps' geometry and shading under n lights, from n views."""
    camera = settings.camera
    flips, count = depth.shape[0], view.shape[0]
    normal = lighting.normals(depth, camera, unit=settings.unit_normals)
    shading, diffuse = lighting.shade(normal[:, None], light[None])
    shape = (flips, count, *depth.shape[1:])
    repeated = jnp.broadcast_to(depth[:, None], shape)
    views = jnp.broadcast_to(view[None], (flips, count, 6))
    warped = render.warp_depth(repeated, views, camera, sampling=settings.sampling)
    valid = jax.lax.stop_gradient(jnp.prod(render.valid_pixels(warped, camera), axis=0))
    grid = cam.inverse_warped_grid(warped, views, camera)
    return Scene(depth, view, light, diffuse, shading, warped, grid, valid)


def appearance(geometry: Scene, albedo: Float[Array, "f s s 3"]) -> Float[Array, "f n s s 3"]:
    """Returns the images that surfaces with this albedo show under each view and light, clamped to [-1, 1]."""
    texture = lighting.apply_shading(albedo[:, None], geometry.shading)
    return jnp.clip(resample.grid_sample(texture, geometry.grid), -1.0, 1.0)


def canonical_mask(
    mask: Float[Array, "s s"],
    depth: Float[Array, "s s"],
    view: Float[Array, "6"],
    settings: Settings,
) -> Float[Array, "s s"]:
    """Returns the input's object mask in the canonical frame (bilinear, hence fractional)."""
    grid = cam.warped_grid(depth, view, settings.camera)
    return resample.grid_sample(mask[..., None], grid)[..., 0]


def smoothness(geometry: Scene) -> Float[Scalar, ""]:
    """Returns the smoothness of the depth and of the input's diffuse shading (the input is image 0)."""
    return losses.smoothness(geometry.depth) + losses.smoothness(geometry.diffuse[:, 0])


def added_losses(
    geometry: Scene, albedo: Float[Array, "f s s 3"], recon: Float[Array, "f n s s 3"], context: Context
) -> dict[str, Float[Scalar, ""]]:
    """Returns the losses of other packages that the settings give a weight, unweighted, by name.

    Each is a function of scene, albedo, reconstructions (the input is image 0) and context, which returns a scalar.
    """
    return {
        name: extensions.load("loss", name)(geometry, albedo, recon, context) for name in context.settings.added_losses
    }


def weighted(added: dict[str, Float[Scalar, ""]], loss: Float[Scalar, ""], settings: Settings) -> Float[Scalar, ""]:
    """Returns a loss with the weighted losses of other packages added."""
    for name, value in added.items():
        loss = loss + settings.added_losses[name] * value
    return loss


def input_scene(
    params: models.Params, example: Example, frozen: FrozenModels, settings: Settings, *, flip: bool
) -> Scene:
    """Returns the input image's scene: its depth (and mirror image), view and light, without albedo."""
    depth = blend_border(models.depth(params, example.image, settings), settings.camera)
    view, _ = _views(params, example.image, _landmarks(example), frozen, settings)
    light = models.lights(params, example.image, frozen.light_mean, settings)
    return scene(mirror(depth, flip=flip), view, light, settings)


def _landmarks(example: Example) -> Float[Array, "1 k 2"] | None:
    return None if example.landmarks is None else example.landmarks[None]


def _views(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    landmarks: Float[Array, "n k 2"] | None,
    frozen: FrozenModels,
    settings: Settings,
) -> tuple[Float[Array, "n 6"], Float[Array, " n"] | None]:
    """Returns views by V, corrected by landmarks where the model knows them, with their errors; None without."""
    view = models.views(params, images, frozen.view_mean, settings)
    if frozen.landmarks is None or landmarks is None:
        return view, None
    guess = jax.lax.stop_gradient(view)  # to V's training, the correction is a constant
    correct = jax.vmap(landmark_pose.corrected_view, in_axes=(0, 0, None, None))
    corrected, error = correct(guess, landmarks, frozen.landmarks, settings.camera)
    return view + (corrected - guess), error


class Decomposition(NamedTuple):
    """What the networks make of n images, each in its canonical frame; all but `normals` as in `factors`."""

    depth: Float[Array, "n s s"]  # border blended
    normals: Float[Array, "n s s 3"]  # unit vectors into the surface: (0, 0, 1) where it faces the camera
    albedo: Float[Array, "n s s 3"]
    view: Float[Array, "n 6"]
    light: Float[Array, "n 4"]


def decomposition(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    frozen: FrozenModels,
    settings: Settings,
    *,
    landmarks: Float[Array, "n k 2"] | None = None,
) -> Decomposition:
    """Runs D, V, L and A on images; the derivatives by both parameters and images are those of the whole function.

    With `landmarks`, pixels, views are corrected where the model knows where these are on its shape; by a constant, as
    far as derivatives go.
    """
    return _decomposition(params, images, landmarks, frozen, settings)[0]


def _decomposition(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    landmarks: Float[Array, "n k 2"] | None,
    frozen: FrozenModels,
    settings: Settings,
) -> tuple[Decomposition, Float[Array, " n"] | None]:
    """Returns what `decomposition` does, and how far landmarks are from their places, or None."""
    depth = blend_border(models.depth(params, images, settings), settings.camera)
    view, error = _views(params, images, landmarks, frozen, settings)
    light = models.lights(params, images, frozen.light_mean, settings)
    albedo = models.albedo(params, images, depth, view, light, settings, held=False)
    return Decomposition(depth, lighting.normals(depth, settings.camera), albedo, view, light), error


@flax.struct.dataclass
class Prediction:
    """What the networks make of the input; arrays without batch axes, see `factors`."""

    depth: jax.Array  # (S, S), canonical
    albedo: jax.Array  # (S, S, 3), canonical
    view: jax.Array  # (6,)
    light: jax.Array  # (4,)
    warped_depth: jax.Array  # (S, S), the depth in the input view
    valid: jax.Array  # (S, S), 1 where the warped depth shows the surface
    reconstruction: jax.Array  # (S, S, 3), the input's image
    landmark_error: jax.Array | None = None  # (), see `landmark_pose.corrected_view`
    published: jax.Array | None = None  # (S, S, 3), the same without `DETAIL`; None where the networks have none


def reconstruction_of(params: models.Params, example: Example, frozen: FrozenModels, settings: Settings) -> Prediction:
    """Runs D, A, V and L on the input and renders the result."""
    parts, error = _decomposition(params, example.image, _landmarks(example), frozen, settings)
    depth, _, albedo, view, light = parts
    geometry = scene(depth, view, light, settings)
    seen = example.image, depth, view, light, settings
    published = models.albedo(models.published(params), *seen) if models.DETAIL in params else None
    return Prediction(
        depth=depth[0],
        albedo=albedo[0],
        view=view[0],
        light=light[0],
        warped_depth=geometry.warped[0, 0],
        valid=geometry.valid[0],
        reconstruction=appearance(geometry, albedo)[0, 0],
        landmark_error=None if error is None else error[0],
        published=None if published is None else appearance(geometry, published)[0, 0],
    )


reconstruct = jax.jit(reconstruction_of)
_reconstruct_all = jax.jit(jax.vmap(reconstruction_of, in_axes=(None, 0, None, None)))


def drop_training_fields(example: Example) -> Example:
    """Drops fields that rendering does not read, so one program serves images with and without latents or depth."""
    return dataclasses.replace(example, latent=None, gan_image=None, prior=None, true_depth=None, key=None)


def predict(params: models.Params, example: Example, frozen: FrozenModels, settings: Settings) -> Prediction:
    """Runs D, A, V and L on the input and renders the result."""
    result: Prediction = reconstruct(params, drop_training_fields(example), frozen, settings)
    return result


def predict_batch(
    params: models.Params, examples: Sequence[Example], frozen: FrozenModels, settings: Settings, *, size: int
) -> list[Prediction]:
    """Does what `predict` does for up to `size` images at once, which takes half the time on a CPU.

    An image's result is that of `predict` up to rounding errors, which may depend on its place among the others.
    """
    fields = [drop_training_fields(example) for example in examples]
    fields += fields[:1] * (size - len(fields))  # one program for any number of images
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fields)
    stacked_predictions = jax.device_get(_reconstruct_all(params, stacked, frozen, settings))
    return [jax.tree.map(lambda leaf, place=place: leaf[place], stacked_predictions) for place in range(len(examples))]
