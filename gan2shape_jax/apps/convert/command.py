"""`gan2shape-jax convert IN [IN] OUT`: converts other programs' weights to the files that this one reads.

    gan2shape-jax convert IN.pt OUT.safetensors --sheet OUT.png
    gan2shape-jax convert cifar10.pkl OUT.safetensors --class 3
    gan2shape-jax convert vgg16-397923af.pth vgg.pth OUT.safetensors

The kind of IN is recognised by its content. Needs no PyTorch and runs no code from the files.
"""

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.convert import stylegan2 as gans
from gan2shape_jax.apps.convert.networks import convert
from gan2shape_jax.errors import UserError, exit_code, install
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.files import atomic_bytes, atomic_file, require_targets
from gan2shape_jax.io.image_files import open_square
from gan2shape_jax.io.weights import NETWORKS, STYLEGAN2, Family, recognise, safetensors_bytes, tensor_names
from gan2shape_jax.results.pictures import strip, to_uint8
from gan2shape_jax.stylegan2.latents import random_images

_KINDS = """\
  StyleGAN2   a checkpoint of rosinality/stylegan2-pytorch (.pt with g_ema and d, or the generator alone), or a network
              pickle (.pkl with G_ema and D) of NVIDIA's stylegan2-ada-pytorch or stylegan3, or of their TensorFlow's
              stylegan2 and stylegan2-ada; any kind of blocks, clamps, filters; float16 layers are computed in float32;
              alias-free networks are not supported
  networks    GAN2Shape's or Unsup3d's networks, LPIPS (two files: torchvision's vgg16-397923af.pth and LPIPS' vgg.pth),
              the parsers BiSeNet and PSPNet, view or light statistics (to .npz)
"""
_SIDE_LIMIT = 1536  # pixels of the sheet of a GAN's samples
_TRUNCATION = 0.7
# Which options are for which kind, and their names in `args`.
_OF_GANS = {"--class": "class_index", "--discriminator": "discriminator"}
_OF_NETWORKS = {"--group-base": "group_base", "--picture": "picture"}


class _Outcome(NamedTuple):
    """What was converted: the ending of its file, what is said of it, and how it is written and drawn."""

    suffix: str
    lines: list[str]
    write: Callable[[], None]
    draw: Callable[[], Image.Image]


def _parser() -> argparse.ArgumentParser:
    about = (
        "Converts other programs' weights to the files that this one reads. IN is recognised by its content, see "
        "below.\nPyTorch is not needed, and nothing in the files is executed."
    )
    parser, path = option_types.parser("convert", about, _KINDS), option_types.path
    parser.add_argument("sources", metavar="IN", type=path("IN"), nargs="+", help="the checkpoint, .pt, .pth or .pkl")
    out = "the file to write (.npz for statistics)"
    parser.add_argument("target", type=path("OUT"), metavar="OUT.safetensors", help=out)
    sheet = "where to draw samples of a GAN, or what networks do with a picture (default: beside the target)"
    option_types.add_path(parser, "--sheet", "OUT.png", sheet)
    parser.add_argument("--no-sheet", action="store_true", help="draw nothing")
    option_types.add_overwrite(parser)
    parser.add_argument(
        "--class",
        dest="class_index",
        type=option_types.whole("--class", 0, 10**6),
        metavar="N",
        help="the class that a conditional generator draws, from 0 on; convert once for each class",
    )
    other = "a checkpoint of the same family with the discriminator, if IN has none"
    option_types.add_path(parser, "--discriminator", "OTHER", other)
    square = "square picture to try converted networks on (default: a rendered face)"
    option_types.add_path(parser, "--picture", "IN.png", square)
    parser.add_argument(
        "--group-base",
        type=option_types.whole("--group-base", 0, 1024),
        metavar="N",
        help="groups of the first normalisation of depth and albedo networks (default: as published)",
    )
    parser.add_argument(
        "--license-note",
        metavar="TEXT",
        help="licence of the weights, for the header (default: that of the family, if known)",
    )
    return parser


