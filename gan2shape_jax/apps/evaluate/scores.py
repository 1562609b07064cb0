"""The errors of every image of a run, recomputed from the saved arrays.

Errors are those of `metrics`: SIDE, MAD in degrees with the published code's short normals and with unit ones,
MAE and MSE in scene units; in addition, the mean absolute differences of reconstruction and inversion, which need no
ground truth.
"""

import dataclasses
import functools
import math
import os
import pathlib
import zlib
from collections.abc import Callable

import jax
import numpy as np

from gan2shape_jax.apps.evaluate.folders import FoundRun
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io.array_files import load_depth
from gan2shape_jax.method import metrics
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.table import complete_metrics

__all__ = ["DEPTH_METRICS", "METRICS", "Score", "depth_errors", "score_run"]

DEPTH_METRICS = ("side", "mad", "mad_unit", "mae", "mse")
METRICS = (*DEPTH_METRICS, "reconstruction_l1", "inversion_l1")


@dataclasses.dataclass(frozen=True)
class Score:
    """One image of a run.

    Attributes:
        name: of the image.
        figures: by names of `METRICS`; unknown ones are absent.
        problem: what was wrong, or "".
        broken: whether the problem is a damaged or mismatched file, rather than a missing ground truth.
        size: side of the image, pixels; 0 if the result could not be read.
        truth: checksum of the true depth that was used, or None.
    """

    name: str
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    problem: str = ""
    broken: bool = False
    size: int = 0
    truth: int | None = None


def score_run(
    run: FoundRun, truth: pathlib.Path | None = None, *, on_done: Callable[[str], None] = lambda name: None
) -> list[Score]:
    """Scores every image of a run; one that cannot be scored says why and does not stop the others.

    Args:
        run: the run and its results.
        truth: folder of true depths `NAME.npy` (scene units) or `NAME.png`, used instead of those in the results.
        on_done: called with the name of every image that is done.
    """
    crop = (run.config or {}).get("data", {}).get("crop")
    scores = []
    for name, folder in run.images.items():
        scores.append(_score(name, folder, truth, crop))
        on_done(name)
    missed = {name: reason for name, reason in run.failures.items() if name not in run.images}
    scores += [Score(name, problem=f"the run failed: {reason}") for name, reason in missed.items()]
    return sorted(scores, key=lambda score: score.name)


def _score(name: str, folder: pathlib.Path, truth: pathlib.Path | None, crop: int | None) -> Score:
    try:
        result = load_result(folder)
    except UserError as error:
        return Score(name, problem=str(error), broken=True)
    size = result.camera.image_size
    figures = {
        key: value
        for key, value in complete_metrics(result).items()
        if key in METRICS[len(DEPTH_METRICS) :] and value is not None
    }
    try:
        depth = result.true_depth if truth is None else _read_truth(truth, name, result, crop)
    except UserError as error:
        return Score(name, figures, str(error), broken=True, size=size)
    if depth is None:
        where = (
            "the result has no true depth (--truth names a folder of some)"
            if truth is None
            else (f"no true depth {name}.npy or {name}.png in {truth}")
        )
        return Score(name, figures, where, size=size)
    errors = depth_errors(result.warped_depth, depth, result.camera)
    checksum = zlib.crc32(np.ascontiguousarray(depth, "<f4").tobytes())
    if not all(math.isfinite(value) for value in errors.values()):
        problem = "true depth and reconstruction have no pixel in common: is it the truth of another image or crop?"
        return Score(name, figures, problem, broken=True, size=size, truth=checksum)
    return Score(name, errors | figures, size=size, truth=checksum)


def depth_errors(warped: np.ndarray, truth: np.ndarray, camera: Camera) -> dict[str, float]:
    """Returns `DEPTH_METRICS` of a depth (S, S) in the input's view; NaN if the depths have no pixel in common."""
    return {key: float(value) for key, value in _errors(warped, truth, camera=camera).items()}


@functools.partial(jax.jit, static_argnames="camera")
def _errors(warped: jax.Array, truth: jax.Array, *, camera: Camera) -> dict[str, jax.Array]:
    return metrics.depth_metrics(warped, truth, render.valid_pixels(warped, camera), camera)


def _read_truth(folder: pathlib.Path, name: str, result: Result, crop: int | None) -> np.ndarray | None:
    """Reads the true depth of an image, by its folder's name or its own; None if `folder` has neither."""
    camera = result.camera
    for stem in (name, result.name):
        for kind in (".npy", ".png"):
            path = folder / f"{stem}{kind}"
            if os.path.isfile(path):
                return load_depth(path, camera.image_size, crop, camera.min_depth, camera.max_depth)
    return None
