"""The rendered faces that come with the repository: written compactly, and unpacked again without the sources.

    python benchmarks/faces/committed.py unpack test faces_test        # or validation; a folder as render.py makes it
    python benchmarks/faces/committed.py pack RENDERED benchmarks/faces/data/test
    python benchmarks/faces/committed.py mean TRAIN                    # the training split's mean depth, for table.py
    python benchmarks/faces/committed.py spread FRONTAL [MODEL ...]    # how much depth differs from face to face

`data/validation` and `data/test` hold 64 pictures of each family at 64 pixels, seed 0, by `studio/packed.py`.
"""

import argparse
import pathlib
import sys

import numpy as np
import render
from PIL import Image

import gan2shape_jax
from gan2shape_jax.geometry.camera import Camera

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import packed

DATA = pathlib.Path(__file__).parent / "data"
MEAN = DATA / "train_mean.npy"


def mean(rendered: pathlib.Path) -> None:
    """Writes the mean depth of a rendering."""
    np.save(MEAN, packed.mean_depth(rendered))


def spread(rendered: pathlib.Path, *models: pathlib.Path) -> None:
    """Prints how much depth differs from face to face, and within one, of faces from in front (`render.py --yaw 0`).

    Standard deviations in scene units where nearly all faces are, each face less its mean there; of networks, too, with
    the correlation of what makes a face's depth another than the mean with what truly does; and how their mean shape
    lies to the true one: the share of its relief, a tilt about the x axis, and what is left, as a share of the relief.
    """
    names = [pathlib.Path(name).stem for name in packed.names(rendered)]
    true = np.stack([np.load(rendered / "depth" / f"{name}.npy") for name in names])
    valid = (true > 0) & (true < packed.FARTHEST)
    everywhere = valid.mean(0) > 0.99
    images = [np.asarray(Image.open(rendered / "image" / f"{name}.png")) for name in names]
    found = {"truth": true}
    for model in models:
        networks = gan2shape_jax.load_model(model)
        found[str(model)] = np.stack([networks.reconstruct(image).depth for image in images])
    print(f"{len(true)} faces, on {everywhere.mean():.0%} of the pixels: between, within, correlation; the mean shape")
    rows = np.nonzero(everywhere)[0] - (len(everywhere) - 1) / 2
    step = 1 / Camera(image_size=len(everywhere)).focal_length  # of a row, at depth 1
    own, means = {}, {}
    for name, depth in found.items():
        relief = np.ma.masked_where(~valid, depth)[:, everywhere]
        relief = relief - relief.mean(1, keepdims=True)
        means[name] = np.asarray(relief.mean(0))
        own[name] = (relief - relief.mean(0)).ravel()
        correlation = np.ma.corrcoef(own[name], own["truth"])[0, 1]
        explained = np.stack([means[name], rows * step], axis=1)
        (share, tilt), *_ = np.linalg.lstsq(explained, means["truth"], rcond=None)
        left = (means["truth"] - explained @ (share, tilt)).std() / means["truth"].std()
        lies = f"{1 / share:.2f} of the relief, tilted by {np.degrees(np.arctan(tilt)):.1f} degrees, {left:.2f} left"
        print(f"{name}: {relief.std(0).mean():.4f}, {relief.std(1).mean():.4f}, {correlation:.2f}; {lies}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("unpack", "pack", "mean", "spread"))
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    try:
        if options.what == "unpack":
            split, out = options.folders
            packed.unpack(DATA / split, out, render.TRUTH)
        else:
            {"pack": packed.pack, "mean": mean, "spread": spread}[options.what](*options.folders)
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
