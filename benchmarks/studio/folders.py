"""Folders of drawn pictures and of what is true of them: as they are rendered, and packed as they are committed.

    python benchmarks/studio/folders.py unpack benchmarks/faces/data/test TEST     # a folder as render.py makes it
    python benchmarks/studio/folders.py pack RENDERED benchmarks/cars/data/test
    python benchmarks/studio/folders.py mean TRAIN train_mean          # .npy, the mean depth, and .png, the mean mask

What is drawn of a picture is a dictionary: image and albedo uint8 (S, S, 3), mask bool, depth and normal float32, jpeg
(quality, 100: none) and the facts that become rows of `truth.npz`. `data/validation` and `data/test` of faces and cars
are packed: `image/` and `truth.npz`, which has a rendering's facts, and relief (depth - 1, float16, 0 outside), mask,
normal (127 times, int8) and albedo.
"""

import argparse
import io
import pathlib
import sys
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

FARTHEST = 1.1  # where the method's camera sees the background
_PACKED = ("image", "relief", "depth", "mask", "normal", "albedo")  # what `truth.npz` has besides facts, or `load` adds


class RefusedError(Exception):
    """A rendering that cannot be; the message is for users."""


def write(
    options: argparse.Namespace,
    truth: tuple[str, ...],
    batches: Iterable[tuple[list[int], Callable[[], dict[str, np.ndarray]]]],
) -> dict[str, np.ndarray]:
    """Writes pictures, batch by batch: their numbers and what draws them. Returns what is in `truth.npz`.

    Of the options it takes out, a new folder; count; and images_only. `truth` names the facts that a row has. Raises
    `RefusedError`.
    """
    out, rows = options.out, {}
    if options.count < 1:
        raise RefusedError("--count is 1 or more")
    if out.exists():
        raise RefusedError(f"{out} exists: choose another --out")
    for kind in ("image",) if options.images_only else ("image", "mask", "depth", "maps"):
        (out / kind).mkdir(parents=True)
    for numbers, draw in batches:
        drawn = draw() if min(numbers) < options.count else {}
        for k, number in enumerate(numbers):
            if number < options.count:
                own = {key: value[k] for key, value in drawn.items()}
                _write_one(out, number, own, images_only=options.images_only)
                rows[number] = {key: own[key] for key in truth}
    (out / "list.txt").write_text("".join(f"{number:06d}.png\n" for number in range(options.count)))
    told = {key: np.stack([rows[number][key] for number in range(options.count)]) for key in truth}
    if not options.images_only:
        np.savez(out / "truth.npz", **told)
    return told


def _write_one(out: pathlib.Path, number: int, own: dict[str, np.ndarray], *, images_only: bool) -> None:
    """Writes what is drawn of a picture, its image after JPEG's losses."""
    picture = Image.fromarray(own["image"])
    if own["jpeg"] < 100:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(own["jpeg"]))
        picture = Image.open(buffer)
    picture.save(out / f"image/{number:06d}.png")
    if not images_only:
        _write_mask(out / f"mask/{number:06d}.png", own["mask"])
        np.save(out / f"depth/{number:06d}.npy", own["depth"])
        maps = {"normal": own["normal"].astype(np.float16), "albedo": own["albedo"]}
        np.savez_compressed(out / f"maps/{number:06d}.npz", **maps)


def _write_mask(path: pathlib.Path, mask: np.ndarray) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def _names(folder: pathlib.Path) -> list[str]:
    return (folder / "list.txt").read_text().split()


def load(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns a packed folder's arrays: image uint8 (N, S, S, 3), depth float32 (N, S, S), 0 outside, and the rest."""
    with np.load(folder / "truth.npz") as packed:
        truth = dict(packed)
    truth["depth"] = np.where(truth["mask"], 1 + truth.pop("relief").astype(np.float32), 0)
    truth["normal"] = truth["normal"].astype(np.float32) / 127
    truth["image"] = np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "image").glob("*.png"))])
    return truth


def pack(rendered: pathlib.Path, folder: pathlib.Path) -> None:
    """Packs a rendering."""
    (folder / "image").mkdir(parents=True, exist_ok=True)
    rows = {"relief": [], "mask": [], "normal": [], "albedo": []}
    for name in _names(rendered):
        stem = pathlib.Path(name).stem
        (folder / "image" / name).write_bytes((rendered / "image" / name).read_bytes())
        mask = np.asarray(Image.open(rendered / "mask" / name)) > 0
        rows["mask"].append(mask)
        rows["relief"].append(np.where(mask, np.load(rendered / "depth" / f"{stem}.npy") - 1, 0).astype(np.float16))
        with np.load(rendered / "maps" / f"{stem}.npz") as maps:
            rows["normal"].append(np.round(maps["normal"].astype(np.float32) * 127).astype(np.int8))
            rows["albedo"].append(maps["albedo"])
    with np.load(rendered / "truth.npz") as truth:
        np.savez_compressed(folder / "truth.npz", **truth, **{key: np.stack(value) for key, value in rows.items()})


def unpack(folder: pathlib.Path, out: pathlib.Path) -> None:
    """Writes what the commands' `--config.data` takes: list.txt, image, mask and depth; and truth.npz."""
    truth = load(folder)
    for kind in ("image", "mask", "depth"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    shown = [path.name for path in sorted((folder / "image").glob("*.png"))]
    for number, name in enumerate(shown):
        (out / "image" / name).write_bytes((folder / "image" / name).read_bytes())
        _write_mask(out / "mask" / name, truth["mask"][number])
        np.save(out / "depth" / f"{pathlib.Path(name).stem}.npy", truth["depth"][number])
    (out / "list.txt").write_text("".join(f"{name}\n" for name in shown))
    np.savez(out / "truth.npz", **{key: value for key, value in truth.items() if key not in _PACKED})


def mean(rendered: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the mean of the true depths of a rendering, as seen, with the background at FARTHEST, and of its masks."""
    depths = (np.load(rendered / "depth" / f"{pathlib.Path(name).stem}.npy") for name in _names(rendered))
    depth = np.mean([np.where((d > 0) & (d < FARTHEST), d, FARTHEST) for d in depths], 0, dtype=np.float32)
    np.save(out.with_suffix(".npy"), depth)
    masks = [np.asarray(Image.open(rendered / "mask" / name)) for name in _names(rendered)]
    Image.fromarray(np.round(np.mean(masks, axis=0)).astype(np.uint8)).save(out.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = {"unpack": unpack, "pack": pack, "mean": mean}
    parser.add_argument("what", choices=ways)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    try:
        ways[options.what](options.source, options.out)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
