"""How near a GAN's samples come to the photographs it has seen, and how well it draws photographs that it has not.

    python benchmarks/quality/samples.py --seen PORTRAITS/train --unseen PORTRAITS/held FRONTAL/held --out sheet.png \\
        head people_gan/gan.safetensors

Nearest: of 64 samples without truncation, and of the unseen pictures of the first folder, the root of the mean squared
difference of pixels, on [0, 1], to the nearest seen picture or its mirror image: the median, and the least. Samples
that were learnt by heart would be nearer than unseen pictures are. Drawn: pictures of each folder, inverted by the mean
absolute difference of pixels alone (250 steps of Adam in W from the mean latent), which is told in units of the
picture's contrast, the difference to its median colour. The sheet has, for each GAN, its 16 samples that come nearest
and what they are near to; then the unseen pictures, and a row for each GAN's inversions.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import gan2shape_jax

_PICTURES = "*.[jp][pn]g"
_SAMPLES, _SHOWN, _STEPS, _RATE = 64, 16, 250, 0.1


def pictures(folder: pathlib.Path, side: int) -> np.ndarray:
    """Returns the JPEG and PNG pictures of a folder, by their names, (N, side, side, 3) on [-1, 1]."""
    rows = []
    for path in sorted(folder.glob(_PICTURES)):
        with Image.open(path) as picture:
            rows.append(np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BOX), np.float32))
    return np.stack(rows) / 127.5 - 1


def nearest(images: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns how far each image (N, S, S, 3) is from the nearest seen one, rms on [0, 1], and which that is."""
    away = np.stack([np.sqrt(np.square(seen - image).mean((1, 2, 3))) / 2 for image in images])
    return away.min(axis=1), away.argmin(axis=1)


def inverted(gan: gan2shape_jax.Gan, targets: np.ndarray) -> np.ndarray:
    """Returns the GAN's pictures that come nearest to `targets` (N, S, S, 3) by pixels alone."""
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS))
    latents = jnp.repeat(jnp.asarray(gan.mean_latent)[None], len(targets), axis=0)

    def loss(latents: jax.Array) -> jax.Array:
        return jnp.abs(gan.apply(latents) - targets).mean((1, 2, 3)).sum()

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        latents, state = carry
        update, state = optimizer.update(jax.grad(loss)(latents), state)
        return (optax.apply_updates(latents, update), state), None

    (latents, _), _ = jax.jit(functools.partial(jax.lax.scan, step, length=_STEPS))((latents, optimizer.init(latents)))
    return np.asarray(gan.apply(latents))


def in_contrasts(drawn: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the mean absolute difference of each picture, in units of that to the target's median colour."""
    flat = np.median(targets, axis=(1, 2), keepdims=True)
    return np.abs(drawn - targets).mean((1, 2, 3)) / np.abs(flat - targets).mean((1, 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gans", nargs="+", help="names or files of GANs of one size")
    parser.add_argument("--seen", type=pathlib.Path, required=True, help="folder of what was trained on")
    parser.add_argument("--unseen", type=pathlib.Path, nargs="+", required=True, help="folders of other pictures")
    parser.add_argument("--count", type=int, default=12, help="pictures of each folder that are inverted")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the sheet")
    options = parser.parse_args()
    for folder in (options.seen, *options.unseen):
        if not any(folder.glob(_PICTURES)):
            parser.error(f"there is no .jpg or .png in {folder}")
    gans = [gan2shape_jax.load_gan(name) for name in options.gans]
    if len({gan.size for gan in gans}) > 1:
        parser.error("the GANs are of several sizes")
    side = gans[0].size
    seen = pictures(options.seen, side)
    seen = np.concatenate([seen, seen[:, :, ::-1]])
    unseen = [pictures(folder, side) for folder in options.unseen]
    ends = np.cumsum([min(len(rows), options.count) for rows in unseen])
    targets = np.concatenate([rows[: options.count] for rows in unseen])
    own, _ = nearest(unseen[0], seen)
    print(f"unseen pictures: {np.median(own):.3f} from the nearest seen one (least {own.min():.3f})")
    print("| GAN | nearest | " + " | ".join(str(folder) for folder in options.unseen) + " |")
    print("|---|---|" + "---|" * len(unseen))
    rows = [targets]
    for name, gan in zip(options.gans, gans, strict=True):
        samples = gan.sample(0, _SAMPLES)[0].astype(np.float32) / 127.5 - 1
        away, which = nearest(samples, seen)
        order = np.argsort(away)[:_SHOWN]
        drawn = inverted(gan, targets)
        told = np.split(in_contrasts(drawn, targets), ends[:-1])
        cells = " | ".join(f"{values.mean():.2f}" for values in told)
        print(f"| {name} | {np.median(away):.3f} (least {away.min():.3f}) | {cells} |", flush=True)
        rows = [samples[order], seen[which[order]], *rows, drawn]
    wide = max(map(len, rows))
    padded = [np.concatenate([row, np.ones((wide - len(row), side, side, 3))]) for row in rows]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in padded])
    Image.fromarray(np.uint8(np.clip(sheet / 2 + 0.5, 0, 1) * 255)).save(options.out)


if __name__ == "__main__":
    main()
