"""Cuts the face out of each portrait, framed as the GAN `people` frames faces, and keeps every thirteenth out.

    git clone https://github.com/Hainish/congress-images-225x275      # works of the United States government
    python benchmarks/people/portraits.py congress-images-225x275/images PORTRAITS
    python benchmarks/people/portraits.py STUDIO FRONTAL --kept 1      # pictures to judge by only
    gan2shape-jax train-gan PORTRAITS/train --start benchmarks/faces/data/head/gan.safetensors --out people_gan

PORTRAITS gets `train/` and `held/`, numbered in the order of the files' names, which are not kept. Grey pictures are
left out, and pictures with no face or with several.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from gan2shape_jax.config import load_config
from gan2shape_jax.detection import faces, weights
from gan2shape_jax.detection.detector import SURE
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop

_SIDE = 128  # pixels
_GREY = 3.0  # levels: mean difference of the channels up to which a picture is grey, as in `train-gan --no-grey`


def framed(picture: np.ndarray, detector: faces.FaceDetector) -> CropBox | None:
    """Returns where the face of a portrait is, or None where there is not one face or no colour."""
    found = [one for one in detector.detect(picture) if one.score >= SURE]
    grey = np.ptp(picture.astype(np.float32), axis=-1).mean() <= _GREY
    return None if len(found) != 1 or grey else found[0].box


def portraits(folder: pathlib.Path) -> Iterator[tuple[np.ndarray, CropBox]]:
    """Yields the portraits of a folder in the order of their names, and where their faces are; see `framed`."""
    known = weights.stored_weights(pathlib.Path(load_config("people").gan.checkpoint), "face")
    assert known is not None and known.framing is not None
    detector = faces.FaceDetector(known.framing)
    for path in sorted(folder.rglob("[!.]*.jpg")):
        with Image.open(path) as photo:
            picture = np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
        box = framed(picture, detector)
        if box is not None:
            yield picture, box


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--kept", type=int, default=13, metavar="N", help="one in N is kept out; 1: all")
    parser.add_argument("--frame", type=float, default=1.0, help="sides of the usual frame: 1.6 shows whole heads")
    options = parser.parse_args()
    if options.kept < 1:
        parser.error("--kept is 1 or more")
    if not any(options.photos.rglob("[!.]*.jpg")):
        parser.error(f"there is no .jpg in {options.photos}")
    if options.out.exists():
        parser.error(f"{options.out} exists: name a new folder")
    count = 0
    for part in ("train", "held"):
        (options.out / part).mkdir(parents=True)
    for count, (picture, box) in enumerate(portraits(options.photos), start=1):
        face = sample_crop(picture, dataclasses.replace(box, side=options.frame * box.side), _SIDE)
        part = "held" if count % options.kept == 0 else "train"
        Image.fromarray(face).save(options.out / part / f"{count - 1:03d}.jpg", quality=95)
    print(f"{count} faces are in {options.out}, {count // options.kept} of them kept out of training")


if __name__ == "__main__":
    main()
