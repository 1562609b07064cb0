"""Drawn pictures and their truth in few bytes, as they are committed, and unpacked again for the commands.

A packed folder has `image/` and `truth.npz`, which has a rendering's facts, and relief (depth - 1, float16, 0 outside),
mask, normal (127 times, int8) and albedo.
"""

import pathlib

import folders
import numpy as np
from PIL import Image

FARTHEST = 1.1  # where the method's camera sees the background


def names(folder: pathlib.Path) -> list[str]:
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
    for name in names(rendered):
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


def mean_depth(rendered: pathlib.Path) -> np.ndarray:
    """Returns the mean of the true depths of a rendering, as seen, with the background at its greatest depth."""
    depths = (np.load(rendered / "depth" / f"{pathlib.Path(name).stem}.npy") for name in names(rendered))
    return np.mean([np.where((d > 0) & (d < FARTHEST), d, FARTHEST) for d in depths], 0, dtype=np.float32)


def unpack(folder: pathlib.Path, out: pathlib.Path, facts: tuple[str, ...]) -> None:
    """Writes what the commands' `--config.data` takes: list.txt, image, mask and depth; and truth.npz."""
    truth = load(folder)
    for kind in ("image", "mask", "depth"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    shown = [path.name for path in sorted((folder / "image").glob("*.png"))]
    for number, name in enumerate(shown):
        (out / "image" / name).write_bytes((folder / "image" / name).read_bytes())
        (out / "mask" / name).write_bytes(folders.png(truth["mask"][number].astype(np.uint8) * 255))
        np.save(out / "depth" / f"{pathlib.Path(name).stem}.npy", truth["depth"][number])
    (out / "list.txt").write_text("".join(f"{name}\n" for name in shown))
    np.savez(out / "truth.npz", **{key: truth[key] for key in facts})
