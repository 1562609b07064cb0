"""`gan2shape-jax sample`: draws new images from a GAN with their latents, in the layout that a run reads.

Images are 8-bit RGB at the GAN's own size; latents are float32 (1, W), such that the run's `G(latent)` is the image.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from gan2shape_jax import stylegan2
from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.edit import require_new_folder
from gan2shape_jax.config import load_config
from gan2shape_jax.config.schema import validate
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.io import data, required_files
from gan2shape_jax.io.files import atomic_folder, nearest_folder, sha256
from gan2shape_jax.plan import inputs
from gan2shape_jax.results import pictures
from gan2shape_jax.results.pictures import Tile
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.latents import random_images_in_parts

_COLUMNS = 8
_TILE = (96, 256)  # pixels: smaller images are enlarged on the sheet, larger ones shrunk
_MOST_TILES = 64
Sample = tuple[UInt8[np.ndarray, "g g 3"], Float[np.ndarray, " w"]]
_FAR = 1000.0  # image sides from its corner; anything farther away is not an ellipse but a straight edge
_EPILOG = """\
examples:
  gan2shape-jax sample --config=ictface --count 8 --seed 0 --out samples
  gan2shape-jax sample --config=ictface --count 8 --ellipse 0.4 0.47 0.42 0.6 --out samples
  gan2shape-jax sample --gan stylegan2-car-config-f.safetensors --count 36 --truncation 0.5 --out cars
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; prints input errors without a traceback. Returns the exit status."""
    return exit_code(lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    about = "Generates new images with a GAN and writes them, with their latents, as the data of a run."
    parser = option_types.parser("sample", about, _EPILOG)
    source = parser.add_argument_group("the GAN (one of the two is needed)")
    source.add_argument(
        "--config", metavar="NAME", help="a bundled configuration or the path of a Python file, whose GAN is sampled"
    )
    option_types.add_gan(source, "--gan", "a GAN")
    count, number, path = option_types.whole("--count", 1, 10**6), option_types.number, option_types.path
    parser.add_argument("--count", type=count, default=8, metavar="N", help="number of samples (default: 8)")
    seed = "of the random numbers; the first samples of a seed do not depend on their number (default: 0)"
    parser.add_argument("--seed", type=option_types.seed(), default=0, metavar="K", help=seed)
    psi = "more than 0, at most 1: less is more typical and less varied (default: 0.7)"
    parser.add_argument("--truncation", type=number("--truncation", 1e-6, 1), default=0.7, metavar="PSI", help=psi)
    parser.add_argument("--out", type=path("--out"), required=True, metavar="FOLDER", help="a new folder")
    group = parser.add_argument_group("object masks (a run that starts from the ellipsoid needs them)")
    exclusive = group.add_mutually_exclusive_group()
    mask = "one mask for all samples: a square PNG, white on the object"
    exclusive.add_argument("--mask", type=path("--mask"), metavar="FILE", help=mask)
    exclusive.add_argument(
        "--ellipse",
        type=number("--ellipse", -_FAR, _FAR),
        nargs=4,
        metavar=("CX", "CY", "RX", "RY"),
        help="one ellipse for all samples: centre from the left and from the top, half axes, as shares of the side",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    if not options.config and not options.gan:
        raise UserError("name a GAN: --config=NAME or --gan FILE")
    config = _config(options)
    require_new_folder(options.out)
    architecture, weights, checkpoint = _load(config, options)
    mask = _mask(options, architecture.size)
    # Even pictures compressed to a third of their size in memory have to fit.
    needed, free = options.count * architecture.size**2, shutil.disk_usage(nearest_folder(options.out)).free
    if needed > free:
        raise UserError(
            f"--count {options.count}: pictures of {architecture.size} pixels take {needed / 2**30:,.0f} GiB "
            f"and more, {options.out} has {free / 2**30:,.0f} free"
        )
    samples = drawn(
        weights["generator"],
        architecture,
        count=options.count,
        seed=options.seed,
        truncation=options.truncation,
        mean_w=inputs.mean_latent(weights, architecture),
        run_truncation=1.0 if config is None else config.gan.truncation,
    )
    record = {
        "gan": checkpoint.name,
        "sha256": sha256(checkpoint),
        "count": options.count,
        "seed": options.seed,
        "truncation": options.truncation,
        "mask": "one for all" if mask is not None else None,
    }
    write_samples(options.out, samples, record=record, mask=mask, count=options.count)
    print(
        f"wrote {options.out}: {options.count} image{'s' if options.count > 1 else ''} of {architecture.size} pixels "
        f"with latents; {options.out / 'samples.png'} shows them"
    )
    if config is not None:
        print(_next_step(config, options, has_masks=mask is not None))


def _config(options: argparse.Namespace) -> ConfigDict | None:
    if not options.config:
        return None
    config = load_config(options.config).copy_and_resolve_references().unlock()
    if options.gan:
        config.gan.checkpoint = str(options.gan)
    validate(config)
    if not config.gan.truncation > 0:
        raise UserError(f"config.gan.truncation of {options.config} is 0: all images of such a run are alike")
    return config


def _load(
    config: ConfigDict | None, options: argparse.Namespace
) -> tuple[stylegan2.Architecture, stylegan2.Params, pathlib.Path]:
    """Returns architecture, weights and file of the GAN, which must match the configuration."""
    if config is None:
        return *stylegan2.load(options.gan), options.gan
    files = required_files.required_files_of(config)
    absent = [item for item in files if item.field == "gan.checkpoint" and not item.present]
    if absent and not options.gan:
        raise UserError(
            f"the GAN of {options.config} is not here: {absent[0].path or '(its config names none)'}; name "
            f"it with --gan FILE, or: {absent[0].advice}"
        )
    return *inputs.load_gan(config), pathlib.Path(config.gan.checkpoint)


def _mask(options: argparse.Namespace, size: int) -> Image.Image | None:
    """Returns the mask of all samples, 8-bit grey at the GAN's size, or None."""
    if options.mask is not None:
        return Image.fromarray((data.load_mask(options.mask, size) * 255).round().astype("uint8"))
    if options.ellipse is None:
        return None
    cx, cy, rx, ry = options.ellipse
    if min(rx, ry) <= 0:
        raise UserError("--ellipse: the half axes RX and RY must be positive")
    side = 4 * size  # drawn large and averaged: a smooth border
    large = Image.new("L", (side, side))
    box = [(cx - rx) * side, (cy - ry) * side, (cx + rx) * side, (cy + ry) * side]
    ImageDraw.Draw(large).ellipse(box, fill=255)
    if large.getbbox() is None:
        raise UserError(f"--ellipse {cx:g} {cy:g} {rx:g} {ry:g}: this ellipse lies outside the image")
    return large.resize((size, size), Image.Resampling.BOX)


