"""How well the object is cut out of a photo without a given mask: IoU of the found mask with the true one.

    python benchmarks/quality/photo_masks.py --data FACES [--gan GAN.safetensors]

FACES has the folders `image` and `mask`, of pictures framed like the GAN's. GrabCut starts from where the GAN's
objects usually are, as in `gan2shape-jax photo`.
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.photo import guide
from gan2shape_jax.apps.photo.masking import mask_of_crop
from gan2shape_jax.geometry.crop_box import centred_box
from gan2shape_jax.io.bundled import asset

_AIM = 0.85


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--gan", type=pathlib.Path, default=pathlib.Path(asset("ictface/gan.safetensors")))
    options = parser.parse_args(arguments)
    usual = guide.guide_of(options.gan, lambda: stylegan2.load(options.gan), say=print).usual_mask
    found = {path.stem: _iou(path, options.data / "mask", usual) for path in sorted(options.data.glob("image/*.png"))}
    values = np.array(list(found.values()))
    worst = ", ".join(f"{name} {value:.2f}" for name, value in sorted(found.items(), key=lambda one: one[1])[:5])
    print(f"{len(values)} pictures: IoU {values.mean():.3f} in the mean, median {np.median(values):.3f}, least {worst}")
    print(f"{(values >= _AIM).mean():.0%} of them are at {_AIM} or above")


def _iou(path: pathlib.Path, masks: pathlib.Path, usual: np.ndarray) -> float:
    crop = np.asarray(Image.open(path).convert("RGB"))
    sides = crop.shape[1], crop.shape[0]
    box = centred_box(*sides)
    found = mask_of_crop(crop, path=path, box=box, photo_size=sides, alpha=None, file=None, usual=usual).values > 0.5
    true = np.asarray(Image.open(masks / path.name).convert("L").resize(sides)) > 127
    return float((found & true).sum() / (found | true).sum())


if __name__ == "__main__":
    main()
