"""A command."""

import pathlib
from collections.abc import Sequence

from gan2shape_jax import load
from gan2shape_jax.apps import option_types
from gan2shape_jax.errors import exit_code


def main(argv: Sequence[str]) -> int:
    """RESULT ...: how deep results are, in scene units."""
    return exit_code(lambda: _print_reliefs(argv))


def _print_reliefs(argv: Sequence[str]) -> None:
    parser = option_types.parser("relief", "Prints how deep results are, from the nearest point to the farthest.")
    parser.add_argument("result", nargs="+", type=pathlib.Path, metavar="RESULT", help="the folder of a result")
    for folder in parser.parse_args(argv).result:
        depth = load(folder).depth
        print(f"{folder}: {depth.max() - depth.min():.4f}")
