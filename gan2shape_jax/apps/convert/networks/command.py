"""Converts networks other than StyleGAN2 to this program's format.

    gan2shape-jax convert networks IN.pth OUT.safetensors
    gan2shape-jax convert networks vgg16-397923af.pth vgg.pth OUT.safetensors

The kind of IN is recognised: GAN2Shape's or Unsup3d's networks, view or light statistics (to .npz), LPIPS (two
files), BiSeNet, PSPNet. Needs no PyTorch and runs no code from the files.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.convert.networks import convert
from gan2shape_jax.errors import UserError, exit_code, install
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_bytes, atomic_file, require_targets
from gan2shape_jax.io.image_files import open_square
from gan2shape_jax.io.weights import safetensors_bytes


def _parser() -> argparse.ArgumentParser:
    about = (
        "Converts PyTorch checkpoints of GAN2Shape, Unsup3d, LPIPS, BiSeNet and PSPNet to the safetensors files that "
        "the program reads, and view or light statistics to .npz. Nothing in them is executed."
    )
    parser = option_types.parser("convert networks", about)
    parser.add_argument(
        "sources",
        metavar="IN.pth",
        type=option_types.path("IN.pth"),
        nargs="+",
        help="the checkpoint; for LPIPS torchvision's vgg16-397923af.pth and LPIPS' vgg.pth",
    )
    out = option_types.path("OUT")
    parser.add_argument("target", type=out, metavar="OUT.safetensors", help="the file to write (.npz for statistics)")
    parser.add_argument(
        "--picture",
        metavar="IN.png",
        default=asset("ictface/image/001.png"),
        help="square picture to try the converted networks on (default: a rendered face)",
    )
    sheet = "where to draw the outcome (default: beside the target)"
    option_types.add_path(parser, "--sheet", "OUT.png", sheet)
    parser.add_argument("--no-sheet", action="store_true", help="draw nothing")
    option_types.add_overwrite(parser)
    parser.add_argument(
        "--group-base",
        type=option_types.whole("--group-base", 0, 1024),
        default=0,
        metavar="N",
        help="groups of the first normalisation of depth and albedo networks (default: as published)",
    )
    parser.add_argument(
        "--license-note",
        metavar="TEXT",
        help="licence of the weights, for the header (default: that of the family, if known)",
    )
    return parser


def convert_files(argv: Sequence[str] | None = None, content: Any = None) -> None:
    """Parses the arguments and converts; `content` is what the first source holds, if it has been read."""
    args = _parser().parse_args(argv)
    if args.target.suffix not in (".safetensors", ".npz"):
        raise UserError(f"{args.target}: the target's name must end in .safetensors (.npz for statistics)")
    sheet = None if args.no_sheet else args.sheet or args.target.with_suffix(".png")
    require_targets({"OUT": args.target, "--sheet": sheet}, [*args.sources, args.picture], overwrite=args.overwrite)
    plots = importlib.util.find_spec("matplotlib") is not None
    if not args.no_sheet and not plots:
        print(f"no sheet is drawn: it needs matplotlib, {install('plots')}")
    picture = open_square(args.picture).picture if plots and not args.no_sheet else None
    converted = convert(args.sources, group_base=args.group_base, content=content)
    if args.target.suffix != converted.suffix:
        raise UserError(f"{args.target}: the target's name must end in {converted.suffix} for {converted.summary}")
    published = f"of the published weights: {converted.header['license']}"
    header = converted.header | {"license": published if args.license_note is None else args.license_note}
    if converted.suffix == ".npz":
        arrays = {**converted.tensors, **{name: np.asarray(text) for name, text in header.items()}}
        atomic_file(args.target, lambda part: np.savez(part, **arrays))  # type: ignore[arg-type]
    else:
        atomic_bytes(args.target, safetensors_bytes(converted.tensors, header))
    count = sum(value.size for value in converted.tensors.values())
    print(f"{args.target}: {converted.summary}; {len(converted.tensors)} tensors, {count:,} numbers")
    if converted.ignored:
        print(f"ignored: {converted.ignored_in_short()}")
    print(f"licence {header['license']}" if args.license_note is None else f"licence: {header['license']}")
    for note in converted.notes:
        print(note.replace("OUT", str(args.target)))
    if picture is not None and sheet is not None:
        drawn = converted.draw(picture)
        atomic_file(sheet, lambda part: drawn.save(part, format="PNG"))
        print(f"{sheet}: a look at what it does")


def main(argv: Sequence[str] | None = None, content: Any = None) -> int:
    """Runs the command; prints input errors without a traceback. Returns the exit status."""
    return exit_code(lambda: convert_files(argv, content), interrupted="error: interrupted; no partial file was left")
