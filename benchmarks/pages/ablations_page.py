"""Puts the tables written by benchmarks/quality/ablations.py into docs/reports/ablations.md.

    python benchmarks/pages/ablations_page.py results/ablation/ablations.md docs/reports/ablations.md

The text above the heading "Figures" stays as it is.
"""

import argparse
import pathlib
import sys

from gan2shape_jax.config import load_config

__all__ = ["figures", "write_page"]

_HEADING = "## Figures\n"

_INTRODUCTION = """\
## Figures

One part of the method changed or left out at a time, on the six bundled faces with true depth:

    python benchmarks/quality/ablations.py --out results/ablation
    python benchmarks/pages/ablations_page.py results/ablation/ablations.md docs/reports/ablations.md

Each variant is a configuration (`--config=ablation:flat`, and so on; `--config=ablation` is the whole method), with the
default networks and a short schedule: {prior} iterations for the prior, then one stage of {stages}. All variants
start from the same random weights. SIDE is the scale-invariant depth error, MAD the mean angle between normals (the
published code's short ones), in the input view.

"""


def figures(tables: str) -> str:
    """Returns the section of figures, starting with its heading: what was run and how, then the tables."""
    whole = load_config("ablation")
    stage = " / ".join(map(str, whole.schedule.stages[0]))
    return _INTRODUCTION.format(prior=whole.prior.iterations, stages=stage) + tables


def write_page(path: pathlib.Path, tables: str) -> None:
    """Writes the figures into a page, replacing those below its heading; the text above them stays."""
    above = path.read_text().split(_HEADING)[0] if path.exists() else "# Ablations\n\n"
    path.write_text(above + figures(tables))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", type=pathlib.Path, metavar="ABLATIONS.MD")
    parser.add_argument("page", type=pathlib.Path, metavar="PAGE.MD")
    options = parser.parse_args()
    write_page(options.page, options.tables.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
