"""Measures how alike the results of a photo's copies are: turned by EXIF, large, small, rotated, darker.

    python benchmarks/quality/copies.py me.jpg you.jpg

The first face from the left is detected in the photo; in copies, its place is what follows from that. For every copy:
the IoU of what lies inside the two results' outlines, the greatest and mean difference of depth there (scene units),
and the outline's length in the canonical picture in lengths of its convex hull.
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile

import numpy as np
from PIL import Image
from scipy.spatial import ConvexHull

from gan2shape_jax.apps.photo import command
from gan2shape_jax.geometry.crop_box import CropBox, scaled_box
from gan2shape_jax.results import load
from gan2shape_jax.results.solid import border
from gan2shape_jax.results.surface import OUTLINE, cut_surface, surface

_LARGE, _SMALL, _ROLL_DEG, _DARKER = 6000, 80, 20, 0.5
_AROUND = 2.5  # sides of the face's square that the small copy shows


def copies(photo: Image.Image, box: CropBox, folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, CropBox]]:
    """Writes copies of an upright photo; returns their paths and where the face lies in each."""
    width, height = photo.size
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying: to be turned by 90 degrees clockwise
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "exif.png", exif=turned)
    factor = _LARGE / max(photo.size)
    photo.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC).save(folder / "large.png")
    left, top = (round(place - _AROUND / 2 * box.side) for place in (box.x, box.y))
    side = round(_AROUND * box.side)
    near = photo.crop((left, top, left + side, top + side))
    near.resize((_SMALL, _SMALL), Image.Resampling.LANCZOS).save(folder / "small.png")
    rotated = photo.rotate(-_ROLL_DEG, Image.Resampling.BICUBIC, expand=True)
    rotated.save(folder / "rotated.png")
    angle = np.radians(_ROLL_DEG)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x, y = turn @ (box.x - width / 2, box.y - height / 2) + np.array(rotated.size) / 2
    photo.point(lambda value: round(value * _DARKER)).save(folder / "darker.png")
    inside = CropBox(box.x - left, box.y - top, box.side, box.roll_deg)
    boxes = {
        "exif": box,
        "large": scaled_box(box, factor),
        "small": scaled_box(inside, _SMALL / side),
        "rotated": CropBox(x, y, box.side, box.roll_deg + _ROLL_DEG),
        "darker": box,
    }
    return {name: (folder / f"{name}.png", where) for name, where in boxes.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=pathlib.Path, nargs="+")
    print("photo copy: IoU, greatest and mean difference of depth, outline / hull")
    for path in parser.parse_args().photos:
        with tempfile.TemporaryDirectory() as place:
            folder, out = pathlib.Path(place), pathlib.Path(place, "out")
            with Image.open(path) as picture:
                picture.convert("RGB").save(folder / "photo.png")
            if command.main([str(folder / "photo.png"), "--out", str(out), "--no-texture", "--which", "1"]):
                continue
            (original,) = (out / "results").iterdir()  # photo, or photo-1 of several
            box = CropBox(**json.loads((out / f"photos/{original.name}.json").read_text())["box"])
            with Image.open(folder / "photo.png") as picture:
                made = copies(picture, box, folder)
            for file, where in made.values():
                numbers = [f"{value:.6f}" for value in dataclasses.astuple(where)]
                command.main([str(file), "--out", str(out), "--no-texture", "--box", *numbers])
            results = {"photo": load(original)} | {name: load(out / "results" / name) for name in made}
        first = surface(results["photo"]).field >= OUTLINE
        for name, result in results.items():
            part = surface(result)
            inside, off = part.field >= OUTLINE, np.abs(result.depth - results["photo"].depth)[first]
            piece = cut_surface(part.depth, part.field, result.camera)
            ends = piece.pixels[border(piece.faces)]
            ratio = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum() / ConvexHull(piece.pixels).area
            iou = (first & inside).sum() / (first | inside).sum()
            print(f"{path.stem} {name}: {iou:.4f}  {off.max():.4f} {off.mean():.4f}  {ratio:.4f}", flush=True)


if __name__ == "__main__":
    main()
