"""Renders faces with true depth, as a function of seed, split and number, from two families of openly licensed heads.

    python benchmarks/faces/render.py --sources DIR --out faces --count 1000
    python benchmarks/faces/render.py --sources DIR --out faces --split test --seed 1 --size 128

DIR holds the clones `ICT-FaceKit`, `makehuman` and `makehuman-assets` (see `sources`). Numbers take turns between the
families. A rendering that was stopped goes on where it was, to the same bytes.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import shutil
import sys

import drawing
import numpy as np
import people
import sources
from PIL import Image

KEPT_SEED = 9024  # for acceptance: nothing is trained, chosen or looked at with it
_BATCH = 16
_BYTES = {"image": 12_000, "all": 150_000}  # of a picture of 64 pixels, at most


def heads(folder: pathlib.Path, cache: pathlib.Path) -> dict[str, dict]:
    """Returns both families, read from their sources once and kept in a file beside the pictures."""
    print_of = hashlib.sha256(f"{sources.FORMAT}".encode())
    places = {name: folder / name for name in sources.CLONE}
    for name, place in places.items():
        if not place.is_dir():
            raise sources.SourceError(f"{name} is not at {place}: get it there with `{sources.CLONE[name]}`")
        for path in sorted(place.glob("[!.]*/**/*")):
            if path.suffix in (".obj", ".target", ".mhclo", ".png") and path.is_file():
                print_of.update(f"{path.relative_to(place)} {path.stat().st_size}".encode())
    file = cache / f"heads-{print_of.hexdigest()[:12]}.npz"
    if file.is_file():
        flat = dict(np.load(file))
        families = {}
        for key, value in flat.items():
            family, name = key.split("/")
            families.setdefault(family, {})[name] = list(value) if name == "names" else value
        return families
    families = sources.read(*places.values())
    for family in families.values():
        family["occlusion"] = drawing.occlusion(family)
    flat = {f"{family}/{name}": value for family, arrays in families.items() for name, value in arrays.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **flat)
    cache.mkdir(parents=True, exist_ok=True)
    _replace(file, buffer.getvalue())
    return families


def batch(family: dict, device: dict, name: str, numbers: list[int], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Draws the pictures of one family with these numbers."""
    f, split = sources.FAMILIES.index(name), people.SPLITS.index(options.split)
    persons, scenes = [], []
    for number in numbers:
        who = people.generator(options.seed, split, f, number // options.pictures, 0)
        how = people.generator(options.seed, split, f, number, 1)
        person = people.person(who, name, family["names"])
        person["weights"] = person["weights"] + people.expression(how, name, family["names"]) - family["mean"]
        persons.append(person)
        scenes.append(people.scene(how, yaw=options.yaw, fov=options.fov))
    stacked = [
        {key: np.stack([_narrow(row[key]) for row in rows]) for key in rows[0]} for rows in (persons, scenes)
    ]
    drawn = drawing.draw(device, *stacked, size=options.size, supersample=options.supersample)
    return {key: np.asarray(value) for key, value in drawn.items()} | {"jpeg": stacked[1]["jpeg"], "view": stacked[1]["view"], "fov": stacked[1]["fov"]}  # fmt: skip


def _narrow(value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    return value.astype(np.float32 if value.dtype.kind == "f" else np.int32)


def _png(image: np.ndarray, quality: int = 100) -> bytes:
    """Returns an image as PNG, after JPEG's losses if the quality is below 100."""
    picture = Image.fromarray(image)
    if quality < 100:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(quality))
        picture = Image.open(buffer)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _replace(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that is whole or not there."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def render(options: argparse.Namespace) -> int:
    """Renders what is missing; returns how many pictures were drawn."""
    if options.seed == KEPT_SEED and not options.acceptance:
        raise sources.SourceError(f"seed {KEPT_SEED} is kept for acceptance: choose another, or say --acceptance")
    out = options.out
    what = "image" if options.images_only else "all"
    need = options.count * _BYTES[what] * (options.size / 64) ** 2
    parent = next(p for p in (out, *out.absolute().parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if free < need:
        raise sources.SourceError(f"{out} has room for {free / 1e9:.2f} GB, but {options.count} pictures may take {need / 1e9:.2f} GB: free some or lower --count")  # fmt: skip
    families = heads(options.sources, options.cache or out)
    kinds = ["image"] if options.images_only else ["image", "mask", "depth", "truth"]
    for kind in kinds:
        (out / kind).mkdir(parents=True, exist_ok=True)
    facts = {key: getattr(options, key) for key in ("seed", "split", "size", "supersample", "pictures", "yaw", "fov")}
    record = out / "render.json"
    if record.is_file() and json.loads(record.read_text()) != facts:
        raise sources.SourceError(f"{record} is of another rendering ({record.read_text().strip()}): choose another --out")
    _replace(record, (json.dumps(facts) + "\n").encode())
    devices = {name: drawing.on_device(family) for name, family in families.items()}
    done = 0
    for first in range(0, options.count, 2 * _BATCH):
        for f, name in enumerate(sources.FAMILIES):
            places = [first + 2 * k + f for k in range(_BATCH)]
            wanted = [n for n in places if n < options.count]
            suffix = {"image": "png", "mask": "png", "depth": "npy", "truth": "npz"}
            if all((out / kind / f"{n:06d}.{suffix[kind]}").is_file() for n in wanted for kind in kinds):
                continue
            drawn = batch(families[name], devices[name], name, [n // 2 for n in places], options)
            for k, n in enumerate(wanted):
                own = {key: value[k] for key, value in drawn.items()}
                if not options.images_only:
                    _replace(out / "mask" / f"{n:06d}.png", _png(own["mask"].astype(np.uint8) * 255))
                    _replace(out / "depth" / f"{n:06d}.npy", _npy(own["depth"]))
                    buffer = io.BytesIO()
                    np.savez_compressed(buffer, normal=own["normal"].astype(np.float16), albedo=own["albedo"], view=own["view"], fov=own["fov"])  # fmt: skip
                    _replace(out / "truth" / f"{n:06d}.npz", buffer.getvalue())
                _replace(out / "image" / f"{n:06d}.png", _png(own["image"], own["jpeg"]))
            done += len(wanted)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=pathlib.Path, required=True, help="folder of the three clones")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the pictures")
    parser.add_argument("--cache", type=pathlib.Path, help="folder of the heads as read; --out if not given")
    parser.add_argument("--split", choices=people.SPLITS, default="train", help="no person is in two splits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--acceptance", action="store_true", help="allow the seed that is kept")
    parser.add_argument("--count", type=int, default=64, help="pictures, of both families together")
    parser.add_argument("--pictures", type=int, default=1, help="pictures of each person")
    parser.add_argument("--size", type=int, choices=(64, 128, 256), default=64, help="pixels")
    parser.add_argument("--supersample", type=int, choices=(1, 3, 5), default=3, help="samples along a pixel")
    parser.add_argument("--yaw", type=float, default=20.0, help="standard deviation, degrees; 60 at most")
    parser.add_argument("--fov", type=float, help="degrees; about 10, different for each picture, if not given")
    parser.add_argument("--images-only", action="store_true", help="no truth")
    options = parser.parse_args()
    try:
        print(f"{render(options)} pictures drawn, {options.count} are in {options.out}")
    except (sources.SourceError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
