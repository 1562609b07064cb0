"""Trains two rows of a table on rendered pictures: the ceiling, and Unsup3D, which knows no depth and no GAN.

    python benchmarks/studio/learn.py ceiling --data faces --count 1000 --out ceiling.safetensors
    python benchmarks/studio/learn.py unsup3d --data faces faces1 --steps 20000 --out unsup3d.safetensors
    python benchmarks/faces/table.py --ceiling ceiling.safetensors --model unsup3d.safetensors

DATA are folders as a `render.py` makes them of the training split. Half of the pictures are mirrored unless
`--one-sided` says that they show cars from one side. Both train the networks of `ictface`, on batches of
64 with Adam. The ceiling is the depth network alone, trained by SIDE with the true depth as it is seen in the picture:
how much 64 pixels tell whoever is told the truth. Unsup3D (Wu et al., CVPR 2020) explains every picture twice, by a
canonical depth, albedo, view and light and by the mirror image of depth and albedo, and a fifth network says how sure
either is, by pixel; its perceptual distance is that of the discriminator's fourth features in place of VGG's. The file
has networks that `--config.networks.pretrained` and `gan2shape_jax.load_model` take.
"""

import argparse
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.io import arrays
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.method import frozen, metrics, models, perceptual, reconstruction
from gan2shape_jax.method.factors import blend_border
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.networks.modules import EncoderDecoder, initial_params
from gan2shape_jax.training.network_files import load_networks, networks_bytes

_BATCH, _AT_ONCE = 64, 50  # pictures a step; steps a call
_FLIPPED, _PERCEPTUAL, _LEAST = 0.5, 1.0, 1e-3  # weights (Wu et al., supplement), and the least deviation
_RATES = {"ceiling": 1e-3, "unsup3d": 1e-4}

Loss = Callable[[models.Params, dict[str, jax.Array]], jax.Array]


def pictures(folders: list[pathlib.Path], count: int) -> dict[str, np.ndarray]:
    """Returns up to `count` pictures: image uint8 (N, S, S, 3), depth float32 (N, S, S), and known, bool (N, S, S)."""
    paths = [(folder, name) for folder in folders for name in (folder / "list.txt").read_text().split()][:count]
    images = np.stack([np.asarray(Image.open(folder / "image" / name)) for folder, name in paths])
    depths = np.stack([np.load((folder / "depth" / name).with_suffix(".npy")) for folder, name in paths])
    valid = (depths > 0) & (depths < 1.1)  # not the background, nor what is too far away for the method's camera
    return {"image": images, "depth": np.where(valid, depths, 1).astype(np.float32), "known": valid}


def ceiling_loss(settings: Settings) -> Loss:
    """Returns the mean SIDE of depth as seen in the pictures."""

    def loss(params: models.Params, batch: dict[str, jax.Array]) -> jax.Array:
        return metrics.side(models.depth(params, batch["image"], settings), batch["depth"], batch["known"]).mean()

    return loss


def unsup3d_loss(settings: Settings, frozen_networks: frozen.FrozenModels, confidence: EncoderDecoder) -> Loss:
    """Returns the sum of the pictures' negative log likelihoods, of sheet and mirror image (its equations 3 to 7)."""

    def explained(depth: jax.Array, albedo: jax.Array, view: jax.Array, light: jax.Array) -> tuple[jax.Array, ...]:
        sheets = (reconstruction.mirror(canonical[None], flip=True) for canonical in (depth, albedo))
        geometry = reconstruction.scene(next(sheets), view[None], light[None], settings)
        return reconstruction.appearance(geometry, next(sheets))[:, 0], geometry.valid[0]

    def loss(params: models.Params, batch: dict[str, jax.Array]) -> jax.Array:
        images = batch["image"]
        depth = blend_border(models.depth(params, images, settings), settings.camera)
        view = models.views(params, images, frozen_networks.view_mean, settings)
        light = models.lights(params, images, frozen_networks.light_mean, settings)
        albedo = models.albedo(params, images, depth, view, light, settings)
        reconstructed, valid = jax.vmap(explained)(depth, albedo, view, light)
        sigma = jax.nn.softplus(confidence.apply({"params": params["confidence"]}, images)) + _LEAST
        compared = jnp.concatenate([images, reconstructed[:, 0], reconstructed[:, 1]])
        target, *features = jnp.split(perceptual.discriminator_features(compared, frozen_networks, settings)[-1], 3)
        cells = (len(images), *target.shape[1:3])
        coarse, weight = (
            jax.image.resize(values, (*cells, values.shape[-1]), "linear") for values in (sigma, valid[..., None])
        )
        total = jnp.zeros(())
        for way, scale in enumerate((1, _FLIPPED)):
            own, own_coarse = sigma[..., way, None], coarse[..., 2 + way, None]
            pixels = np.sqrt(2) * jnp.abs(images - reconstructed[:, way]) / own + jnp.log(own)
            apart = jnp.square(features[way] - jax.lax.stop_gradient(target))
            parts = apart / (2 * own_coarse**2) + jnp.log(own_coarse)
            total += scale * (pixels * valid[..., None]).mean() / valid.mean()
            total += scale * _PERCEPTUAL * (parts * weight).mean() / weight.mean()
        return total

    return loss


