"""How much of a head's own shape follows from where its features are, without labels, depth or a rotation.

    python benchmarks/faces/render.py --sources DIR --out front --yaw 0 --fov 10 --count 512
    python benchmarks/faces/render.py --sources DIR --out turned --seed 5 --count 512
    python benchmarks/faces/aligned.py front turned

A network sees a sample's texture in the canonical frame of the held model `head`, and says by which smooth symmetric
warp (a grid of 6 x 6 B-splines) and by which mixture of 16 learnt pictures it becomes the mean picture of all samples:
an active appearance model (Cootes et al., ECCV 1998), amortised and learnt from the pictures alone. The shape is then
moved along with the texture, D'(p) = D(p - s u(p)) at the strength s. Prints deviation between faces and correlation as
`committed.py spread` has them, and SIDE, inside and MAD as `table.py` has them; `centred` leaves out the mean warp. The
last line is the correlation of what a linear regression on the warp's numbers, told the truth of seven eighths of the
heads, says of the others. Eight minutes on two cores.
"""

import argparse
import functools
import pathlib
import time
from typing import Any

import committed
import flax.linen as nn
import jax
import jax.numpy as jnp
import learn
import numpy as np
import optax

from gan2shape_jax import stylegan2
from gan2shape_jax.geometry import render, resample
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io.bundled import GAN, MODEL, weights_file
from gan2shape_jax.lift.model_file import read_model
from gan2shape_jax.method import metrics, models
from gan2shape_jax.method.factors import blend_border
from gan2shape_jax.networks.modules import Collapse, Conv, GroupNorm, Pointwise

_SAMPLES, _STEPS, _BATCH = 24_064, 1600, 64
_GRID, _PICTURES, _SCALE, _BEND = 6, 16, 0.05, 0.1
_LUMA = jnp.array([0.299, 0.587, 0.114])
_RIM, _FARTHEST = 4, 1.1
_BUNDLED = weights_file("head", MODEL)
_HEAD = committed.networks_of(_BUNDLED).networks
_SIDE = _HEAD.settings.image_size
_ALONG = np.linspace(-1, 1, _SIDE, dtype=np.float32)
_PLACES = jnp.stack(jnp.meshgrid(_ALONG, _ALONG), axis=-1)


