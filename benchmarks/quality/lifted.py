"""Feed-forward errors of networks on faces that they have not seen, and where these errors come from.

    python benchmarks/quality/lifted.py --data FACES --faces 000 024 lifted/networks.safetensors other.safetensors

FACES has the folders `image`, `mask`, `depth` and `latents`, as the bundled faces do; faces from the first number up to
but excluding the second are used. Columns: SIDE and MAD as everywhere; the worst SIDE; the factor by which the relief
would have to be multiplied to be closest to the truth, and SIDE after that; SIDE without the outermost pixels; how much
depth differs from face to face, beside how much it varies within one. If FACES has a `truth.npz` with true views, a
second table shows how well the networks' views follow these: slope of a line, and correlation; by how many degrees yaw
is off, up to 35 degrees and beyond; SIDE with the true yaws, and with all true rotations, in place of the networks'.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import known_faces
import numpy as np
from rich.console import Console
from rich.table import Table

from gan2shape_jax.geometry import render
from gan2shape_jax.method import reconstruction
from gan2shape_jax.method.metrics import depth_metrics
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.training.task import scores

_BORDER = 4  # pixels left out
_FAR = 35  # degrees of yaw, beyond which GANs draw few heads


class Errors(NamedTuple):
    """The errors of one face."""

    side: float
    mad: float
    relief: float
    side_scaled: float
    side_inner: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs=2, type=int, default=(0, 24), metavar=("FROM", "TO"))
    options = parser.parse_args(arguments)
    group, frozen = known_faces.faces_of(options.data, range(*options.faces))
    table = Table("networks", "SIDE", "MAD", "worst", "relief", "SIDE scaled", "SIDE inner", "between / within")
    poses = Table("networks", "pitch", "yaw", "roll", "yaw off to 35", "beyond", "SIDE, true yaws", "true rotations")
    true_views = _true_views(options.data / "truth.npz", options.faces)
    for path in options.networks:
        predictions = known_faces.predictions(path, group, frozen)
        table.add_row(path.name, *_row(predictions, group))
        if true_views is not None:
            told = _following(np.stack([np.asarray(view.view) for view in predictions]), true_views)
            told += [f"{_side_with(predictions, group, true_views, axes):.4f}" for axes in ([1], [0, 1, 2])]
            poses.add_row(path.name, *told)
    Console(width=120).print(table)
    if true_views is not None:
        Console(width=120).print(poses)


def _row(views: list[Prediction], group: list[PreparedImage]) -> list[str]:
    """Returns the means over all faces, as a row of the table."""
    rows = [errors_of(view, face) for view, face in zip(views, group, strict=True)]
    mean = Errors(*np.mean(rows, axis=0))
    depth = np.stack([np.asarray(view.depth) for view in views])
    return [
        f"{mean.side:.4f}",
        f"{mean.mad:.1f}",
        f"{max(row.side for row in rows):.4f}",
        f"{mean.relief:.2f}",
        f"{mean.side_scaled:.4f}",
        f"{mean.side_inner:.4f}",
        f"{depth.std(0).mean():.4f} / {depth.std((1, 2)).mean():.4f}",
    ]


def _true_views(path: pathlib.Path, faces: Sequence[int]) -> np.ndarray | None:
    """Returns pitch, yaw and roll (n, 3) of the faces, radians; None without the file, which stores yaw first."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        return archive["view"][slice(*faces)][:, [1, 0, 2]]


def _following(views: np.ndarray, true_views: np.ndarray) -> list[str]:
    """Returns slope and correlation of the views, for pitch, yaw and roll, and how far yaws are off, degrees."""
    pairs = [(views[:, axis], true_views[:, axis]) for axis in range(3)]
    off, far = np.degrees(np.abs(views[:, 1] - true_views[:, 1])), np.abs(true_views[:, 1]) > np.deg2rad(_FAR)
    told = [f"{np.polyfit(true, ours, 1)[0]:.2f} / {np.corrcoef(true, ours)[0, 1]:.2f}" for ours, true in pairs]
    return told + [f"{off[some].mean():.1f} ({some.sum()})" if some.any() else "" for some in (~far, far)]


def _side_with(views: list[Prediction], group: list[PreparedImage], true_views: np.ndarray, axes: list[int]) -> float:
    """Returns the mean SIDE with true angles about these axes in place of the networks'."""
    camera, sides = group[0].settings.camera, []
    for view, face, true in zip(views, group, true_views, strict=True):
        depth = render.warp_depth(view.depth, view.view.at[np.array(axes)].set(true[axes]), camera)
        valid = render.valid_pixels(depth, camera)
        sides.append(depth_metrics(depth, face.example.true_depth, valid, camera=camera)["side"])
    return float(np.mean(sides))


def errors_of(view: reconstruction.Prediction, face: PreparedImage) -> Errors:
    """Returns the errors of a face whose true depth is known."""
    figures = scores(view, face.example, face.settings)
    truth = np.asarray(face.example.true_depth)
    compared = (np.asarray(view.valid) > 0.5) & (truth < face.settings.camera.max_depth)
    ours, true = np.log(np.asarray(view.warped_depth)), np.log(truth)
    here, there = ours[compared] - ours[compared].mean(), true[compared] - true[compared].mean()
    relief = float((here * there).sum() / (here * here).sum())
    inner = cv2.erode(compared.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=_BORDER) > 0
    return Errors(
        figures["side"],
        figures["mad"],
        relief,
        float(np.std(relief * here - there)),
        float(np.std((ours - true)[inner])),
    )


if __name__ == "__main__":
    main()
