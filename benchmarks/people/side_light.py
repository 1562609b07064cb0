"""How much of the light from one side stays in a model's albedo.

    python benchmarks/faces/render.py --sources DIR --seed 5 --count 512 --out HEADS
    python benchmarks/people/side_light.py people --heads HEADS --photos PORTRAITS/held FRONTAL/held

Of a picture, its texture in the canonical frame is compared with the albedo that photos get and with the lift's own:
how much brighter the left half is than the right, as a share of their mean, on those texels of the object whose mirror
image is seen, too. On rendered heads (turned by less than 30 degrees) a row has the slopes of that over the side of the
true light: its diffuse share times the x of its direction. On photographs, whose light is not known, slopes are over
the texture's own asymmetry, a part of which is the face's: an upper bound.
"""

import argparse
import dataclasses
import pathlib
import sys

import jax.numpy as jnp
import numpy as np

import gan2shape_jax
from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import MODEL, weights_file
from gan2shape_jax.lift.model_file import read_model
from gan2shape_jax.method import models

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "quality"))
import samples

_LUMA = np.array([0.299, 0.587, 0.114])
_FARTHEST = 30.0  # degrees of yaw


def asymmetry(colours: np.ndarray, weight: np.ndarray) -> float:
    """Returns how much brighter the left half of colours (S, S, 3) on [0, 1] is; `weight` (S, S) is symmetric."""
    brightness = colours @ _LUMA
    left, right = (
        (brightness * weight)[:, half].sum() / max(weight[:, half].sum(), 1)
        for half in np.split(np.arange(weight.shape[1]), 2)
    )
    return float(2 * (left - right) / (left + right))


def asymmetries(model: gan2shape_jax.Model, inside: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Returns the asymmetry (N, 3) of pictures' texture, of the albedo that photos get, and of the lift's own.

    `inside` (S, S) is where the object is in the canonical frame; images are (N, S, S, 3) on [-1, 1].
    """
    own = {name: params for name, params in model.params.items() if name != models.DETAIL}
    lift = dataclasses.replace(model, networks=dataclasses.replace(model.networks, params=own))
    rows = []
    for image in images:
        picture = image / 2 + 0.5  # as `reconstruct` takes it
        result = model.reconstruct(picture)
        batch = (jnp.asarray(values)[None] for values in (image, result.depth, result.view))
        texture, seen = models.unprojected(*batch, model.networks.settings)
        weight = inside * np.asarray(seen)[0, ..., 0]
        weight = weight * weight[:, ::-1]
        albedos = np.asarray(texture)[0] / 2 + 0.5, result.albedo, lift.reconstruct(picture).albedo
        rows.append([asymmetry(np.asarray(albedo), weight) for albedo in albedos])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or files of lifted models of people")
    parser.add_argument("--heads", type=pathlib.Path, required=True, help="a folder as render.py makes it")
    parser.add_argument("--photos", type=pathlib.Path, nargs="*", default=[], help="folders of framed faces")
    options = parser.parse_args()
    side = load_config("people").image_size
    truth = np.load(options.heads / "truth.npz")
    ambient, diffuse, right, down = truth["light"].T
    light = diffuse / (ambient + diffuse) * right / np.sqrt(1 + right**2 + down**2)
    near = np.abs(np.degrees(truth["view"][:, 1])) < _FARTHEST
    heads = samples.pictures(options.heads / "image", side)[near]
    print("| model | pictures | | texture | albedo | the lift's own |\n|---|---|---:|---:|---:|---:|")
    for name in options.models:
        model = gan2shape_jax.load_model(name)
        stored = read_model(weights_file(name, MODEL))
        assert stored is not None
        inside = np.asarray(stored.mask) > 0.5
        for folder, images in ((options.heads, heads), *((one, samples.pictures(one, side)) for one in options.photos)):
            found = asymmetries(model, inside, images)
            over = light[near] if folder is options.heads else found[:, 0]
            slopes = " | ".join(f"{np.polyfit(over, values, 1)[0]:.3f}" for values in found.T)
            print(f"| {name} | {folder} | {len(images)} | {slopes} |", flush=True)


if __name__ == "__main__":
    main()