def trained(
    loss: Loss, params: models.Params, data: dict[str, np.ndarray], steps: int, rate: float, *, mirrors: bool
) -> models.Params:
    """Returns the parameters after `steps` of Adam; batches are drawn with seed 0, with `mirrors` half are mirrored."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps), b2=0.999)

    def step(carry: tuple, drawn: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array]:
        params, state = carry
        chosen, mirrored = drawn
        batch = {key: value[chosen].astype(jnp.float32) for key, value in on_device.items()}
        batch["image"] = batch["image"] / 127.5 - 1
        batch = {key: jnp.where(mirrored, value[:, :, ::-1], value) for key, value in batch.items()}
        value, gradient = jax.value_and_grad(loss)(params, batch)
        update, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, update), state), value

    on_device, rng = jax.device_put(data), np.random.default_rng(0)
    advance = jax.jit(functools.partial(jax.lax.scan, step), donate_argnums=0)
    carry, begun = (params, optimizer.init(params)), time.monotonic()
    for done in range(0, steps, _AT_ONCE):
        count = min(_AT_ONCE, steps - done)
        drawn = rng.integers(len(data["image"]), size=(count, _BATCH)), mirrors & (rng.integers(2, size=count) > 0)
        carry, values = advance(carry, drawn)
        if done % (20 * _AT_ONCE) == 0:
            print(f"{done + count} steps, {time.monotonic() - begun:.0f} s: {values.mean():.4f}", flush=True)
    return jax.device_get(carry[0])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(_RATES))
    parser.add_argument("--data", nargs="+", type=pathlib.Path, required=True, help="folders of the training split")
    parser.add_argument("--count", type=int, default=1 << 30, help="pictures at most")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--one-sided", action="store_true", help="show no mirror images: left and right differ")
    parser.add_argument("--start", type=pathlib.Path, help="go on from these networks, such as a lifted model")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="file of the networks")
    options = parser.parse_args(arguments)
    config, data = load_config("ictface:predict").unlock(), pictures(options.data, options.count)
    config.image_size = data["image"].shape[1]
    architecture, weights = stylegan2.load(config.gan.checkpoint)
    settings = from_config(config, architecture, original_size=config.image_size)
    params = models.init_params(jax.random.key(0), settings)
    if options.start:
        params = load_networks(options.start, params, settings)
    if options.what == "ceiling":
        loss = ceiling_loss(settings)
    else:
        sizes = dataclasses.asdict(settings.networks)
        sizes = {name: sizes[name] for name in ("width", "zdim", "group_base")}
        confidence = EncoderDecoder(size=settings.image_size, channels_out=4, final=None, **sizes)
        params |= initial_params(jax.random.key(1), {"confidence": confidence})
        statistics = {
            name: arrays.load_mvn(config.sampling[name], n) for name, n in (("view_mvn", 6), ("light_mvn", 4))
        }
        frozen_networks = frozen.build(weights, architecture, **statistics, F1_d=config.gan.F1_d)
        loss = unsup3d_loss(settings, frozen_networks, confidence)
    params = trained(loss, params, data, options.steps, _RATES[options.what], mirrors=not options.one_sided)
    atomic_bytes(options.out, networks_bytes({name: params[name] for name in models.NAMES}))


if __name__ == "__main__":
    main()
