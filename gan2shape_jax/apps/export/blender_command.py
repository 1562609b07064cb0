"""`gan2shape-jax export blender`: a script beside a saved result that opens it in Blender."""

import argparse
import shlex
from collections.abc import Sequence

from gan2shape_jax.errors import one_line
from gan2shape_jax.io import option_types
from gan2shape_jax.results.blender_script import write_blender_script
from gan2shape_jax.results.result import load_result

__all__ = ["run"]


def run(argv: Sequence[str]) -> None:
    """Writes the script and says how to start it; raises `UserError`."""
    options = _parser().parse_args(argv)
    load_result(options.result)  # reports what is wrong with the folder now, not in Blender
    path = write_blender_script(options.result)
    print(one_line(f"wrote {path}; start it with: blender --python {shlex.quote(str(path))}"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax export blender",
        description="Writes open_in_blender.py into RESULT: it opens the mesh, textured.glb if there is one, with the "
        "photo's camera and the photo behind it, in Blender 4.2 or newer.",
    )
    parser.add_argument(
        "result",
        type=option_types.path("RESULT"),
        metavar="RESULT",
        help="the folder of one image's results (it contains result.json)",
    )
    return parser
