"""`gan2shape-jax export spread`: a saved result's mesh, coloured by how far its depth may be off."""

import argparse
from collections.abc import Sequence

from gan2shape_jax.errors import ConfigError, one_line
from gan2shape_jax.io import option_types
from gan2shape_jax.results.result import load_result
from gan2shape_jax.results.spread_mesh import ENDINGS, write_spread_mesh

__all__ = ["run"]


def run(argv: Sequence[str]) -> None:
    """Writes the mesh and says where; raises `UserError`."""
    options = _parser().parse_args(argv)
    path = options.out or options.result / "spread.glb"
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--out {path}: a name that ends with {' or '.join(ENDINGS)} is needed")
    result = load_result(options.result)
    write_spread_mesh(result, path)
    assert result.depth_spread is not None
    inside = result.depth_spread[result.mask > 0.5]
    greatest = float((inside if inside.size else result.depth_spread).max())
    print(one_line(f"wrote {path}: depth is off by up to about {greatest:.3f} scene units where it is brightest"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax export spread",
        description="Writes the mesh of RESULT with a colour for every vertex: dark where depth is sure, bright where "
        "it may be off. Four of five pixels are within the spread.",
    )
    parser.add_argument(
        "result",
        type=option_types.path("RESULT"),
        metavar="RESULT",
        help="the folder of one image's results (it contains result.json)",
    )
    parser.add_argument(
        "--out", type=option_types.path("--out"), metavar="FILE", help="GLB or PLY (default: RESULT/spread.glb)"
    )
    return parser
