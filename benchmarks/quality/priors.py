"""SIDE of ellipsoids that training might start from, before any training, on faces with true depth.

    python benchmarks/quality/priors.py --data FACES --faces 0 24

FACES has the folders `image`, `mask` and `depth`, as in `lifted.py`. `--found` adds the ellipsoid of masks that are
found without any being given, as a lift does for the GAN's samples, which takes a minute.
"""

import argparse
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from gan2shape_jax.config import load_config
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import data
from gan2shape_jax.method import metrics, prior
from gan2shape_jax.run import lift_samples, loading
from gan2shape_jax.run.loading import pixel_width

Map = Float[np.ndarray, "s s"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs=2, type=int, default=(0, 24), metavar=("FROM", "TO"))
    parser.add_argument("--found", action="store_true", help="with masks that are found, too")
    options = parser.parse_args(arguments)
    config = _config(options.data)
    items = [data.load_item(config, f"{number:03d}.png") for number in range(*options.faces)]
    table = Table("ellipsoid", "SIDE", "worst")
    for name, shape in _shapes(config).items():
        table.add_row(name, *_row([shape(item.mask) for item in items], items, config))
    if options.found:
        architecture, frozen = loading.load_frozen(config)
        maker = lift_samples.maker_of(load_config("ictface:lift"), architecture, frozen)
        shapes = [_shapes(config)["whole_ellipsoid"](maker.mask_of(item.image)) for item in items]
        table.add_row("whole_ellipsoid, masks found", *_row(shapes, items, config))
    Console(width=100).print(table)


def _shapes(config: ConfigDict) -> dict[str, Callable[[Map], Map]]:
    far, pixel, least = config.prior.far, pixel_width(config), config.camera.min_depth
    near = config.prior.near

    def whole(**given: float) -> Callable[[Map], Map]:
        return lambda mask: prior.whole_ellipsoid(mask, **({"far": far, "least": least, "pixel": pixel} | given))

    return {
        f"published, {far - near:.2f} deep": lambda mask: prior.ellipsoid(
            mask, category=config.category, near=near, far=far
        ),
        f"beyond the frame, {far - near:.2f} deep": whole(pixel=1.0, least=near),
        "whole_ellipsoid": whole(),
        "0.8 times as deep": whole(pixel=0.8 * pixel),
        "1.2 times as deep": whole(pixel=1.2 * pixel),
    }


def _row(depths: list[Map], items: list[data.Item], config: ConfigDict) -> list[str]:
    """Returns mean and worst SIDE of depths in the images' own views."""
    camera = Camera(config.image_size, min_depth=config.camera.min_depth, max_depth=config.camera.max_depth)
    everywhere = np.ones((config.image_size, config.image_size), np.float32)
    sides = [
        float(metrics.depth_metrics(np.float32(depth), item.depth, everywhere, camera=camera)["side"])
        for depth, item in zip(depths, items, strict=True)
    ]
    return [f"{np.mean(sides):.4f}", f"{max(sides):.4f}"]


def _config(folder: pathlib.Path) -> ConfigDict:
    config = load_config("ictface:scratch").unlock()
    for root in ("image", "mask", "depth"):
        config.data[f"{root}_root"] = str(folder / root)
    config.data.latent_root = ""
    return config.lock()


if __name__ == "__main__":
    main()
