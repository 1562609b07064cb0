"""How a square crop must be moved, scaled and rotated to frame an object as a GAN's pictures do.

A correction is (dx, dy, log scale, roll): the centre moves by (dx, dy) sides of the crop, along the crop's own axes;
the side is multiplied by exp(log scale); the crop is rotated clockwise by roll radians. The network that predicts it
has the view network's architecture and is trained on the GAN's samples (`alignment_training`).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.method.models import Params
from gan2shape_jax.networks import Encoder

__all__ = ["RANGE", "SIDE", "between", "corrected", "corrections", "module", "raw_corrections"]

SIDE = 64  # pixels of the crops that the network sees
_WIDTH = 32
# Scale of the network's outputs, in (-1, 1) before an inverse tanh: sides, sides, log scale, radians.
RANGE = (0.5, 0.5, 0.6, 0.6)
_INSIDE = 0.999  # of (-1, 1): keeps the inverse finite
_BATCH = 32  # crops per batch: one compiled program for any number


def module() -> Encoder:
    """Returns the network's architecture."""
    return Encoder(size=SIDE, channels_out=len(RANGE), width=_WIDTH)


def raw_corrections(params: Params, crops: Float[Array, "n s s 3"]) -> Float[Array, "n 4"]:
    """Returns the corrections of crops (N, SIDE, SIDE, 3) in [-1, 1]; differentiable."""
    outputs = jnp.asarray(module().apply({"params": params}, crops))
    return jnp.arctanh(jnp.clip(outputs, -_INSIDE, _INSIDE)) * jnp.asarray(RANGE)


def corrections(params: Params, crops: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n 4"]:
    """Returns the corrections of crops of `SIDE` pixels, computed in batches."""
    filled = np.concatenate([crops, np.repeat(crops[-1:], -len(crops) % _BATCH, axis=0)])
    parts = [np.asarray(_corrections(params, filled[start : start + _BATCH])) for start in range(0, len(crops), _BATCH)]
    return np.concatenate(parts)[: len(crops)]


@jax.jit
def _corrections(params: Params, crops: Array) -> Array:
    return raw_corrections(params, crops.astype(jnp.float32) / 127.5 - 1)


def corrected(box: CropBox, correction: Float[np.ndarray, "4"]) -> CropBox:
    """Returns a box moved, scaled and rotated by a correction."""
    dx, dy, log_scale, roll = (float(value) for value in correction)
    cos, sin = math.cos(math.radians(box.roll_deg)), math.sin(math.radians(box.roll_deg))
    return CropBox(
        x=box.x + box.side * (cos * dx - sin * dy),
        y=box.y + box.side * (sin * dx + cos * dy),
        side=box.side * math.exp(log_scale),
        roll_deg=box.roll_deg + math.degrees(roll),
    )


def between(box: CropBox, target: CropBox) -> Float[np.ndarray, "4"]:
    """Returns the correction that takes one box to another; the inverse of `corrected`."""
    cos, sin = math.cos(math.radians(box.roll_deg)), math.sin(math.radians(box.roll_deg))
    dx, dy = (target.x - box.x) / box.side, (target.y - box.y) / box.side
    turn = math.radians(target.roll_deg - box.roll_deg)
    return np.array([cos * dx + sin * dy, cos * dy - sin * dx, math.log(target.side / box.side), turn])
