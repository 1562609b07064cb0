"""How close networks could come to the truth if one thing about them were right: a bound for each, by descent on SIDE.

    python benchmarks/quality/attainable.py --data FACES --faces 0 24 model.safetensors

FACES as in `lifted.py`. SIDE itself, averaged over the faces, is minimised over one thing at a time, with everything
else as the networks predict it: yaws; all rotations; rotations and shifts; one change of canonical depth shared by all
faces; that and the views. What remains in the last row is what one shape for all faces cannot explain, and how far the
others are from the first shows whether views or the shape hold the networks back. The ground truth is used here: these
are not results.

With `--out FILE` the mean depth of the networks, and that of the two rows with a shape, are saved (.npz) for
inspection.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import known_faces
import numpy as np
import optax
from jaxtyping import Array, Float, Scalar
from rich.console import Console
from rich.table import Table

from gan2shape_jax.geometry import render
from gan2shape_jax.method import losses, metrics
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage

_STEP = 0.01  # Adam's learning rate, in the units below
# What one unit of a change means: radians and scene units of a view (nothing moves along the line of sight), and depth.
_VIEW_UNITS = (1.0, 1.0, 1.0, 0.05, 0.05, 0.0)
_DEPTH_UNIT = 0.02
# Weight of the smoothness of a change of depth, so that no pixel moves where no face shows it.
_SMOOTH = 1.0
# Which components of a view each row moves, and whether it moves the shape.
_ROWS = {
    "right yaws": ((1,), False),
    "right rotations": ((0, 1, 2), False),
    "right views": ((0, 1, 2, 3, 4), False),
    "the right shape for all": ((), True),
    "right views and shape": ((0, 1, 2, 3, 4), True),
}


class Faces(NamedTuple):
    """What networks predict for n faces, and the ground truth."""

    depth: Float[Array, "n s s"]
    view: Float[Array, "n 6"]
    truth: Float[Array, "n s s"]


class Change(NamedTuple):
    """What is added, in the units above."""

    shape: Float[Array, "s s"]
    views: Float[Array, "n 6"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs=2, type=int, default=(0, 24), metavar=("FROM", "TO"))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args(arguments)
    group, frozen = known_faces.faces_of(options.data, range(*options.faces))
    settings = group[0].settings
    faces = said(known_faces.predictions(options.networks, group, frozen), group)
    table = Table("", "SIDE", "worst")
    depths = {"networks": faces.depth.mean(0)}
    start = sides(nothing(faces), faces, settings)
    table.add_row("as the networks say", f"{start.mean():.4f}", f"{start.max():.4f}")
    for name, (components, moves) in _ROWS.items():
        change = best(faces, settings, components=components, shape=moves, steps=options.steps)
        reached = sides(change, faces, settings)
        table.add_row(name, f"{reached.mean():.4f}", f"{reached.max():.4f}")
        if moves:
            depths[name] = _changed(change, faces).depth.mean(0)
    Console(width=120).print(table)
    if options.out:
        np.savez(options.out, **{name.replace(" ", "_"): np.asarray(depth) for name, depth in depths.items()})


def said(views: Sequence[Prediction], group: Sequence[PreparedImage]) -> Faces:
    """Returns what networks predict for faces whose true depth is known."""
    return Faces(
        jnp.stack([view.depth for view in views]),
        jnp.stack([view.view for view in views]),
        jnp.stack([jnp.asarray(face.example.true_depth) for face in group]),
    )


def nothing(faces: Faces) -> Change:
    """Returns no change."""
    return Change(jnp.zeros(faces.depth.shape[1:]), jnp.zeros_like(faces.view))


def _changed(change: Change, faces: Faces) -> Faces:
    views = faces.view + change.views * jnp.asarray(_VIEW_UNITS)
    return faces._replace(depth=faces.depth + _DEPTH_UNIT * change.shape, view=views)


@jax.jit
def sides(change: Change, faces: Faces, settings: Settings) -> Float[Array, " n"]:
    """Returns the SIDE of each face after a change."""
    depth, view, truth = _changed(change, faces)
    warped = render.warp_depth(depth, view, settings.camera, sampling=settings.sampling)
    valid = jax.lax.stop_gradient(render.valid_pixels(warped, settings.camera))
    return metrics.side(warped, truth, metrics.evaluation_mask(truth, valid))


@jax.jit
def _sides_and_gradient(change: Change, faces: Faces, settings: Settings) -> tuple[Float[Scalar, ""], Change]:
    """Returns the mean SIDE, and the gradient of its sum with the smoothness of the change of depth."""

    def loss(change: Change) -> tuple[Float[Scalar, ""], Float[Scalar, ""]]:
        rough = losses.smoothness(_DEPTH_UNIT * change.shape[None])
        side = sides(change, faces, settings).mean()
        return side + _SMOOTH * _DEPTH_UNIT * rough, side

    (_, side), gradient = jax.value_and_grad(loss, has_aux=True)(change)
    return side, gradient


def best(faces: Faces, settings: Settings, *, components: Sequence[int], shape: bool, steps: int) -> Change:
    """Returns the change that minimised SIDE, over the components of views and, if asked for, the shape."""
    moving = Change(
        jnp.full(faces.depth.shape[1:], float(shape)),
        jnp.zeros(6).at[np.asarray(components, np.int32)].set(1.0) * jnp.ones_like(faces.view),
    )
    optimizer = optax.adam(_STEP)
    change = nothing(faces)
    state = optimizer.init(change)
    least, kept = float("inf"), change
    for step in range(steps + 1):
        side, gradient = _sides_and_gradient(change, faces, settings)
        if float(side) < least:
            least, kept = float(side), change
        if step < steps:
            update, state = optimizer.update(jax.tree.map(jnp.multiply, gradient, moving), state)
            change = optax.apply_updates(change, update)
    return kept


if __name__ == "__main__":
    main()
