"""How far the samples of several GANs are from the same photos, side by side.

    python benchmarks/quality/gan_distance.py PHOTOS theirs.safetensors ours/gan.safetensors [--out distances.json]

PHOTOS is what `gan2shape-jax train-gan` takes, with the same options to select from it; photos that no GAN was trained
on make the comparison fair. The distance is that of `train-gan`: KID with an ONNX network, else the discriminator
distance of the bundled GAN.
"""

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # for tools, which lies beside the package

import numpy as np

from gan2shape_jax import stylegan2
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_text
from tools.train_stylegan2 import photos
from tools.train_stylegan2.measure import drawn_samples, kernel_distance, load_features

_PHOTOS = 2000  # at most
_SEEDS = 3  # sets of samples of each GAN


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one row per GAN: the mean distance over sets of samples, and their spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("gans", type=pathlib.Path, nargs="+", metavar="GAN")
    parser.add_argument("--samples", type=int, default=1000, help="of each GAN, three times (default: 1000)")
    parser.add_argument("--features", type=pathlib.Path, default=pathlib.Path(asset("ictface/gan.safetensors")))
    parser.add_argument("--typical", type=float, default=1.0, help="as train-gan has it")
    parser.add_argument("--no-grey", action="store_true", help="as train-gan has it")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file of the figures")
    options = parser.parse_args(arguments)
    features = load_features(options.features)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in options.gans:
            arch, params = stylegan2.load(path)
            chosen = photos.Selection(options.typical, not options.no_grey)
            real = photos.load(options.photos, pathlib.Path(folder), arch.size, chosen, say=lambda line: None).pixels
            some = np.sort(np.random.default_rng(0).permutation(len(real))[:_PHOTOS])
            known = features.of(np.asarray(real[some]))
            apart = [
                kernel_distance(
                    known, features.of(drawn_samples(arch, params["generator"], seed=seed, count=options.samples))
                )
                for seed in range(_SEEDS)
            ]
            found[str(path)] = {"mean": float(np.mean(apart)), "deviation": float(np.std(apart, ddof=1))}
            print(f"{path}: {features.name} {np.mean(apart):.6f} +- {np.std(apart, ddof=1):.6f}", flush=True)
    if options.out:
        atomic_text(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
