"""Renders faces with all that is true of them, as a function of seed, split and number, from two families of heads.

    python benchmarks/faces/render.py --sources DIR --out faces --count 1000
    python benchmarks/faces/render.py --sources DIR --out faces --split test --seed 1 --size 128

DIR holds the clones `ICT-FaceKit`, `makehuman` and `makehuman-assets` (see `sources`). Even numbers are of the first
family, odd ones of MakeHuman's. OUT, a new folder, gets
`list.txt`, `image/`, `mask/` and `depth/`, as the bundled faces have them, so that every command takes them with
`--config.data`; `maps/`, normals and albedo; and `truth.npz`, where each row is a picture of the list:

    family, person   0 or 1, and the person's number, who is in `--pictures` pictures
    view             rx, ry, rz (radians) and tx, ty, tz, as in `geometry.camera`
    light            ambient, diffuse, dx, dy: the light of the method's kind that comes nearest
    harmonics        (9, 3) of 1, x, y, z, xy, xz, yz, x2 - y2, 3 z2 - 1 of the normal: the light from everywhere
    key              (2, 3) colour and direction of the light that throws shadows
    fov              degrees, of the lens; depths and views are those of the method's scene, whichever the lens
"""

import argparse
import functools
import pathlib
import sys

import drawing
import numpy as np
import people
import sources
from flax.traverse_util import flatten_dict, unflatten_dict

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import chance
import folders

_BATCH = {64: 16, 128: 8, 256: 2}  # pictures drawn together, by size: 256 pixels take 1 GB for two


def heads(folder: pathlib.Path) -> dict[str, dict]:
    """Returns both families, read from their sources once and kept beside them; delete that file if sources change."""
    file = folder / f"heads-{sources.FORMAT}.npz"
    if not file.is_file():
        families = sources.read(*(folder / name for name in sources.CLONES))
        for family in families.values():
            family["occlusion"] = drawing.occlusion(family)
        np.savez(file, **flatten_dict(families, sep="/"))
    with np.load(file) as flat:
        families = unflatten_dict(dict(flat), sep="/")
    return {name: family | {"names": family["names"].tolist()} for name, family in families.items()}


def described(names: list[str], family: str, numbers: list[int], options: argparse.Namespace) -> tuple[dict, dict]:
    """Returns who is in a family's pictures with these numbers and how they are taken, stacked; see `people`.

    `names` and `mean` of the weights belong to the family's modes; a person's are told by seed, split and number alone.
    """
    f, split = sources.FAMILIES.index(family), chance.SPLITS.index(options.split)
    persons, scenes = [], []
    for number in numbers:
        who = chance.generator(options.seed, split, f, number // options.pictures, 0)
        how = chance.generator(options.seed, split, f, number, 1)
        person = people.person(who, family, names)
        moved = (not options.rigid) * people.expression(how, family, names)
        if options.jaw is not None:
            moved[names.index(people.OPEN[family])] = options.jaw
        person["weights"] = person["weights"] + moved
        persons.append(person)
        scene = people.scene(how, yaw=options.yaw, fov=options.fov, turned=options.turned)
        scenes.append(scene | {"zoom": np.float32(scene["zoom"] / options.frame)})
    return chance.stacked(persons), chance.stacked(scenes)


def batch(
    family: dict, device: dict, name: str, numbers: list[int], options: argparse.Namespace
) -> dict[str, np.ndarray]:
    """Draws the pictures of one family with these numbers, and says what is true of them."""
    persons, scenes = described(family["names"], name, numbers, options)
    persons["weights"] = persons["weights"] - family["mean"]
    drawn = drawing.draw(device, persons, scenes, size=options.size, supersample=options.supersample)
    result = {key: np.asarray(value) for key, value in drawn.items()} | {
        key: scenes[key] for key in ("jpeg", "view", "fov")
    }
    result["family"] = np.full(len(numbers), sources.FAMILIES.index(name), np.int32)
    result["person"] = np.array(numbers, np.int32) // options.pictures
    return result


TRUTH = ("family", "person", "view", "light", "harmonics", "key", "fov")


def render(options: argparse.Namespace) -> None:
    """Renders the pictures; raises `RefusedError`."""
    if fewer := sources.lacking(options.sources / "makehuman-assets"):
        print(f"warning: {fewer}", file=sys.stderr)
    families = heads(options.sources)
    devices = {name: drawing.on_device(family) for name, family in families.items()}

    def drawn(name: str, numbers: list[int]) -> dict[str, np.ndarray]:
        return batch(families[name], devices[name], name, [number // 2 for number in numbers], options)

    together = _BATCH[options.size]
    batches = (
        (numbers, functools.partial(drawn, name, numbers))
        for first in range(0, options.count, 2 * together)
        for f, name in enumerate(sources.FAMILIES)
        for numbers in [[first + 2 * k + f for k in range(together)]]
    )
    folders.write(options, TRUTH, batches)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=pathlib.Path, required=True, help="folder of the three clones")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the pictures")
    parser.add_argument("--split", choices=chance.SPLITS, default="train", help="no person is in two splits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=64, help="pictures, of both families together")
    parser.add_argument("--pictures", type=int, default=1, help="pictures of each person")
    parser.add_argument("--rigid", action="store_true", help="no expressions")
    parser.add_argument("--size", type=int, choices=(64, 128, 256), default=64, help="pixels")
    parser.add_argument("--supersample", type=int, choices=(1, 3, 5), default=3, help="samples along a pixel")
    parser.add_argument(
        "--yaw", type=float, default=20.0, help="standard deviation, degrees, up to 60; 0: from in front"
    )
    parser.add_argument(
        "--turned", type=float, nargs=2, metavar=("YAW", "PITCH"), help="uniform up to these degrees, in place of --yaw"
    )
    parser.add_argument("--fov", type=float, help="degrees; about 10, different for each picture, if not given")
    parser.add_argument("--frame", type=float, default=1.0, help="sides of the usual frame: 1.6 shows whole heads")
    parser.add_argument(
        "--jaw", type=float, help="how far mouths are open, 0 to 1; as expressions have it, if not given"
    )
    parser.add_argument("--images-only", action="store_true", help="nothing but pictures, to train a GAN")
    options = parser.parse_args(arguments)
    try:
        render(options)
    except (folders.RefusedError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
