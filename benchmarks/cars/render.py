"""Renders cars with all that is true of them, as a function of seed, split and number; no file is needed.

    python benchmarks/cars/render.py --out cars --count 1000
    python benchmarks/cars/render.py --out cars --split test --seed 1 --size 128

OUT, a new folder, gets `list.txt`, `image/`, `mask/` and
`depth/`, so that every command takes them with `--config.data`; `maps/`, normals and albedo; `view_mvn.npz` and
`light_mvn.npz`, mean and covariance as `--config.sampling` takes them; and `truth.npz`, where each row is a picture of
the list. Lights are of linear light and of a sun above the picture: some are beyond what the method's networks can say
(ambient and diffuse up to 1), so that a GAN's lights are better found than taken from `light_mvn.npz`.

    car, kind, colour  the car's number, in no two splits, and the numbers of its kind and paint (`cars`)
    view             rx, ry, rz (radians) and tx, ty, tz, as in `geometry.camera`
    light            ambient, diffuse, dx, dy: the light of the method's kind that comes nearest
    harmonics        (9, 3) of 1, x, y, z, xy, xz, yz, x2 - y2, 3 z2 - 1 of the normal: the light from everywhere
    key              (2, 3) colour and direction of the sun
    fov              degrees, of the lens; depths and views are those of the method's scene, whichever the lens

**The canonical view is three quarters from in front**, 40 degrees to one side. The method has one depth for each pixel
of the canonical picture: from in front, where a car's symmetry would be the picture's, its flank is a column or two of
pixels, and in a picture at 45 degrees the flank is seven tenths of the car. So the method cannot use the symmetry, as
the published configuration of cars does not. Cars are turned up to 45 degrees to either side of that view, evenly, the
greatest yaw that `configs/car.py` has: from the side to just past the front; and seen from 0 to 15 degrees above the
road. The two make up the view's three angles. Cars that are seen from their other side are mirror images of these.

**Sizes and lenses.** A car keeps its size as it turns, as what the method draws does, so that it fits into the picture
from the side and takes two fifths of its width from in front. Lenses are of 50 to 150 mm on full frame, evenly in
logarithms; pictures are squares of the frame's height, 24 mm, so that fields of view are 27 to 9 degrees. The method
knows 10: as of faces, a shorter lens comes nearer until the car is as large as at 10 degrees. The picture has that
lens's perspective, the truth is the car's in the method's scene, where 10 degrees is true and the others are not.
"""

import argparse
import functools
import pathlib
import sys

import cars
import drawing
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import chance
import folders

_BATCH = {64: 16, 128: 8, 256: 2}  # pictures drawn together, by size
TRUTH = ("car", "kind", "colour", "view", "light", "harmonics", "key", "fov")


def described(numbers: list[int], options: argparse.Namespace) -> tuple[dict, dict]:
    """Returns which cars are in the pictures with these numbers and how they are taken, stacked; see `cars`."""
    split = chance.SPLITS.index(options.split)
    shown = [cars.car(chance.generator(options.seed, split, number // options.pictures, 0)) for number in numbers]
    chances = [chance.generator(options.seed, split, number, 1) for number in numbers]
    scenes = [cars.scene(how, yaw=options.yaw) for how in chances]
    return chance.stacked(shown), chance.stacked(scenes)


def batch(numbers: list[int], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Draws the pictures with these numbers, and says what is true of them."""
    shown, scenes = described(numbers, options)
    drawn = drawing.draw(shown, scenes, size=options.size, supersample=options.supersample)
    facts = {key: scenes[key] for key in ("jpeg", "view", "fov")} | {key: shown[key] for key in ("kind", "colour")}
    return (
        {key: np.asarray(value) for key, value in drawn.items()}
        | facts
        | {"car": np.array(numbers, np.int32) // options.pictures}
    )


def statistics(truth: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Returns mean and covariance of views and lights in network units, as `--config.sampling` takes them."""
    light = truth["light"] * [2, 2, 1, 1] - [1, 1, 0, 0]
    view = truth["view"] / [*3 * [np.radians(60)], 0.1, 0.1, 1]
    return {
        name: {"mean": values.mean(0, dtype=np.float64), "cov": np.cov(values.T.astype(np.float64))}
        for name, values in (("view_mvn", view), ("light_mvn", light))
    }


def render(options: argparse.Namespace) -> None:
    """Renders the pictures; raises `RefusedError`."""
    together = _BATCH[options.size]
    batches = (
        (numbers, functools.partial(batch, numbers, options))
        for first in range(0, options.count, together)
        for numbers in [list(range(first, first + together))]
    )
    truth = folders.write(options, TRUTH, batches)
    if not options.images_only and options.count > 1:
        for name, arrays in statistics(truth).items():
            np.savez(options.out / f"{name}.npz", **arrays)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the pictures")
    parser.add_argument("--split", choices=chance.SPLITS, default="train", help="no car is in two pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=64, help="pictures")
    parser.add_argument("--pictures", type=int, default=1, help="pictures of each car")
    parser.add_argument("--size", type=int, choices=tuple(_BATCH), default=64, help="pixels")
    parser.add_argument("--supersample", type=int, choices=(1, 3, 5), default=3, help="samples along a pixel")
    parser.add_argument("--yaw", type=float, default=45.0, help="the greatest, degrees; 0: the canonical view")
    parser.add_argument("--images-only", action="store_true", help="nothing but pictures, to train a GAN")
    options = parser.parse_args(arguments)
    try:
        render(options)
    except (folders.RefusedError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
