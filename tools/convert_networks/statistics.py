"""View and light statistics: mean and covariance in network units, to `.npz`."""

from typing import Any

import numpy as np
from PIL import Image

from gan2shape_jax.io.arrays import load_mvn

from .record import Converted, Source, plotted

__all__ = ["convert_statistics"]

_DRAWS = 500
_PAIRS = {
    6: ((1, 0, "yaw", "pitch"), (2, 3, "roll", "shift in x"), (3, 4, "shift in x", "shift in y")),
    4: ((0, 1, "ambient", "diffuse"), (2, 3, "direction x", "direction y")),
}


def convert_statistics(source: Source) -> Converted:
    """Converts the statistics of views (6 numbers) or lights (4).

    Raises:
        UserError: mean and covariance are not such statistics.
    """
    mean, covariance = load_mvn(source.path)
    kind = "view" if mean.size == 6 else "light"
    ignored = tuple(str(name) for name in source.content if name not in ("mean", "cov"))
    return Converted(
        summary=f"{kind} statistics, mean {' '.join(f'{value:+.3f}' for value in mean)}",
        tensors={"mean": mean, "cov": covariance},
        header={
            "format": f"gan2shape-jax/{kind}_mvn/1",
            "license": "MIT, Copyright (c) 2021 Xingang Pan (github.com/XingangPan/GAN2Shape)",
            "source_sha256": source.sha256,
        },
        draw=lambda picture: _plot(mean, covariance),
        suffix=".npz",
        ignored=ignored,
        notes=(f"For the pseudo-images: --config.sampling.{kind}_mvn=OUT",),
    )


def _plot(mean: np.ndarray, covariance: np.ndarray) -> Image.Image:
    """Plots samples of the distribution, one pair of numbers against each other per plot."""
    drawn = np.random.default_rng(0).multivariate_normal(mean, covariance, _DRAWS, check_valid="ignore")

    def panel(axes: Any, x: int, y: int, name_x: str, name_y: str) -> None:
        axes.scatter(drawn[:, x], drawn[:, y], s=4)
        axes.set_xlabel(f"{name_x}, network units")
        axes.set_ylabel(name_y)

    return plotted([lambda axes, pair=pair: panel(axes, *pair) for pair in _PAIRS[mean.size]], 3.5)  # type: ignore[misc]
