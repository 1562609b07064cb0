"""How accurately crops of photos are found: wrong crops corrected, and whole photos searched.

    python benchmarks/quality/framing.py --images DATA/ictface/image
    python benchmarks/quality/framing.py --images DATA/cats/image --gan cats64.safetensors
    python benchmarks/quality/framing.py --images DATA/cats/image --gan cats64.safetensors --sizes --searched 12

Each image is extended beyond its frame (`photo.alignment`), which makes a photo with three times its side. Crops that
are shifted by up to 25% of a side, scaled by 30% and rotated by 20 degrees are corrected; the result is compared with
the image's own frame, and with what the image's own frame is corrected to: objects are not placed alike in all images.

With `--sizes`, every n-th image is searched as it is, in files of seven sizes, whose frames should be the same.
"""

import argparse
import math
import pathlib

import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.photo import framing
from gan2shape_jax.config import load_config
from gan2shape_jax.geometry.crop_box import CropBox, scaled_box
from gan2shape_jax.run import guide

_SHIFT, _SCALE, _TURN = 0.05, 0.07, 4  # of a side, of the side, degrees: what counts as found

_SIDES = (64, 96, 128, 192, 256, 512, 1024)
_SAME_PLACE, _SAME_SCALE = 0.08, 0.12  # of a side: what counts as the same frame


def _errors(boxes: list[CropBox], targets: list[CropBox]) -> np.ndarray:
    """Returns shift along the worse axis, relative difference of sides, and degrees, one row per box."""
    between = np.array([guide.between(target, box) for box, target in zip(boxes, targets, strict=True)])
    return np.stack(
        [np.abs(between[:, :2]).max(1), np.abs(np.expm1(between[:, 2])), np.abs(np.degrees(between[:, 3]))], axis=1
    )


def _row(what: str, boxes: list[CropBox], targets: list[CropBox]) -> str:
    errors = _errors(boxes, targets)
    good = errors < (_SHIFT, _SCALE, _TURN)
    low, high = np.median(errors, axis=0), np.quantile(errors, 0.9, axis=0)
    shares = " | ".join(f"{value:.0%}" for value in (*good.mean(0), good.all(1).mean()))
    spread = " | ".join(f"{low[i]:.3f} / {high[i]:.3f}" for i in (0, 1)) + f" | {low[2]:.1f} / {high[2]:.1f}"
    return f"| {what} | {shares} | {spread} |"


def _sizes(images: list[np.ndarray], sight: guide.Sight) -> None:
    """Prints how many images have one frame, whatever the size of the file."""
    agree = []
    for image in images:
        boxes = []
        for side in _SIDES:
            sized = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            boxes.append(scaled_box(framing.find_frames(sized, sight)[0].box, 1 / side))
        x, y, size = (float(np.median([getattr(box, name) for box in boxes])) for name in ("x", "y", "side"))
        off = [math.dist((box.x, box.y), (x, y)) / size for box in boxes]
        scale = [max(box.side / size, size / box.side) - 1 for box in boxes]
        agree.append(max(off) < _SAME_PLACE and max(scale) < _SAME_SCALE)
        found = f"around ({x:.2f}, {y:.2f}), side {size:.2f}"
        print(f"{len(agree)}: {found}; at most {max(off):.1%} and {max(scale):.1%} away", flush=True)
    print(f"{sum(agree)} of {len(agree)} have one frame at {_SIDES} pixels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=pathlib.Path, required=True, help="folder of images that the GAN could have drawn"
    )
    parser.add_argument("--gan", type=pathlib.Path, default=pathlib.Path(load_config("ictface").gan.checkpoint))
    parser.add_argument("--searched", type=int, default=16, help="photos that are searched as a whole (default: 16)")
    parser.add_argument("--sizes", action="store_true", help="compare the frames found in files of different sizes")
    options = parser.parse_args()
    if options.searched < 1:
        parser.error(f"--searched is {options.searched}: it must be at least 1")
    architecture, weights = stylegan2.load(options.gan)
    known = guide.guide_of(options.gan, architecture, weights, say=lambda line: print(line, flush=True))
    sight = guide.sight_by(known, architecture, weights, size=guide.CROPS)
    images = []
    for path in sorted(options.images.iterdir()):
        with Image.open(path) as picture:
            images.append(np.asarray(picture.convert("RGB").resize((guide.SIDE,) * 2, Image.Resampling.BILINEAR)))
    if options.sizes:
        _sizes(images[:: max(1, len(images) // options.searched)][: options.searched], sight)
        return
    right = guide.frame_of(guide.SIDE)
    print("| photo, crop | shift < 5% | scale < 7% | turn < 4° | all | shift, median / 90% | scale | turn |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in guide.KINDS:
        rng = np.random.default_rng(7)
        wrong, led, home, searched = [], [], [], []
        for number, image in enumerate(images):
            photo = guide.canvas(image, kind, images[rng.integers(len(images))], rng)
            disturbance = rng.uniform(-1, 1, 4) * (0.25, 0.25, np.log(1.3), np.radians(20))
            wrong.append(guide.corrected(right, disturbance))
            for boxes, box in ((led, wrong[-1]), (home, right)):
                boxes += framing.moved(photo, [box], sight, 7, upright=box.roll_deg)
            if number < options.searched:
                searched.append(framing.find_frames(photo, sight)[0].box)
        own = [right] * len(images)
        print(_row(f"{kind}, disturbed", wrong, own))
        print(_row(f"{kind}, led back", led, own))
        print(_row(f"{kind}, led back, against where the right one is led", led, home))
        print(_row(f"{kind}, searched", searched, own[: len(searched)]), flush=True)


if __name__ == "__main__":
    main()
