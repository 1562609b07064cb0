"""The GAN's version of rotation and relighting: chosen views and lights rendered roughly, then projected.

Pictures are made as in step 2 of the training: the result's factors are lit and rendered by sampling the canonical
texture at the warped depth; the trained encoder turns such a rendering into an offset of the latent code, and the
frozen generator draws the picture. The "3D" version, the mesh as it is, follows the angles exactly; the "GAN" version
is a plausible photo that follows them as far as the encoder and the GAN can. Source: GAN2Shape, sections 3.2 and 4.3.

Views `(n, 6)` are in radians and scene units from the canonical frame, lights `(n, 4)` are ambient, diffuse, dx, dy;
pictures are in [-1, 1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan2shape_jax.apps.edit.editor import Editor
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.lighting import normals, shade
from gan2shape_jax.method import losses, models, projection
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.pseudo_images import render_factors
from gan2shape_jax.method.settings import Settings

__all__ = ["Edits", "beyond_training", "edit", "edit_in_parts", "require_range"]

_USUAL = 2.0  # standard deviations of the sampled views; 5% of a normal distribution lies beyond


@dataclasses.dataclass(frozen=True, eq=False)
class Edits:
    """The GAN's version of n views.

    Attributes:
      pseudo: (n, S, S, 3) the rough renderings that the encoder was given.
      masks: (n, S, S) the canonical mask seen from each view, which weights the losses of step 2.
      pictures: (n, c, c, 3) by the GAN, c = `Editor.size`.
      l1: (n,) mean absolute difference between picture and rendering over the mask, both at side S.
    """

    pseudo: Float[np.ndarray, "n s s 3"]
    masks: Float[np.ndarray, "n s s"]
    pictures: Float[np.ndarray, "n c c 3"]
    l1: Float[np.ndarray, " n"]


def edit(
    editor: Editor,
    views: Float[np.ndarray, "n 6"],
    lights: Float[np.ndarray, "n 4"],
    *,
    batch: int = 8,
) -> Edits:
    """Renders and projects each view under its light, always `batch` together: one program serves any number."""
    parts = [vars(part) for part in edit_in_parts(editor, views, lights, batch=batch)]
    return Edits(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def edit_in_parts(
    editor: Editor,
    views: Float[np.ndarray, "n 6"],
    lights: Float[np.ndarray, "n 4"],
    *,
    batch: int = 8,
) -> Iterator[Edits]:
    """Yields what `edit` returns, `batch` views at a time and in order, so that memory stays bounded."""
    result = editor.result
    factors = Factors(*(jnp.asarray(getattr(result, name)) for name in ("depth", "albedo", "view", "light", "mask")))
    for start in range(0, len(views), batch):
        rows = np.minimum(np.arange(start, start + batch), len(views) - 1)
        some = _edit(
            editor.params,
            factors,
            jnp.asarray(views[rows], jnp.float32),
            jnp.asarray(lights[rows], jnp.float32),
            editor.latent,
            editor.reference,
            editor.frozen,
            settings=editor.settings,
        )
        yield Edits(*(np.asarray(value)[: len(views) - start] for value in some))


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
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    normal = normals(factors.depth, settings.camera, unit=settings.unit_normals)
    shading, _ = shade(normal, lights)
    pseudo, masks = render_factors(factors, shading, views, settings)
    latents, _ = projection.projected_latents(params, pseudo, latent, reference, frozen, settings)
    pictures = projection.synthesize_large(latents, frozen, settings)
    l1 = jax.vmap(losses.photometric)(resample.resize(pictures, settings.image_size), pseudo, masks)
    return pseudo, masks, pictures, l1


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
    degrees = np.rad2deg(views[:, :3])
    sentences = []
    for name, values, middle, deviation in zip(("pitch", "yaw", "roll"), degrees.T, mean, spread):
        low, high = middle - _USUAL * deviation, middle + _USUAL * deviation
        if deviation > 0 and ((values < low - 0.5) | (values > high + 0.5)).any():
            sentences.append(f"{name} of {low:+.0f}° to {high:+.0f}°")
    x0, x1, y0, y1, *_ = map(float, settings.rand_light)
    (dx, dy), own = lights[:, 2:].T, editor.result.light[2:]
    outside = (dx < x0) | (dx > x1) | (dy < y0) | (dy > y1)
    if (outside & (lights[:, 2:] != own).any(axis=-1)).any():
        sentences.append(f"light from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})")
    return sentences
