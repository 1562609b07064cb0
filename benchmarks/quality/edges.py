"""How much of what lies behind a head gets onto its model: specks, counted on renderings whose masks are known.

    python benchmarks/faces/render.py --sources DIR --split validation --seed 77 --count 96 --size 256 \\
      --turned 60 12 --out HEADS
    gan2shape-jax photo HEADS/image/*.png --out RUN
    python benchmarks/quality/edges.py RUN HEADS

The photos' textures are made again by this version, from the results of RUN. A texel is behind the head where its
place in the photo, or of its mirror image, is off the true mask. By the heads' true yaw: how many heads, and for
pictures of the model from the front, turned by 30 and by 60 degrees to either side, pieces of three and more pixels
that are more than half from behind, and their share of the model's pixels; then where the colours come from.
"""

import argparse
import dataclasses
import json
import pathlib

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy import ndimage

import gan2shape_jax
from gan2shape_jax.apps.export.texture import photo_texture, project_photo, project_texels
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.results import Reconstruction, surface, views

_SIDE = 192  # pixels of a picture of the model
_YAWS = 0, 30, -30, 60, -60
_LEAST = 3  # pixels of a speck
_BINS = (0, 20), (20, 40), (40, 90)


def behind(result: Reconstruction, photo: np.ndarray, mask: np.ndarray, box: CropBox) -> tuple[np.ndarray, np.ndarray]:
    """Returns what share of each texel's colour lies off the mask (t, t), and the shares of the sources."""
    texture = photo_texture(result, photo, box)
    place = project_texels(result, surface.surface(result), len(texture.albedo)).place
    grey = np.repeat(mask[..., None], 3, axis=-1)
    off = (project_photo(grey, box, place, result.camera.image_size)[0][0] < 128).astype(np.float32)
    return texture.sources[..., 0] * off + texture.sources[..., 1] * off[:, ::-1], texture.shares


def specks(result: Reconstruction, share: np.ndarray) -> np.ndarray:
    """Returns the number of specks and their share of the model's pixels, for each yaw (2, n)."""
    # A texture is drawn as it is under the result's own light.
    grey = np.repeat(np.rint(share * 255).astype(np.uint8)[..., None], 3, axis=-1)
    drawn = views.draw(dataclasses.replace(result, texture=grey), views.sweep_views(yaw_deg=_YAWS), size=_SIDE)
    shown = views.picture(drawn, "image", light=result.light)[..., 0]
    covered = drawn.coverage > 0.99
    found = (shown > 127) & covered
    pieces = [np.bincount(ndimage.label(one)[0].ravel())[1:] for one in found]
    return np.array([[(one >= _LEAST).sum() for one in pieces], found.sum(axis=(1, 2)) / covered.sum(axis=(1, 2))])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="folder of `gan2shape-jax photo`")
    parser.add_argument("heads", type=pathlib.Path, help="folder of the renderings")
    options = parser.parse_args()
    names = [pathlib.Path(line.split()[0]).stem for line in (options.heads / "list.txt").read_text().splitlines()]
    yaws = dict(zip(names, np.abs(np.rad2deg(np.load(options.heads / "truth.npz")["view"][:, 1])), strict=True))
    rows = []
    for folder in sorted((options.run / "results").iterdir()):
        result = gan2shape_jax.load(folder)
        photo, mask = (
            np.asarray(Image.open(options.heads / kind / f"{folder.name}.png").convert(mode))
            for kind, mode in (("image", "RGB"), ("mask", "L"))
        )
        box = CropBox(**json.loads((options.run / "photos" / f"{folder.name}.json").read_text())["box"])
        share, sources = behind(result, photo, mask, box)
        number, area = specks(result, share)
        rows.append([yaws[folder.name], *number, *area * 100, *sources * 100])
    values = np.array(rows)
    table = Table(
        "true yaw", "heads", "specks: front", "30", "60", "% of pixels", "30", "60", "photo", "mirror", "model"
    )
    for low, high in (*_BINS, (0, 90)):
        mean = values[(values[:, 0] >= low) & (values[:, 0] < high)]
        cells = [mean[:, k].mean() for k in ([1], [2, 3], [4, 5], [6], [7, 8], [9, 10])]
        shares = [f"{cell:.0f}%" for cell in mean[:, 11:].mean(axis=0)]
        table.add_row(f"{low} to {high}", str(len(mean)), *(f"{cell:.2f}" for cell in cells), *shares)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
