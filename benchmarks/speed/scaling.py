"""Plots time against the sizes that determine it: image side and GAN, each with all else as in a configuration.

    python benchmarks/speed/scaling.py --out results/scaling --images 32 64 128 --gans 32 64 128 256
    python benchmarks/speed/scaling.py --out results/scaling --images 64 128 --gans --torch

Weights are drawn at random, so that any size can be timed; iterations are those of `speed.py`. Writes `scaling.json`
and one picture per plot.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_SPEED = pathlib.Path(__file__).parent / "speed.py"
# No files for GAN and image, so that both are drawn: of the published family, whatever the configuration's is.
_DRAWN = {"gan.checkpoint": "drawn", "data.image_list": "drawn", "gan.channel_multiplier": "1", "gan.style_dim": "512"}


@dataclasses.dataclass(frozen=True)
class Plot:
    """One plot: what is varied, through which field, over which values."""

    name: str
    label: str
    field: str
    values: tuple[int, ...]


def plots(options: argparse.Namespace) -> list[Plot]:
    """The requested plots; `groups.py` makes the one over images in a group."""
    asked = [
        Plot("image_side", "image side S, pixels", "image_size", tuple(options.images)),
        Plot("gan_side", "side of the GAN's images, pixels", "gan.size", tuple(options.gans)),
    ]
    return [plot for plot in asked if plot.values]


def _time(config: str, fields: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """The report for one size, from its own process."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "one.json"
        command = [
            sys.executable,
            str(_SPEED),
            "--configs",
            config,
            "--only",
            "steps",
            "--random-weights",
            "--iterations",
            str(options.iterations),
            "--json",
            str(path),
            *options.torch,
        ]
        command += [f"--config.{field}={value}" for field, value in (_DRAWN | fields).items()]
        subprocess.run(command, check=True)
        return json.loads(path.read_text())["configs"][0]


def measure(plot: Plot, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Times every value of a plot."""
    return [_time(options.config, {plot.field: str(value)}, options) for value in plot.values]


def draw(plot: Plot, reports: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Plots milliseconds per iteration over the varied value, both logarithmic; PyTorch is dashed."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for number, step in enumerate(reports[0]["steps"]):
        for who in reports[0]["steps"][step]:
            times = [report["steps"][step][who]["median_s"] * 1e3 for report in reports]
            own = who == "jax"
            axes.plot(
                plot.values, times, "o-" if own else "x--", color=f"C{number}", label=step if own else f"{step}, {who}"
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=plot.label,
        ylabel="an iteration, ms",
        xticks=plot.values,
        xticklabels=[str(value) for value in plot.values],
    )
    axes.minorticks_off()
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--config", default="ictface:scratch")
    parser.add_argument("--images", type=int, nargs="*", default=[32, 64, 128])
    parser.add_argument("--gans", type=int, nargs="*", default=[32, 64, 128, 256])
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--torch", action="store_const", const=["--torch"], default=[], help="PyTorch too")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    reports = {}
    for plot in plots(options):
        reports[plot.name] = measure(plot, options)
        draw(plot, reports[plot.name], options.out / f"{plot.name}.png")
        (options.out / "scaling.json").write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    main()
