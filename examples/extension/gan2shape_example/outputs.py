"""An output file."""

from typing import Any

import numpy as np

from gan2shape_jax.results import pictures
from gan2shape_jax.results.outputs import Drawing, Output


def _curvature(drawing: Drawing) -> dict[str, Any]:
    depth = drawing.result.depth
    bend = sum(np.gradient(np.gradient(depth, axis=axis), axis=axis) for axis in (0, 1))
    return {"curvature.png": pictures.to_uint8(np.repeat(np.clip(bend / 0.01, -1, 1)[..., None], 3, axis=-1))}


CURVATURE = Output(("curvature.png",), "how the canonical depth bends", _curvature, offer="Curvature")
