"""Writes folders of drawn pictures and of what is true of them: whole or not there, and going on where it stopped.

What is drawn of a picture is a dictionary: image and albedo uint8 (S, S, 3), mask bool, depth and normal float32, jpeg
(quality, 100: none) and the facts that become rows of `truth.npz`.
"""

import argparse
import io
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

KEPT_SEED = 9024  # for acceptance: nothing is trained, chosen or looked at with it
_BYTES = {True: 13_000, False: 70_000}  # of a picture of 64 pixels, at most; without and with what is true of it
_MAPS = {"image": "png", "mask": "png", "depth": "npy", "maps": "npz"}  # in the order in which they are written


class RefusedError(Exception):
    """A rendering that cannot be; the message is for users."""


def png(image: np.ndarray, quality: int = 100) -> bytes:
    """Returns an image as PNG, after JPEG's losses if the quality is below 100."""
    picture = Image.fromarray(image)
    if quality < 100:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(quality))
        picture = Image.open(buffer)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def packed(save, *arrays, **named) -> bytes:
    """Returns what one of NumPy's functions that save would write."""
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def replace(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that is whole or not there."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def _files(own: dict[str, np.ndarray], facts: tuple[str, ...]) -> dict[str, bytes]:
    """Returns the content of a picture's files, by their folders."""
    return {
        "image": png(own["image"], own["jpeg"]),
        "mask": png(own["mask"].astype(np.uint8) * 255),
        "depth": packed(np.save, own["depth"]),
        "maps": packed(
            np.savez_compressed,
            normal=own["normal"].astype(np.float16),
            albedo=own["albedo"],
            **{key: own[key] for key in facts},
        ),
    }


def missing(options: argparse.Namespace, facts: dict) -> set[int]:
    """Returns the numbers of the pictures that are still to be drawn; raises `RefusedError`, with nothing changed.

    `facts` tells one rendering from another. Of the options it takes out, count, seed, size, acceptance, images_only.
    """
    out, count = options.out, options.count
    if options.seed == KEPT_SEED and not options.acceptance:
        raise RefusedError(f"seed {KEPT_SEED} is kept for acceptance: choose another, or say --acceptance")
    if min(count, options.pictures) < 1:
        raise RefusedError("--count and --pictures are 1 or more")
    record = out / "render.json"
    if record.is_file() and (made := json.loads(record.read_text())) != facts:
        other = ", ".join(f"{key} {made.get(key)}" for key in facts | made if made.get(key) != facts.get(key))
        raise RefusedError(f"{out} is of another rendering ({other}): choose another --out")
    stems = ({path.stem for path in (out / kind).glob(f"*.{_MAPS[kind]}")} for kind in _kinds(options))
    numbers = set(range(count)) - {int(stem) for stem in set.intersection(*stems) if stem.isdigit()}
    need = len(numbers) * _BYTES[options.images_only] * (options.size / 64) ** 2
    free = shutil.disk_usage(next(p for p in (out, *out.absolute().parents) if p.exists())).free
    if free < need:
        raise RefusedError(
            f"{out} has room for {free / 1e9:.2f} GB, but what is missing of {count} pictures may take "
            f"{need / 1e9:.2f} GB: free some or lower --count"
        )
    return numbers


def fill(
    options: argparse.Namespace,
    facts: dict,
    truth: tuple[str, ...],
    wanted: set[int],
    batches: Iterable[tuple[list[int], Callable[[], dict[str, np.ndarray]]]],
) -> None:
    """Writes the wanted pictures, batch by batch: their numbers and what draws them, all of a batch or none.

    `facts` are as for `missing`, `truth` names those that a row of `truth.npz` has.
    """
    out, kinds = options.out, _kinds(options)
    for kind in kinds:
        (out / kind).mkdir(parents=True, exist_ok=True)
    replace(out / "render.json", (json.dumps(facts) + "\n").encode())
    for numbers, draw in batches:
        if not wanted.intersection(numbers):
            continue
        drawn = draw()
        for k, number in enumerate(numbers):
            if number in wanted:
                files = _files({key: value[k] for key, value in drawn.items()}, truth)
                for kind in kinds:
                    replace(_path(out, kind, number), files[kind])
    numbers = range(options.count)
    replace(out / "list.txt", "".join(f"{number:06d}.png\n" for number in numbers).encode())
    if not options.images_only:
        rows = []
        for number in numbers:
            with np.load(_path(out, "maps", number)) as row:
                rows.append({key: row[key] for key in truth})
        replace(out / "truth.npz", packed(np.savez, **{key: np.stack([row[key] for row in rows]) for key in truth}))


def _kinds(options: argparse.Namespace) -> list[str]:
    return ["image"] if options.images_only else list(_MAPS)


def _path(out: pathlib.Path, kind: str, number: int) -> pathlib.Path:
    return out / kind / f"{number:06d}.{_MAPS[kind]}"
