"""How accurately the GAN-based detector finds crops: wrong crops corrected, and whole photos searched.

    python benchmarks/quality/framing.py --images DATA/cats/image
    python benchmarks/quality/framing.py --images DATA/cats/image --gan cats64.safetensors

Each image is extended beyond its frame (`detection.gan_detector`), which makes a photo with three times its side. Crops
that are shifted by up to 25% of a side, scaled by 30% and rotated by 20 degrees are corrected; the result is compared
with the image's own frame, and with what the image's own frame is corrected to: objects are not placed alike in all
images.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.detection import gan_detector, weights
from gan2shape_jax.detection.detector import SIDE, between, corrected
from gan2shape_jax.detection.gan_detector import GanDetector
from gan2shape_jax.geometry.crop_box import CropBox

_SHIFT, _SCALE, _TURN = 0.05, 0.07, 4  # of a side, of the side, degrees: what counts as found


def _errors(boxes: list[CropBox], targets: list[CropBox]) -> np.ndarray:
    """Returns shift along the worse axis, relative difference of sides, and degrees, one row per box."""
    steps = np.array([between(target, box) for box, target in zip(boxes, targets, strict=True)])
    return np.stack(
        [np.abs(steps[:, :2]).max(1), np.abs(np.expm1(steps[:, 2])), np.abs(np.degrees(steps[:, 3]))], axis=1
    )


def _row(what: str, boxes: list[CropBox], targets: list[CropBox]) -> str:
    errors = _errors(boxes, targets)
    good = errors < (_SHIFT, _SCALE, _TURN)
    low, high = np.median(errors, axis=0), np.quantile(errors, 0.9, axis=0)
    shares = " | ".join(f"{value:.0%}" for value in (*good.mean(0), good.all(1).mean()))
    percentiles = " | ".join(f"{low[i]:.3f} / {high[i]:.3f}" for i in (0, 1)) + f" | {low[2]:.1f} / {high[2]:.1f}"
    return f"| {what} | {shares} | {percentiles} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=pathlib.Path, required=True, help="folder of images that the GAN could have drawn"
    )
    parser.add_argument("--gan", type=pathlib.Path, default=pathlib.Path(load_config("cat").gan.checkpoint))
    parser.add_argument("--searched", type=int, default=16, help="photos that are searched as a whole (default: 16)")
    options = parser.parse_args()
    if options.searched < 1:
        parser.error(f"--searched is {options.searched}: it must be at least 1")
    gan = stylegan2.load(options.gan)
    detector_weights = weights.weights_of(options.gan, *gan, "gan", log=lambda line: print(line, flush=True))
    detector = weights.detector_by(detector_weights, *gan, batch=gan_detector.CROPS)
    assert isinstance(detector, GanDetector)
    images = []
    for path in sorted(options.images.iterdir()):
        with Image.open(path) as picture:
            images.append(np.asarray(picture.convert("RGB").resize((SIDE,) * 2, Image.Resampling.BILINEAR)))
    right = gan_detector.frame_of(SIDE)
    print("| photo, crop | shift < 5% | scale < 7% | turn < 4° | all | shift, median / 90% | scale | turn |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in gan_detector.KINDS:
        rng = np.random.default_rng(7)
        wrong, led, home, searched = [], [], [], []
        for number, image in enumerate(images):
            photo = gan_detector.canvas(image, kind, images[rng.integers(len(images))], rng)
            disturbance = rng.uniform(-1, 1, 4) * (0.25, 0.25, np.log(1.3), np.radians(20))
            wrong.append(corrected(right, disturbance))
            for boxes, box in ((led, wrong[-1]), (home, right)):
                boxes += detector.aligned(photo, [box], 7, upright=box.roll_deg)
            if number < options.searched:
                searched.append(detector.detect(photo)[0].box)
        own = [right] * len(images)
        print(_row(f"{kind}, disturbed", wrong, own))
        print(_row(f"{kind}, led back", led, own))
        print(_row(f"{kind}, led back, against where the right one is led", led, home))
        print(_row(f"{kind}, searched", searched, own[: len(searched)]), flush=True)


if __name__ == "__main__":
    main()