def convert_files(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and converts; raises `UserError`, and then writes nothing."""
    args = _parser().parse_args(argv)
    if args.target.suffix not in (".safetensors", ".npz"):
        raise UserError(f"{args.target}: the target's name must end in .safetensors (.npz for statistics)")
    sheet = None if args.no_sheet else args.sheet or args.target.with_suffix(".png")
    read = [*args.sources, args.discriminator, args.picture]
    require_targets({"OUT": args.target, "--sheet": sheet}, read, overwrite=args.overwrite)
    content = read_checkpoint(args.sources[0])
    family = recognise(tensor_names(content))
    if family is not None and family.tool != NETWORKS:
        outcome, shown = _gan(args, content, family), "samples"
    else:
        if sheet is not None and importlib.util.find_spec("matplotlib") is None:
            print(f"no sheet is drawn: it needs matplotlib, {install('plots')}")
            sheet = None
        outcome, shown = _networks(args, content, family), "a look at what it does"
    if args.target.suffix != outcome.suffix:
        raise UserError(f"{args.target}: the target's name must end in {outcome.suffix} for {outcome.lines[0]}")
    outcome.write()
    print(f"{args.target}: " + "\n".join(outcome.lines))
    if sheet is not None:
        drawn = outcome.draw()
        atomic_file(sheet, lambda part: drawn.save(part, format="PNG"))
        print(f"{sheet}: {shown}")


def _require_options(args: argparse.Namespace, options: dict[str, str], family: Family | None) -> None:
    """Raises `UserError` if options are given that are not for a checkpoint of this family."""
    if given := [option for option, name in options.items() if getattr(args, name) is not None]:
        what = family.title if family else "not a StyleGAN2"
        raise UserError(f"{args.sources[0]} is {what}: leave {given[0]} out")


def _gan(args: argparse.Namespace, content: Any, family: Family) -> _Outcome:
    if family.tool == STYLEGAN2:
        _require_options(args, _OF_NETWORKS, family)
    if len(args.sources) > 1:
        raise UserError(f"{args.sources[0]} is {family.title}: convert it alone (its discriminator: --discriminator)")
    converted = gans.read_checkpoint(
        args.sources[0], class_index=args.class_index, discriminator=args.discriminator, content=content
    )
    note = args.license_note or converted.license_note

    def write() -> None:
        arch, params, sha256 = converted.arch, converted.params, converted.source_sha256
        stylegan2.save(args.target, arch, params, notes=converted.notes, license_note=note, source_sha256=sha256)

    lines = [*converted.summary(), f"licence of the weights: {note}"]
    return _Outcome(".safetensors", lines, write, lambda: _samples(converted))


def _samples(converted: gans.Converted) -> Image.Image:
    """Draws a square grid of samples, at most 6 by 6, truncated towards the mean latent."""
    arch, params = converted.arch, converted.params["generator"]
    key, count = jax.random.key(0), max(1, min(6, _SIDE_LIMIT // arch.size))
    mean = stylegan2.mean_w(key, params, arch=arch)
    images, _ = random_images(key, params, arch=arch, count=count**2, truncation=_TRUNCATION, mean=mean)
    return Image.fromarray(strip(np.split(to_uint8(images), count), gap=0))


def _networks(args: argparse.Namespace, content: Any, family: Family | None) -> _Outcome:
    _require_options(args, _OF_GANS, family)
    picture = open_square(args.picture or asset("ictface/image/001.png")).picture
    converted = convert(args.sources, group_base=args.group_base or 0, content=content)
    published = f"of the published weights: {converted.header['license']}"
    header = converted.header | {"license": published if args.license_note is None else args.license_note}

    def write() -> None:
        if converted.suffix == ".npz":
            arrays = {**converted.tensors, **{name: np.asarray(text) for name, text in header.items()}}
            atomic_file(args.target, lambda part: np.savez(part, **arrays))  # type: ignore[arg-type]
        else:
            atomic_bytes(args.target, safetensors_bytes(converted.tensors, header))

    count = sum(value.size for value in converted.tensors.values())
    lines = [f"{converted.summary}; {len(converted.tensors)} tensors, {count:,} numbers"]
    lines += [f"ignored: {converted.ignored_in_short()}"] if converted.ignored else []
    lines += [f"licence {published}" if args.license_note is None else f"licence: {args.license_note}"]
    lines += [note.replace("OUT", str(args.target)) for note in converted.notes]
    return _Outcome(converted.suffix, lines, write, lambda: converted.draw(picture))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; prints input errors without a traceback. Returns the exit status."""
    return exit_code(lambda: convert_files(argv), interrupted="error: interrupted; no partial file was left")
