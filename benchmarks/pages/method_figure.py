"""Draws the figure of docs/method.md: five networks, three steps.

    python benchmarks/pages/method_figure.py docs/pictures/method.png

Every step is one panel: inputs on the left, networks in boxes (filled if the step trains them), computed quantities
in rounded boxes, the loss on the right.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

__all__ = ["STEPS", "Node", "Step", "draw"]

_TRAINED, _STILL, _DATA, _LOSS = "#f4a259", "#d9dde3", "#ffffff", "#cfe3d4"
_INK = "#2b2d33"
_HEIGHT = 0.52


class Node(NamedTuple):
    """A box: its text, centre and width; `kind` is trained, still (an untrained network), data or loss."""

    text: str
    x: float
    y: float
    kind: str = "data"
    width: float = 1.5


class Step(NamedTuple):
    """One panel: its title, boxes by name, and arrows between names."""

    title: str
    nodes: dict[str, Node]
    arrows: Sequence[tuple[str, str]]


def _networks(trained: str, x: float = 2.3) -> dict[str, Node]:
    rows = (("D", "D  depth", 3.0), ("A", "A  albedo", 2.2), ("V", "V  view", 1.4), ("L", "L  light", 0.6))
    return {name: Node(text, x, y, "trained" if name in trained else "still") for name, text, y in rows}


_FOUR = ("D", "A", "V", "L")

STEPS = (
    Step(
        "Step 1: explain the photo\n(trains A; the prior has set D)",
        {
            "photo": Node("photo", 0.6, 1.8, width=1.0),
            **_networks("A"),
            "render": Node("render", 4.4, 1.8, width=1.3),
            "loss": Node("photometric\n+ perceptual\n+ smoothness", 6.4, 1.8, "loss"),
        },
        [*(("photo", name) for name in _FOUR), *((name, "render") for name in _FOUR), ("render", "loss")],
    ),
    Step(
        "Step 2: ask the GAN for other views\n(trains E)",
        {
            "factors": Node("factors of\nstep 1", 0.6, 2.7, width=1.1),
            "draws": Node("random view,\nrandom light", 0.6, 0.9, width=1.2),
            "pseudo": Node("rendered\npseudo-image", 2.35, 1.8, width=1.35),
            "E": Node("E  encoder", 4.0, 1.8, "trained", 1.2),
            "G": Node("w + offset,\nfrozen G", 5.5, 1.8, "still", 1.1),
            "sample": Node("projected\nsample", 7.15, 2.75, width=1.2),
            "loss": Node("photometric +\nfeatures of Dis\n+ |offset|²", 7.15, 0.85, "loss", 1.4),
        },
        [
            ("factors", "pseudo"),
            ("draws", "pseudo"),
            ("pseudo", "E"),
            ("E", "G"),
            ("G", "sample"),
            ("G", "loss"),
        ],
    ),
    Step(
        "Step 3: one shape for all samples\n(trains D, A, V, L)",
        {
            "photo": Node("photo", 0.6, 2.6, width=1.0),
            "samples": Node("projected\nsamples", 0.6, 1.0, width=1.1),
            **_networks("DAVL"),
            "render": Node("render", 4.4, 1.8, width=1.3),
            "loss": Node("photo and\nsamples must be\nreconstructed", 6.4, 1.8, "loss", 1.6),
        },
        [
            *(("photo", name) for name in _FOUR),
            ("samples", "V"),
            ("samples", "L"),
            *((name, "render") for name in _FOUR),
            ("render", "loss"),
        ],
    ),
)


def draw(path: pathlib.Path) -> None:
    """Draws the three panels into a picture, one above the other."""
    figure, panels = plt.subplots(len(STEPS), 1, figsize=(8.4, 9.6))
    for panel, step in zip(panels, STEPS, strict=True):
        _draw_step(panel, step)
    figure.text(0.5, 0.012, "orange: trained in this step     grey: a network that is not     green: loss",
                ha="center", fontsize=10, color=_INK)  # fmt: skip
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.05, hspace=0.22)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_step(panel: Axes, step: Step) -> None:
    panel.set(xlim=(-0.2, 8.0), ylim=(0.1, 3.5))
    panel.axis("off")
    panel.set_title(step.title, loc="left", fontsize=12, color=_INK, x=0.02)
    for start, end in step.arrows:
        _draw_arrow(panel, step.nodes[start], step.nodes[end])
    for node in step.nodes.values():
        _draw_node(panel, node)


def _draw_node(panel: Axes, node: Node) -> None:
    height = _HEIGHT * (1 + 0.55 * node.text.count("\n"))
    colour = {"trained": _TRAINED, "still": _STILL, "data": _DATA, "loss": _LOSS}[node.kind]
    style = "square,pad=0.04" if node.kind in ("trained", "still") else "round,pad=0.04,rounding_size=0.18"
    corner = (node.x - node.width / 2, node.y - height / 2)
    panel.add_patch(FancyBboxPatch(corner, node.width, height, style, facecolor=colour, edgecolor=_INK, zorder=2))
    panel.text(node.x, node.y, node.text, ha="center", va="center", fontsize=11, color=_INK, zorder=3)


def _draw_arrow(panel: Axes, start: Node, end: Node) -> None:
    tail, head = (start.x + start.width / 2 + 0.05, start.y), (end.x - end.width / 2 - 0.05, end.y)
    panel.add_patch(FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=12, color=_INK, lw=1.1, zorder=1))


def main() -> int:
    """Writes the picture that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("picture", type=pathlib.Path, metavar="PICTURE.PNG")
    draw(parser.parse_args().picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
