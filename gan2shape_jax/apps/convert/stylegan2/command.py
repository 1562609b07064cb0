"""Converts a PyTorch or TensorFlow checkpoint of StyleGAN2 to this program's format.

    gan2shape-jax convert stylegan2 IN.pt OUT.safetensors --samples OUT.png
    gan2shape-jax convert stylegan2 cifar10.pkl OUT.safetensors --class 3

Needs no PyTorch and runs no code from the file.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.convert.stylegan2 import Converted, read_checkpoint
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.io.files import atomic_file, require_targets
from gan2shape_jax.results.pictures import strip, to_uint8
from gan2shape_jax.stylegan2.latents import random_images

_SIDE_LIMIT = 1536  # pixels of the sample grid
_TRUNCATION = 0.7


def sample_grid(converted: Converted, *, seed: int = 0) -> Image.Image:
    """Draws a square grid of samples, at most 6 by 6, truncated towards the mean latent."""
    arch, params = converted.arch, converted.params["generator"]
    key, count = jax.random.key(seed), max(1, min(6, _SIDE_LIMIT // arch.size))
    mean = stylegan2.mean_w(key, params, arch=arch)
    images, _ = random_images(key, params, arch=arch, count=count**2, truncation=_TRUNCATION, mean=mean)
    return Image.fromarray(strip(np.split(to_uint8(images), count), gap=0))


def _parser() -> argparse.ArgumentParser:
    about = (
        "Converts a StyleGAN2 to the safetensors file that the program reads: a checkpoint of "
        "rosinality/stylegan2-pytorch (.pt with g_ema and d, or the generator alone), or a network pickle of NVIDIA's "
        "stylegan2-ada-pytorch or stylegan3 (.pkl with G_ema and D), or of their TensorFlow's stylegan2 and "
        "stylegan2-ada (any kind of blocks, clamps, filters; float16 layers are computed in float32; alias-free "
        "networks are not supported). The content tells which. Nothing in the file is executed, and PyTorch is not "
        "needed."
    )
    parser, path = option_types.parser("convert stylegan2", about), option_types.path
    parser.add_argument("source", type=path("IN"), metavar="IN", help="the checkpoint, .pt, .pth or .pkl")
    parser.add_argument("target", type=path("OUT"), metavar="OUT.safetensors", help="the file to write")
    option_types.add_path(parser, "--samples", "OUT.png", "where to draw samples (default: beside the target)")
    parser.add_argument("--no-samples", action="store_true", help="draw no samples")
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
    parser.add_argument(
        "--license-note",
        metavar="TEXT",
        help="licence of the weights, for the header (default: that of the family, if known)",
    )
    return parser


def _summary(converted: Converted) -> str:
    """Returns what the checkpoint is, one line per network, and the notes."""
    arch = converted.arch

    def clamped(clamp: float | None) -> str:
        return "" if clamp is None else f", clamped to +-{clamp:g}"

    deviation = f"deviation over {arch.stddev_group or 'all'} images" if arch.stddev_channels else "no deviation"
    lines = [
        f"StyleGAN2 of {arch.size} pixels, style width {arch.style_dim}, {arch.mapping_layers} mapping "
        f"layers{', mean latent stored' if arch.stored_mean else ''} (family {converted.family})",
        f"  generator: {arch.generator_kind}, channels {' '.join(map(str, arch.channels))}{clamped(arch.conv_clamp)}",
    ]
    if arch.discriminator_channels:
        widths = " ".join(map(str, arch.discriminator_channels))
        described = f"{arch.discriminator_kind}, channels {widths}{clamped(arch.discriminator_clamp)}, {deviation}"
        lines.append(f"  discriminator: {described}")
    return "\n".join(lines + ([f"  {converted.notes}"] if converted.notes else []))


def convert_files(argv: Sequence[str] | None = None, content: Any = None) -> None:
    """Parses the arguments and converts; `content` is what the source holds, if it has been read. Raises UserError."""
    args = _parser().parse_args(argv)
    if args.target.suffix != ".safetensors":
        raise UserError(f"{args.target}: the target's name must end in .safetensors")
    samples = None if args.no_samples else args.samples or args.target.with_suffix(".png")
    sources = [args.source, args.discriminator]
    require_targets({"OUT": args.target, "--samples": samples}, sources, overwrite=args.overwrite)
    converted = read_checkpoint(
        args.source, class_index=args.class_index, discriminator=args.discriminator, content=content
    )
    license_note = args.license_note or converted.license_note
    stylegan2.save(
        args.target,
        converted.arch,
        converted.params,
        notes=converted.notes,
        license_note=license_note,
        source_sha256=converted.source_sha256,
    )
    print(f"{args.target}: {_summary(converted)}\nLicence of the weights: {license_note}")
    if samples is not None:
        grid = sample_grid(converted)
        atomic_file(samples, lambda part: grid.save(part, format="PNG"))
        print(f"{samples}: samples")


def main(argv: Sequence[str] | None = None, content: Any = None) -> int:
    """Runs the command; prints input errors without a traceback. Returns the exit status."""
    return exit_code(lambda: convert_files(argv, content), interrupted="error: interrupted; no partial file was left")