def _next_step(config: ConfigDict, options: argparse.Namespace, *, has_masks: bool) -> str:
    out = options.out
    fields = {"image_list": out / "list.txt", "image_root": out / "image", "latent_root": out / "latents"}
    fields["mask_root"] = out / "mask" if has_masks else ""
    fields["depth_root"] = ""
    for name, value in fields.items():
        config.data[name] = str(value)
    told = ""
    for item in required_files.required_files_of(config):
        if item.field == "data.mask_root" and not item.present:
            fields["mask_root"] = out / "mask"
            told = (
                f"The run starts from an ellipsoid, for which it needs the object masks: {out / 'mask'}/NAME.png, "
                "white on the object,\ndrawn by hand or by a parser (or sample again with --mask or --ellipse). "
                "Then"
            )
        elif not item.present:
            told = f"The run needs config.{item.field}, which is not here: {item.advice or item.path}. Then"
    values = {f"data.{name}": value for name, value in fields.items()}
    if options.gan:
        values["gan.checkpoint"] = options.gan
    values["workdir"] = pathlib.Path("results") / out.name
    words = [f"gan2shape-jax --config={options.config}"]
    words += [f"--config.{name}={shlex.quote(str(value)) if value else ''}" for name, value in values.items()]
    return f"{told or 'Reconstruct them with'}\n  " + " \\\n    ".join(words)


def name_of(number: int, count: int) -> str:
    """Returns the file name of one of `count` samples, without extension: a number of at least four digits."""
    return f"{number:0{max(4, len(str(count - 1)))}}"


def drawn(
    generator: Params,
    arch: Architecture,
    *,
    count: int,
    seed: int,
    truncation: float,
    mean_w: Float[jax.Array, "1 w"],
    run_truncation: float = 1.0,
) -> Iterator[Sample]:
    """Yields images and latents, drawn a few at a time; sample i is a function of the seed and i, whatever the count.

    `truncation`, psi in (0, 1], moves them towards the mean latent. `run_truncation` is what the run that reads the
    latents applies (config.gan.truncation, more than 0): they are stored so that it yields the same image.
    """
    parts = random_images_in_parts(
        jax.random.key(seed), generator, arch=arch, count=count, truncation=truncation, mean=mean_w
    )
    mean = np.asarray(mean_w)
    for images, w in parts:
        yield from zip(pictures.to_uint8(images), (mean + (w - mean) / run_truncation).astype(np.float32), strict=True)


def write_samples(
    folder: pathlib.Path,
    samples: Iterable[Sample],
    *,
    count: int,
    record: Mapping[str, Any],
    mask: Image.Image | None = None,
) -> None:
    """Writes `count` samples as a new folder, completely or not at all; `mask` is the object mask of all of them.

    Raises:
      UserError: the folder already holds files, or the file system fails (a full disk).
    """
    require_new_folder(folder)
    tiles, names = list[Tile](), [name_of(number, count) for number in range(count)]
    with atomic_folder(folder) as fresh:
        for part in ("image", "latents", *(["mask"] if mask is not None else [])):
            (fresh / part).mkdir()
        for name, (image, latent) in zip(names, samples, strict=True):
            pictures.write_png(fresh / "image" / f"{name}.png", image)
            np.save(fresh / "latents" / f"{name}.npy", latent[None])
            if mask is not None:
                mask.save(fresh / "mask" / f"{name}.png")
            if len(tiles) < _MOST_TILES:
                tiles.append(Tile(pictures.enlarge(image, min(max(len(image), _TILE[0]), _TILE[1])), name))
        (fresh / "list.txt").write_text("".join(f"{name}.png\n" for name in names), encoding="utf-8")
        (fresh / "samples.json").write_text(json.dumps(dict(record), indent=2) + "\n", encoding="utf-8")
        about = ", ".join(f"{name} {record[name]}" for name in ("gan", "seed", "truncation") if name in record)
        rows = [("", tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)]
        pictures.contact_sheet(rows, title=f"{count} samples", subtitle=about).save(fresh / "samples.png")
