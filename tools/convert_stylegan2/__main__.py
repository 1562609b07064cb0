"""Converts a PyTorch StyleGAN2 checkpoint to this program's format.

    python -m tools.convert_stylegan2 IN.pt OUT.safetensors --samples OUT.png

Needs no PyTorch and runs nothing that the file holds. Installed: `python -m
gan2shape_jax.tools.convert_stylegan2`.
"""

import argparse
import functools
import sys
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2.weights import write_atomically

from .checkpoint import Converted, read_checkpoint

_SIDE_LIMIT = 1536  # pixels of the sample grid


def sample_grid(converted: Converted, *, seed: int = 0, psi: float = 0.7) -> Image.Image:
    """A square grid of samples, truncated by `psi` towards the mean, at most 6 by 6."""
    arch = converted.arch
    params = jax.tree.map(jax.numpy.asarray, converted.params["generator"])
    count = max(1, min(6, _SIDE_LIMIT // arch.size))
    mean_key, z_key = jax.random.split(jax.random.key(seed))
    mean = stylegan2.mean_w(mean_key, params, arch=arch)
    z = jax.random.normal(z_key, (count ** 2, arch.style_dim))
    w = stylegan2.truncate(stylegan2.map_styles(params, z, arch=arch), mean, psi)
    draw = jax.jit(functools.partial(stylegan2.synthesize, arch=arch))
    rows = [np.concatenate(np.asarray(draw(params, row)), axis=1)
            for row in np.split(np.asarray(w), count)]
    grid = np.concatenate(rows, axis=0)
    return Image.fromarray(np.round((np.clip(grid, -1, 1) + 1) * 127.5).astype(np.uint8))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_stylegan2",
        description="Converts a rosinality-style StyleGAN2 checkpoint (keys g_ema and d) to the "
                    "safetensors file that the program reads. Nothing in the file is executed.")
    parser.add_argument("source", metavar="IN.pt", help="the PyTorch checkpoint")
    parser.add_argument("target", metavar="OUT.safetensors", help="the file to write")
    parser.add_argument("--samples", metavar="OUT.png",
                        help="where to draw samples (default: beside the target)")
    parser.add_argument("--no-samples", action="store_true", help="draw no samples")
    parser.add_argument("--license-note", default="not stated; see where the checkpoint is from",
                        metavar="TEXT", help="licence of the weights, kept in the header")
    return parser


def run(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and converts. Raises UserError."""
    args = _parser().parse_args(argv)
    if not args.target.endswith(".safetensors"):
        raise UserError(f"{args.target}: the target's name has to end in .safetensors")
    converted = read_checkpoint(args.source)
    stylegan2.save(args.target, converted.arch, converted.params, notes=converted.notes,
                   license_note=args.license_note, source_sha256=converted.source_sha256)
    arch = converted.arch
    print(f"{args.target}: StyleGAN2 of {arch.size} pixels, style width {arch.style_dim}, "
          f"{arch.mapping_layers} mapping layers, channels {' '.join(map(str, arch.channels))}")
    if converted.notes:
        print(converted.notes)
    if not args.no_samples:
        samples = args.samples or args.target.removesuffix(".safetensors") + ".png"
        grid = sample_grid(converted)
        write_atomically(samples, lambda name: grid.save(name, format="PNG"))
        print(f"{samples}: samples")


def main(argv: Sequence[str] | None = None) -> int:
    """The command: prints errors of the input without a traceback. Returns the exit status."""
    try:
        run(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing half-written remains", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
