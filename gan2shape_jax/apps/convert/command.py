"""`gan2shape-jax convert IN [IN] OUT`: converts other programs' weights to the files that this one reads.

    gan2shape-jax convert IN.pt OUT.safetensors --sheet OUT.png
    gan2shape-jax convert cifar10.pkl OUT.safetensors --class 3
    gan2shape-jax convert vgg16-397923af.pth vgg.pth OUT.safetensors

The kind of IN is recognised by its content. Needs no PyTorch and runs no code from the files.
"""

import argparse
from collections.abc import Sequence

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.convert import foreign, networks
from gan2shape_jax.apps.convert import stylegan2 as gans
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_file, require_targets
from gan2shape_jax.io.image_files import open_square
from gan2shape_jax.io.weights import STYLEGAN2

_KINDS = """\
  StyleGAN2   a checkpoint of rosinality/stylegan2-pytorch (.pt with g_ema and d, or the generator alone), or a network
              pickle (.pkl with G_ema and D) of NVIDIA's stylegan2-ada-pytorch or stylegan3, or of their TensorFlow's
              stylegan2 and stylegan2-ada; any kind of blocks, clamps, filters; float16 layers are computed in float32;
              alias-free networks are not supported
  networks    GAN2Shape's or Unsup3d's networks, LPIPS (two files: torchvision's vgg16-397923af.pth and LPIPS' vgg.pth),
              the parsers BiSeNet and PSPNet, view or light statistics (to .npz)
"""
# Which options are for which kind, and their names in `args`.
_OF_GANS = {"--class": "class_index", "--discriminator": "discriminator"}
_OF_NETWORKS = {"--picture": "picture"}


def _parser() -> argparse.ArgumentParser:
    about = "Converts other programs' weights to the files that this one reads. IN is recognised by its content."
    parser, path = option_types.parser("convert", about, _KINDS), option_types.path
    parser.add_argument("sources", metavar="IN", type=path("IN"), nargs="+", help="the checkpoint, .pt, .pth or .pkl")
    out = "the file to write (.npz for statistics)"
    parser.add_argument("target", type=path("OUT"), metavar="OUT.safetensors", help=out)
    sheet = "where to draw samples of a GAN, or the labels of a picture by a parser (default: beside OUT)"
    option_types.add_path(parser, "--sheet", "OUT.png", sheet)
    parser.add_argument("--no-sheet", action="store_true", help="draw nothing")
    option_types.add_overwrite(parser)
    index, about = option_types.whole("--class", 0, 10**6), "the class that a conditional generator draws, from 0 on"
    parser.add_argument("--class", dest="class_index", type=index, metavar="N", help=f"{about}; convert once for each")
    other = "a checkpoint of the same family with the discriminator, if IN has none"
    option_types.add_path(parser, "--discriminator", "OTHER", other)
    square = "square picture to try a parser on (default: a rendered face)"
    option_types.add_path(parser, "--picture", "IN.png", square)
    licence = "licence of the weights, for the header (default: that of the family, if known)"
    parser.add_argument("--license-note", metavar="TEXT", help=licence)
    return parser


def convert_files(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and converts; raises `UserError`, and then writes nothing."""
    args = _parser().parse_args(argv)
    if args.target.suffix not in (".safetensors", ".npz"):
        raise UserError(f"{args.target}: the target's name must end in .safetensors (.npz for statistics)")
    sheet = None if args.no_sheet else args.sheet or args.target.with_suffix(".png")
    read = [*args.sources, args.discriminator, args.picture]
    require_targets({"OUT": args.target, "--sheet": sheet}, read, overwrite=args.overwrite)
    first = foreign.read_source(args.sources[0])
    of_gan = first.family.tool == STYLEGAN2
    for option, name in (_OF_NETWORKS if of_gan else _OF_GANS).items():
        if getattr(args, name) is not None:
            raise UserError(f"{first.path} is {first.family.title}: leave {option} out")
    picture = open_square(args.picture or asset("ictface/image/001.png")).picture
    converted = _gan(args, first) if of_gan else networks.convert(args.sources, first=first)
    if args.target.suffix != converted.suffix:
        raise UserError(f"{args.target}: the target's name must end in {converted.suffix} for {first.family.title}")
    converted.write(args.target, args.license_note)
    print(f"{args.target}: {converted.told(args.target)}")
    print(f"licence of the weights: {args.license_note or converted.license_note}")
    if sheet is not None and converted.draw is not None:
        drawn = converted.draw(picture)
        atomic_file(sheet, lambda part: drawn.save(part, format="PNG"))
        print(f"{sheet}: {'samples' if of_gan else 'a look at what it does'}")


def _gan(args: argparse.Namespace, source: foreign.Source) -> gans.ConvertedGan:
    if len(args.sources) > 1:
        raise UserError(f"{source.path} is {source.family.title}: convert it alone (with --discriminator)")
    chosen = {name: getattr(args, name) for name in _OF_GANS.values()}
    return gans.read_checkpoint(source.path, **chosen, source=source)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; prints input errors without a traceback. Returns the exit status."""
    return exit_code(lambda: convert_files(argv), interrupted="error: interrupted; no partial file was left")
