"""Images that a GAN makes up, with the latents that gave them, and their files in the layout that a run reads.

    FOLDER/list.txt  FOLDER/image/0000.png  FOLDER/latents/0000.npy  FOLDER/mask/0000.png (where masks are given)
    FOLDER/samples.png (all of them)  FOLDER/samples.json (what they were drawn with)

Images are 8 bit RGB at the GAN's own size; latents are float32 (1, W), such that the run's `G(latent)` is the image.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image

from gan2shape_jax.atomic_files import atomic_folder
from gan2shape_jax.outputs import layout, pictures
from gan2shape_jax.outputs.frame_files import require_new_folder
from gan2shape_jax.outputs.layout import Tile
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.random_images import random_images_in_parts

__all__ = ["Samples", "draw_in_parts", "draw_samples", "name_of", "write_samples"]

_COLUMNS = 8
_TILE = (96, 256)  # pixels: smaller images are enlarged on the sheet, larger ones shrunk
_MOST_TILES = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """n samples: images (n, g, g, 3) uint8 at the GAN's size, latents (n, W)."""

    images: np.ndarray
    latents: Float[np.ndarray, "n w"]

    @property
    def names(self) -> list[str]:
        """Names of their files, without ending."""
        return [name_of(number, len(self.images)) for number in range(len(self.images))]


def name_of(number: int, count: int) -> str:
    """Returns the name of one of `count` samples' files, without ending: a number of at least four digits."""
    digits = max(4, len(str(count - 1)))
    return f"{number:0{digits}}"


def draw_samples(
    generator: Params,
    arch: Architecture,
    *,
    count: int,
    seed: int,
    truncation: float,
    mean_w: Float[jax.Array, "1 w"],
    run_truncation: float = 1.0,
) -> Samples:
    """Draws `count` samples; sample i is a function of the seed and i, whatever the count.

    Args:
      generator: its parameters.
      arch: its sizes.
      count: how many.
      seed: of the random numbers.
      truncation: psi in (0, 1]; towards the mean latent, for more typical images.
      mean_w: the mean latent.
      run_truncation: what the run that reads the latents truncates them by (config.gan.truncation, more than 0);
        they are stored so that it gives the image again.
    """
    parts = list(
        draw_in_parts(
            generator,
            arch,
            count=count,
            seed=seed,
            truncation=truncation,
            mean_w=mean_w,
            run_truncation=run_truncation,
        )
    )
    return Samples(np.concatenate([part.images for part in parts]), np.concatenate([part.latents for part in parts]))


def draw_in_parts(
    generator: Params,
    arch: Architecture,
    *,
    count: int,
    seed: int,
    truncation: float,
    mean_w: Float[jax.Array, "1 w"],
    run_truncation: float = 1.0,
) -> Iterator[Samples]:
    """Yields what `draw_samples` returns, a few at a time and in order, so that many take no more memory."""
    parts = random_images_in_parts(
        jax.random.key(seed), generator, arch=arch, count=count, truncation=truncation, mean=mean_w
    )
    mean = np.asarray(mean_w)
    for images, w in parts:
        yield Samples(pictures.to_uint8(images), (mean + (w - mean) / run_truncation).astype(np.float32))


def write_samples(
    folder: pathlib.Path,
    samples: Samples | Iterable[Samples],
    *,
    record: Mapping[str, Any],
    mask: Image.Image | None = None,
    count: int | None = None,
) -> None:
    """Writes a new folder, whole or not at all.

    Args:
      folder: absent or empty.
      samples: what to write, all at once or in parts that are made one after another.
      record: what they were drawn with, for `samples.json`.
      mask: one object mask for all of them.
      count: how many there are in all parts.

    Raises:
      UserError: the folder holds files already, or the file system refuses (a full disk).
    """
    parts = [samples] if isinstance(samples, Samples) else samples
    count = len(samples.images) if isinstance(samples, Samples) else count
    assert count is not None, "parts do not tell how many samples there will be"
    require_new_folder(folder)
    with atomic_folder(folder) as fresh:
        for part in ("image", "latents", *(["mask"] if mask is not None else [])):
            (fresh / part).mkdir()
        tiles: list[Tile] = []
        names: list[str] = []
        for image, latent in itertools.chain.from_iterable(zip(part.images, part.latents) for part in parts):
            names.append(name_of(len(names), count))
            pictures.write_png(fresh / "image" / f"{names[-1]}.png", image)
            np.save(fresh / "latents" / f"{names[-1]}.npy", latent[None])
            if mask is not None:
                mask.save(fresh / "mask" / f"{names[-1]}.png")
            if len(tiles) < _MOST_TILES:
                side = min(max(len(image), _TILE[0]), _TILE[1])
                tiles.append(Tile(pictures.enlarge(image, side), names[-1]))
        (fresh / "list.txt").write_text("".join(f"{name}.png\n" for name in names), encoding="utf-8")
        (fresh / "samples.json").write_text(json.dumps(dict(record), indent=2) + "\n", encoding="utf-8")
        about = ", ".join(f"{name} {record[name]}" for name in ("gan", "seed", "truncation") if name in record)
        _sheet(tiles, count, about).save(fresh / "samples.png")


def _sheet(tiles: list[Tile], count: int, about: str) -> Image.Image:
    """Draws the first samples with their names."""
    rows = [("", tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)]
    return layout.sheet(rows, title=f"{count} samples", subtitle=about)