def _splines() -> jax.Array:
    """Returns the warps (K, S, S, 2) of a symmetric grid of cubic B-splines, as displacements in x and y."""
    away = np.abs(_ALONG - np.linspace(-1, 1, _GRID)[:, None]) * (_GRID - 1) / 2
    one = np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.maximum(2 - away, 0) ** 3 / 6)
    pairs = [(one[k] + one[-1 - k], one[k] - one[-1 - k]) for k in range(_GRID // 2)]
    zero = np.zeros((_SIDE, _SIDE))
    return jnp.asarray(
        [
            np.stack(way, axis=-1)
            for row in one
            for even, odd in pairs
            for way in ((zero, np.outer(row, even)), (np.outer(row, odd), zero))
        ],
        jnp.float32,
    )


_WARPS = _splines()


class Aligner(nn.Module):
    """From a texture and its mirror image to the numbers of the warp and of the mixture."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Takes (N, S, S, 8)."""
        x = jnp.concatenate([x, x[:, :, ::-1]], axis=-1)
        for level in range(4):
            x = nn.leaky_relu(GroupNorm(8)(Conv(16 << level, 4, "half")(x)), 0.2)
        x = nn.relu(Collapse(256)(x))
        return Pointwise(len(_WARPS), use_bias=True)(x) * _SCALE, Pointwise(_PICTURES, use_bias=True)(x)


@jax.jit
def held(images: jax.Array) -> dict[str, jax.Array]:
    """Returns what the model makes of images: depth, view, and the texture, its contrast normalised, with its mask."""
    settings, frozen = _HEAD.settings, _HEAD.frozen
    depth = models.depth(_HEAD.params, jnp.concatenate([images, images[:, :, ::-1]]), settings)
    own, mirrored = jnp.split(depth, 2)
    depth = blend_border((own + mirrored[:, :, ::-1]) / 2, settings.camera)
    view = models.views(_HEAD.params, images, frozen.view_mean, settings)
    light = models.lights(_HEAD.params, images, frozen.light_mean, settings)
    texture = models.canonical_texture(images, depth, view, light, settings)[..., :4]
    colours, seen = texture[..., :3], texture[..., 3:]
    weight = seen * _object()
    total = weight.sum((1, 2), keepdims=True) + 1
    apart = colours - (colours * weight).sum((1, 2), keepdims=True) / total
    contrast = jnp.sqrt(((apart**2).mean(-1, keepdims=True) * weight).sum((1, 2), keepdims=True) / total + 1e-3)
    texture = jnp.concatenate([apart / contrast * seen, seen], axis=-1)
    return {"depth": depth, "view": view, "texture": texture.astype(jnp.float16)}


@functools.cache
def _object() -> np.ndarray:
    model = read_model(pathlib.Path(_BUNDLED))
    return (model.mask > 0.5).astype(np.float32)[..., None]


def every(function: Any, *arrays: np.ndarray) -> Any:
    """Returns a function's results for all rows, `_BATCH` at a time."""
    parts = [function(*(a[k : k + _BATCH] for a in arrays)) for k in range(0, len(arrays[0]), _BATCH)]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def samples() -> dict[str, np.ndarray]:
    """Returns what the model makes of the GAN's samples, drawn with seed 7."""
    arch, weights = stylegan2.load(weights_file("head", GAN))

    @jax.jit
    def drawn(number: jax.Array) -> jax.Array:
        z = jax.random.normal(jax.random.fold_in(jax.random.key(7), number), (_BATCH, arch.style_dim))
        latents = stylegan2.map_styles(weights["generator"], z, arch=arch)
        return jnp.clip(stylegan2.synthesize(weights["generator"], latents, arch=arch), -1, 1)

    rows = [jax.device_get(held(drawn(number))["texture"]) for number in range(_SAMPLES // _BATCH)]
    return np.concatenate(rows)


def features(texture: jax.Array) -> jax.Array:
    """Returns colours, how steep the brightness is, and where they are known, (N, S, S, 5)."""
    grey = (texture[..., :3] * _LUMA).sum(-1)
    down = jnp.pad(grey[:, 2:] - grey[:, :-2], ((0, 0), (1, 1), (0, 0)))
    right = jnp.pad(grey[:, :, 2:] - grey[:, :, :-2], ((0, 0), (0, 0), (1, 1)))
    return jnp.concatenate([texture[..., :3], jnp.sqrt(down**2 + right**2 + 0.01)[..., None], texture[..., 3:]], -1)


def loss(params: Any, texture: jax.Array) -> jax.Array:
    """Returns the robust L1 between aligned textures and their mixtures; warps are smooth, and zero on average."""
    texture = texture.astype(jnp.float32)
    numbers, mixture = Aligner().apply({"params": params["network"]}, texture)
    warp = jnp.einsum("nk,kijc->nijc", numbers, _WARPS)
    aligned = resample.grid_sample(features(texture), _PLACES + warp)
    explained = params["mean"] + jnp.einsum("nk,kijc->nijc", mixture, params["pictures"])
    weight = aligned[..., 4:] * _object()
    off = (jnp.sqrt((aligned[..., :4] - explained) ** 2 + 1e-3) * weight).sum() / (4 * weight.sum() + 1)
    bent = ((jnp.diff(warp, axis=1) ** 2).mean() + (jnp.diff(warp, axis=2) ** 2).mean()) * (_SIDE / 2) ** 2
    return off + _BEND * bent + 20 * (warp.mean(0) ** 2).mean()


def trained(textures: np.ndarray) -> Any:
    """Returns the parameters after `_STEPS` of Adam."""
    first = np.asarray(features(jnp.asarray(textures[:2048], jnp.float32)))
    known = first[..., 4:]
    params = {
        "network": Aligner().init(jax.random.key(0), jnp.zeros((1, _SIDE, _SIDE, 4)))["params"],
        "mean": jnp.asarray((first[..., :4] * known).sum(0) / (known.sum(0) + 1)),
        "pictures": 0.02 * jax.random.normal(jax.random.key(1), (_PICTURES, _SIDE, _SIDE, 4)),
    }
    rate = optax.cosine_decay_schedule(1e-3, _STEPS, 0.05)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    @jax.jit
    def step(params: Any, state: Any, texture: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(params, texture)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, update), state, value

    state, rng, begun = optimizer.init(params), np.random.default_rng(0), time.monotonic()
    for done in range(_STEPS):
        batch = textures[rng.integers(len(textures), size=_BATCH)]
        params, state, value = step(params, state, batch[:, :, ::-1] if done % 2 else batch)
        if (done + 1) % 400 == 0:
            print(f"{done + 1} steps, {time.monotonic() - begun:.0f} s: {value:.3f}", flush=True)
    return params


@jax.jit
def moved(depth: jax.Array, warp: jax.Array) -> jax.Array:
    """Returns depth (N, S, S) moved along with a warp (N, S, S, 2), by two fixed-point steps."""
    places = jnp.clip(_PLACES - warp, -1, 1)
    places = jnp.clip(_PLACES - resample.grid_sample(warp, places), -1, 1)
    return resample.grid_sample(depth[..., None], places)[..., 0]


def own(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns what of depth is each face's own, on the pixels that nearly all faces have."""
    relief = np.ma.masked_where(~known, depth)[:, known.mean(0) > 0.99]
    relief = relief - relief.mean(1, keepdims=True)
    return relief - relief.mean(0)


def errors(depth: np.ndarray, view: np.ndarray, true: np.ndarray) -> str:
    """Returns mean SIDE, inside and MAD of canonical depths against the true depth as it is seen."""
    settings, camera = _HEAD.settings, Camera(image_size=_SIDE)
    seen = every(
        jax.jit(lambda d, v: render.warp_depth(d, v, settings.camera, sampling=settings.sampling)), depth, view
    )
    found, mask = (
        metrics.depth_errors(seen, true, camera),
        metrics.evaluation_mask(true, np.ones(true.shape, np.float32)),
    )
    for _ in range(_RIM):
        mask = metrics.erode(mask)
    inside = metrics.side(seen, true, mask)
    return f"{found['side'].mean():.4f}, {inside.mean():.5f}, {found['mad_unit'].mean():.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs=2, type=pathlib.Path, metavar="FOLDER", help="heads from in front, and turned")
    fronts, turned = (learn.pictures([folder], 1 << 30) for folder in parser.parse_args().folders)
    network = trained(samples())["network"]
    numbers_of = jax.jit(lambda texture: Aligner().apply({"params": network}, texture.astype(jnp.float32))[0])
    faces = [every(held, data["image"].astype(np.float32) / 127.5 - 1) for data in (fronts, turned)]
    numbers = [every(numbers_of, face["texture"]) for face in faces]
    truth = own(fronts["depth"], fronts["known"])
    farthest = np.where(turned["known"], turned["depth"], _FARTHEST).astype(np.float32)
    print("strength, centred: between faces, correlation; SIDE, inside, MAD")
    for centred in (False, True):
        mean = numbers[1].mean(0) * centred
        for strength in (0, 0.2, 0.5, 1):
            warps = [np.einsum("nk,kijc->nijc", strength * (n - mean), _WARPS) for n in numbers]
            front, side = (every(moved, face["depth"], warp) for face, warp in zip(faces, warps, strict=True))
            relief = own(front, fronts["known"])
            correlation = np.ma.corrcoef(relief.ravel(), truth.ravel())[0, 1]
            print(
                f"{strength}, {centred}: {relief.std(0).mean():.4f}, {correlation:.3f}; "
                f"{errors(side, faces[1]['view'], farthest)}",
                flush=True,
            )
    shape, inputs = np.asarray(truth.filled(0)), np.c_[numbers[0], np.ones(len(truth))]
    said = np.zeros_like(shape)
    for part in range(8):
        out = np.arange(len(shape)) % 8 == part
        said[out] = inputs[out] @ np.linalg.lstsq(inputs[~out], shape[~out], rcond=None)[0]
    print(f"a regression that is told the truth: {np.corrcoef(said.ravel(), shape.ravel())[0, 1]:.3f}")


if __name__ == "__main__":
    main()
