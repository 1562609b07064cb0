"""What the published code's geometric errors cost, measured on the bundled faces' true depth.

    python benchmarks/quality/mended_faults.py

Half-pixel sampling: the true depth is rendered from its own view (no rotation), so a correct renderer returns
it unchanged. Short normals: the angle measured between a map of normals and itself. Whole runs with and without
the errors are compared by `development_faces.py` with and without `--config.reference=True`.
"""

import argparse

import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from gan2shape_jax.config import load_config
from gan2shape_jax.geometry import lighting, render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import data
from gan2shape_jax.method import metrics


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    config = load_config("ictface:scratch")
    camera = Camera(config.image_size)
    items = [data.load_item(config, name) for name in data.read_names(config.data.image_list)]
    truth = jnp.asarray(np.stack([item.depth for item in items]))
    valid = jnp.ones_like(truth)
    view = jnp.zeros((len(items), 6))
    table = Table("sampling of the warped depth", "SIDE", "MAD, unit normals (degrees)", "MAE")
    for sampling in ("half", "centred"):
        errors = metrics.depth_metrics(render.warp_depth(truth, view, camera, sampling=sampling), truth, valid, camera)
        table.add_row(sampling, *(f"{float(errors[key].mean()):.5f}" for key in ("side", "mad_unit", "mae")))
    Console().print(table)
    mask = metrics.evaluation_mask(truth, valid)
    for unit in (False, True):
        normals = lighting.normals(truth, camera, unit=unit)
        angle = metrics.mean_angle(normals, normals, mask)
        print(f"{'unit' if unit else 'short'} normals against themselves: {float(angle.mean()):.2f} degrees")


if __name__ == "__main__":
    main()
